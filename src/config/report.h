/* What is wrong with a configuration, or looks so: collected while reading goes on, told at the
 * end in the order of the file. */
#ifndef CONFIG_REPORT_H
#define CONFIG_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "arena.h"

/* More are counted, not kept; as many warnings. */
#define REPORT_ERRORS_MAX 1000

struct source_pos {
	unsigned line, column; /* from 1 */
};

struct report {
	struct arena memory;
	const char *file;
	unsigned n;          /* errors */
	unsigned warning_n;
	bool no_warnings;    /* they were told before */
	struct report_error *last; /* newest; the others hang behind it */
};

/* "WHAT IS WRONG; WHAT TO WRITE" */
void report_error(struct report *r, struct source_pos at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What can be meant, and mostly is not: "WHAT IT MEANS; WHAT TO WRITE". */
void report_warning(struct report *r, struct source_pos at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Writes errors, and warnings as "warning: TEXT", "FILE:LINE:COLUMN: TEXT" each. `out` may be
 * NULL. */
void report_print(struct report *r, FILE *out);

/* Frees the texts. */
void report_done(struct report *r);

/* For texts of others in messages: at most this much of them, "%.*s" and
 * REPORT_ARG(slice). */
#define REPORT_TEXT_MAX 80
#define REPORT_ARG(s) \
	(int)((s).len < REPORT_TEXT_MAX ? (s).len : REPORT_TEXT_MAX), (s).ptr

#endif
