/* Keeps track of what the names of servers stand for: asks again when an answer has become
 * too old, and tells what changed.
 *
 * How long an answer holds is what the nameserver says, but not less than the floor and not
 * more than the ceiling that are configured. A name that cannot be resolved, for whatever
 * reason, stands for what it stood for last (at first perhaps for nothing); it is asked again
 * soon, then less often. An
 * answer of which a part is missing (addresses of one family, say) takes nothing away of that
 * part.
 *
 * Of one configuration, on the thread of its tick; who asks is somebody else (dnsthread.h).
 * No state outside of it, so there may be several. */
#ifndef WATCH_RESOLVER_H
#define WATCH_RESOLVER_H

#include "config/config.h"
#include "dns/dns.h"
#include "net/tick.h"

/* A lookup on its way to who asks, and back: his from ask() to answered(). */
struct resolver_query {
	struct mail message;
	struct dns_lookup lookup;
	void (*done)(struct resolver_query *a); /* on the thread of the tick */
	void *handler;                          /* his */
};

/* What became of a lookup. */
struct resolver_event {
	unsigned upstream, server;
	const struct config_address *addresses; /* what the name stands for now */
	unsigned n;
	bool changed;        /* it stood for something else before */
	bool more;           /* it has more than are used; told once, until it is over */
	const char *failure; /* NULL: none. Told once, until it is over. */
	bool recovered;      /* the last one had failed */
};

struct resolver_options {
	struct tick *tick;
	const struct config *config; /* outlives the resolver */
	void (*query)(void *owner, struct resolver_query *a);
	/* When something changed, failed or works again; the event live for the call. */
	void (*notify)(void *owner, const struct resolver_event *event);
	void *owner;
	/* Of the configuration before; NULL: none. What its names stand for is taken over for those
	 * that could not be resolved when the file was read. Is not kept. */
	const struct resolver *previous;
};

struct resolver;

/* Asks for every name at once, since nothing said how long the addresses of the
 * configuration hold. NULL: no memory. */
struct resolver *resolver_new(const struct resolver_options *options);

/* Somebody could not take what he was told: it is told again, soon. */
void resolver_notify_again(struct resolver *r, unsigned upstream, unsigned server);

/* Tells nothing more. What is asked has still to be answered. */
void resolver_stop(struct resolver *r);
bool resolver_idle(const struct resolver *r);

/* It is idle. */
void resolver_free(struct resolver *r);

/* For the metrics. */
struct resolver_stats {
	unsigned upstream, server;
	unsigned addresses;
	uint64_t lookups, failures, changes;
	uint64_t responded_ms; /* when it was last, on the tick's clock; 0: never */
};

void resolver_each(const struct resolver *r,
		   void (*each)(void *owner, const struct resolver_stats *stats),
		   void *owner);

#endif
