/* Prometheus' text format, into memory of a given size: what does not fit sets `overflow`.
 *
 * A family is named once; its HELP and TYPE lines come with its first sample, as a family without
 * samples is none. It may go on in other memory: set `at` and `end`. */
#ifndef RUN_EXPOSITION_H
#define RUN_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exposition {
	char *at, *end;
	bool overflow;
	/* The family at hand. */
	const char *prefix, *name, *kind, *help;
	bool headed;   /* its two lines are written */
	bool labelled; /* the sample at hand has a label */
};

/* fairlead_PREFIXNAME; kind: "counter", "gauge" or "histogram". The samples of a counter end in
 * "_total". */
void exposition_family(struct exposition *e, const char *prefix, const char *name,
		       const char *kind, const char *help);

/* Begins a sample; `suffix` as of a histogram, or "". */
void exposition_sample(struct exposition *e, const char *suffix);

void exposition_label(struct exposition *e, const char *name, const char *value);
void exposition_index(struct exposition *e, const char *name, unsigned value);

/* The value, which ends the sample. */
void exposition_count(struct exposition *e, uint64_t value);
void exposition_real(struct exposition *e, double value);

#endif
