/* What the control thread does in the program, in a sim world: a resolver with nameservers that
 * are slow, fail, and move names between two addresses; and a prober of all servers. Their
 * events go to the proxy. Owner: struct simworld. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/simworld.h"
#include "watch/prober.h"
#include "watch/resolver.h"

struct simworld_watch {
	struct simworld *world;
	struct config config;
	struct config_upstream upstreams[SIMWORLD_UPSTREAMS];
	struct config_server servers[SIMWORLD_UPSTREAMS][SIMWORLD_SERVERS];
	struct config_address addresses[SIMWORLD_UPSTREAMS][SIMWORLD_SERVERS];
	struct resolver *resolver;
	struct prober *prober;
	struct list lookups;
};

/* A lookup that has not been answered yet. */
struct pending_lookup {
	struct list node;
	struct simworld_watch *watch;
	struct resolver_query *query;
	struct timer timer;
};

/* ---- the nameservers --------------------------------------------------------- */

static unsigned lookup_port(const struct resolver_query *q)
{
	return (unsigned)atoi(q->lookup.name); /* the name is the server's port */
}

/* One of the name's two addresses, or both; or a failure, or an incomplete result. */
static void draw_lookup_result(struct simworld *w, struct resolver_query *q)
{
	struct dns_lookup *l = &q->lookup;
	unsigned which = 1 + (unsigned)simworld_draw(w, 3);

	l->n = 0;
	l->ttl_s = (uint32_t)simworld_draw(w, 2);
	l->failure = NULL;
	l->incomplete_v4 = l->incomplete_v6 = simworld_chance(w, 5);
	if (simworld_chance(w, 4)) {
		l->failure = "the nameserver does not answer";
		return;
	}
	for (unsigned i = 0; i < 2; i++)
		if (which >> i & 1)
			dns_lookup_add(l, (struct dns_address){
						  AF_INET,
						  (uint16_t)(lookup_port(q) +
							     i * SIMWORLD_MOVED_PORTS),
						  { 127, 0, 0, 1 },
						  1 + (uint16_t)simworld_draw(w, 3) });
}

static void pending_lookup_finish(struct pending_lookup *l)
{
	struct resolver_query *q = l->query;

	list_remove(&l->node);
	free(l);
	q->done(q);
}

static void pending_lookup_fired(struct timer *timer)
{
	struct pending_lookup *l = CONTAINER(timer, struct pending_lookup, timer);

	draw_lookup_result(l->watch->world, l->query);
	pending_lookup_finish(l);
}

static void start_lookup(void *owner, struct resolver_query *q)
{
	struct simworld_watch *m = owner;
	struct tick *tick = &m->world->sim.tick;
	struct pending_lookup *l = calloc(1, sizeof(*l));

	ASSERT(l);
	l->watch = m;
	l->query = q;
	list_init(&l->node);
	list_append(&m->lookups, &l->node);
	timer_init(&l->timer, pending_lookup_fired);
	timer_set(&tick->wheel, &l->timer, tick->now_ms + simworld_draw(m->world, 300));
}

/* ---- events for the proxy ---------------------------------------------------- */

/* The index of this upstream in the current configuration. */
static unsigned upstream_index(const struct config *config, unsigned upstream)
{
	unsigned i = 0;
	char name[8];

	snprintf(name, sizeof(name), "u%u", upstream);
	while (strcmp(config->upstreams[i].name, name) != 0)
		ASSERT(++i < config->upstream_n);
	return i;
}

static void watch_resolved(void *owner, const struct resolver_event *event)
{
	struct simworld_watch *m = owner;
	const struct config *config = m->world->proxy.generation->config;

	if (!event->changed)
		return;
	simworld_log(m->world, "server %u of upstream %u has %u addresses", event->server,
		     event->upstream, event->n);
	ASSERT(proxy_resolved(&m->world->proxy, config,
			      upstream_index(config, event->upstream), event->server,
			      event->addresses, event->n));
	prober_resolved(m->prober, event->upstream, event->server, event->addresses,
			event->n);
}

static bool watch_probed(void *owner, const struct prober_event *event)
{
	struct simworld_watch *m = owner;
	const struct config *config = m->world->proxy.generation->config;

	simworld_log(m->world, "server %u of upstream %u is %s", event->server,
		     event->upstream, event->up ? "up" : "down");
	proxy_probed(&m->world->proxy, config, upstream_index(config, event->upstream),
		     event->server, event->address, event->up);
	return true;
}

/* ------------------------------------------------------------------------------- */

static void watch_add_server(struct simworld_watch *m, unsigned u, unsigned i)
{
	const struct simworld_server *s = &m->world->servers[u][i];
	struct config_server *c = &m->servers[u][i];
	struct sockaddr_in addr = simrig_address(s->port);
	char name[16];

	snprintf(name, sizeof(name), "%u", s->port);
	c->name = c->address = c->host = strdup(name);
	c->tls_name = "a.test";
	ASSERT(c->host);
	c->address_n = 1;
	c->addresses = &m->addresses[u][i];
	c->addresses[0].len = sizeof(addr);
	memcpy(&c->addresses[0].sa, &addr, sizeof(addr));
}

static void draw_health(struct simworld *w, struct config_health *h)
{
	*h = (struct config_health){ .on = simworld_chance(w, 2),
				     .type = CONFIG_HEALTH_TCP };
	h->interval_ms = 20 + (uint32_t)simworld_draw(w, 200);
	h->timeout_ms = 1 + (uint32_t)simworld_draw(w, 100);
	h->jitter = (uint32_t)simworld_draw(w, 50);
	h->rise = 1 + (uint32_t)simworld_draw(w, 2);
	h->fall = 1 + (uint32_t)simworld_draw(w, 2);
}

struct simworld_watch *simworld_watch_open(struct simworld *w)
{
	struct simworld_watch *m = calloc(1, sizeof(*m));

	ASSERT(m);
	m->world = w;
	list_init(&m->lookups);
	m->config =
		(struct config){ .upstream_n = w->upstream_n,
				 .upstreams = m->upstreams,
				 .resolver = { .ttl_min_ms = 20, .ttl_max_ms = 500 } };
	for (unsigned u = 0; u < w->upstream_n; u++) {
		m->upstreams[u] = (struct config_upstream){ .index = u,
							    .servers = m->servers[u],
							    .server_n = w->server_n[u] };
		draw_health(w, &m->upstreams[u].health);
		if (simworld_secures(w, u))
			m->upstreams[u].tls = &w->probed;
		for (unsigned i = 0; i < w->server_n[u]; i++)
			watch_add_server(m, u, i);
	}
	m->prober = prober_new(&(struct prober_options){ .tick = &w->sim.tick,
							 .config = &m->config,
							 .descriptors = &w->descriptors,
							 .seed = w->seed,
							 .notify = watch_probed,
							 .owner = m });
	m->resolver = resolver_new(&(struct resolver_options){ .tick = &w->sim.tick,
							       .config = &m->config,
							       .query = start_lookup,
							       .notify = watch_resolved,
							       .owner = m });
	ASSERT(m->prober && m->resolver);
	return m;
}

void simworld_watch_stop(struct simworld_watch *m)
{
	prober_stop(m->prober);
	resolver_stop(m->resolver);
	LIST_EACH(&m->lookups, node) {
		struct pending_lookup *l = LIST_ITEM(node, struct pending_lookup, node);

		timer_stop(&m->world->sim.tick.wheel, &l->timer);
		pending_lookup_finish(l);
	}
}

bool simworld_watch_idle(const struct simworld_watch *m)
{
	return prober_idle(m->prober) && resolver_idle(m->resolver);
}

void simworld_watch_free(struct simworld_watch *m)
{
	prober_free(m->prober);
	resolver_free(m->resolver);
	for (unsigned u = 0; u < m->config.upstream_n; u++)
		for (unsigned i = 0; i < m->upstreams[u].server_n; i++)
			free((void *)(uintptr_t)m->servers[u][i].host);
	free(m);
}
