/* The monitor of one configuration: resolves the names of its servers again and runs
 * their health checks, once for all workers. Results go to every worker by mailbox, to
 * standard error and into the metrics.
 *
 *   nameserver ─▶ DNS thread ─▶ resolver ─┬─▶ every worker: proxy_resolved()
 *                                         └─▶ prober ─▶ every worker: proxy_probed()
 *
 * A worker without memory for the addresses of a name rejects the message; the resolver
 * sends them again. A message returns to the control thread when the worker has read it,
 * and is freed there. A stopped monitor is idle, and may be freed, when all have
 * returned.
 *
 * Owner: the control thread. Each configuration version has its own, so there may be
 * several; one at most is not stopped (monitors.h). */
#ifndef RUN_WORKER_MONITOR_H
#define RUN_WORKER_MONITOR_H

#include "run/worker/worker.h"
#include "watch/dnsthread.h"
#include "watch/prober.h"

struct exposition;
struct monitor;

struct monitor_options {
	struct tick *tick;
	const struct config *config; /* outlives the monitor */
	struct dns_thread *dns;      /* may be NULL with `resolver: off` */
	struct quota *descriptors;   /* of the process */
	struct worker *workers;      /* all have started */
	unsigned worker_n;
	/* Monitor of the previous configuration, whose addresses are reused; NULL: none.
	 * Used by monitor_new() only. */
	const struct monitor *previous;
};

/* Starts lookups and health checks. The DNS thread uses the nameservers of this
 * configuration from now on and fails lookups in flight, so stop the previous monitor in
 * the same tick. NULL: no memory. */
struct monitor *monitor_new(const struct monitor_options *options);

/* No further results are sent. */
void monitor_stop(struct monitor *m);
bool monitor_stopped(const struct monitor *m);

/* After all workers have ended and the mailbox of the control thread was drained: frees
 * the messages that the workers did not read. */
void monitor_discard_messages(struct monitor *m);

/* Stopped, and no message, lookup or probe is outstanding. */
bool monitor_idle(const struct monitor *m);

/* monitor_idle() is true. */
void monitor_free(struct monitor *m);

/* Writes samples of metric family number `family` (< MONITOR_FAMILIES). *from is the
 * index of the first sample, 0 at the first call, and is advanced. Stops when fewer than
 * `reserve` bytes are left in `e`; a sample never needs that many. Returns false when the
 * family is complete. */
#define MONITOR_FAMILIES 10
bool monitor_family(const struct monitor *m, unsigned family, unsigned *from,
		    struct exposition *e, size_t reserve);

#endif
