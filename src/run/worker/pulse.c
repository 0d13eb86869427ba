#include "pulse.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/errorlog.h"

/* After a pause of the control thread itself nothing is known about the others: the whole process
 * may have been stopped. */
#define PAUSE_MS (PULSE_MAX_MS / 2)

struct pulse *pulse_new(const struct worker *workers, unsigned worker_n)
{
	struct pulse *p = calloc(1, sizeof(*p) + worker_n * sizeof(p->of[0]));

	if (!p)
		return NULL;
	p->workers = workers;
	p->worker_n = worker_n;
	return p;
}

static double seconds(uint64_t ms)
{
	return (double)ms / 1000;
}

/* True: its loop runs. */
static bool check_worker(struct worker_pulse *w, const struct worker *worker,
			 uint64_t now_ms, bool paused)
{
	uint64_t ticks = stat_read(&worker->stats.ticks);
	uint64_t still_ms = now_ms - w->ran_ms;

	if (ticks != w->ticks && w->stuck)
		errorlog_put(EVENT_WORKER_RUNS, "worker %u runs again after %.1f s",
			     worker->index, seconds(still_ms));
	if (ticks != w->ticks || paused) {
		w->stuck = w->stuck && ticks == w->ticks;
		w->ticks = ticks;
		w->ran_ms = now_ms;
	} else if (still_ms >= PULSE_MAX_MS && !w->stuck) {
		w->stuck = true;
		errorlog_put(EVENT_WORKER_STUCK,
			     "worker %u is stuck: its loop has not run for %.1f s",
			     worker->index, seconds(still_ms));
	}
	return !w->stuck;
}

bool pulse_check(struct pulse *p, uint64_t now_ms)
{
	bool paused = now_ms - p->checked_ms >= PAUSE_MS, all_run = true;

	p->checked_ms = now_ms;
	for (unsigned i = 0; i < p->worker_n; i++)
		all_run = check_worker(&p->of[i], &p->workers[i], now_ms, paused) &&
			  all_run;
	return all_run;
}
