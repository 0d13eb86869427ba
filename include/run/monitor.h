/* What the control thread looks after on behalf of all workers, for one configuration: what
 * names of servers stand for, and whether servers are well. What it finds out goes to every
 * worker by mailbox, to standard error and into the metrics.
 *
 *   nameserver ─▶ DNS thread ─▶ resolver ─┬─▶ every worker: upstream_resolved()
 *                                         └─▶ prober ─▶ every worker: upstream_probed()
 *
 * A worker that lacks the memory for a server says so, and is told again. Messages come back
 * when they were read, and are freed here; until then it is not idle.
 *
 * Owner: the control thread. A configuration has one of its own, and there may be several. */
#ifndef RUN_MONITOR_H
#define RUN_MONITOR_H

#include "run/worker.h"
#include "watch/dnsthread.h"
#include "watch/prober.h"

struct exposition;
struct monitor;

struct monitor_options {
	struct tick *tick;
	const struct config *config; /* outlives the monitor */
	struct dns_thread *dns;      /* may be NULL with `resolver: off` */
	struct quota *descriptors;   /* process-wide */
	struct worker *workers;      /* all have started */
	unsigned worker_n;
	const struct monitor
		*before; /* of the configuration before; NULL: none. Is not kept. */
};

/* Begins at once; nameservers are those of its configuration from now on. If another one is to
 * stop, it should in the same tick: lookups under way have failed. NULL: no memory. */
struct monitor *monitor_new(const struct monitor_options *options);

/* Tells nothing more. */
void monitor_stop(struct monitor *m);
bool monitor_stopped(const struct monitor *m);

/* The workers are gone, and what they posted was delivered: what they had not read is freed. */
void monitor_discard_messages(struct monitor *m);
bool monitor_idle(const struct monitor *m);

/* It is idle. */
void monitor_free(struct monitor *m);

/* Its metrics, by family and in portions: `from` is 0 at first, and moves on. Writes as long as
 * `reserve` bytes are left, which one sample never takes. False: that was all of the family. */
#define MONITOR_FAMILIES 10
bool monitor_family(const struct monitor *m, unsigned family, unsigned *from,
		    struct exposition *e, size_t reserve);

#endif
