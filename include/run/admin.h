/* The admin address: /metrics in Prometheus' text format, /healthz. Served by the control
 * thread; never part of a worker's work. */
#ifndef RUN_ADMIN_H
#define RUN_ADMIN_H

#include "front/client.h"
#include "front/listener.h"
#include "run/lookout.h"
#include "run/worker.h"

struct admin {
	struct list node;          /* among those that are closing */
	struct tick *tick;
	struct workers *shared;
	struct worker *workers;
	unsigned worker_n;
	bool draining;
	struct front front;
	struct listener listener;
	struct quota clients;
	struct worker_stats stats; /* of its own connections; not shown */
	struct head request;
};

/* Takes over the listening socket. */
void admin_start(struct admin *a, int fd);
void admin_stop(struct admin *a);

/* Nothing is left. */
bool admin_idle(const struct admin *a);
void admin_done(struct admin *a);

/* Writes all metrics. Returns the length, or 0: `size` is too small. */
size_t admin_metrics(const struct admin *a, char *text, size_t size);

#endif
