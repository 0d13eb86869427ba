/* Asks servers whether they are well, on behalf of all workers: at intervals, over a
 * connection of its own each time, as the upstream's `health_check` says.
 *
 *   http       GET; the status is one of those that are expected
 *   tcp        the connection is taken
 *   memcached  "version" is answered with one
 *
 * A server is what upstreams take for one: a configured server and one of its addresses.
 * rise and fall keep one lost packet from moving traffic (src/watch/health.h).
 *
 * Of one configuration, and on one thread. What is being asked when it is freed ends by
 * itself: prober_idle() tells when. No state outside of it, so there may be several. */
#ifndef WATCH_PROBER_H
#define WATCH_PROBER_H

#include "base/quota.h"
#include "config/config.h"
#include "net/tick.h"

enum health_state { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

struct prober;

/* A server's state became known, or another. */
struct prober_event {
	unsigned upstream, server; /* indices in the configuration */
	const struct config_address *address;
	bool up;
	bool first;      /* nothing was known before */
	const char *why; /* what is wrong with it; NULL while it is up */
};

struct prober_options {
	struct tick *tick;
	const struct config *config; /* outlives the prober */
	struct quota *descriptors;   /* process-wide; NULL: no limit */
	uint64_t seed;               /* of jitter */
	/* From a task; the event live for the call. False: it could not be told to all; it is
	 * told again after the next probe. */
	bool (*notify)(void *owner, const struct prober_event *event);
	void *owner;
};

/* NULL: no memory. */
struct prober *prober_new(const struct prober_options *options);

/* What a server's name stands for now: addresses that are new are asked soon, those that went
 * are asked no more. */
void prober_resolved(struct prober *p, unsigned upstream, unsigned server,
		     const struct config_address *addresses, unsigned n);

/* Tells nothing more, and cuts off what is being asked. */
void prober_stop(struct prober *p);
bool prober_idle(const struct prober *p);

/* It is idle. */
void prober_free(struct prober *p);

/* For the metrics. */
struct prober_stats {
	unsigned upstream, server;
	const struct sockaddr *address;
	enum health_state state;
	uint64_t probes, failures;
	uint32_t last_ms; /* how long the last one took */
};

void prober_each(const struct prober *p,
		 void (*each)(void *owner, const struct prober_stats *stats),
		 void *owner);

/* Probes left out because no descriptor, port or memory was to be had. */
uint64_t prober_skipped(const struct prober *p);

#endif
