/* Prometheus' text format, into memory that may be too small: then `overflow` is set, and the
 * writer begins again with more. */
#ifndef RUN_EXPOSITION_H
#define RUN_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

struct exposition {
	char *at, *end;
	bool overflow;
};

__attribute__((format(printf, 2, 3))) void exposition_put(struct exposition *e,
							  const char *format, ...);

/* The two lines before the samples of a family; kind: "counter", "gauge" or "histogram". The
 * samples of a counter end in "_total". */
void exposition_help(struct exposition *e, const char *name, const char *kind,
		     const char *help);

/* A label's value, quoted. */
void exposition_label(struct exposition *e, const char *value);

#endif
