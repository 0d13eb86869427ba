/* The admin address: /metrics in Prometheus' text format, /healthz. Served by the control
 * thread; never part of a worker's work.
 *
 * /healthz waits for nobody: /metrics is written in portions, as its readers take them, each of
 * them in its worker_config; and a connection that finds all places taken gets that of
 * the one that has been
 * idle longest, or, if none is idle, whose response has been under way longest. */
#ifndef RUN_ADMIN_H
#define RUN_ADMIN_H

#include "front/client.h"
#include "front/listener.h"
#include "run/monitor.h"
#include "run/worker.h"

/* Connections; for a moment some more, while others make room. */
#define ADMIN_CLIENTS 64

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
	struct list metrics_responses; /* of /metrics whose next portion may be written */
	struct task task;          /* writes it */
};

/* Takes over the listening socket. */
void admin_start(struct admin *a, int fd);
void admin_stop(struct admin *a);

/* Nothing is left. */
bool admin_idle(const struct admin *a);
void admin_done(struct admin *a);

#endif
