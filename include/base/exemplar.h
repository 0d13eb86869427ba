/* Exemplars of a histogram: for each bucket the last trace that was counted in it, for OpenMetrics.
 *
 * One writer, the worker's thread; the control thread reads. A number that is odd while the writer
 * is at work tells the reader that what it has read does not belong together.
 *
 * Owner: the worker. Errors: exemplar_read() returns false. */
#ifndef BASE_EXEMPLAR_H
#define BASE_EXEMPLAR_H

#include <stdbool.h>

#include "base/stats.h"

#define EXEMPLAR_ID_TEXT 32

struct exemplar {
	uint64_t number; /* of changes, times 2; 0: none yet */
	uint64_t id[EXEMPLAR_ID_TEXT / sizeof(uint64_t)];
	uint64_t value_us, wall_ms;
};

struct exemplars {
	struct exemplar of[HISTOGRAM_BUCKETS];
};

struct exemplar_copy {
	char id[EXEMPLAR_ID_TEXT];
	uint64_t value_us, wall_ms;
};

/* Of histogram_add(us), which the caller has called. */
void exemplar_set(struct exemplars *e, const char id[EXEMPLAR_ID_TEXT], uint64_t us,
		  uint64_t wall_ms);

/* False: the bucket has none, or it is being changed. */
bool exemplar_read(const struct exemplars *e, unsigned bucket, struct exemplar_copy *copy);

#endif
