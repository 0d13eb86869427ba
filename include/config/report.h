/* Errors and warnings of a configuration: collected during reading, printed at the end in the
 * order of their positions. What is reported twice at the same position is printed once.
 *
 * Limits: REPORT_ERRORS_MAX errors and as many warnings are stored; further ones are counted. */
#ifndef CONFIG_REPORT_H
#define CONFIG_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/names.h"
#include "config/arena.h"

#define REPORT_ERRORS_MAX 1000

struct source_pos {
	unsigned line, column; /* from 1 */
	unsigned file;         /* of report_file(); 0: the configuration file */
};

struct report {
	struct arena memory;
	const char *file; /* the configuration file */
	struct report_file *files; /* further ones, newest first */
	unsigned file_n;
	struct names seen;   /* the messages so far */
	unsigned n;          /* errors, with repeated ones */
	unsigned error_n;    /* without */
	unsigned warning_n;
	bool no_warnings;          /* drop warnings: an earlier reading printed them */
	struct report_error *last; /* newest first */
};

/* The number of a further file, for positions in it. The text must stay valid. */
unsigned report_file(struct report *r, const char *name);

/* The name of a file by its number. */
const char *report_file_name(const struct report *r, unsigned file);

/* "line 7", or "line 7 of FILE" if that is another file than the one of `from`. Valid until
 * report_done(). */
const char *report_line(struct report *r, struct source_pos at, struct source_pos from);

/* Format: "WHAT IS WRONG; REMEDY". The remedy begins with a verb: "; write …", "; remove …".
 * config_errors.def proves that each remedy works. */
void report_error(struct report *r, struct source_pos at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A value that is valid but probably not intended: "WHAT IT MEANS; REMEDY". */
void report_warning(struct report *r, struct source_pos at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Prints "FILE:LINE:COLUMN: TEXT" per line; TEXT of a warning begins with "warning: ". `out` may
 * be NULL. */
void report_print(struct report *r, FILE *out);

/* Frees all stored messages. */
void report_done(struct report *r);

/* Arguments for "%.*s": a text of the file, cut to REPORT_TEXT_MAX bytes. */
#define REPORT_TEXT_MAX 80
#define REPORT_ARG(s) \
	(int)((s).len < REPORT_TEXT_MAX ? (s).len : REPORT_TEXT_MAX), (s).ptr

#endif
