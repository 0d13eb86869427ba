/* The command line as tables, and what one says.
 *
 * Errors: reported on standard error, in one line with a remedy.
 * Limits: ARGUMENTS_MAX options with values and words. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdio.h>

/* Exit statuses, of all commands. */
enum {
	STATUS_DONE = 0,
	STATUS_FAILED = 1, /* errors in a file, or what was asked for failed */
	STATUS_USAGE = 2,  /* the command line is wrong */
};

#define ARGUMENTS_MAX 256

enum command_id {
#define COMMAND(id, ...) CLI_##id,
#include "cli/commands.def"
	COMMANDS,
};

enum option_id {
#define OPTION(id, ...) OPTION_##id,
#include "cli/commands.def"
	OPTIONS,
};

struct command_row {
	const char *name, *arguments, *summary, *details;
};

struct option_row {
	const char *name;
	char letter;
	const char *value, *words;
	unsigned commands; /* bits: 1 << enum command_id */
	const char *help;
};

extern const struct command_row command_rows[COMMANDS];
extern const struct option_row option_rows[OPTIONS];

struct arguments {
	enum command_id command;
	unsigned option_n; /* in their order */
	struct {
		enum option_id id;
		const char *value;
	} options[ARGUMENTS_MAX];
	unsigned word_n; /* without the command */
	const char *words[ARGUMENTS_MAX];
};

/* Reads a command line. Returns false: it is wrong, which was reported. `argv` may be permuted. */
bool arguments_read(struct arguments *a, int argc, char **argv);

/* Whether an option is given, and its value, the last one if there are several. */
bool option_given(const struct arguments *a, enum option_id id);
const char *option_value(const struct arguments *a, enum option_id id);

/* Reports what is wrong with a command line, with a reference to --help. Returns STATUS_USAGE. */
int arguments_complain(enum command_id command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The help of the program (CLI_SERVE) or of a command: fits a screen of 80 columns. */
void help_print(enum command_id command, FILE *out);

/* Completion of the command line for "bash" or "zsh". False: another shell. */
bool completion_print(const char *shell, FILE *out);

#endif
