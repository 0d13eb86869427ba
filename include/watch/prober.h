/* Active health checks, for all workers: probes each server at intervals, each time over
 * a new connection, by the `health_check` of its upstream.
 *
 *   http       GET; the status is one of the expected ones
 *   tcp        the connection is established, with `tls` of the upstream also secured
 *   memcached  "version" gets a VERSION reply
 *
 * A server is what it is to an upstream: one address of one configured name. `rise` and
 * `fall` keep a single lost packet from moving traffic (src/watch/health.h).
 *
 * Owner: the control thread, one for each configuration. There is no state outside of it,
 * so there may be several. prober_stop() cancels probes in flight; prober_free() may
 * follow when prober_idle(). */
#ifndef WATCH_PROBER_H
#define WATCH_PROBER_H

#include "base/quota.h"
#include "config/config.h"
#include "net/tick.h"

enum health_state { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

struct prober;

/* The state of a server has become known, or has changed. */
struct prober_event {
	unsigned upstream, server; /* indices in the configuration */
	const struct config_address *address;
	bool up;
	bool first;      /* the state was unknown before */
	const char *why; /* the last failure; NULL if it is up */
};

struct prober_options {
	struct tick *tick;
	const struct config *config; /* outlives the prober */
	struct quota *descriptors;   /* process-wide; NULL: no limit */
	uint64_t seed;               /* of jitter */
	/* Called from a task; the event is valid during the call. False: not all workers
	 * could be notified; called again after the next probe. */
	bool (*notify)(void *owner, const struct prober_event *event);
	void *owner;
};

/* NULL: no memory. */
struct prober *prober_new(const struct prober_options *options);

/* Sets the addresses of a configured server: new ones are probed soon, removed ones no
 * more. */
void prober_resolved(struct prober *p, unsigned upstream, unsigned server,
		     const struct config_address *addresses, unsigned n);

/* Ends the notifications and cancels probes in flight. */
void prober_stop(struct prober *p);
bool prober_idle(const struct prober *p);

/* Only when prober_idle(). */
void prober_free(struct prober *p);

/* Metrics of one server. */
struct prober_stats {
	unsigned upstream, server; /* indices in the configuration */
	const struct sockaddr *address;
	enum health_state state;
	uint64_t probes, failures;
	uint32_t last_ms; /* duration of the last probe */
};

/* Calls each() for each server. */
void prober_each(const struct prober *p,
		 void (*each)(void *owner, const struct prober_stats *stats),
		 void *owner);

/* Probes that were skipped for lack of descriptors, ports or memory. */
uint64_t prober_skipped(const struct prober *p);

#endif
