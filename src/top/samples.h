/* The samples of a /metrics page (Prometheus' text format), one after the other.
 *
 * Owner: the caller; names and labels point into the text. Pure. Errors: a line that is none of
 * fairlead's samples is passed over. */
#ifndef SRC_TOP_SAMPLES_H
#define SRC_TOP_SAMPLES_H

#include "base/slice.h"

struct sample {
	struct slice name;   /* without "fairlead_" */
	struct slice labels; /* what stands between the braces */
	double value;
};

/* Reads the next one of *rest and advances that. False: there are no more. */
bool sample_next(struct slice *rest, struct sample *s);

/* Copies the value of a label, cut if it is longer than `size`. False: there is no such label. */
bool sample_label(const struct sample *s, const char *label, char *to, size_t size);

/* Whether the sample has this label with this value. */
bool sample_has(const struct sample *s, const char *label, const char *value);

/* The buckets of a histogram, of one label set or of the sum of several. */
#define BUCKETS_MAX 40

struct buckets {
	unsigned n;
	double le[BUCKETS_MAX]; /* ascending; the last is INFINITY */
	double count[BUCKETS_MAX]; /* cumulative */
};

/* Adds a sample of NAME_bucket. */
void buckets_add(struct buckets *b, const struct sample *s);

/* The value that the share `q` of what came between the two does not exceed; NAN: nothing came.
 * before: of the same histogram; NULL: nothing. */
double buckets_quantile(const struct buckets *now, const struct buckets *before, double q);

#endif
