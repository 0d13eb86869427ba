#include <string.h>

#include "cli/arguments.h"

#define OPTION_COLUMNS 24

/* Bytes of UTF-8 that begin a character. */
static int columns(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void option_print(const struct option_row *row, FILE *out)
{
	int used = fprintf(out, "  ");

	used += row->letter ? fprintf(out, "-%c, ", row->letter) : fprintf(out, "    ");
	used += fprintf(out, "--%s%s%s", row->name, row->value ? " " : "",
			row->value ? row->value : "");
	fprintf(out, "%*s%s\n", used < OPTION_COLUMNS ? OPTION_COLUMNS - used : 1, "",
		row->help);
}

static void options_print(enum command_id command, FILE *out)
{
	for (enum option_id id = 0; id < OPTIONS; id++)
		if (option_rows[id].commands >> command & 1)
			option_print(&option_rows[id], out);
}

static void commands_print(FILE *out)
{
	for (enum command_id id = CLI_SERVE + 1; id < COMMANDS; id++)
		fprintf(out, "  %s%*s%s\n", command_rows[id].name,
			12 - columns(command_rows[id].name), "",
			command_rows[id].summary);
}

void help_print(enum command_id command, FILE *out)
{
	const struct command_row *row = &command_rows[command];

	if (command == CLI_SERVE) {
		fprintf(out, "usage: fairlead %s, or fairlead COMMAND …\n\n",
			row->arguments);
		commands_print(out);
	} else {
		fprintf(out, "usage: fairlead %s %s\n\n%s", row->name, row->arguments,
			row->details);
	}
	fputc('\n', out);
	options_print(command, out);
	if (command == CLI_SERVE)
		fprintf(out, "\n%s", row->details);
	fputs("Exit status: 0 done, 1 failed, 2 wrong command line.\n", out);
}
