#include "proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/action.h"
#include "proxy/addresses.h"
#include "proxy/logrecord.h"
#include "proxy/rule.h"
#include "proxy/value.h"
#include "retry.h"
#include "retrystate.h"
#include "service.h"

/* Lingering close: how long a client is read from after its last response, so that it can read
 * that. */
#define LINGER_MS 5000

/* Pause until connects that lacked a descriptor are tried again. */
#define DESCRIPTOR_RETRY_MS 8

/* Pause until closing services are looked at again. */
#define SWEEP_MS 20

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
		date_text(p->date, p->tick->wall_ms);
	}
	return (struct slice){ p->date, DATE_TEXT_MAX - 1 };
}

/* Bytes of one inbox or outbox. One direction uses two, one of each connection: hence half
 * of limits.window. Buffers are charged whole, so a head that arrives in small pieces needs
 * space for itself and for the buffers that its next bytes arrive in. */
static uint32_t conn_window(const struct config_limits *l)
{
	uint32_t least = l->request_head + 2 * BUF_BYTES;

	return l->window / 2 > least ? l->window / 2 : least;
}

static void init_front(struct proxy *p, const struct proxy_options *o)
{
	struct front *f = &p->front;

	f->tick = p->tick;
	f->events = &exchange_client_events;
	f->owner = p;
	f->linger_ms = LINGER_MS;
	f->quota = o->clients;
	f->stats = o->stats;
	f->scratch = &p->request;
	http2_thread_init(&p->http2, io_bufs(p->tick->loop));
	f->http2 = &p->http2;
	front_init(f);
}

/* ---- descriptors ---------------------------------------------------------- */

/* Services are evicted from round robin. */
bool proxy_evict_origin(struct proxy *p)
{
	LIST_EACH(&p->services, node) {
		if (!service_evict(LIST_ITEM(node, struct service, node)))
			continue;
		list_remove(node);
		list_append(&p->services, node);
		return true;
	}
	return false;
}

/* n connects wait for a descriptor: closes idle connections, which count in the quota, on
 * any worker. They are closed at the end of the tick, or of another worker's, so the queues
 * are served again a little later. */
static void short_of_descriptors(void *owner, uint32_t n)
{
	struct proxy *p = owner;

	while (n > 0 && proxy_evict_origin(p))
		n--;
	if (n > 0 && p->evict_elsewhere)
		p->evict_elsewhere(p->owner, n);
	if (!timer_armed(&p->descriptor_timer))
		timer_set(&p->tick->wheel, &p->descriptor_timer,
			  p->tick->now_ms + DESCRIPTOR_RETRY_MS);
}

static void descriptor_timer_fired(struct timer *t)
{
	struct proxy *p = CONTAINER(t, struct proxy, descriptor_timer);

	/* Connects that still lack a descriptor raise it again. */
	atomic_store(&p->descriptor_quota->wanted, 0);
	LIST_EACH(&p->services, node)
		service_dispatch(LIST_ITEM(node, struct service, node));
}

/* ---- generations ---------------------------------------------------------- */

struct upstream *proxy_open_upstream(struct proxy *p, const struct config *config,
				     const struct config_upstream *u,
				     const struct upstream_view *upstream_view)
{
	return upstream_new(&(struct upstream_options){
		.tick = p->tick,
		.config = u,
		.stats = upstream_view->stats,
		.descriptors = p->descriptor_quota,
		.queue_quota = upstream_view->queue,
		.registry = upstream_view->registry,
		.origins = &p->origins,
		.worker = upstream_view->registry ? p->worker : 0,
		.short_of_descriptors = short_of_descriptors,
		.owner = p,
		.window = conn_window(&config->limits),
	});
}

struct memcache *proxy_open_memcache(struct proxy *p, const struct config_upstream *u,
				     const struct upstream_view *upstream_view)
{
	return memcache_new(&(struct memcache_options){
		.tick = p->tick,
		.upstream = u,
		.stats = upstream_view->stats,
		.descriptors = p->descriptor_quota,
		.queue_quota = upstream_view->queue,
		.registry = upstream_view->registry,
		.worker = upstream_view->registry ? p->worker : 0,
		.short_of_descriptors = short_of_descriptors,
		.owner = p,
		.done = value_call_completed,
	});
}

/* Applies to open connections as well: a head as large as now allowed must fit, and whether
 * their peers are trusted is decided anew. Their windows are never reduced. */
static void apply_limits(struct proxy *p)
{
	const struct config_limits *l = &p->generation->config->limits;
	struct front *f = &p->front;

	f->limits = p->generation->head_limits;
	f->timeouts = (struct client_timeouts){ l->header_timeout_ms, l->idle_timeout_ms,
						l->send_timeout_ms, l->receive_timeout_ms,
						l->min_send_rate };
	f->handshake_ms = l->handshake_timeout_ms;
	p->tick->handshakes.steps_max = l->handshake_steps;
	f->window = conn_window(l);
	f->http2_limits = (struct h2_limits){
		.streams = 100,
		.window = 65535,
		.connection_window = 1u << 20,
		.resets = 100,
		.oddities = 1000,
		.queued = f->window,
		.heads = &f->limits,
	};
	LIST_EACH(&f->all, node) {
		struct client *c = LIST_ITEM(node, struct client, node);

		c->trust_known = false;
		if (c->conn.window < f->window)
			c->conn.window = f->window;
	}
	LIST_EACH(&p->services, node)
		if (LIST_ITEM(node, struct service, node)->upstream)
			upstream_set_window(LIST_ITEM(node, struct service, node)->upstream,
					    f->window);
}

void proxy_adopt(struct proxy *p, struct generation *g)
{
	struct generation *previous = p->generation;

	p->generation = g;
	generation_activate(g);
	apply_limits(p);
	exporter_configure(&p->exporter);
	if (previous)
		generation_put(previous);
}

void proxy_change_logs(struct proxy *p, const struct access_set *logs)
{
	p->logs = *logs;
}

static void sweep(struct task *task)
{
	struct proxy *p = CONTAINER(task, struct proxy, sweeper);

	if (!generations_sweep(p) && !timer_armed(&p->sweep))
		timer_set(&p->tick->wheel, &p->sweep, p->tick->now_ms + SWEEP_MS);
}

static void sweep_again(struct timer *t)
{
	struct proxy *p = CONTAINER(t, struct proxy, sweep);

	tick_run(p->tick, &p->sweeper);
}

/* --------------------------------------------------------------------------- */

int proxy_init(struct proxy *p, const struct proxy_options *o)
{
	struct generation *first;

	memset(p, 0, sizeof(*p));
	p->tick = o->tick;
	p->stats = o->stats;
	p->logs = o->logs;
	p->descriptor_quota = o->descriptors;
	p->limits = o->limits;
	p->route_phases = o->route_phases;
	p->evict_elsewhere = o->evict_elsewhere;
	p->owner = o->owner;
	p->worker = o->worker;
	list_init(&p->generations);
	list_init(&p->services);
	task_init(&p->sweeper, sweep);
	timer_init(&p->sweep, sweep_again);
	timer_init(&p->descriptor_timer, descriptor_timer_fired);
	slab_init(&p->exchanges, "exchange", sizeof(struct exchange), 0);
	slab_init(&p->fetches, "fetch", sizeof(struct fetch), 0);
	slab_init(&p->attempts, "attempt", sizeof(struct attempt), 0);
	slab_init(&p->retries, "retry", sizeof(struct retry), 0);
	slab_init(&p->values, "value", sizeof(struct value), 0);
	slab_init(&p->records, "record", sizeof(struct log_record), 0);
	random_init(&p->random, o->seed);
	action_works_init(p);
	rule_works_init(p);
	slab_init(&p->origins, "origin", sizeof(struct origin), 0);
	slab_init(&p->budgets, "budget", sizeof(struct budget), 0);
	slab_init(&p->latencies, "latency", sizeof(struct latency), 0);
	exporter_init(&p->exporter, p);
	init_front(p, o);
	first = generation_new(p, &o->generation);
	if (!first)
		return -ENOMEM;
	proxy_adopt(p, first);
	return 0;
}

void proxy_accepted(struct proxy *p, int fd, const struct peer *peer,
		    const struct accept_settings *settings)
{
	struct client *c = client_open(&p->front, fd, peer);

	if (!c)
		return;
	c->paths_strict = settings->paths_strict;
	c->http2_allowed = settings->http2;
	if (settings->proxy_protocol && addresses_contain(settings->proxy_protocol, peer))
		client_await_proxy_header(c);
	if (settings->tls)
		client_secure(c, settings->tls);
}

bool proxy_evict_client(struct proxy *p)
{
	return front_evict_idle(&p->front);
}

void proxy_drain(struct proxy *p)
{
	front_drain(&p->front);
}

void proxy_drain_gracefully(struct proxy *p)
{
	front_drain_gracefully(&p->front);
}

void proxy_close(struct proxy *p)
{
	front_close(&p->front);
	exporter_abandon(&p->exporter);
	rules_abandon(p);
}

bool proxy_idle(struct proxy *p)
{
	bool idle = true;

	if (!front_empty(&p->front))
		return false;
	rules_abandon(p);
	if (!exporter_drain(&p->exporter))
		return false;
	LIST_EACH(&p->services, node) {
		struct service *s = LIST_ITEM(node, struct service, node);

		service_close(s);
		idle &= service_idle(s);
	}
	if (!idle || !action_works_idle(p) || !rule_works_idle(p))
		return false;
	for (unsigned i = 0; i < p->logs.n; i++) {
		if (!p->logs.all[i])
			continue;
		access_flush(p->logs.all[i]);
		idle &= access_idle(p->logs.all[i]);
	}
	return idle;
}

void proxy_done(struct proxy *p)
{
	timer_stop(&p->tick->wheel, &p->descriptor_timer);
	timer_stop(&p->tick->wheel, &p->sweep);
	task_stop(&p->sweeper);
	exporter_done(&p->exporter);
	generations_done(p);
	front_done(&p->front);
	slab_done(&p->exchanges);
	slab_done(&p->fetches);
	slab_done(&p->attempts);
	slab_done(&p->retries);
	slab_done(&p->values);
	slab_done(&p->records);
	http2_thread_done(&p->http2);
	action_works_done(p);
	rule_works_done(p);
	slab_done(&p->origins);
	slab_done(&p->budgets);
	slab_done(&p->latencies);
	names_done(&p->by_name);
}

void proxy_trim(struct proxy *p)
{
	slab_trim(&p->front.clients);
	http2_thread_trim(&p->http2);
	slab_trim(&p->exchanges);
	slab_trim(&p->fetches);
	slab_trim(&p->attempts);
	slab_trim(&p->retries);
	slab_trim(&p->values);
	slab_trim(&p->records);
	action_works_trim(p);
	rule_works_trim(p);
	slab_trim(&p->origins);
	slab_trim(&p->budgets);
	slab_trim(&p->latencies);
	slab_trim(&p->exporter.batches);
	LIST_EACH(&p->services, node)
		service_trim(LIST_ITEM(node, struct service, node));
}

/* ---- results of the control thread ----------------------------------------- */

bool proxy_resolved(struct proxy *p, const struct config *config, unsigned upstream,
		    unsigned server, const struct config_address *addresses, unsigned n)
{
	struct generation *g = p->generation;

	if (g->config != config)
		return true;
	if (generation_upstream(g, upstream))
		return upstream_resolved(generation_upstream(g, upstream), server, addresses, n);
	memcache_resolved(generation_memcache(g, upstream), server, addresses, n);
	return true;
}

void proxy_ordered(struct proxy *p)
{
	LIST_EACH(&p->services, node) {
		struct service *s = LIST_ITEM(node, struct service, node);

		if (s->upstream)
			upstream_ordered(s->upstream);
		if (s->memcache)
			memcache_ordered(s->memcache);
	}
}

void proxy_probed(struct proxy *p, const struct config *config, unsigned upstream,
		  unsigned server, const struct config_address *address, bool up)
{
	struct generation *g = p->generation;

	if (g->config != config)
		return;
	if (generation_upstream(g, upstream))
		upstream_probed(generation_upstream(g, upstream), server, address, up);
	else
		memcache_probed(generation_memcache(g, upstream), server, address, up);
}
