/* Makes a new configuration version current in the worker process, in two steps: every
 * worker prepares what it needs for it; when all have succeeded, all adopt it. If one
 * worker fails, all drop it and the current version continues.
 *
 *   IDLE ─▶ PREPARING ─▶ ADOPTING ─▶ IDLE
 *               └──────▶ DROPPING ─▶ IDLE
 *
 * Owner: the control thread. One reload at a time: the supervisor waits for the
 * result. */
#ifndef RUN_WORKER_RELOAD_H
#define RUN_WORKER_RELOAD_H

#include "run/worker/worker.h"

enum reload_state { RELOAD_IDLE, RELOAD_PREPARING, RELOAD_ADOPTING, RELOAD_DROPPING };

struct reload {
	enum reload_state state;
	struct config_versions *config_versions;
	struct worker *workers;
	struct config_version *config_version; /* being reloaded; NULL when IDLE */
	unsigned pending_n; /* workers that have not replied in this state */
	bool failed;        /* a worker could not prepare */
	void (*done)(struct reload *r, bool adopted);
};

/* The state is IDLE. `done` is called when all workers have adopted or dropped the
 * version; a dropped version is freed before. */
void reload_start(struct reload *r, struct config_version *version);

/* Replies of a worker. */
void reload_prepared(struct reload *r, struct worker_config *wc);
void reload_settled(struct reload *r, struct worker_config *wc);

#endif
