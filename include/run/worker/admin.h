/* The admin address: /metrics in Prometheus' text format, /healthz, the status page, and the admin
 * API. Runs on the control thread, so it takes no time of a worker.
 *
 * Limit: ADMIN_CLIENTS connections. A new connection at the limit evicts the connection
 * that has been idle longest, or, if none is idle, aborts the one whose response has
 * taken longest.
 *
 * A long response, as of /metrics, is written in chunks, one per run of the task, round-robin
 * among its readers: a slow or large one does not delay /healthz.
 *
 * Owner: the control thread. */
#ifndef RUN_WORKER_ADMIN_H
#define RUN_WORKER_ADMIN_H

#include "front/client.h"
#include "front/listener.h"
#include "run/worker/monitor.h"
#include "run/worker/worker.h"

/* Connections. Connections that are being closed may exceed it for a moment. */
#define ADMIN_CLIENTS 64

struct admin {
	struct list node;          /* in admins->replaced, while it closes */
	struct tick *tick;
	struct workers *shared;
	struct worker *workers;
	unsigned worker_n;
	bool draining;             /* /healthz responds 503 */
	struct front front;
	struct listener listener;
	struct quota clients;
	struct worker_stats stats; /* of its own connections; not exported */
	struct head request;
	struct list chunks;        /* long responses that can write their next chunk */
	struct task task;              /* writes the chunks */
	unsigned text_n; /* of responses in progress: see apiconfiguration.c */
};

/* Takes over the listening socket. The fields up to `draining` are set. */
void admin_start(struct admin *a, int fd);

/* Stops listening and closes all connections. */
void admin_stop(struct admin *a);

/* After admin_stop(): whether all connections are closed. */
bool admin_idle(const struct admin *a);

/* admin_idle() is true. */
void admin_done(struct admin *a);

#endif
