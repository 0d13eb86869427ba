/* One configuration as one worker lives by it, counted by those that began under it.
 *
 *      generation_new      proxy_adopt           another is adopted       its last user ends
 *   ──────────────────▶ NEW ─────────▶ CURRENT ──────────────────▶ OLD ──────────────────▶ ENDED
 *                        └ generation_drop                                         over() ◀─┘
 *
 * What stands behind the name of an upstream (its servers, connections, who waits) is a service.
 * It goes over to the next generation that knows the same name and protocol, with all it has,
 * and closes when no generation with users knows it. What it is told of its configuration it
 * copies.
 *
 * Owner: the worker's proxy. Exchanges and fetches are users; the current one has one more. */
#ifndef PROXY_GENERATION_H
#define PROXY_GENERATION_H

#include "back/memcache.h"
#include "back/upstream.h"
#include "base/names.h"
#include "config/config.h"

struct retry_state;
struct proxy;

/* What all workers know of one upstream; stays as long as a generation may know it. */
struct upstream_view {
	struct upstream_stats *stats; /* this worker's */
	struct quota *queue;           /* who may wait, process-wide */
	struct registry *registry;    /* its servers; NULL: each worker for itself */
};

struct generation_options {
	const struct config *config;
	const struct upstream_view *
		upstream_views; /* by index of config->upstreams; read by generation_new() */
	/* Nobody of this worker reads the configuration any more, and what only it knew is gone.
	 * May be NULL. Not called by generation_drop() and proxy_done(). */
	void (*unused)(void *owner);
	void *owner;
};

/* Protocol and name of an upstream: one of HTTP and one of memcached may have one name, one after
 * the other. */
#define SERVICE_KEY_MAX (CONFIG_NAME_MAX + 1)
void service_key(char key[SERVICE_KEY_MAX], const struct config_upstream *u);

struct service {
	struct list node;            /* in proxy->services */
	struct names_entry entry;    /* in proxy->by_name, until it closes */
	struct upstream *upstream;   /* HTTP, or NULL */
	struct memcache *memcache;   /* memcached, or NULL */
	uint32_t generation_n;            /* generations with users that know it, and new ones */
	bool closing;
	bool needs_update;           /* lacked memory to follow the newest configuration */
	char key[SERVICE_KEY_MAX];   /* protocol and name */
};

struct generation {
	struct proxy *proxy;
	uint32_t number;             /* from 1 */
	const struct config *config;
	struct head_limits head_limits;
	uint64_t users;
	void (*unused)(void *owner);
	void *owner;
	struct list node;            /* in proxy->generations, once it was adopted */
	struct retry_state *retry_state; /* see retrystate.h */
	char *path_scratch;          /* for routing: see request_view_init() */
	unsigned service_n;
	struct service *services[];  /* by index of config->upstreams */
};

/* Finds or makes its services. NULL: no memory, and nothing has changed. */
struct generation *generation_new(struct proxy *p, const struct generation_options *options);

/* One that was not adopted; leaves NULL. */
void generation_drop(struct generation **slot);

/* Nobody began under it, or all have ended: see generation_put(). */
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

static inline struct upstream *generation_upstream(const struct generation *g, unsigned i)
{
	return g->services[i]->upstream;
}

static inline struct memcache *generation_memcache(const struct generation *g, unsigned i)
{
	return g->services[i]->memcache;
}

/* A body of so many bytes is more than the configuration allows. */
static inline bool generation_refuses_body(const struct generation *g, uint64_t bytes)
{
	return g->config->limits.request_body > 0 && bytes > g->config->limits.request_body;
}

#endif
