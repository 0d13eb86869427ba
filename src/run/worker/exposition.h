/* Writes Prometheus' text format 0.0.4, or OpenMetrics 1.0, into memory of a fixed size. Output
 * that does not fit is dropped and sets `overflow`.
 *
 * The HELP and TYPE lines of a family are written with its first sample; a family without
 * samples writes nothing. To continue in other memory, set `at` and `end`. */
#ifndef RUN_WORKER_EXPOSITION_H
#define RUN_WORKER_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exemplar.h"

struct exposition {
	char *at, *end;
	bool overflow;
	bool open_metrics;
	/* The current family. */
	const char *prefix, *name, *kind, *help;
	bool headed;   /* its HELP and TYPE lines are written */
	bool labelled; /* the current sample has a label */
};

/* Begins the family fairlead_PREFIXNAME; kind: "counter", "gauge" or "histogram". The
 * names of counters get the suffix "_total". */
void exposition_family(struct exposition *e, const char *prefix, const char *name,
		       const char *kind, const char *help);

/* Begins a sample; `suffix`: "_bucket", "_sum" or "_count" of a histogram, else "". */
void exposition_sample(struct exposition *e, const char *suffix);

/* Adds a label; the value is escaped. */
void exposition_label(struct exposition *e, const char *name, const char *value);
void exposition_index(struct exposition *e, const char *name, unsigned value);

/* Writes the value, which ends the sample. */
void exposition_count(struct exposition *e, uint64_t value);
void exposition_real(struct exposition *e, double value);

/* Behind a sample of OpenMetrics, in its line: a trace that was counted in it. */
void exposition_exemplar(struct exposition *e, const struct exemplar_copy *x);

/* Ends a response of OpenMetrics. */
void exposition_end(struct exposition *e);

#endif
