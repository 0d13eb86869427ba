/* Completion of the command line, made of its tables. */
#include <string.h>

#include "cli/arguments.h"

/* Words that are separated by "|", separated by spaces. */
static void words_print(const char *words, FILE *out)
{
	for (; *words; words++)
		fputc(*words == '|' ? ' ' : *words, out);
}

static void options_print(enum command_id command, FILE *out)
{
	for (enum option_id id = 0; id < OPTIONS; id++) {
		const struct option_row *row = &option_rows[id];

		if (!(row->commands >> command & 1))
			continue;
		fprintf(out, " --%s", row->name);
		if (row->letter)
			fprintf(out, " -%c", row->letter);
	}
}

/* "--tls|--config|-c": the options whose values are files, for `case`. */
static bool takes_file(const struct option_row *row)
{
	return row->value &&
	       (strcmp(row->value, "FILE") == 0 || strstr(row->value, "CERT"));
}

static void bash_values(FILE *out)
{
	for (enum option_id id = 0; id < OPTIONS; id++) {
		const struct option_row *row = &option_rows[id];

		if (!row->value)
			continue;
		fprintf(out, "\t--%s", row->name);
		if (row->letter)
			fprintf(out, " | -%c", row->letter);
		fputs(") ", out);
		if (row->words) {
			fputs("COMPREPLY=($(compgen -W '", out);
			words_print(row->words, out);
			fputs("' -- \"$word\"));", out);
		} else if (takes_file(row)) {
			fputs("COMPREPLY=($(compgen -f -- \"$word\"));", out);
		}
		fputs(" return ;;\n", out);
	}
}

static void bash_print(FILE *out)
{
	fputs("# bash completion for fairlead, made by: fairlead completion bash\n"
	      "_fairlead()\n{\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
	      "command= options= i\n"
	      "\tCOMPREPLY=()\n"
	      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	      "\t\tcase ${COMP_WORDS[i]} in\n\t\t",
	      out);
	for (enum command_id id = CLI_SERVE + 1; id < COMMANDS; id++)
		fprintf(out, "%s%s", id > CLI_SERVE + 1 ? " | " : "",
			command_rows[id].name);
	fputs(") command=${COMP_WORDS[i]} ;;\n\t\tesac\n\tdone\n\tcase $before in\n",
	      out);
	bash_values(out);
	fputs("\tesac\n\tcase $command in\n", out);
	for (enum command_id id = 0; id < COMMANDS; id++) {
		fprintf(out, "\t%s) options='",
			id == CLI_SERVE ? "''" : command_rows[id].name);
		options_print(id, out);
		for (enum command_id c = CLI_SERVE + 1; id == CLI_SERVE && c < COMMANDS;
		     c++)
			fprintf(out, " %s", command_rows[c].name);
		if (id == CLI_COMPLETION)
			fputs(" bash zsh", out);
		fputs("' ;;\n", out);
	}
	fputs("\tesac\n"
	      "\tCOMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
	      "\tcase $command in\n"
	      "\tcheck | fmt) COMPREPLY+=($(compgen -f -- \"$word\")) ;;\n"
	      "\tesac\n"
	      "}\n"
	      "complete -o filenames -F _fairlead fairlead\n",
	      out);
}

/* The text of a description in single quotes, in which [ ] : are special. */
static void zsh_text(const char *text, FILE *out)
{
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", out);
		else if (strchr("[]:", *text))
			fprintf(out, "\\%c", *text);
		else
			fputc(*text, out);
}

static void zsh_option(const struct option_row *row, FILE *out)
{
	fputs(" \\\n\t\t\t", out);
	if (row->letter)
		fprintf(out, "'(-%c --%s)'{-%c,--%s}'[", row->letter, row->name,
			row->letter, row->name);
	else
		fprintf(out, "'*--%s[", row->name);
	zsh_text(row->help, out);
	fputc(']', out);
	if (row->words) {
		fprintf(out, ":%s:(", row->value);
		words_print(row->words, out);
		fputc(')', out);
	} else if (row->value) {
		fprintf(out, ":%s:%s", row->value, takes_file(row) ? "_files" : "");
	}
	fputc('\'', out);
}

static void zsh_print(FILE *out)
{
	fputs("#compdef fairlead\n"
	      "# zsh completion for fairlead, made by: fairlead completion zsh\n"
	      "_fairlead()\n{\n"
	      "\tlocal -a commands\n\tlocal command=${words[(r)(",
	      out);
	for (enum command_id id = CLI_SERVE + 1; id < COMMANDS; id++)
		fprintf(out, "%s%s", id > CLI_SERVE + 1 ? "|" : "",
			command_rows[id].name);
	fputs(")]}\n\tcommands=(", out);
	for (enum command_id id = CLI_SERVE + 1; id < COMMANDS; id++) {
		fprintf(out, "\n\t\t'%s:", command_rows[id].name);
		zsh_text(command_rows[id].summary, out);
		fputc('\'', out);
	}
	fputs("\n\t)\n\tcase $command in\n", out);
	for (enum command_id id = 0; id < COMMANDS; id++) {
		fprintf(out, "\t%s)\n\t\t_arguments -s",
			id == CLI_SERVE ? "''" : command_rows[id].name);
		for (enum option_id o = 0; o < OPTIONS; o++)
			if (option_rows[o].commands >> id & 1)
				zsh_option(&option_rows[o], out);
		if (id == CLI_SERVE)
			fputs(" \\\n\t\t\t'1:command:{_describe command commands}'", out);
		else if (id == CLI_COMPLETION)
			fputs(" \\\n\t\t\t'1:command:' '2:shell:(bash zsh)'", out);
		else
			fputs(" \\\n\t\t\t'1:command:' '*:file:_files'", out);
		fputs(" ;;\n", out);
	}
	fputs("\tesac\n}\n_fairlead \"$@\"\n", out);
}

bool completion_print(const char *shell, FILE *out)
{
	if (strcmp(shell, "bash") == 0)
		bash_print(out);
	else if (strcmp(shell, "zsh") == 0)
		zsh_print(out);
	else
		return false;
	return true;
}
