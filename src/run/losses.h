/* Lines of the access log that were lost are told on standard error: the first at once, what
 * follows every LOSSES_PAUSE_MS, and the rest at the end.
 *
 * Owner: the control thread. */
#ifndef RUN_LOSSES_H
#define RUN_LOSSES_H

#include "run/worker.h"

#define LOSSES_PAUSE_MS 10000

struct log_losses {
	const struct worker *workers;
	unsigned worker_n;
	uint64_t reported_n; /* of all that were ever lost */
	uint64_t next_ms; /* before that nothing more is told */
};

/* Once a second or so. */
void losses_check(struct log_losses *l, uint64_t now_ms);

/* Whatever was not told yet. */
void losses_report(struct log_losses *l, uint64_t now_ms);

#endif
