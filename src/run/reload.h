/* Another configuration takes over in the worker process: first every worker makes what it needs
 * for it, and only when all have it do they adopt it; one that lacks memory is enough for all to
 * go on as they were.
 *
 *   IDLE ─▶ MAKING ─▶ ADOPTING ─▶ IDLE
 *              └────▶ DROPPING ─▶ IDLE
 *
 * Owner: the control thread. One at a time: the supervisor waits for the answer. */
#ifndef RUN_RELOAD_H
#define RUN_RELOAD_H

#include "run/worker.h"

enum reload_state { RELOAD_IDLE, RELOAD_PREPARING, RELOAD_ADOPTING, RELOAD_DROPPING };

struct reload {
	enum reload_state state;
	struct config_versions *config_versions;
	struct worker *workers;
	struct config_version *config_version; /* that is on its way */
	unsigned pending_n;                    /* workers that have not answered */
	bool failed;
	void (*done)(struct reload *r, bool adopted);
};

void reload_start(struct reload *r, struct config_version *version);

/* A worker's answers. */
void reload_prepared(struct reload *r, struct worker_config *wc);
void reload_settled(struct reload *r, struct worker_config *wc);

#endif
