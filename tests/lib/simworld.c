#include "lib/simworld.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "proxy/exchange.h"
#include "tls/warm.h"

#define LOG_FD 77
#define RUN_MS 4000000 /* longer than any run takes */
#define GRACE_MS 5000
#define RELOADS 40
#define SOCKET_FIRST 10000 /* the simulated engine numbers its sockets from here */
#define LEFT_MS 1100 /* the longest time until the proxy sees a FIN behind unread bytes */
#define MOVING_S 600 /* then no more moves: some servers would never be reached */

static const char *const methods[] = {
	"GET", "HEAD", "DELETE", "PUT", "POST", "PATCH", "POST", "BREW",
};

const char *sim_request_method(const struct sim_request *r)
{
	return methods[r->method];
}

bool sim_request_idempotent(const struct sim_request *r)
{
	return r->method <= 3;
}

/* ---- log and hash ----------------------------------------------------------- */

void simworld_log(struct simworld *w, const char *format, ...)
{
	va_list args;

	if (!w->verbose)
		return;
	va_start(args, format);
	printf("%8llu  ", (unsigned long long)w->sim.tick.now_us);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void simworld_fail(struct simworld *w, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "seed %llu, at %llu us: ", (unsigned long long)w->seed,
		(unsigned long long)w->sim.tick.now_us);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (%llu receives found no buffer)\n",
		(unsigned long long)io_stats(w->sim.tick.loop)->buffer_shortages);
	abort();
}

void simworld_hash(struct simworld *w, uint64_t value)
{
	w->hash = (w->hash ^ value ^ w->sim.tick.now_us << 20) * 0x9e3779b97f4a7c15u;
	w->hash ^= w->hash >> 31;
}

void simworld_hash_bytes(struct simworld *w, struct slice bytes)
{
	uint64_t word = bytes.len;

	for (size_t i = 0; i < bytes.len; i++)
		word = (word ^ (unsigned char)bytes.ptr[i]) * 0x100000001b3u;
	simworld_hash(w, word);
}

void strbuf_addf(struct strbuf *x, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (x->len + (size_t)n + 1 > x->capacity) {
		x->capacity = 2 * (x->len + (size_t)n) + 256;
		x->data = realloc(x->data, x->capacity);
		ASSERT(x->data);
	}
	va_start(args, format);
	x->len += (size_t)vsnprintf(x->data + x->len, x->capacity - x->len, format, args);
	va_end(args);
}

void strbuf_add_body(struct strbuf *x, uint32_t id, enum wire_way way, uint64_t from,
		     size_t n)
{
	if (x->len + n + 1 > x->capacity) {
		x->capacity = 2 * (x->len + n) + 256;
		x->data = realloc(x->data, x->capacity);
		ASSERT(x->data);
	}
	wire_fill(x->data + x->len, id, way, from, n);
	x->len += n;
}

void strbuf_add_chunk(struct strbuf *x, uint32_t id, enum wire_way way, uint64_t from,
		      size_t n, const char *extension)
{
	strbuf_addf(x, "%zx%s\r\n", n, extension);
	strbuf_add_body(x, id, way, from, n);
	strbuf_addf(x, "\r\n");
}

/* ---- random numbers --------------------------------------------------------- */

uint64_t simworld_draw(struct simworld *w, uint64_t n)
{
	return simrig_draw(&w->sim, n);
}

bool simworld_chance(struct simworld *w, unsigned one_in)
{
	return simworld_draw(w, one_in) == 0;
}

uint32_t simworld_draw_size(struct simworld *w)
{
	static const uint32_t most[] = { 1, 20, 200, 200, 3000, 3000, 20000, 70000 };
	uint32_t n = most[simworld_draw(w, COUNT(most))];

	if (n == 70000 && simworld_chance(w, 8))
		n = 400000;
	if (w->faults.small_sockets && n > 20000)
		n = 20000;
	return (uint32_t)simworld_draw(w, n);
}

/* In one run in three each good request must succeed. Few buffers are no excuse there: a
 * connection that waits for a buffer gets one long before the shortest timeout of such a run,
 * a minute, is over. */
static void draw_faults(struct simworld *w)
{
	struct simworld_faults *f = &w->faults;

	f->small_sockets = simworld_chance(w, 4);
	f->moves = simworld_chance(w, 4);
	f->faulty_clients = simworld_chance(w, 2);
	f->accept_faults = simworld_chance(w, 8);
	f->late_segments = simworld_chance(w, 6);
	f->reloads = simworld_chance(w, 3);
	if (simworld_chance(w, 3))
		return;
	f->scarce = simworld_chance(w, 3);
	f->faulty_origins = simworld_chance(w, 2);
	f->flaps = f->faulty_origins && simworld_chance(w, 2);
	f->faulty_caches = simworld_chance(w, 2);
	f->drain = simworld_chance(w, 4);
	f->memory = simworld_chance(w, 4);
}

bool simworld_must_succeed(const struct simworld *w)
{
	const struct simworld_faults *f = &w->faults;

	return !f->scarce && !f->faulty_origins && !f->faulty_caches && !f->drain &&
	       !f->memory;
}

/* ---- reloads ---------------------------------------------------------------- */

/* A configuration that a generation of the proxy uses. */
struct live_config {
	struct list node;
	struct config *config;
	struct config_upstream_tls
		tls[SIMWORLD_SERVICES]; /* as if the file had it */
};

/* Overwrites it first, so that a later read of it is noticed. */
static void live_config_free(void *owner)
{
	struct live_config *live = owner;
	struct config *c = live->config;

	for (unsigned i = 0; i < c->upstream_n; i++)
		memset(c->upstreams[i].servers, 0xdb,
		       c->upstreams[i].server_n * sizeof(c->upstreams[i].servers[0]));
	config_upstream_contexts_drop(c);
	memset(c->upstreams, 0xdb, c->upstream_n * sizeof(c->upstreams[0]));
	c->upstream_n = 0;
	memset(c->routes, 0xdb, c->route_n * sizeof(c->routes[0]));
	memset(&c->limits, 0xdb, sizeof(c->limits));
	config_free(c);
	list_remove(&live->node);
	free(live);
}

/* The index of its state that all configurations share (statistics, quota, registry). */
static unsigned shared_index(const struct simworld *w, const char *upstream)
{
	if (upstream[0] == 'u')
		return (unsigned)(upstream[1] - '0');
	if (upstream[0] == 'c')
		return w->upstream_n;
	return w->upstream_n + (upstream[0] == 's' ? 1 : upstream[0] == 'a' ? 2 : 3);
}

/* The settings differ from one configuration to another, without a draw. */
static void secure_upstream(struct simworld *w, struct live_config *live,
			    struct config_upstream *u)
{
	uint64_t which = hash_mix(w->seed + w->reloads_n + u->index);
	struct config_upstream_tls *t = &live->tls[u->index];

	if (!simworld_secures(w, shared_index(w, u->name)))
		return;
	t->context = tls_context_ref(which % 4 == 0 ? w->other_context
						    : w->client_context);
	u->tls = t;
	for (unsigned i = 0; i < u->server_n; i++)
		u->servers[i].tls_name = which % 3 == 0 ? "b.test" : "a.test";
}

static struct generation_options draw_generation(struct simworld *w,
						 struct upstream_view *upstream_views)
{
	struct live_config *live = calloc(1, sizeof(*live));
	struct config *config;

	ASSERT(live);
	live->config = config = simworld_draw_config(w);
	list_init(&live->node);
	list_append(&w->live_configs, &live->node);
	for (unsigned i = 0; i < config->upstream_n; i++) {
		unsigned k = shared_index(w, config->upstreams[i].name);

		secure_upstream(w, live, &config->upstreams[i]);
		if (config->upstreams[i].queue > w->queue_quotas[k].limit)
			w->queue_quotas[k].limit = config->upstreams[i].queue;
		upstream_views[i] = (struct upstream_view){ &w->upstream_stats[k],
							    &w->queue_quotas[k],
							    w->registries[k] };
	}
	return (struct generation_options){ .config = config,
					    .upstream_views = upstream_views,
					    .unused = live_config_free,
					    .owner = live };
}

static void reload_fired(struct timer *timer)
{
	struct simworld *w = CONTAINER(timer, struct simworld, reload);
	struct upstream_view upstream_views[SIMWORLD_SERVICES];
	struct generation_options options = draw_generation(w, upstream_views);
	struct generation *g = generation_new(&w->proxy, &options);

	ASSERT(g);
	w->reloads_n++;
	if (simworld_chance(w, 5)) {
		simworld_log(w, "a configuration is made and dropped");
		generation_drop(&g);
		live_config_free(options.owner);
	} else {
		simworld_log(w, "the configuration changes");
		proxy_adopt(&w->proxy, g);
	}
	if (w->reloads_n < RELOADS)
		timer_set(&w->sim.tick.wheel, timer,
			  w->sim.tick.now_ms + 1 +
				  simworld_draw(w, simworld_chance(w, 2) ? 10 : 300));
}

/* Only the current configuration is left. */
static bool old_configs_freed(const struct simworld *w)
{
	return w->live_configs.next->next == &w->live_configs;
}

static void client_accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct simworld *w = l->owner;

	static struct ip_range all = { { 4, { 0 } }, { 4, { 255, 255, 255, 255 } } };
	static const struct config_addresses anybody = { .range_n = 1, .ranges = &all };

	proxy_accepted(&w->proxy, fd, peer,
		       &(struct accept_settings){ .tls = w->server_context,
						  .proxy_protocol = w->proxied ? &anybody
									       : NULL });
}

/* No idle client is closed to make room: a good client may just be sending its request. */
static const struct listener_events listener_events = {
	.accepted = client_accepted,
};

static const struct config_access_log log_config = { .path = "log",
						     .format = CONFIG_LOG_JSON,
						     .all_routes = true,
						     .sample = CONFIG_SAMPLE_ALL };

static void proxy_open(struct simworld *w)
{
	struct upstream_view upstream_views[SIMWORLD_SERVICES];
	bool scarce = w->faults.scarce;
	uint8_t limits_key[SIPHASH_KEY_BYTES] = { 0 };

	quota_init(&w->client_quota,
		   simworld_chance(w, 2) ? 1 + (uint32_t)simworld_draw(w, 10) : 1000);
	quota_init(&w->descriptors, scarce && simworld_chance(w, 2)
					    ? 1 + (uint32_t)simworld_draw(w, 10)
					    : 1000);
	memcpy(limits_key, &w->seed, sizeof(w->seed));
	ASSERT(limits_init(&w->limits, 64, limits_key));
	for (unsigned i = 0; i < COUNT(w->queue_quotas); i++) {
		char name[8];

		quota_init(&w->queue_quotas[i], 0);
		snprintf(name, sizeof(name), "u%u", i);
		w->registries[i] = registry_new(name, 1, NULL, NULL);
		ASSERT(w->registries[i]);
	}
	ASSERT(access_init(&w->access, &w->sim.tick, &w->stats, &log_config,
			   &w->proxy.random, LOG_FD) == 0);
	ASSERT(proxy_init(&w->proxy,
			  &(struct proxy_options){
				  .tick = &w->sim.tick,
				  .seed = w->seed,
				  .generation = draw_generation(w, upstream_views),
				  .stats = &w->stats,
				  .clients = &w->client_quota,
				  .descriptors = &w->descriptors,
				  .limits = &w->limits,
				  .logs = { 1, { &w->access } },
			  }) == 0);
	listener_start(&w->listener, &w->sim.tick,
		       simrig_listen(&w->sim, SIMWORLD_PROXY_PORT), &w->client_quota,
		       &w->stats, &listener_events, w);
}

/* ---- faults ----------------------------------------------------------------- */

static void drain_fired(struct timer *timer)
{
	struct simworld *w = CONTAINER(timer, struct simworld, drain);

	simworld_log(w, "the proxy drains");
	w->draining = true;
	listener_stop(&w->listener);
	proxy_drain(&w->proxy);
	timer_set(&w->sim.tick.wheel, &w->cut_off,
		  w->sim.tick.now_ms + 1 + simworld_draw(w, 3000));
}

static void cut_off_fired(struct timer *timer)
{
	struct simworld *w = CONTAINER(timer, struct simworld, cut_off);

	simworld_log(w, "the proxy aborts what is left");
	w->cut = true;
	listener_abandon(&w->listener);
	proxy_close(&w->proxy);
}

static void shortage_fired(struct timer *timer)
{
	struct simworld *w = CONTAINER(timer, struct simworld, shortage);

	slab_fail_at(1 + (unsigned)simworld_draw(w, 30));
	timer_set(&w->sim.tick.wheel, timer,
		  w->sim.tick.now_ms + 1 + simworld_draw(w, 100));
}

static void flap_fired(struct timer *timer)
{
	struct simworld *w = CONTAINER(timer, struct simworld, flap);
	unsigned u = (unsigned)simworld_draw(w, w->upstream_n);

	simworld_server_flap(&w->servers[u][simworld_draw(w, w->server_n[u])]);
	timer_set(&w->sim.tick.wheel, timer,
		  w->sim.tick.now_ms + 1 + simworld_draw(w, 200));
}

/* The index of an upstream in the current configuration, by its shared_index(). */
static unsigned config_index(const struct simworld *w, unsigned shared)
{
	const struct config *config = w->proxy.generation->config;
	unsigned i = 0;

	while (shared_index(w, config->upstreams[i].name) != shared)
		i++;
	return i;
}

/* No client may notice: all the addresses used here have a server that listens. */
static void move_upstream(struct simworld *w, unsigned u)
{
	const struct generation *g = w->proxy.generation;
	const struct config_upstream *config = &g->config->upstreams[config_index(w, u)];
	struct upstream *upstream = generation_upstream(g, config_index(w, u));
	unsigned index = (unsigned)simworld_draw(w, config->server_n);
	unsigned other = (unsigned)simworld_draw(w, config->server_n);
	struct config_address a[2] = { config->servers[index].addresses[0],
				       config->servers[other].addresses[0] };

	switch (simworld_draw(w, 4)) {
	case 0:
		ASSERT(upstream_resolved(upstream, index, a,
					 1 + (unsigned)simworld_draw(w, 2)));
		break;
	case 1:
		ASSERT(upstream_resolved(upstream, index, a + 1, 1));
		break;
	case 2:
		upstream_probed(upstream, index, &a[0], simworld_draw(w, 2));
		break;
	case 3:
		ASSERT(upstream_reconfigure(upstream, config));
		break;
	}
}

static void move_cache(struct simworld *w)
{
	const struct generation *g = w->proxy.generation;
	const struct config_upstream *config =
		&g->config->upstreams[config_index(w, w->upstream_n)];
	struct memcache *cache = generation_memcache(g, config_index(w, w->upstream_n));
	unsigned index = (unsigned)simworld_draw(w, config->server_n);
	struct config_upstream one = *config;

	switch (simworld_draw(w, 3)) {
	case 0:
		memcache_resolved(cache, index,
				  config->servers[config->server_n - 1 - index].addresses,
				  1);
		break;
	case 1:
		ASSERT(memcache_reconfigure(cache, config));
		break;
	case 2:
		one.server_n = 1;
		one.servers = &config->servers[index];
		one.pipeline = 1 + (uint32_t)simworld_draw(w, 4);
		ASSERT(memcache_reconfigure(cache, &one));
		break;
	}
}

static void move_fired(struct timer *timer)
{
	struct simworld *w = CONTAINER(timer, struct simworld, move);

	if (w->cache_n > 0 && simworld_chance(w, 4))
		move_cache(w);
	else
		move_upstream(w, (unsigned)simworld_draw(w, w->upstream_n));
	if (w->sim.tick.now_ms / 1000 - w->opened_s < MOVING_S)
		timer_set(&w->sim.tick.wheel, timer,
			  w->sim.tick.now_ms + 1 + simworld_draw(w, 100));
}

static void arm_faults(struct simworld *w)
{
	struct sim_faults faults = { 0 };

	if (w->faults.accept_faults)
		faults.accepts = 2 + (uint32_t)simworld_draw(w, 10);
	if (w->faults.scarce && w->seed % 2)
		faults.connects = 2 + (uint32_t)(w->seed / 2 % 20);
	if (w->faults.late_segments) {
		faults.segments = 2 + (uint32_t)simworld_draw(w, 200);
		faults.late_ms = 1 + (uint32_t)simworld_draw(w, 300);
	}
	sim_set_faults(w->sim.tick.loop, &faults);
	if (w->faults.small_sockets)
		sim_set_socket_bytes(w->sim.tick.loop,
				     64 + (uint32_t)simworld_draw(w, 4000));
	timer_init(&w->drain, drain_fired);
	timer_init(&w->cut_off, cut_off_fired);
	timer_init(&w->shortage, shortage_fired);
	timer_init(&w->reload, reload_fired);
	if (w->faults.reloads)
		timer_set(&w->sim.tick.wheel, &w->reload,
			  w->sim.tick.now_ms + 1 + simworld_draw(w, 500));
	timer_init(&w->flap, flap_fired);
	timer_init(&w->move, move_fired);
	if (w->faults.flaps)
		timer_set(&w->sim.tick.wheel, &w->flap,
			  w->sim.tick.now_ms + 1 + simworld_draw(w, 200));
	if (w->faults.moves)
		timer_set(&w->sim.tick.wheel, &w->move,
			  w->sim.tick.now_ms + 1 + simworld_draw(w, 100));
	if (w->faults.drain)
		timer_set(&w->sim.tick.wheel, &w->drain,
			  w->sim.tick.now_ms + 1 + simworld_draw(w, 500));
	if (w->faults.memory)
		timer_set(&w->sim.tick.wheel, &w->shortage,
			  w->sim.tick.now_ms + 1 + simworld_draw(w, 100));
}

bool simworld_has_library(uint64_t seed)
{
	return hash_mix(~seed) % 64 == 0;
}

static void contexts_open(struct simworld *w)
{
	if (!simworld_has_library(w->seed)) {
		w->server_context = simtls_server_context();
		w->client_context = simtls_client_context();
		w->other_context = simtls_client_context();
		return;
	}
	simcrypto_begin(w->seed, w->sim.tick.loop);
	w->server_context = simcrypto_server_context();
	w->client_context = simcrypto_client_context();
	w->other_context = simcrypto_client_context();
}

unsigned simworld_choice(const struct simworld *w, uint32_t number, unsigned n)
{
	return (unsigned)(hash_mix(w->seed * 1000003 + number) % n);
}

/* What the seed draws otherwise is the same in a run with TLS and in one without. */
static void tls_open(struct simworld *w)
{
	w->secured = w->seed % 3 > 0 || simworld_has_library(w->seed);
	w->proxied = w->seed % 4 == 1;
	if (!w->secured)
		return;
	ASSERT(tls_library_init());
	quota_init(&w->handshakes,
		   w->seed % 5 == 0 ? 1 + (uint32_t)(w->seed / 5 % 4) : 1000);
	ASSERT(tick_use_tls(&w->sim.tick, &w->handshakes,
			    1 + (unsigned)(w->seed / 7 % 3)));
	w->peers = tls_thread_new(io_bufs(w->sim.tick.loop));
	ASSERT(w->peers);
	contexts_open(w);
	w->secured_upstreams = (uint32_t)hash_mix(w->seed) &
			       ((1u << SIMWORLD_SERVICES) - 1);
	w->probed.context = w->client_context;
}

static void tls_close(struct simworld *w)
{
	if (!w->secured)
		return;
	tls_thread_free(w->peers);
	tls_context_unref(w->server_context);
	tls_context_unref(w->client_context);
	tls_context_unref(w->other_context);
	simcrypto_end();
}

static void simworld_open(struct simworld *w)
{
	/* From the seed itself: simrig_open() needs the number of buffers. */
	uint32_t n = (uint32_t)(w->seed / 8);
	uint32_t few = w->seed / 4 % 2 ? 3 + n % 8 : 16 + n % 241;

	w->faults.few_buffers = w->seed % 4 == 1;
	w->faults.same_start = w->seed % 16 == 2;
	w->faults.watched = w->seed % 8 == 3;
	simrig_open(&w->sim, w->seed, w->faults.few_buffers ? few : 4096);
	w->sim.key_updates = true;
	for (unsigned i = 0; i < 8;
	     i++) /* the first numbers of small seeds are similar */
		simrig_draw(&w->sim, 2);
	w->opened_s = w->sim.tick.now_ms / 1000;
	tls_open(w);
	draw_faults(w);
	list_init(&w->origin_conns);
	list_init(&w->live_configs);
	simworld_draw_upstreams(w);
	arm_faults(w);
	simrules_open(w);
	simmirror_open(w);
	proxy_open(w);
	for (unsigned u = 0; u < w->upstream_n; u++)
		for (unsigned i = 0; i < w->server_n[u]; i++)
			simworld_server_open(
				&w->servers[u][i], w, u,
				SIMWORLD_ORIGIN_PORT + SIMWORLD_SERVERS * u + i, false);
	for (unsigned u = 0; w->faults.watched && u < w->upstream_n; u++)
		for (unsigned i = 0; i < w->server_n[u]; i++)
			simworld_server_open(&w->moved[u][i], w, u,
					     w->servers[u][i].port + SIMWORLD_MOVED_PORTS,
					     false);
	if (w->faults.watched)
		w->watch = simworld_watch_open(w);
	for (unsigned i = 0; i < w->cache_n; i++)
		simworld_server_open(&w->caches[i], w, w->upstream_n,
				     SIMWORLD_CACHE_PORT + i, true);
	w->client_n = 1 + (unsigned)simworld_draw(w, SIMWORLD_CLIENTS);
	for (unsigned i = 0; i < w->client_n; i++)
		sim_client_init(&w->clients[i], w, i);
}

/* ---- what must hold at all times -------------------------------------------- */

static void check_requests_max(struct simworld *w, unsigned u)
{
	const struct registry *r = w->registries[u];

	REGISTRY_EACH(r, entry)
		if (w->requests_max[u] > 0 &&
		    registry_record(r, entry, 0)->in_flight > w->requests_max[u])
			simworld_fail(
				w,
				"a server of upstream %u has more requests than its limit",
				u);
}

static void check_limits(struct simworld *w)
{
	if (w->client_quota.used > w->client_quota.limit ||
	    w->descriptors.used > w->descriptors.limit)
		simworld_fail(w, "there are more connections than the quota");
	for (unsigned u = 0; u < w->upstream_n; u++)
		if (w->connections[u] > 0 && !w->faults.moves && !w->faults.watched &&
		    w->upstream_stats[u].connections > w->connections[u] * w->server_n[u])
			simworld_fail(
				w, "upstream %u has more connections than its limit", u);
	for (unsigned u = 0; u < w->upstream_n; u++)
		check_requests_max(w, u);
	if (w->cache_n > 0 && !w->faults.moves &&
	    w->upstream_stats[w->upstream_n].connections > w->links * w->cache_n)
		simworld_fail(w, "the cache has more links than its limit");
	if (w->secured && w->handshakes.used > w->handshakes.limit)
		simworld_fail(w, "there are more handshakes than the quota");
	for (unsigned i = 0; i < COUNT(w->queue_quotas); i++)
		if (w->queue_quotas[i].used > w->queue_quotas[i].limit)
			simworld_fail(w,
				      "the queue of upstream %u is longer than its limit",
				      i);
}

/* However much failed: there were no more retries and hedges than the routes allow. */
static void check_budgets(struct simworld *w)
{
	/* Each configuration begins with a new budget. */
	uint64_t seconds = w->sim.tick.now_ms / 1000 + 2 - w->opened_s + w->reloads_n;

	for (unsigned u = 0; u < w->upstream_n; u++) {
		const struct upstream_stats *s = &w->upstream_stats[u];
		const struct retry_policy *policy = &w->policies[u];
		uint64_t retries = s->retries - s->stale_retries;

		if (retries > w->request_n * (policy->tries > 0 ? policy->tries - 1 : 0))
			simworld_fail(w, "upstream %u has %llu retries", u,
				      (unsigned long long)retries);
		if (s->hedges > (policy->hedged ? w->request_n : 0) ||
		    s->hedges_won > s->hedges)
			simworld_fail(w, "upstream %u has %llu hedges", u,
				      (unsigned long long)s->hedges);
		if (retries >
		    w->request_n * policy->percent / 100 + policy->per_second * seconds)
			simworld_fail(w, "upstream %u has %llu retries, over its budget",
				      u, (unsigned long long)retries);
	}
}

static bool client_may_be_served(const struct simworld *w, const struct client *c)
{
	const struct task *task = c->http1.stream.task;
	const struct exchange *x = task ? CONTAINER(task, const struct exchange, task)
					: NULL;

	return !x || x->relay.status != 0 || w->half_close || c->conn.fd < SOCKET_FIRST ||
	       !io_peer_ended(w->sim.tick.loop, c->conn.fd);
}

/* A client that has left before its response began is dropped soon: no origin works for it, and
 * it waits in no queue. */
static void check_clients_left(struct simworld *w)
{
	uint64_t now_ms = w->sim.tick.now_ms;

	LIST_EACH(&w->proxy.front.all, node) {
		const struct client *c = LIST_ITEM(node, struct client, node);
		uint64_t *since_ms = &w->left_ms[(unsigned)c->conn.fd % SIMWORLD_SOCKETS];

		if (client_may_be_served(w, c))
			*since_ms = 0;
		else if (*since_ms == 0)
			*since_ms = now_ms;
		else if (now_ms - *since_ms > LEFT_MS)
			simworld_fail(w, "a client has left, and its request still runs");
	}
}

/* What a client sends is received as long as there is space for it. */
static void check_receives(struct simworld *w)
{
	LIST_EACH(&w->proxy.front.all, node) {
		const struct conn *c = &LIST_ITEM(node, struct client, node)->conn;

		if (conn_can_receive(c) && !io_busy(&c->recv.op))
			simworld_fail(w, "socket %d has space, and is not received from",
				      c->fd);
	}
}

static bool clients_over(struct simworld *w)
{
	bool over = true;

	check_limits(w);
	check_clients_left(w);
	check_receives(w);
	for (unsigned i = 0; i < w->client_n; i++) {
		sim_client_check_socket(&w->clients[i]);
		over &= w->clients[i].over;
	}
	return over;
}

static bool proxy_gone(struct simworld *w)
{
	check_limits(w);
	return listener_stopped(&w->listener) && proxy_idle(&w->proxy);
}

/* ---- the end ---------------------------------------------------------------- */

static void proxy_end(struct simworld *w)
{
	struct wheel *wheel = &w->sim.tick.wheel;

	timer_stop(wheel, &w->drain);
	timer_stop(wheel, &w->cut_off);
	timer_stop(wheel, &w->shortage);
	timer_stop(wheel, &w->reload);
	timer_stop(wheel, &w->flap);
	timer_stop(wheel, &w->move);
	slab_fail_at(0);
	/* An exchange that waits for a slow origin keeps the configuration it began with. */
	if (!w->cut &&
	    !SIMRIG_REACHED(&w->sim, old_configs_freed(w) || w->proxy.exchanges.taken > 0,
			    2 * GRACE_MS))
		simworld_fail(w, "an old configuration is still in use");
	listener_stop(&w->listener);
	proxy_drain(&w->proxy);
	if (!SIMRIG_REACHED(&w->sim, proxy_gone(w), GRACE_MS)) {
		listener_abandon(&w->listener);
		proxy_close(&w->proxy);
		if (!SIMRIG_REACHED(&w->sim, proxy_gone(w), GRACE_MS))
			simworld_fail(w, "the proxy does not end");
	}
}

static void watch_end(struct simworld *w)
{
	if (!w->watch)
		return;
	simworld_watch_stop(w->watch);
	if (!SIMRIG_REACHED(&w->sim, simworld_watch_idle(w->watch), GRACE_MS))
		simworld_fail(w, "the resolver or the prober does not end");
}

static void check_stats(struct simworld *w)
{
	assert_int_equal(w->client_quota.used, 0);
	assert_int_equal(w->descriptors.used, 0);
	for (unsigned i = 0; i < COUNT(w->queue_quotas); i++) {
		assert_int_equal(w->queue_quotas[i].used, 0);
		assert_int_equal(w->upstream_stats[i].connections, 0);
		assert_int_equal(w->upstream_stats[i].connections_idle, 0);
		assert_int_equal(w->upstream_stats[i].waiting, 0);
		REGISTRY_EACH(w->registries[i], entry) {
			assert_int_equal(entry->permits_used, 0);
			assert_int_equal(
				registry_record(w->registries[i], entry, 0)->in_flight,
				0);
		}
	}
	assert_int_equal(w->handshakes.used, 0);
	assert_int_equal(w->sim.tick.handshakes.stats.shaking, 0);
	assert_int_equal(w->sim.tick.secures.taken, 0);
	assert_int_equal(w->sim.tick.flights.taken, 0);
	assert_int_equal(w->stats.connections, 0);
	assert_int_equal(w->stats.connections_idle, 0);
	assert_int_equal(w->stats.requests_in_flight, 0);
}

/* Whatever became of the requests: none is counted as in flight. */
static void check_counts(struct simworld *w)
{
	const struct limit_table *counts = &w->limits.counts;

	for (size_t i = 0; i < (size_t)counts->lines * LIMIT_LINE; i++)
		assert_int_equal(counts->words[i], 0);
}

static void hash_access_log(struct simworld *w)
{
	struct slice s = { NULL, 0 };

	s.ptr = sim_written(w->sim.tick.loop, LOG_FD, &s.len);
	simworld_hash_bytes(w, s);
}

static void simworld_close(struct simworld *w)
{
	struct tick *tick = &w->sim.tick;

	proxy_end(w);
	watch_end(w);
	for (unsigned i = 0; i < w->client_n; i++)
		sim_client_end(&w->clients[i]);
	hash_access_log(w);
	simworld_servers_close(w);
	simrig_close_peers(&w->sim);
	check_stats(w);
	simmirror_check(w);
	check_budgets(w);
	proxy_done(&w->proxy);
	simrules_close(w);
	check_counts(w);
	limits_done(&w->limits);
	for (unsigned i = 0; i < COUNT(w->registries); i++)
		registry_free(w->registries[i]);
	access_done(&w->access);
	simrig_assert_buffers(&w->sim);
	if (tick->wheel.armed != timer_armed(&tick->trim))
		simworld_fail(w, "%u timers are still set", tick->wheel.armed);
	simrig_close(&w->sim);
	tls_close(w);
	if (w->watch)
		simworld_watch_free(w->watch);
	while (!list_empty(&w->live_configs))
		live_config_free(
			LIST_ITEM(w->live_configs.next, struct live_config, node));
}

uint64_t simworld_run(uint64_t seed, bool verbose, uint64_t *exchanges)
{
	struct simworld *w = calloc(1, sizeof(*w));
	uint64_t hash;

	ASSERT(w);
	w->seed = seed;
	w->verbose = verbose;
	simworld_open(w);
	if (!SIMRIG_REACHED(&w->sim, clients_over(w), RUN_MS))
		for (unsigned i = 0; i < w->client_n; i++)
			if (!w->clients[i].over)
				sim_client_fail_stuck(&w->clients[i]);
	*exchanges += w->stats.requests;
	simworld_close(w);
	hash = w->hash;
	free(w);
	return hash;
}
