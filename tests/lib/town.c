#include "lib/town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/proxy/exchange.h"

#define LOG_FD 77
#define PROXY_PORT 8080
#define ORIGIN_PORT 6000
#define CACHE_PORT 11212
#define LIFE_MS 4000000 /* long enough for any history to come to its end */
#define GRACE_MS 5000
#define RELOADS 40
#define SOCKET_FIRST 10000 /* of the simulated engine */
#define LEFT_MS 1100 /* how long it may take until a FIN behind unread bytes is seen */
#define MOVING_S 600 /* who moves for ever, faster than connections open, is never reached */

static const char *const methods[] = {
	"GET", "HEAD", "DELETE", "PUT", "POST", "PATCH", "POST", "BREW",
};

const char *request_method(const struct request *r)
{
	return methods[r->method];
}

bool request_idempotent(const struct request *r)
{
	return r->method <= 3;
}

/* ---- words ------------------------------------------------------------------ */

void town_note(struct town *t, const char *format, ...)
{
	va_list args;

	if (!t->verbose)
		return;
	va_start(args, format);
	printf("%8llu  ", (unsigned long long)t->sim.tick.now_us);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void town_wrong(struct town *t, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "seed %llu, at %llu us: ", (unsigned long long)t->seed,
		(unsigned long long)t->sim.tick.now_us);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%llu receives found no buffer)\n",
		(unsigned long long)io_stats(t->sim.tick.loop)->buffer_shortages);
	abort();
}

void town_mark(struct town *t, uint64_t value)
{
	t->hash = (t->hash ^ value ^ t->sim.tick.now_us << 20) * 0x9e3779b97f4a7c15u;
	t->hash ^= t->hash >> 31;
}

void town_mark_bytes(struct town *t, struct slice bytes)
{
	uint64_t word = bytes.len;

	for (size_t i = 0; i < bytes.len; i++)
		word = (word ^ (unsigned char)bytes.ptr[i]) * 0x100000001b3u;
	town_mark(t, word);
}

void text_add(struct text *x, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (x->n + (size_t)n + 1 > x->room) {
		x->room = 2 * (x->n + (size_t)n) + 256;
		x->at = realloc(x->at, x->room);
		ASSERT(x->at);
	}
	va_start(args, format);
	x->n += (size_t)vsnprintf(x->at + x->n, x->room - x->n, format, args);
	va_end(args);
}

void text_body(struct text *x, uint32_t id, enum wire_way way, uint64_t from, size_t n)
{
	if (x->n + n + 1 > x->room) {
		x->room = 2 * (x->n + n) + 256;
		x->at = realloc(x->at, x->room);
		ASSERT(x->at);
	}
	wire_fill(x->at + x->n, id, way, from, n);
	x->n += n;
}

void text_chunk(struct text *x, uint32_t id, enum wire_way way, uint64_t from, size_t n,
		const char *extension)
{
	text_add(x, "%zx%s\r\n", n, extension);
	text_body(x, id, way, from, n);
	text_add(x, "\r\n");
}

/* ---- chance ----------------------------------------------------------------- */

uint64_t town_draw(struct town *t, uint64_t n)
{
	return simrig_draw(&t->sim, n);
}

bool town_chance(struct town *t, unsigned one_in)
{
	return town_draw(t, one_in) == 0;
}

uint32_t town_draw_size(struct town *t)
{
	static const uint32_t most[] = { 1, 20, 200, 200, 3000, 3000, 20000, 70000 };
	uint32_t n = most[town_draw(t, COUNT(most))];

	if (n == 70000 && town_chance(t, 8))
		n = 400000;
	if (t->weather.small_sockets && n > 20000)
		n = 20000;
	return (uint32_t)town_draw(t, n);
}

/* One seed in three has fine weather. A lack of buffers is no weather that keeps anybody from an
 * answer: who waits for a buffer has it long before the shortest timeout of a fine day, a
 * minute, is over. */
static void draw_weather(struct town *t)
{
	struct weather *w = &t->weather;

	w->small_sockets = town_chance(t, 4);
	w->moves = town_chance(t, 4);
	w->ill_customers = town_chance(t, 2);
	w->accepts = town_chance(t, 8);
	w->late = town_chance(t, 6);
	w->reloads = town_chance(t, 3);
	if (town_chance(t, 3))
		return;
	w->scarce = town_chance(t, 3);
	w->ill_origins = town_chance(t, 2);
	w->flaps = w->ill_origins && town_chance(t, 2);
	w->ill_caches = town_chance(t, 2);
	w->drain = town_chance(t, 4);
	w->memory = town_chance(t, 4);
}

bool town_certain(const struct town *t)
{
	const struct weather *w = &t->weather;

	return !w->scarce && !w->ill_origins && !w->ill_caches && !w->drain && !w->memory;
}

/* ---- the proxy -------------------------------------------------------------- */

static void add_servers(struct town *t, struct text *x, unsigned port, unsigned n, bool http)
{
	text_add(x, "    servers: [127.0.0.1:%u", port);
	for (unsigned i = 1; i < n; i++)
		text_add(x, ", { address: 127.0.0.1:%u, weight: %u%s }", port + i,
			 1 + (unsigned)town_draw(t, 4),
			 http && town_chance(t, 6) ? ", backup: true" : "");
	text_add(x, "]\n    keepalive: %u\n",
		 town_chance(t, 2) ? (unsigned)town_draw(t, 4) : 100);
	text_add(x, "    queue: %u\n    queue_timeout: %s\n",
		 t->weather.scarce ? (unsigned)town_draw(t, 4) : 1000,
		 t->weather.scarce ? "100ms" : "300s");
	text_add(x, "    connect_timeout: %s\n", t->weather.ill_origins ? "200ms" : "20s");
}

static const char *const balances[] = { "round_robin", "least_connections", "random",
					"hash\n    hash: \"${path}\"",
					"hash\n    hash: \"${header.X-No}\"\n    hash_balance_factor: 120" };
static const char *const reuses[] = { "never", "safe", "always" };
static const char *const eject_ons[] = { "connection", "gateway", "server_error" };

static void add_upstream(struct town *t, struct text *x, unsigned u)
{
	text_add(x, "  u%u:\n", u);
	add_servers(t, x, ORIGIN_PORT + TOWN_SERVERS * u,
		    t->connections[u] > 0 || t->requests_max[u] > 0 ? t->server_n[u] :
			    1 + (unsigned)town_draw(t, t->server_n[u]), true);
	text_add(x, "    connections: %u\n    response_timeout: %s\n    balance: %s\n",
		 t->connections[u], t->weather.ill_origins ? "500ms" : "60s",
		 balances[town_draw(t, COUNT(balances))]);
	text_add(x, "    reuse: %s\n    idle_timeout: %ums\n", reuses[t->reuse[u]],
		 town_chance(t, 3) ? 1 + (unsigned)town_draw(t, 300) : 4000);
	if (t->requests_max[u] > 0)
		text_add(x, "    requests: %u\n", t->requests_max[u]);
	text_add(x, "    eject_on: %s\n    eject_failures: %u\n    eject_time: %ums\n"
		    "    eject_max_percent: %u\n",
		 eject_ons[town_draw(t, COUNT(eject_ons))], 1 + (unsigned)town_draw(t, 3),
		 1 + (unsigned)town_draw(t, 500), town_chance(t, 2) ? 50 : 100);
	if (town_chance(t, 3))
		text_add(x, "    eject_rate: %u\n    slow_start: 300ms\n",
			 1 + (unsigned)town_draw(t, 100));
}

static void add_rule(struct town *t, struct text *x, const struct rule *rule)
{
	bool fine = town_certain(t);

	if (fine && town_chance(t, 2))
		text_add(x, ", deadline: 3000s");
	else if (!fine && town_chance(t, 4))
		text_add(x, ", deadline: %ums", 200 + (unsigned)town_draw(t, 1000));
	if (rule->hedged)
		text_add(x, ", hedge: { percentile: %u, budget_percent: %u }",
			 50 + (unsigned)town_draw(t, 46), (unsigned)town_draw(t, 101));
	if (rule->tries == 0)
		return;
	text_add(x, ", retry: { tries: %u, methods: %s, body: %uB, backoff: %ums, "
		    "budget_percent: %u, budget_per_second: %u",
		 rule->tries, rule->all_methods ? "all" : "idempotent", rule->body,
		 1 + (unsigned)town_draw(t, 50), rule->percent, rule->per_second);
	text_add(x, ", on: [503, reset%s]",
		 rule->all_conditions ? ", connect, timeout, malformed" : "");
	if (fine || town_chance(t, 2))
		text_add(x, ", per_try_timeout: %s", fine ? "60s" : "150ms");
	text_add(x, " }");
}

static void add_cache(struct town *t, struct text *x)
{
	text_add(x, "  cache:\n    protocol: memcached\n");
	add_servers(t, x, CACHE_PORT, t->cache_n, false);
	text_add(x, "    timeout: %s\n    connections_per_server: %u\n    pipeline: %u\n",
		 t->weather.ill_caches ? "300ms" : "60s", t->links, t->pipeline);
}

static void add_limits(struct town *t, struct text *x)
{
	bool ill = t->weather.ill_origins || t->weather.ill_customers;

	text_add(x, "limits:\n  window: 32KiB\n");
	text_add(x, "  header_timeout: %s\n  receive_timeout: %s\n  send_timeout: %s\n",
		 ill ? "2s" : "60s", ill ? "2s" : "60s", ill ? "2s" : "60s");
	text_add(x, "  idle_timeout: %s\n", town_chance(t, 2) ? "2s" : "60s");
}

/* On a fine day only what cannot fail for want of time or budget. */
static void draw_rule(struct town *t, struct rule *rule)
{
	bool fine = town_certain(t);

	rule->hedged = town_chance(t, 2);
	if (town_chance(t, 3))
		return;
	rule->tries = 1 + (unsigned)town_draw(t, 4);
	rule->all_methods = town_chance(t, 3);
	rule->all_conditions = !town_chance(t, 4);
	rule->body = town_chance(t, 2) ? 16384 : (uint32_t)town_draw(t, 2000);
	rule->ample = fine || town_chance(t, 2);
	rule->percent = rule->ample ? 100 : (unsigned)town_draw(t, 60);
	rule->per_second = rule->ample ? 1000000 : (unsigned)town_draw(t, 3);
}

/* What no reload changes, as limits are checked all along. */
static void draw_upstreams(struct town *t)
{
	t->half_close = town_chance(t, 2);
	t->upstream_n = 1 + (unsigned)town_draw(t, TOWN_UPSTREAMS);
	for (unsigned u = 0; u < t->upstream_n; u++) {
		t->server_n[u] = 1 + (unsigned)town_draw(t, TOWN_SERVERS);
		t->connections[u] = town_chance(t, 2) ? 1 + (uint32_t)town_draw(t, 4) : 0;
		t->requests_max[u] = town_chance(t, 3) ? 1 + (uint32_t)town_draw(t, 4) : 0;
		t->reuse[u] = town_chance(t, 6) ? CONFIG_REUSE_NEVER :
			      town_chance(t, 2) ? CONFIG_REUSE_SAFE : CONFIG_REUSE_ALWAYS;
		draw_rule(t, &t->rules[u]);
	}
	if (town_chance(t, 2)) {
		t->cache_n = 1 + (unsigned)town_draw(t, TOWN_SERVERS);
		t->links = 1 + (uint32_t)town_draw(t, 3);
		t->pipeline = town_chance(t, 2) ? 1 + (uint32_t)town_draw(t, 3) : 64;
	}
}

/* Nobody asks for it: it moves the routes behind it, and upstreams come and go with it. */
static void add_decoys(struct text *x, unsigned n, const char *upstream)
{
	for (unsigned i = 0; i < n; i++)
		text_add(x, "  - { prefix: /decoy%u/, proxy: { upstream: %s } }\n", i, upstream);
}

static void add_routes(struct town *t, struct text *x, bool spare)
{
	text_add(x, "routes:\n");
	add_decoys(x, (unsigned)town_draw(t, 4), spare ? "spare" : "u0");
	if (t->cache_n > 0)
		text_add(x, "  - prefix: /c0/\n    memcached: { upstream: cache, "
			    "key: \"c0-${path.rest}\" }\n%s"
			    "  - prefix: /n0/\n    memcached: { upstream: cache, "
			    "key: \"n0-${path.rest}\", miss: next }\n%s",
			 t->half_close ? "    half_close: allow\n" : "",
			 t->half_close ? "    half_close: allow\n" : "");
	for (unsigned u = 0; u < t->upstream_n; u++)
		for (int after_cache = u == 0 && t->cache_n > 0; after_cache >= 0; after_cache--) {
			text_add(x, "  - { prefix: /%s%u/, proxy: { upstream: u%u }",
				 after_cache ? "n" : "u", u, u);
			add_rule(t, x, &t->rules[u]);
			if (t->half_close)
				text_add(x, ", half_close: allow");
			text_add(x, " }\n");
		}
}

static struct config *draw_config(struct town *t)
{
	bool backwards = town_chance(t, 2), spare = town_chance(t, 2);
	struct config *config;
	struct text x = { 0 };

	text_add(&x, "listen: [127.0.0.1:%u]\nupstreams:\n", PROXY_PORT);
	if (spare)
		text_add(&x, "  spare: { servers: [127.0.0.1:1] }\n");
	for (unsigned u = 0; u < t->upstream_n; u++)
		add_upstream(t, &x, backwards ? t->upstream_n - 1 - u : u);
	if (t->cache_n > 0)
		add_cache(t, &x);
	add_routes(t, &x, spare);
	add_limits(t, &x);
	if (t->verbose)
		printf("%s", x.at);
	config = config_read_text("town", (struct slice){ x.at, x.n }, NULL);
	ASSERT(config);
	free(x.at);
	return config;
}

/* ---- reloads ---------------------------------------------------------------- */

/* A configuration, as long as somebody may read it. */
struct paper {
	struct list node;
	struct config *config;
};

/* Who reads it afterwards reads nonsense. */
static void paper_burn(void *owner)
{
	struct paper *paper = owner;
	struct config *c = paper->config;

	for (unsigned i = 0; i < c->upstream_n; i++)
		memset(c->upstreams[i].servers, 0xdb,
		       c->upstreams[i].server_n * sizeof(c->upstreams[i].servers[0]));
	memset(c->upstreams, 0xdb, c->upstream_n * sizeof(c->upstreams[0]));
	memset(c->routes, 0xdb, c->route_n * sizeof(c->routes[0]));
	memset(&c->limits, 0xdb, sizeof(c->limits));
	config_free(c);
	list_remove(&paper->node);
	free(paper);
}

static unsigned share_of(const struct town *t, const char *upstream)
{
	if (upstream[0] == 'u')
		return (unsigned)(upstream[1] - '0');
	return upstream[0] == 'c' ? t->upstream_n : t->upstream_n + 1;
}

static struct generation_options draw_generation(struct town *t,
						 struct upstream_view *upstream_views)
{
	struct paper *paper = calloc(1, sizeof(*paper));
	struct config *config;

	ASSERT(paper);
	paper->config = config = draw_config(t);
	list_init(&paper->node);
	list_append(&t->papers, &paper->node);
	for (unsigned i = 0; i < config->upstream_n; i++) {
		unsigned k = share_of(t, config->upstreams[i].name);

		if (config->upstreams[i].queue > t->lines[k].limit)
			t->lines[k].limit = config->upstreams[i].queue;
		upstream_views[i] = (struct upstream_view){ &t->upstream_stats[k],
							    &t->lines[k],
							    t->registries[k] };
	}
	return (struct generation_options){ .config = config,
					    .upstream_views = upstream_views,
					    .unused = paper_burn,
					    .owner = paper };
}

static void reload_rang(struct timer *timer)
{
	struct town *t = CONTAINER(timer, struct town, reload);
	struct upstream_view upstream_views[TOWN_UPSTREAMS + 2];
	struct generation_options options = draw_generation(t, upstream_views);
	struct generation *g = generation_new(&t->proxy, &options);

	ASSERT(g);
	t->reloads_n++;
	if (town_chance(t, 5)) {
		town_note(t, "a configuration is made, and dropped");
		generation_drop(&g);
		paper_burn(options.owner);
	} else {
		town_note(t, "the configuration changes");
		proxy_adopt(&t->proxy, g);
	}
	if (t->reloads_n < RELOADS)
		timer_set(&t->sim.tick.wheel, timer,
			  t->sim.tick.now_ms + 1 + town_draw(t, town_chance(t, 2) ? 10 : 300));
}

/* Only the newest has anybody left who reads it. */
static bool papers_burned(const struct town *t)
{
	return t->papers.next->next == &t->papers;
}

static void accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct town *t = l->owner;

	proxy_accepted(&t->proxy, fd, peer, false);
}

/* Nobody gives way: a good customer that is idle may just be asking. */
static const struct listener_events listener_events = { .accepted = accepted };

static void open_proxy(struct town *t)
{
	struct upstream_view upstream_views[TOWN_UPSTREAMS + 2];
	bool scarce = t->weather.scarce;

	quota_init(&t->clients, town_chance(t, 2) ? 1 + (uint32_t)town_draw(t, 10) : 1000);
	quota_init(&t->descriptors, scarce && town_chance(t, 2) ?
					    1 + (uint32_t)town_draw(t, 10) : 1000);
	for (unsigned i = 0; i < COUNT(t->lines); i++) {
		char name[8];

		quota_init(&t->lines[i], 0);
		snprintf(name, sizeof(name), "u%u", i);
		t->registries[i] = registry_new(name, 1, NULL, NULL);
		ASSERT(t->registries[i]);
	}
	ASSERT(access_init(&t->access, &t->sim.tick, &t->stats, CONFIG_LOG_JSON, LOG_FD) == 0);
	ASSERT(proxy_init(&t->proxy,
			  &(struct proxy_options){
				  .tick = &t->sim.tick,
				  .generation = draw_generation(t, upstream_views),
				  .stats = &t->stats,
				  .clients = &t->clients,
				  .descriptors = &t->descriptors,
				  .access = &t->access,
			  }) == 0);
	listener_start(&t->listener, &t->sim.tick, simrig_listen(&t->sim, PROXY_PORT),
		       &t->clients, &t->stats, &listener_events, t);
}

/* ---- what happens ----------------------------------------------------------- */

static void drain_rang(struct timer *timer)
{
	struct town *t = CONTAINER(timer, struct town, drain);

	town_note(t, "the proxy drains");
	t->draining = true;
	listener_stop(&t->listener);
	proxy_drain(&t->proxy);
	timer_set(&t->sim.tick.wheel, &t->cut_off, t->sim.tick.now_ms + 1 + town_draw(t, 3000));
}

static void cut_off_rang(struct timer *timer)
{
	struct town *t = CONTAINER(timer, struct town, cut_off);

	town_note(t, "the proxy cuts off what is left");
	t->cut = true;
	listener_abandon(&t->listener);
	proxy_close(&t->proxy);
}

static void shortage_rang(struct timer *timer)
{
	struct town *t = CONTAINER(timer, struct town, shortage);

	slab_fail_at(1 + (unsigned)town_draw(t, 30));
	timer_set(&t->sim.tick.wheel, timer, t->sim.tick.now_ms + 1 + town_draw(t, 100));
}

static void flap_rang(struct timer *timer)
{
	struct town *t = CONTAINER(timer, struct town, flap);
	unsigned u = (unsigned)town_draw(t, t->upstream_n);

	server_flap(&t->servers[u][town_draw(t, t->server_n[u])]);
	timer_set(&t->sim.tick.wheel, timer, t->sim.tick.now_ms + 1 + town_draw(t, 200));
}

/* Where the newest configuration has it. */
static unsigned index_of(const struct town *t, unsigned upstream_view)
{
	const struct config *config = t->proxy.generation->config;
	unsigned i = 0;

	while (share_of(t, config->upstreams[i].name) != upstream_view)
		i++;
	return i;
}

/* Nobody is to notice anything of it: whoever is asked then is there. */
static void move_upstream(struct town *t, unsigned u)
{
	const struct generation *g = t->proxy.generation;
	const struct config_upstream *config = &g->config->upstreams[index_of(t, u)];
	struct upstream *upstream = generation_upstream(g, index_of(t, u));
	unsigned index = (unsigned)town_draw(t, config->server_n);
	unsigned other = (unsigned)town_draw(t, config->server_n);
	struct config_address a[2] = { config->servers[index].addresses[0],
				       config->servers[other].addresses[0] };

	switch (town_draw(t, 4)) {
	case 0:
		ASSERT(upstream_resolved(upstream, index, a, 1 + (unsigned)town_draw(t, 2)));
		break;
	case 1:
		ASSERT(upstream_resolved(upstream, index, a + 1, 1));
		break;
	case 2:
		upstream_probed(upstream, index, &a[0], town_draw(t, 2));
		break;
	case 3:
		ASSERT(upstream_reconfigure(upstream, config));
		break;
	}
}

static void move_cache(struct town *t)
{
	const struct generation *g = t->proxy.generation;
	const struct config_upstream *config = &g->config->upstreams[index_of(t, t->upstream_n)];
	struct memcache *cache = generation_memcache(g, index_of(t, t->upstream_n));
	unsigned index = (unsigned)town_draw(t, config->server_n);
	struct config_upstream one = *config;

	switch (town_draw(t, 3)) {
	case 0:
		memcache_resolved(cache, index, config->servers[config->server_n - 1 - index].addresses,
				  1);
		break;
	case 1:
		ASSERT(memcache_reconfigure(cache, config));
		break;
	case 2:
		one.server_n = 1;
		one.servers = &config->servers[index];
		one.pipeline = 1 + (uint32_t)town_draw(t, 4);
		ASSERT(memcache_reconfigure(cache, &one));
		break;
	}
}

static void move_rang(struct timer *timer)
{
	struct town *t = CONTAINER(timer, struct town, move);

	if (t->cache_n > 0 && town_chance(t, 4))
		move_cache(t);
	else
		move_upstream(t, (unsigned)town_draw(t, t->upstream_n));
	if (t->sim.tick.now_ms / 1000 - t->opened_s < MOVING_S)
		timer_set(&t->sim.tick.wheel, timer, t->sim.tick.now_ms + 1 + town_draw(t, 100));
}

static void draw_mishaps(struct town *t)
{
	struct sim_faults faults = { 0 };

	if (t->weather.accepts)
		faults.accepts = 2 + (uint32_t)town_draw(t, 10);
	if (t->weather.scarce && t->seed % 2)
		faults.connects = 2 + (uint32_t)(t->seed / 2 % 20);
	if (t->weather.late) {
		faults.segments = 2 + (uint32_t)town_draw(t, 200);
		faults.late_ms = 1 + (uint32_t)town_draw(t, 300);
	}
	sim_set_faults(t->sim.tick.loop, &faults);
	if (t->weather.small_sockets)
		sim_set_socket_bytes(t->sim.tick.loop, 64 + (uint32_t)town_draw(t, 4000));
	timer_init(&t->drain, drain_rang);
	timer_init(&t->cut_off, cut_off_rang);
	timer_init(&t->shortage, shortage_rang);
	timer_init(&t->reload, reload_rang);
	if (t->weather.reloads)
		timer_set(&t->sim.tick.wheel, &t->reload,
			  t->sim.tick.now_ms + 1 + town_draw(t, 500));
	timer_init(&t->flap, flap_rang);
	timer_init(&t->move, move_rang);
	if (t->weather.flaps)
		timer_set(&t->sim.tick.wheel, &t->flap,
			  t->sim.tick.now_ms + 1 + town_draw(t, 200));
	if (t->weather.moves)
		timer_set(&t->sim.tick.wheel, &t->move,
			  t->sim.tick.now_ms + 1 + town_draw(t, 100));
	if (t->weather.drain)
		timer_set(&t->sim.tick.wheel, &t->drain,
			  t->sim.tick.now_ms + 1 + town_draw(t, 500));
	if (t->weather.memory)
		timer_set(&t->sim.tick.wheel, &t->shortage,
			  t->sim.tick.now_ms + 1 + town_draw(t, 100));
}

static void open_town(struct town *t)
{
	/* Before the rig is there, its number of buffers is to be known. */
	uint32_t n = (uint32_t)(t->seed / 8);
	uint32_t few = t->seed / 4 % 2 ? 3 + n % 8 : 16 + n % 241;

	t->weather.few_buffers = t->seed % 4 == 1;
	t->weather.together = t->seed % 16 == 2;
	t->weather.watched = t->seed % 8 == 3;
	simrig_open(&t->sim, t->seed, t->weather.few_buffers ? few : 4096);
	for (unsigned i = 0; i < 8; i++) /* small seeds are near each other at first */
		simrig_draw(&t->sim, 2);
	t->opened_s = t->sim.tick.now_ms / 1000;
	draw_weather(t);
	list_init(&t->visits);
	list_init(&t->papers);
	draw_upstreams(t);
	draw_mishaps(t);
	open_proxy(t);
	for (unsigned u = 0; u < t->upstream_n; u++)
		for (unsigned i = 0; i < t->server_n[u]; i++)
			server_open(&t->servers[u][i], t, u, ORIGIN_PORT + TOWN_SERVERS * u + i,
				    false);
	for (unsigned u = 0; t->weather.watched && u < t->upstream_n; u++)
		for (unsigned i = 0; i < t->server_n[u]; i++)
			server_open(&t->moved[u][i], t, u, t->servers[u][i].port + TOWN_MOVED,
				    false);
	if (t->weather.watched)
		t->watch = town_watch_open(t);
	for (unsigned i = 0; i < t->cache_n; i++)
		server_open(&t->caches[i], t, t->upstream_n, CACHE_PORT + i, true);
	t->customer_n = 1 + (unsigned)town_draw(t, TOWN_CUSTOMERS);
	for (unsigned i = 0; i < t->customer_n; i++)
		customer_init(&t->customers[i], t, i);
}

/* ---- what must hold all along ----------------------------------------------- */

static void check_places(struct town *t, unsigned u)
{
	const struct registry *r = t->registries[u];

	REGISTRY_EACH(r, row)
		if (t->requests_max[u] > 0 &&
		    registry_view(r, row, 0)->in_flight > t->requests_max[u])
			town_wrong(t, "a server of upstream %u has more requests than its limit", u);
}

static void check_limits(struct town *t)
{
	if (t->clients.used > t->clients.limit || t->descriptors.used > t->descriptors.limit)
		town_wrong(t, "more connections than the quota");
	for (unsigned u = 0; u < t->upstream_n; u++)
		if (t->connections[u] > 0 && !t->weather.moves && !t->weather.watched &&
		    t->upstream_stats[u].connections > t->connections[u] * t->server_n[u])
			town_wrong(t, "upstream %u has more connections than its limit", u);
	for (unsigned u = 0; u < t->upstream_n; u++)
		check_places(t, u);
	if (t->cache_n > 0 && !t->weather.moves &&
	    t->upstream_stats[t->upstream_n].connections > t->links * t->cache_n)
		town_wrong(t, "the cache has more links than its limit");
	for (unsigned i = 0; i < COUNT(t->lines); i++)
		if (t->lines[i].used > t->lines[i].limit)
			town_wrong(t, "the line of upstream %u is too long", i);
}

/* Whatever failed: no more was asked again than what the route allows. */
static void check_budgets(struct town *t)
{
	/* Each configuration begins with a new one. */
	uint64_t seconds = t->sim.tick.now_ms / 1000 + 2 - t->opened_s + t->reloads_n;

	for (unsigned u = 0; u < t->upstream_n; u++) {
		const struct upstream_stats *s = &t->upstream_stats[u];
		const struct rule *rule = &t->rules[u];
		uint64_t retries = s->retries - s->stale_retries;

		if (retries > t->request_n * (rule->tries > 0 ? rule->tries - 1 : 0))
			town_wrong(t, "upstream %u has %llu retries", u,
				   (unsigned long long)retries);
		if (s->hedges > (rule->hedged ? t->request_n : 0) || s->hedges_won > s->hedges)
			town_wrong(t, "upstream %u has %llu hedges", u,
				   (unsigned long long)s->hedges);
		if (retries > t->request_n * rule->percent / 100 + rule->per_second * seconds)
			town_wrong(t, "upstream %u has %llu retries, over its budget", u,
				   (unsigned long long)retries);
	}
}

static bool is_owed(const struct town *t, const struct client *c)
{
	const struct exchange *x = c->exchange;

	return !x || x->status != 0 || t->half_close || c->conn.fd < SOCKET_FIRST ||
	       !io_peer_ended(t->sim.tick.loop, c->conn.fd);
}

/* Nothing is done for long for a client that has left before its answer began: nobody is asked
 * for it, and it waits nowhere. */
static void check_left(struct town *t)
{
	uint64_t now_ms = t->sim.tick.now_ms;

	LIST_EACH(&t->proxy.front.all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);
		uint64_t *since_ms = &t->left_ms[(unsigned)c->conn.fd % TOWN_SOCKETS];

		if (is_owed(t, c))
			*since_ms = 0;
		else if (*since_ms == 0)
			*since_ms = now_ms;
		else if (now_ms - *since_ms > LEFT_MS)
			town_wrong(t, "a client has left, and is still done something for");
	}
}

static bool all_over(struct town *t)
{
	bool over = true;

	check_limits(t);
	check_left(t);
	for (unsigned i = 0; i < t->customer_n; i++) {
		customer_look(&t->customers[i]);
		over &= t->customers[i].over;
	}
	return over;
}

static bool all_gone(struct town *t)
{
	check_limits(t);
	return listener_stopped(&t->listener) && proxy_idle(&t->proxy);
}

/* ---- the end ---------------------------------------------------------------- */

static void end_proxy(struct town *t)
{
	struct wheel *w = &t->sim.tick.wheel;

	timer_stop(w, &t->drain);
	timer_stop(w, &t->cut_off);
	timer_stop(w, &t->shortage);
	timer_stop(w, &t->reload);
	timer_stop(w, &t->flap);
	timer_stop(w, &t->move);
	slab_fail_at(0);
	/* Who waits for an origin that is slow goes on under the one it began with. */
	if (!t->cut && !SIMRIG_REACHED(&t->sim, papers_burned(t) || t->proxy.exchanges.taken > 0,
				       2 * GRACE_MS))
		town_wrong(t, "a configuration of before is kept");
	listener_stop(&t->listener);
	proxy_drain(&t->proxy);
	if (!SIMRIG_REACHED(&t->sim, all_gone(t), GRACE_MS)) {
		listener_abandon(&t->listener);
		proxy_close(&t->proxy);
		if (!SIMRIG_REACHED(&t->sim, all_gone(t), GRACE_MS))
			town_wrong(t, "the proxy does not come to its end");
	}
}

static void end_watch(struct town *t)
{
	if (!t->watch)
		return;
	town_watch_stop(t->watch);
	if (!SIMRIG_REACHED(&t->sim, town_watch_idle(t->watch), GRACE_MS))
		town_wrong(t, "the watch does not come to its end");
}

static void check_stats(struct town *t)
{
	assert_int_equal(t->clients.used, 0);
	assert_int_equal(t->descriptors.used, 0);
	for (unsigned i = 0; i < COUNT(t->lines); i++) {
		assert_int_equal(t->lines[i].used, 0);
		assert_int_equal(t->upstream_stats[i].connections, 0);
		assert_int_equal(t->upstream_stats[i].connections_idle, 0);
		assert_int_equal(t->upstream_stats[i].waiting, 0);
		REGISTRY_EACH(t->registries[i], row) {
			assert_int_equal(row->permits_used, 0);
			assert_int_equal(
				registry_view(t->registries[i], row, 0)->in_flight, 0);
		}
	}
	assert_int_equal(t->stats.connections, 0);
	assert_int_equal(t->stats.connections_idle, 0);
	assert_int_equal(t->stats.requests_in_flight, 0);
}

static void mark_log(struct town *t)
{
	struct slice s = { NULL, 0 };

	s.ptr = sim_written(t->sim.tick.loop, LOG_FD, &s.len);
	town_mark_bytes(t, s);
}

static void close_town(struct town *t)
{
	struct tick *tick = &t->sim.tick;

	end_proxy(t);
	end_watch(t);
	for (unsigned i = 0; i < t->customer_n; i++)
		customer_done(&t->customers[i]);
	mark_log(t);
	servers_done(t);
	simrig_close_peers(&t->sim);
	check_stats(t);
	check_budgets(t);
	proxy_done(&t->proxy);
	for (unsigned i = 0; i < COUNT(t->registries); i++)
		registry_free(t->registries[i]);
	access_done(&t->access);
	simrig_assert_buffers(&t->sim);
	if (tick->wheel.armed != timer_armed(&tick->trim))
		town_wrong(t, "%u timers are still set", tick->wheel.armed);
	simrig_close(&t->sim);
	if (t->watch)
		town_watch_free(t->watch);
	while (!list_empty(&t->papers))
		paper_burn(LIST_ITEM(t->papers.next, struct paper, node));
}

uint64_t town_run(uint64_t seed, bool verbose, uint64_t *exchanges)
{
	struct town *t = calloc(1, sizeof(*t));
	uint64_t hash;

	ASSERT(t);
	t->seed = seed;
	t->verbose = verbose;
	open_town(t);
	if (!SIMRIG_REACHED(&t->sim, all_over(t), LIFE_MS))
		for (unsigned i = 0; i < t->customer_n; i++)
			if (!t->customers[i].over)
				customer_waits(&t->customers[i]);
	*exchanges += t->stats.requests;
	close_town(t);
	hash = t->hash;
	free(t);
	return hash;
}
