#include "proxy/generation.h"

#include <stdlib.h>
#include <string.h>

#include "http/host.h"
#include "retrystate.h"
#include "service.h"

/* ---- services --------------------------------------------------------------- */

void service_close(struct service *s)
{
	if (s->upstream)
		upstream_close(s->upstream);
	else
		memcache_close(s->memcache);
}

bool service_idle(const struct service *s)
{
	return s->upstream ? upstream_idle(s->upstream) : memcache_idle(s->memcache);
}

bool service_evict(struct service *s)
{
	return s->upstream ? upstream_evict(s->upstream) : memcache_evict(s->memcache);
}

void service_dispatch(struct service *s)
{
	if (s->upstream)
		upstream_schedule_queue(s->upstream);
	else
		memcache_schedule_queues(s->memcache);
}

void service_trim(struct service *s)
{
	if (s->upstream)
		upstream_trim(s->upstream);
	else
		memcache_trim(s->memcache);
}

static void service_free(struct proxy *p, struct service *s)
{
	if (s->upstream)
		upstream_free(s->upstream);
	if (s->memcache)
		memcache_free(s->memcache);
	if (!s->closing)
		names_remove(&p->by_name, &s->entry);
	list_remove(&s->node);
	free(s);
}

void service_key(char key[SERVICE_KEY_MAX], const struct config_upstream *u)
{
	key[0] = u->protocol == CONFIG_HTTP ? 'h' : 'm';
	strncpy(key + 1, u->name, SERVICE_KEY_MAX - 2);
	key[SERVICE_KEY_MAX - 1] = '\0';
}

/* Closing services are not in by_name: they get no new requests. */
static struct service *service_find(struct proxy *p, const struct config_upstream *u)
{
	char key[SERVICE_KEY_MAX];
	struct names_entry *e;

	service_key(key, u);
	e = names_find(&p->by_name, slice_of(key));
	return e ? CONTAINER(e, struct service, entry) : NULL;
}

static struct service *service_new(struct proxy *p, const struct config *config,
				   const struct config_upstream *u,
				   const struct upstream_view *upstream_view)
{
	struct service *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	list_init(&s->node);
	service_key(s->key, u);
	if (u->protocol == CONFIG_HTTP)
		s->upstream = proxy_open_upstream(p, config, u, upstream_view);
	else
		s->memcache = proxy_open_memcache(p, u, upstream_view);
	if (!s->upstream && !s->memcache) {
		free(s);
		return NULL;
	}
	list_append(&p->services, &s->node);
	names_put(&p->by_name, &s->entry, slice_of(s->key));
	return s;
}

static bool service_prepare(struct service *s, const struct config_upstream *u)
{
	return !s->upstream || upstream_prepare(s->upstream, u);
}

static bool service_reconfigure(struct service *s, const struct config_upstream *u)
{
	s->needs_update = !(s->upstream ? upstream_reconfigure(s->upstream, u)
					: memcache_reconfigure(s->memcache, u));
	return !s->needs_update;
}

/* ---- generations ------------------------------------------------------------ */

static void unref_services(struct generation *g)
{
	for (unsigned i = 0; i < g->service_n; i++) {
		ASSERT(g->services[i]->generation_n > 0);
		g->services[i]->generation_n--;
	}
}

static void generation_free(struct generation *g)
{
	list_remove(&g->node);
	retry_state_free(g->retry_state);
	free(g->path_scratch);
	free(g);
}

/* Services made for this generation have no connection yet, and are freed here. A service
 * that was found may have some, and no other generation any more: the sweeper closes it. */
void generation_drop(struct generation **slot)
{
	struct generation *g = *slot;

	*slot = NULL;
	unref_services(g);
	for (unsigned i = 0; i < g->service_n; i++) {
		if (g->services[i]->generation_n > 0)
			continue;
		if (service_idle(g->services[i]))
			service_free(g->proxy, g->services[i]);
		else
			tick_run(g->proxy->tick, &g->proxy->sweeper);
	}
	generation_free(g);
}

struct generation *generation_new(struct proxy *p, const struct generation_options *o)
{
	const struct config *config = o->config;
	struct generation *g = calloc(1, sizeof(*g) + config->upstream_n * sizeof(g->services[0]));

	if (!g)
		return NULL;
	list_init(&g->node);
	g->proxy = p;
	g->config = config;
	g->route_slots = o->route_slots;
	g->head_limits = (struct head_limits){ config->limits.request_head,
					       config->limits.headers, 0 };
	g->unused = o->unused;
	g->owner = o->owner;
	g->retry_state = retry_state_new(config, &p->budgets, &p->latencies,
					 p->tick->now_us);
	g->path_scratch = malloc(2 * (size_t)config->limits.request_head + HOST_GROWTH);
	for (unsigned i = 0; i < config->upstream_n && g->path_scratch && g->retry_state;
	     i++) {
		const struct config_upstream *u = &config->upstreams[i];
		struct service *s = service_find(p, u);

		if (!s)
			s = service_new(p, config, u, &o->upstream_views[i]);
		if (!s || !service_prepare(s, u))
			break;
		s->generation_n++;
		g->services[g->service_n++] = s;
	}
	if (!g->path_scratch || !g->retry_state || g->service_n < config->upstream_n)
		generation_drop(&g);
	return g;
}

struct phases *generation_route_phases(const struct generation *g,
				       const struct config_route *route)
{
	const struct proxy *p = g->proxy;

	if (!p->route_phases || !g->route_slots)
		return NULL;
	return phase_table_at(p->route_phases, p->worker,
			      g->route_slots[route - g->config->routes]);
}

void generation_unused(struct generation *g)
{
	unref_services(g);
	tick_run(g->proxy->tick, &g->proxy->sweeper);
}

/* Applies the configuration to all services, or to those that lacked memory last time.
 * False: some lack memory; the sweeper tries again. */
static bool update_services(struct generation *g, bool all)
{
	bool updated = true;

	for (unsigned i = 0; i < g->service_n; i++)
		if (all || g->services[i]->needs_update)
			updated &= service_reconfigure(g->services[i],
						       &g->config->upstreams[i]);
	return updated;
}

void generation_activate(struct generation *g)
{
	generation_ref(g);
	list_append(&g->proxy->generations, &g->node);
	if (!update_services(g, true))
		tick_run(g->proxy->tick, &g->proxy->sweeper);
}

/* ---- sweeping --------------------------------------------------------------- */

static bool sweep_services(struct proxy *p)
{
	bool all = true;

	LIST_EACH(&p->services, node) {
		struct service *s = LIST_ITEM(node, struct service, node);

		if (s->generation_n > 0)
			continue;
		if (!s->closing) {
			service_close(s);
			names_remove(&p->by_name, &s->entry);
		}
		s->closing = true;
		if (service_idle(s))
			service_free(p, s);
		else
			all = false;
	}
	return all;
}

/* Runs only when no service is closing: a closing one may still count in statistics that
 * belong to an older configuration. */
static void sweep_generations(struct proxy *p)
{
	LIST_EACH(&p->generations, node) {
		struct generation *g = LIST_ITEM(node, struct generation, node);
		void (*unused)(void *owner) = g->unused;
		void *owner = g->owner;

		if (g->users > 0)
			continue;
		generation_free(g);
		if (unused)
			unused(owner);
	}
}

bool generations_sweep(struct proxy *p)
{
	bool updated = update_services(p->generation, false), closed = sweep_services(p);

	if (closed)
		sweep_generations(p);
	return updated && closed;
}

void generations_done(struct proxy *p)
{
	struct list *node;

	while ((node = list_pop(&p->services)))
		service_free(p, LIST_ITEM(node, struct service, node));
	while ((node = list_pop(&p->generations)))
		generation_free(LIST_ITEM(node, struct generation, node));
}
