/* Reports lost lines of the access log on standard error: the first loss at once, further
 * losses every LOSSES_PAUSE_MS, the rest at the end.
 *
 * Owner: the control thread. */
#ifndef RUN_WORKER_LOSSES_H
#define RUN_WORKER_LOSSES_H

#include "run/worker/worker.h"

#define LOSSES_PAUSE_MS 10000

struct log_losses {
	const struct worker *workers;
	unsigned worker_n;
	uint64_t reported_n; /* lines reported so far */
	uint64_t next_ms;    /* no report before this time */
	uint64_t refused_n;  /* of losses_daemon_gone() */
};

/* Called about once a second: reports new losses if a report is due. */
void losses_check(struct log_losses *l, uint64_t now_ms);

/* Whether a daemon of an access log was gone since the last call. */
bool losses_daemon_gone(struct log_losses *l);

/* Reports new losses now, if there are any. */
void losses_report(struct log_losses *l, uint64_t now_ms);

#endif
