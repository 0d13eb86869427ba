/* The admin addresses of the worker process: the current one, and those that a reload has
 * replaced and whose connections are still open.
 *
 * Owner: the control thread. */
#ifndef RUN_WORKER_ADMINS_H
#define RUN_WORKER_ADMINS_H

#include "run/worker/admin.h"

struct admins {
	struct tick *tick;
	struct workers *shared;
	struct admin *current; /* NULL: none */
	struct list replaced;  /* they are closing */
	bool draining;         /* /healthz responds 503 */
};

void admins_init(struct admins *a, struct tick *tick, struct workers *shared);

/* Takes over the listening socket; there is no current address. Without memory there is
 * none, which is logged. */
void admins_open(struct admins *a, int fd);

/* Stops the current address, if there is one. */
void admins_close(struct admins *a);

/* From now on /healthz responds 503. */
void admins_drain(struct admins *a);

/* listener_rearm() for the current address. */
void admins_rearm(struct admins *a);

/* Frees the replaced addresses whose connections are closed. Returns true if none
 * remains. */
bool admins_sweep(struct admins *a);

#endif
