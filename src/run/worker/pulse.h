/* Whether every worker's loop runs. A loop that has nothing to do runs once a second, for its
 * timer; one that has not run for PULSE_MAX_MS is stuck, is named on standard error, and the
 * service manager's watchdog gets no more signs of life (run/supervisor/notify.h).
 *
 * Owner: the control thread. */
#ifndef RUN_WORKER_PULSE_H
#define RUN_WORKER_PULSE_H

#include "run/worker/worker.h"

#define PULSE_MAX_MS 5000

struct pulse {
	const struct worker *workers;
	unsigned worker_n;
	uint64_t checked_ms; /* the last check */
	struct worker_pulse {
		uint64_t ticks;  /* of its loop, at the last check */
		uint64_t ran_ms; /* when they had changed */
		bool stuck;      /* and said so */
	} of[];
};

/* NULL: no memory. */
struct pulse *pulse_new(const struct worker *workers, unsigned worker_n);

/* Called about once a second. True: all loops run. */
bool pulse_check(struct pulse *p, uint64_t now_ms);

#endif
