#include "proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "desk.h"
#include "exchange.h"
#include "join.h"
#include "tries.h"

/* How long a connection that ends is listened to, so that its peer sees the answer. */
#define LINGER_MS 5000

/* When those who wait for a descriptor look again. */
#define DESCRIPTORS_MS 8

int ending_status(enum ending e)
{
	static const int statuses[] = {
#define ENDING(name, status, proxy_error, text) status,
#include "proxy/ending.def"
#undef ENDING
	};

	return statuses[e];
}

const char *ending_proxy_error(enum ending e)
{
	static const char *const errors[] = {
#define ENDING(name, status, proxy_error, text) proxy_error,
#include "proxy/ending.def"
#undef ENDING
	};

	return errors[e];
}

const char *ending_text(enum ending e)
{
	static const char *const texts[] = {
#define ENDING(name, status, proxy_error, text) text,
#include "proxy/ending.def"
#undef ENDING
	};

	return texts[e];
}

struct slice proxy_date(struct proxy *p)
{
	uint64_t second = p->tick->wall_ms / 1000;

	if (p->date_s != second) {
		p->date_s = second;
		emit_date(p->date, p->tick->wall_ms);
	}
	return (struct slice){ p->date, EMIT_DATE_MAX - 1 };
}

static void call_answered(struct memcache_call *call)
{
	struct fetch *f = call->owner;

	tick_run(f->proxy->tick, f->asker);
}

/* An inbox here and an outbox there make one direction. Buffers are charged whole: a head
 * that drips in needs room for itself and for the buffers that its next bytes come in. */
static uint32_t conn_window(const struct config_limits *l)
{
	uint32_t least = l->request_head + 2 * BUF_BYTES;

	return l->window / 2 > least ? l->window / 2 : least;
}

static void init_front(struct proxy *p, const struct proxy_options *o)
{
	const struct config_limits *l = &p->config->limits;
	struct front *f = &p->front;

	f->tick = p->tick;
	f->events = &exchange_client_events;
	f->owner = p;
	f->limits = (struct head_limits){ l->request_head, l->headers };
	f->timeouts = (struct client_timeouts){ l->header_timeout_ms, l->idle_timeout_ms,
						l->send_timeout_ms, l->receive_timeout_ms };
	f->window = conn_window(l);
	f->linger_ms = LINGER_MS;
	f->quota = o->clients;
	f->stats = o->stats;
	f->scratch = &p->request;
	front_init(f);
}

/* ---- descriptors ---------------------------------------------------------- */

bool proxy_evict(struct proxy *p)
{
	for (unsigned i = 0; i < p->config->upstream_n; i++) {
		unsigned k = p->evict_next++ % p->config->upstream_n;

		if (p->upstreams[k] ? upstream_evict(p->upstreams[k]) :
				      memcache_evict(p->memcaches[k]))
			return true;
	}
	return false;
}

/* Idle connections count as used, wherever they are: one of them gives way to whoever waits.
 * It is gone at the end of the tick, or of another worker's: the line looks again soon. */
static void short_of_descriptors(void *owner, uint32_t n)
{
	struct proxy *p = owner;

	while (n > 0 && proxy_evict(p))
		n--;
	if (n > 0 && p->ask_others)
		p->ask_others(p->owner, n);
	if (!timer_armed(&p->descriptors))
		timer_set(&p->tick->wheel, &p->descriptors, p->tick->now_ms + DESCRIPTORS_MS);
}

static void descriptors_expired(struct timer *t)
{
	struct proxy *p = CONTAINER(t, struct proxy, descriptors);

	/* Who still waits asks anew. */
	atomic_store(&p->descriptor_quota->wanted, 0);
	for (unsigned i = 0; i < p->config->upstream_n; i++) {
		if (p->upstreams[i])
			upstream_serve(p->upstreams[i]);
		else
			memcache_serve(p->memcaches[i]);
	}
}

/* --------------------------------------------------------------------------- */

static bool open_upstream(struct proxy *p, const struct proxy_options *o, unsigned i)
{
	const struct config_upstream *u = &p->config->upstreams[i];

	if (u->protocol == CONFIG_HTTP) {
		p->upstreams[i] = upstream_new(&(struct upstream_options){
			.tick = p->tick,
			.config = u,
			.stats = &o->upstream_stats[i],
			.descriptors = o->descriptors,
			.line = &o->lines[i],
			.roster = o->rosters ? o->rosters[i] : NULL,
			.worker = o->rosters ? o->worker : 0,
			.short_of_descriptors = short_of_descriptors,
			.owner = p,
			.window = conn_window(&p->config->limits),
			.idle_timeout_ms = p->config->limits.idle_timeout_ms,
		});
		return p->upstreams[i] != NULL;
	}
	p->memcaches[i] = memcache_new(&(struct memcache_options){
		.tick = p->tick,
		.upstream = u,
		.stats = &o->upstream_stats[i],
		.descriptors = o->descriptors,
		.line = &o->lines[i],
		.roster = o->rosters ? o->rosters[i] : NULL,
		.worker = o->rosters ? o->worker : 0,
		.short_of_descriptors = short_of_descriptors,
		.owner = p,
		.answered = call_answered,
	});
	return p->memcaches[i] != NULL;
}

int proxy_init(struct proxy *p, const struct proxy_options *o)
{
	memset(p, 0, sizeof(*p));
	p->tick = o->tick;
	p->config = o->config;
	p->stats = o->stats;
	p->access = o->access;
	p->pool = o->pool;
	p->descriptor_quota = o->descriptors;
	p->ask_others = o->ask_others;
	p->owner = o->owner;
	timer_init(&p->descriptors, descriptors_expired);
	slab_init(&p->exchanges, "exchange", sizeof(struct exchange), 0);
	slab_init(&p->fetches, "fetch", sizeof(struct fetch), 0);
	slab_init(&p->tries, "tries", sizeof(struct tries), 0);
	slab_init(&p->joins, "join", join_size(), 0);
	slab_init(&p->jobs, "job", sizeof(struct job), 0);
	init_front(p, o);
	p->path_scratch = malloc(2 * (size_t)p->config->limits.request_head);
	p->upstreams = calloc(p->config->upstream_n + 1, sizeof(p->upstreams[0]));
	p->memcaches = calloc(p->config->upstream_n + 1, sizeof(p->memcaches[0]));
	p->desk = desk_new(p->config, p->tick->now_us);
	if (!p->path_scratch || !p->upstreams || !p->memcaches || !p->desk)
		return -ENOMEM;
	for (unsigned i = 0; i < p->config->upstream_n; i++)
		if (!open_upstream(p, o, i))
			return -ENOMEM;
	return 0;
}

void proxy_accepted(struct proxy *p, int fd, const struct peer *peer)
{
	client_open(&p->front, fd, peer);
}

static void close_back(struct proxy *p)
{
	for (unsigned i = 0; i < p->config->upstream_n; i++) {
		if (p->upstreams[i])
			upstream_close(p->upstreams[i]);
		else
			memcache_close(p->memcaches[i]);
	}
}

void proxy_drain(struct proxy *p)
{
	front_drain(&p->front);
}

void proxy_close(struct proxy *p)
{
	front_close(&p->front);
}

bool proxy_idle(struct proxy *p)
{
	if (!front_idle(&p->front))
		return false;
	close_back(p);
	for (unsigned i = 0; i < p->config->upstream_n; i++)
		if (p->upstreams[i] ? !upstream_idle(p->upstreams[i]) :
				      !memcache_idle(p->memcaches[i]))
			return false;
	if (p->jobs.taken > 0)
		return false;
	if (!p->access)
		return true;
	access_flush(p->access);
	return access_idle(p->access);
}

void proxy_done(struct proxy *p)
{
	timer_stop(&p->tick->wheel, &p->descriptors);
	for (unsigned i = 0; i < p->config->upstream_n; i++) {
		if (p->upstreams[i])
			upstream_free(p->upstreams[i]);
		else if (p->memcaches[i])
			memcache_free(p->memcaches[i]);
	}
	free(p->upstreams);
	free(p->memcaches);
	free(p->path_scratch);
	desk_free(p->desk);
	front_done(&p->front);
	slab_done(&p->exchanges);
	slab_done(&p->fetches);
	slab_done(&p->tries);
	slab_done(&p->joins);
	slab_done(&p->jobs);
}

void proxy_trim(struct proxy *p)
{
	slab_trim(&p->front.clients);
	slab_trim(&p->exchanges);
	slab_trim(&p->fetches);
	slab_trim(&p->tries);
	slab_trim(&p->joins);
	slab_trim(&p->jobs);
	for (unsigned i = 0; i < p->config->upstream_n; i++) {
		if (p->upstreams[i])
			upstream_trim(p->upstreams[i]);
		else
			memcache_trim(p->memcaches[i]);
	}
}
