/* What the control thread finds out about servers, in the town: names that move, as nameservers
 * tell it that are slow and fail, and servers that are asked whether they are well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/town.h"
#include "watch/prober.h"
#include "watch/resolver.h"

struct town_watch {
	struct town *town;
	struct config config;
	struct config_upstream upstreams[TOWN_UPSTREAMS];
	struct config_server servers[TOWN_UPSTREAMS][TOWN_SERVERS];
	struct config_address addresses[TOWN_UPSTREAMS][TOWN_SERVERS];
	struct resolver *resolver;
	struct prober *prober;
	struct list loaders;
	unsigned moved_n, down_n;
};

/* A lookup on its way. */
struct loader {
	struct list node;
	struct town_watch *watch;
	struct resolver_query *ask;
	struct timer timer;
};

/* ---- the nameservers --------------------------------------------------------- */

static unsigned name_of(const struct resolver_query *a)
{
	return (unsigned)atoi(a->lookup.name); /* the number of its server's port */
}

/* One of its two places, or both; or nothing, or half of it. */
static void draw_answer(struct town *t, struct resolver_query *a)
{
	struct dns_lookup *l = &a->lookup;
	unsigned which = 1 + (unsigned)town_draw(t, 3);

	l->n = 0;
	l->ttl_s = (uint32_t)town_draw(t, 2);
	l->failure = NULL;
	l->incomplete_v4 = l->incomplete_v6 = town_chance(t, 5);
	if (town_chance(t, 4)) {
		l->failure = "the nameserver has gone out";
		return;
	}
	for (unsigned i = 0; i < 2; i++)
		if (which >> i & 1)
			dns_lookup_add(l, (struct dns_address){
				AF_INET, (uint16_t)(name_of(a) + i * TOWN_MOVED),
				{ 127, 0, 0, 1 }, 1 + (uint16_t)town_draw(t, 3) });
}

static void loader_over(struct loader *e)
{
	struct resolver_query *a = e->ask;

	list_remove(&e->node);
	free(e);
	a->done(a);
}

static void loader_fired(struct timer *timer)
{
	struct loader *e = CONTAINER(timer, struct loader, timer);

	draw_answer(e->watch->town, e->ask);
	loader_over(e);
}

static void ask(void *owner, struct resolver_query *a)
{
	struct town_watch *w = owner;
	struct tick *tick = &w->town->sim.tick;
	struct loader *e = calloc(1, sizeof(*e));

	ASSERT(e);
	e->watch = w;
	e->ask = a;
	list_init(&e->node);
	list_append(&w->loaders, &e->node);
	timer_init(&e->timer, loader_fired);
	timer_set(&tick->wheel, &e->timer, tick->now_ms + town_draw(w->town, 300));
}

/* ---- to the proxy ------------------------------------------------------------ */

/* Its index in the configuration in force. */
static unsigned find(const struct config *config, unsigned upstream)
{
	unsigned i = 0;
	char name[8];

	snprintf(name, sizeof(name), "u%u", upstream);
	while (strcmp(config->upstreams[i].name, name) != 0)
		ASSERT(++i < config->upstream_n);
	return i;
}

static void resolved(void *owner, const struct resolver_event *news)
{
	struct town_watch *w = owner;
	const struct config *config = w->town->proxy.generation->config;

	if (!news->changed)
		return;
	town_note(w->town, "server %u of upstream %u has %u addresses", news->server,
		  news->upstream, news->n);
	w->moved_n++;
	ASSERT(proxy_resolved(&w->town->proxy, config, find(config, news->upstream), news->server,
			      news->addresses, news->n));
	prober_resolved(w->prober, news->upstream, news->server, news->addresses, news->n);
}

static bool probed(void *owner, const struct prober_event *news)
{
	struct town_watch *w = owner;
	const struct config *config = w->town->proxy.generation->config;

	town_note(w->town, "server %u of upstream %u is %s", news->server, news->upstream,
		  news->up ? "up" : "down");
	w->down_n += !news->up;
	proxy_probed(&w->town->proxy, config, find(config, news->upstream), news->server,
		     news->address, news->up);
	return true;
}

/* ------------------------------------------------------------------------------- */

static void add_server(struct town_watch *w, unsigned u, unsigned i)
{
	const struct server *s = &w->town->servers[u][i];
	struct config_server *c = &w->servers[u][i];
	struct sockaddr_in addr = simrig_address(s->port);
	char name[16];

	snprintf(name, sizeof(name), "%u", s->port);
	c->name = c->address = c->host = strdup(name);
	ASSERT(c->host);
	c->address_n = 1;
	c->addresses = &w->addresses[u][i];
	c->addresses[0].len = sizeof(addr);
	memcpy(&c->addresses[0].sa, &addr, sizeof(addr));
}

static void draw_health(struct town *t, struct config_health *h)
{
	*h = (struct config_health){ .on = town_chance(t, 2), .type = CONFIG_HEALTH_TCP };
	h->interval_ms = 20 + (uint32_t)town_draw(t, 200);
	h->timeout_ms = 1 + (uint32_t)town_draw(t, 100);
	h->jitter = (uint32_t)town_draw(t, 50);
	h->rise = 1 + (uint32_t)town_draw(t, 2);
	h->fall = 1 + (uint32_t)town_draw(t, 2);
}

struct town_watch *town_watch_open(struct town *t)
{
	struct town_watch *w = calloc(1, sizeof(*w));

	ASSERT(w);
	w->town = t;
	list_init(&w->loaders);
	w->config = (struct config){ .upstream_n = t->upstream_n, .upstreams = w->upstreams,
				     .resolver = { .ttl_min_ms = 20, .ttl_max_ms = 500 } };
	for (unsigned u = 0; u < t->upstream_n; u++) {
		w->upstreams[u] = (struct config_upstream){ .index = u, .servers = w->servers[u],
							    .server_n = t->server_n[u] };
		draw_health(t, &w->upstreams[u].health);
		for (unsigned i = 0; i < t->server_n[u]; i++)
			add_server(w, u, i);
	}
	w->prober = prober_new(&(struct prober_options){ .tick = &t->sim.tick,
							 .config = &w->config,
							 .descriptors = &t->descriptors,
							 .seed = t->seed,
							 .notify = probed,
							 .owner = w });
	w->resolver = resolver_new(&(struct resolver_options){ .tick = &t->sim.tick,
							       .config = &w->config,
							       .query = ask,
							       .notify = resolved,
							       .owner = w });
	ASSERT(w->prober && w->resolver);
	return w;
}

void town_watch_stop(struct town_watch *w)
{
	prober_stop(w->prober);
	resolver_stop(w->resolver);
	LIST_EACH(&w->loaders, node) {
		struct loader *e = LIST_ITEM(node, struct loader, node);

		timer_stop(&w->town->sim.tick.wheel, &e->timer);
		loader_over(e);
	}
}

bool town_watch_idle(const struct town_watch *w)
{
	return prober_idle(w->prober) && resolver_idle(w->resolver);
}

void town_watch_free(struct town_watch *w)
{
	prober_free(w->prober);
	resolver_free(w->resolver);
	for (unsigned u = 0; u < w->config.upstream_n; u++)
		for (unsigned i = 0; i < w->upstreams[u].server_n; i++)
			free((void *)(uintptr_t)w->servers[u][i].host);
	free(w);
}
