/* One configuration as one worker uses it, counted by the exchanges that began under it.
 *
 *      generation_new      proxy_adopt           another is adopted       its last user ends
 *   ──────────────────▶ NEW ─────────▶ CURRENT ──────────────────▶ OLD ──────────────────▶ ENDED
 *                        └ generation_drop                                      unused() ◀─┘
 *
 * A service is what an upstream's name stands for: its servers, connections and queue. If the
 * next generation has an upstream of the same name and protocol, the service passes to it with
 * all its state. It closes when no generation with users refers to it. It copies what it needs
 * of its configuration.
 *
 * Owner: the worker's proxy. Users: exchanges, fetches, and the proxy for the current generation.
 * Errors: generation_new() fails for lack of memory only, and then changes nothing. */
#ifndef PROXY_GENERATION_H
#define PROXY_GENERATION_H

#include "back/memcache.h"
#include "back/upstream.h"
#include "base/names.h"
#include "config/config.h"

struct retry_state;
struct proxy;

/* What all workers share of one upstream. Lives as long as a generation may refer to it. */
struct upstream_view {
	struct upstream_stats *stats; /* this worker's */
	struct quota *queue;          /* limits the requests that wait, process-wide */
	struct registry *registry;    /* of its servers; NULL: each worker keeps its own state */
};

struct generation_options {
	const struct config *config;
	/* By index of config->upstreams; read by generation_new() only. */
	const struct upstream_view *upstream_views;
	/* Slots of proxy_options.route_phases, by index of config->routes; stays the caller's.
	 * NULL: nothing is counted by route. */
	const uint32_t *route_slots;
	/* Called when nothing on this worker reads the configuration any more, and the services
	 * that only it used are freed. May be NULL. Not called by generation_drop() and
	 * proxy_done(). */
	void (*unused)(void *owner);
	void *owner;
};

/* Writes the protocol and name of an upstream. The protocol is part of the key because one
 * configuration may give a name to an HTTP upstream and the next one to a memcached upstream. */
#define SERVICE_KEY_MAX (CONFIG_NAME_MAX + 1)
void service_key(char key[SERVICE_KEY_MAX], const struct config_upstream *u);

struct service {
	struct list node;            /* in proxy->services */
	struct names_entry entry;    /* in proxy->by_name, until it closes */
	struct upstream *upstream;   /* HTTP, or NULL */
	struct memcache *memcache;   /* memcached, or NULL */
	uint32_t generation_n;       /* that refer to it and are new or have users */
	bool closing;
	bool needs_update;           /* the newest configuration is not applied yet: no memory */
	char key[SERVICE_KEY_MAX];   /* protocol and name */
};

struct generation {
	struct proxy *proxy;
	const struct config *config;
	struct head_limits head_limits;
	uint64_t users;
	void (*unused)(void *owner); /* see generation_options */
	void *owner;
	struct list node;            /* in proxy->generations, once it was adopted */
	struct retry_state *retry_state; /* see retrystate.h */
	char *path_scratch;          /* for routing: see request_view_init() */
	const uint32_t *route_slots; /* see generation_options */
	unsigned service_n;
	struct service *services[];  /* by index of config->upstreams */
};

/* Finds or makes its services. NULL: no memory, and nothing has changed. */
struct generation *generation_new(struct proxy *p, const struct generation_options *options);

/* Frees a generation that was never adopted; sets *slot to NULL. */
void generation_drop(struct generation **slot);

/* Called by generation_put() when the last user has gone: the generation is freed later. */
void generation_unused(struct generation *g);

static inline struct generation *generation_ref(struct generation *g)
{
	g->users++;
	return g;
}

static inline void generation_put(struct generation *g)
{
	if (--g->users == 0)
		generation_unused(g);
}

/* This worker's histograms of a route of the configuration; NULL: nothing is counted. */
struct phases *generation_route_phases(const struct generation *g,
				       const struct config_route *route);

/* NULL: upstream i is not of that protocol. */
static inline struct upstream *generation_upstream(const struct generation *g, unsigned i)
{
	return g->services[i]->upstream;
}

static inline struct memcache *generation_memcache(const struct generation *g, unsigned i)
{
	return g->services[i]->memcache;
}

#endif
