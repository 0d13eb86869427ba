/* Keeps the addresses of configured names up to date: resolves each name again when its
 * time to live is over, and notifies its owner of changes.
 *
 * The time to live is that of the answer, within the configured minimum and maximum. A
 * name that cannot be resolved, for whatever reason, keeps its last addresses (perhaps
 * none at first); the lookup is repeated soon, then less often. If a part of an answer is
 * missing (the addresses of one family, for example) the last addresses of that part are
 * kept.
 *
 * Owner: the thread of its tick, one for each configuration. There is no state outside of
 * it, so there may be several. Its owner performs the lookups (dnsthread.h). */
#ifndef WATCH_RESOLVER_H
#define WATCH_RESOLVER_H

#include "config/config.h"
#include "dns/dns.h"
#include "net/tick.h"

/* One lookup. It belongs to the resolver's owner from query() until done(). */
struct resolver_query {
	struct mail mail;
	struct dns_lookup lookup;
	void (*done)(struct resolver_query *query); /* on the thread of the tick */
	void *owner_data; /* for use by the owner: the DNS thread */
};

/* The result of a lookup, if something has changed. */
struct resolver_event {
	unsigned upstream, server;
	const struct config_address *addresses; /* of the name now */
	unsigned n;
	bool changed;   /* the addresses are not those of the last event */
	bool truncated; /* more addresses than are used; reported once while it lasts */
	const char *failure; /* NULL: none; reported once while it lasts */
	bool recovered;      /* the previous lookup had failed */
};

struct resolver_options {
	struct tick *tick;
	const struct config *config; /* outlives the resolver */
	/* Performs the lookup of the query, and then has its done() called. */
	void (*query)(void *owner, struct resolver_query *query);
	/* Called when addresses changed, or a lookup failed or works again; the event is
	 * valid during the call. */
	void (*notify)(void *owner, const struct resolver_event *event);
	void *owner;
	/* The resolver of the previous configuration; NULL: none. Its addresses are taken
	 * over for names that could not be resolved when the configuration was read. Used
	 * only by resolver_new(). */
	const struct resolver *previous;
};

struct resolver;

/* Starts a lookup of each name in the next tick: the time to live of the addresses in the
 * configuration is not known. NULL: no memory. */
struct resolver *resolver_new(const struct resolver_options *options);

/* Repeats the lookup soon and notifies again: a worker could not take over the addresses. */
void resolver_notify_again(struct resolver *r, unsigned upstream, unsigned server);

/* Ends the notifications. Queries in flight still have to be done. */
void resolver_stop(struct resolver *r);
bool resolver_idle(const struct resolver *r);

/* Only when resolver_idle(). */
void resolver_free(struct resolver *r);

/* Metrics of one name. */
struct resolver_stats {
	unsigned upstream, server;
	unsigned addresses;
	uint64_t lookups, failures, changes;
	uint64_t responded_ms; /* tick time of the last answer; 0: none */
};

/* Calls each() for each name. */
void resolver_each(const struct resolver *r,
		   void (*each)(void *owner, const struct resolver_stats *stats),
		   void *owner);

#endif
