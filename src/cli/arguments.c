#include "cli/arguments.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "config/nearest.h"

const struct command_row command_rows[COMMANDS] = {
#define COMMAND(id, name, arguments, summary, details) \
	[CLI_##id] = { name, arguments, summary, details },
#include "cli/commands.def"
};

#define OF(id) (1u << CLI_##id)
const struct option_row option_rows[OPTIONS] = {
#define OPTION(id, name, letter, value, words, commands, help) \
	[OPTION_##id] = { name, letter, value, words, commands, help },
#include "cli/commands.def"
};

bool option_given(const struct arguments *a, enum option_id id)
{
	for (unsigned i = 0; i < a->option_n; i++)
		if (a->options[i].id == id)
			return true;
	return false;
}

const char *option_value(const struct arguments *a, enum option_id id)
{
	const char *value = NULL;

	for (unsigned i = 0; i < a->option_n; i++)
		if (a->options[i].id == id)
			value = a->options[i].value;
	return value;
}

int arguments_complain(enum command_id command, const char *format, ...)
{
	va_list arguments;

	fputs("fairlead: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "; see fairlead %s%s--help\n", command_rows[command].name,
		command == CLI_SERVE ? "" : " ");
	return STATUS_USAGE;
}

/* ---- commands ---------------------------------------------------------------- */

static enum command_id command_of(const char *word)
{
	enum command_id id = CLI_SERVE + 1;

	while (id < COMMANDS && strcmp(command_rows[id].name, word) != 0)
		id++;
	return id;
}

static bool command_unknown(const char *word)
{
	struct nearest near = { .word = slice_of(word) };

	for (enum command_id id = CLI_SERVE + 1; id < COMMANDS; id++)
		nearest_offer(&near, slice_of(command_rows[id].name));
	if (access(word, F_OK) == 0)
		arguments_complain(
			CLI_SERVE,
			"'%s' is not a command; to serve as this file says write "
			"'fairlead -c %s'",
			word, word);
	else if (near.best.len > 0)
		arguments_complain(CLI_SERVE, "unknown command '%s'; write '%.*s'", word,
				   SLICE_ARG(near.best));
	else
		arguments_complain(CLI_SERVE,
				   "unknown command '%s'; use one of the commands", word);
	return false;
}

/* The first word is the command, wherever it stands; "help COMMAND" is its --help. */
static bool command_read(struct arguments *a)
{
	unsigned n = 1;

	a->command = CLI_SERVE;
	if (a->word_n == 0)
		return true;
	if (strcmp(a->words[0], "help") == 0) {
		a->options[a->option_n].id = OPTION_HELP;
		a->options[a->option_n++].value = NULL;
		if (a->word_n == 1) {
			a->word_n = 0;
			return true;
		}
		n = 2;
	}
	a->command = command_of(a->words[n - 1]);
	if (a->command == COMMANDS) {
		a->command = CLI_SERVE;
		return command_unknown(a->words[n - 1]);
	}
	a->word_n -= n;
	memmove(a->words, a->words + n, a->word_n * sizeof(a->words[0]));
	return true;
}

/* ---- options ----------------------------------------------------------------- */

static bool option_unknown(const struct arguments *a, const char *word)
{
	struct slice name = slice_of(word);
	struct nearest near;

	while (name.len > 0 && name.ptr[0] == '-')
		name = slice_after(name, 1);
	near = (struct nearest){ .word = { name.ptr, strcspn(name.ptr, "=") } };
	for (enum option_id id = 0; id < OPTIONS; id++)
		nearest_offer(&near, slice_of(option_rows[id].name));
	if (near.best.len > 0)
		arguments_complain(a->command, "unknown option '%s'; write '--%.*s'",
				   word, SLICE_ARG(near.best));
	else
		arguments_complain(a->command, "unknown option '%s'; remove it", word);
	return false;
}

static bool option_not_of_command(const struct arguments *a, enum option_id id)
{
	const struct option_row *row = &option_rows[id];
	enum command_id other = 0;

	while (other < COMMANDS && !(row->commands >> other & 1))
		other++;
	if (a->command == CLI_SERVE)
		arguments_complain(other,
				   "'--%s' is an option of 'fairlead %s'; write that",
				   row->name, command_rows[other].name);
	else
		arguments_complain(a->command,
				   "'fairlead %s' has no option '--%s'; remove it",
				   command_rows[a->command].name, row->name);
	return false;
}

static bool word_is_one_of(const char *word, const char *words)
{
	size_t n = strlen(word);

	for (const char *at = words; at;
	     at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (strncmp(at, word, n) == 0 && (at[n] == '|' || at[n] == '\0'))
			return n > 0;
	return false;
}

/* "a|b|c" as "a, b or c". */
static void complain_of_word(const struct arguments *a, const struct option_row *row,
			     const char *word)
{
	char list[256] = "";

	for (const char *at = row->words; at;) {
		const char *end = strchrnul(at, '|');
		size_t n = strlen(list);

		snprintf(list + n, sizeof(list) - n, "%s%.*s",
			 n == 0 ? "" : (*end ? ", " : " or "), (int)(end - at), at);
		at = *end ? end + 1 : NULL;
	}
	arguments_complain(a->command, "--%s cannot be '%s'; write %s", row->name, word,
			   list);
}

static bool options_check(const struct arguments *a)
{
	for (unsigned i = 0; i < a->option_n; i++) {
		const struct option_row *row = &option_rows[a->options[i].id];

		if (!(row->commands >> a->command & 1))
			return option_not_of_command(a, a->options[i].id);
		if (!row->words || word_is_one_of(a->options[i].value, row->words))
			continue;
		complain_of_word(a, row, a->options[i].value);
		return false;
	}
	return true;
}

/* The tables that getopt_long() takes. */
static void getopt_tables(char letters[2 * OPTIONS + 2], struct option longs[OPTIONS + 1])
{
	char *at = letters;

	*at++ = ':';
	for (enum option_id id = 0; id < OPTIONS; id++) {
		const struct option_row *row = &option_rows[id];

		longs[id] = (struct option){ row->name,
					     row->value ? required_argument : no_argument,
					     NULL, 256 + (int)id };
		if (row->letter)
			*at++ = row->letter;
		if (row->letter && row->value)
			*at++ = ':';
	}
	*at = '\0';
	longs[OPTIONS] = (struct option){ NULL, 0, NULL, 0 };
}

static enum option_id option_of(int c)
{
	enum option_id id = 0;

	if (c >= 256)
		return (enum option_id)(c - 256);
	while (id < OPTIONS && option_rows[id].letter != c)
		id++;
	return id;
}

static bool too_many(const struct arguments *a)
{
	arguments_complain(a->command, "more than %d arguments; write fewer",
			   ARGUMENTS_MAX - 1);
	return false;
}

/* The option that is wrong, for a message. */
static const char *option_text(char **argv, char letter[3])
{
	if (optopt == 0 || optopt >= 256)
		return argv[optind - 1];
	letter[0] = '-';
	letter[1] = (char)optopt;
	letter[2] = '\0';
	return letter;
}

static bool options_read(struct arguments *a, int argc, char **argv)
{
	char letters[2 * OPTIONS + 2], letter[3];
	struct option longs[OPTIONS + 1];
	int c;

	getopt_tables(letters, longs);
	opterr = 0;
	optind = 0; /* from the start, also if it is called again */
	while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (c == '?')
			return option_unknown(a, option_text(argv, letter));
		if (c == ':') {
			enum option_id id = option_of(optopt);

			arguments_complain(a->command,
					   "'%s' has no value; write '--%s %s'",
					   option_text(argv, letter),
					   option_rows[id].name, option_rows[id].value);
			return false;
		}
		if (a->option_n == ARGUMENTS_MAX - 1)
			return too_many(a);
		a->options[a->option_n].id = option_of(c);
		a->options[a->option_n++].value = optarg;
	}
	for (; optind < argc; optind++) {
		if (a->word_n == ARGUMENTS_MAX - 1)
			return too_many(a);
		a->words[a->word_n++] = argv[optind];
	}
	return true;
}

bool arguments_read(struct arguments *a, int argc, char **argv)
{
	a->command = CLI_SERVE;
	a->option_n = a->word_n = 0;
	return options_read(a, argc, argv) && command_read(a) && options_check(a);
}
