#include "run/worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/reserve.h"
#include "logfile.h"
#include "loops.h"

/* Between the last close of idle clients and the end of all others: their ends are on the way. */
#define FAREWELL_MS 250

static void worker_accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct worker *w = l->owner;

	proxy_accepted(&w->proxy, fd, peer,
		       &CONTAINER(l, struct worker_listener, listener)->settings);
}

static bool evict_client(struct listener *l);

static const struct listener_events listener_events = { worker_accepted, evict_client };

/* ---- listeners -------------------------------------------------------------- */

static void worker_listeners_sweep(struct worker *w)
{
	LIST_EACH(&w->listeners, node) {
		struct worker_listener *wl = LIST_ITEM(node, struct worker_listener,
						       node);

		if (!listener_stopped(&wl->listener))
			continue;
		list_remove(&wl->node);
		tls_context_unref(wl->settings.tls);
		free(wl);
	}
}

static void worker_listeners_open(struct worker *w, struct worker_config *wc)
{
	struct list *node;

	while ((node = list_pop(&wc->listeners))) {
		struct worker_listener *wl = LIST_ITEM(node, struct worker_listener,
						       node);

		list_append(&w->listeners, &wl->node);
		listener_start(&wl->listener, &w->tick, wl->fd, &w->shared->clients,
			       &w->stats, &listener_events, w);
		if (w->draining)
			listener_stop(&wl->listener);
	}
}

/* Takes over the settings of their addresses in this version. */
static void worker_listeners_update(struct worker *w,
				    const struct config_version *version)
{
	LIST_EACH(&w->listeners, node) {
		struct worker_listener *wl = LIST_ITEM(node, struct worker_listener,
						       node);

		config_version_settings(version, wl->number, &wl->settings);
	}
}

/* Stops listeners whose address this version does not keep. */
static void worker_listeners_close(struct worker *w, const struct config_version *version)
{
	LIST_EACH(&w->listeners, node) {
		struct worker_listener *wl = LIST_ITEM(node, struct worker_listener,
						       node);

		if (!config_version_keeps_address(version, wl->number))
			listener_stop(&wl->listener);
	}
}

static void worker_trim(struct tick *t)
{
	struct worker *w = CONTAINER(t, struct worker, tick);

	worker_listeners_sweep(w);
	log_files_sweep(w);
	proxy_trim(&w->proxy);
}

/* ---- reload ----------------------------------------------------------------- */

static void report_released(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, released);

	wc->worker->shared->released(wc);
}

/* On the worker's thread. */
static void generation_released(void *owner)
{
	struct worker_config *wc = owner;

	wc->released.deliver = report_released;
	mailbox_post(wc->worker->shared->control, &wc->released);
}

static struct generation_options generation_of(struct worker_config *wc)
{
	return (struct generation_options){
		.config = wc->config_version->config,
		.upstream_views = wc->upstream_views,
		.route_slots = wc->config_version->route_slots,
		.unused = generation_released,
		.owner = wc,
	};
}

static void report_prepared(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, message);

	wc->worker->shared->prepared(wc);
}

static void report_settled(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, message);

	wc->worker->shared->settled(wc);
}

static void report_config(struct worker_config *wc, void (*deliver)(struct mail *m))
{
	wc->message.deliver = deliver;
	mailbox_post(wc->worker->shared->control, &wc->message);
}

static void worker_config_prepare(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, message);
	struct generation_options options = generation_of(wc);

	log_files_sweep(wc->worker);
	wc->error = log_files_open(wc->worker, wc);
	if (wc->error == 0)
		wc->generation = generation_new(&wc->worker->proxy, &options);
	if (wc->error == 0 && !wc->generation)
		wc->error = -ENOMEM;
	report_config(wc, report_prepared);
}

/* Requests that begin after this message use the new generation. */
static void worker_config_adopt(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, message);
	struct worker *w = wc->worker;
	struct generation *g = wc->generation;

	wc->generation = NULL;
	worker_listeners_close(w, wc->config_version);
	worker_listeners_open(w, wc);
	worker_listeners_update(w, wc->config_version);
	log_files_switch(w, wc);
	proxy_adopt(&w->proxy, g);
	report_config(wc, report_settled);
}

static void worker_config_drop(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, message);

	if (wc->generation)
		generation_drop(&wc->generation);
	log_files_drop(wc);
	report_config(wc, report_settled);
}

static void worker_config_post(struct worker_config *wc, void (*deliver)(struct mail *m))
{
	wc->message.deliver = deliver;
	mailbox_post(&wc->worker->tick.mailbox, &wc->message);
}

void worker_prepare(struct worker_config *wc)
{
	worker_config_post(wc, worker_config_prepare);
}

void worker_adopt(struct worker_config *wc)
{
	worker_config_post(wc, worker_config_adopt);
}

void worker_drop(struct worker_config *wc)
{
	worker_config_post(wc, worker_config_drop);
}

static void report_flushed(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, released);

	wc->worker->shared->flushed(wc);
}

static void worker_config_flush(struct mail *m)
{
	struct worker_config *wc = CONTAINER(m, struct worker_config, released);

	wc->released.deliver = report_flushed;
	mailbox_post(wc->worker->shared->control, &wc->released);
}

void worker_flush(struct worker_config *wc)
{
	wc->released.deliver = worker_config_flush;
	mailbox_post(&wc->worker->tick.mailbox, &wc->released);
}

/* ---- the end, and descriptors ----------------------------------------------- */

/* A graceful drain has left idle clients open: now they close, with close_notify if they have TLS,
 * before what is left is aborted. */
static void drain_expired(struct timer *t)
{
	struct worker *w = CONTAINER(t, struct worker, drain_timer);

	if (w->graceful) {
		w->graceful = false;
		proxy_drain(&w->proxy);
		timer_set(&w->tick.wheel, t, w->tick.now_ms + 1 + FAREWELL_MS);
		return;
	}
	LIST_EACH(&w->listeners, node)
		listener_abandon(
			&LIST_ITEM(node, struct worker_listener, node)->listener);
	proxy_close(&w->proxy);
}

/* On the worker's thread. */
static void drain(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, drain_wanted);
	const struct config_limits *l = &w->proxy.generation->config->limits;

	w->draining = true;
	LIST_EACH(&w->listeners, node)
		listener_stop(&LIST_ITEM(node, struct worker_listener, node)->listener);
	if (w->graceful)
		proxy_drain_gracefully(&w->proxy);
	else
		proxy_drain(&w->proxy);
	timer_set(&w->tick.wheel, &w->drain_timer,
		  w->tick.now_ms + 1 +
			  (w->graceful ? l->upgrade_timeout_ms : l->drain_timeout_ms));
}

void worker_drain(struct worker *w, bool graceful)
{
	w->graceful = graceful;
	w->drain_wanted.deliver = drain;
	mailbox_post(&w->tick.mailbox, &w->drain_wanted);
}

/* On the worker's thread. */
static void shorten_drain(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, shorten_wanted);
	uint64_t end_ms = w->tick.now_ms + 1 +
			  w->proxy.generation->config->limits.drain_timeout_ms;

	w->graceful = false;
	proxy_drain(&w->proxy);
	if (timer_armed(&w->drain_timer) && end_ms < w->drain_timer.deadline_ms)
		timer_set(&w->tick.wheel, &w->drain_timer, end_ms);
}

void worker_shorten_drain(struct worker *w)
{
	w->shorten_wanted.deliver = shorten_drain;
	mailbox_post(&w->tick.mailbox, &w->shorten_wanted);
}

/* On the worker's thread. */
static void rearm_listeners(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, rearm_wanted);

	atomic_store(&w->rearm_posted, false);
	LIST_EACH(&w->listeners, node)
		listener_rearm(&LIST_ITEM(node, struct worker_listener, node)->listener);
}

void worker_rearm(struct worker *w)
{
	if (atomic_exchange(&w->rearm_posted, true))
		return;
	w->rearm_wanted.deliver = rearm_listeners;
	mailbox_post(&w->tick.mailbox, &w->rearm_wanted);
}

/* On the worker that may have idle origin connections. */
static void evict_origins(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, evict_wanted);
	uint32_t n;

	atomic_store(&w->evict_posted, false);
	n = atomic_exchange(&w->shared->descriptors.wanted, 0);
	while (n > 0 && proxy_evict_origin(&w->proxy))
		n--;
	if (n > 0)
		atomic_fetch_add(&w->shared->descriptors.wanted, n);
}

/* On the worker that needs descriptors. */
static void evict_elsewhere(void *owner, uint32_t n)
{
	struct worker *w = owner;
	struct workers *s = w->shared;

	atomic_fetch_add(&s->descriptors.wanted, n);
	for (unsigned i = 0; i < s->options->workers; i++) {
		struct worker *other = &s->all[i];

		if (other != w && atomic_load(&other->ready) &&
		    !atomic_exchange(&other->evict_posted, true)) {
			other->evict_wanted.deliver = evict_origins;
			mailbox_post(&other->tick.mailbox, &other->evict_wanted);
		}
	}
}

/* On the worker that may have idle client connections. */
static void evict_clients(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, client_evict_wanted);
	uint32_t n;

	atomic_store(&w->client_evict_posted, false);
	n = atomic_exchange(&w->shared->clients.wanted, 0);
	while (n > 0 && proxy_evict_client(&w->proxy))
		n--;
	if (n > 0)
		atomic_fetch_add(&w->shared->clients.wanted, n);
}

/* The limit of clients counts all workers: without an idle client of its own, a worker
 * asks the others to evict one. Returns true if one was closed here. */
static bool evict_client(struct listener *l)
{
	struct worker *w = l->owner;
	struct workers *s = w->shared;

	if (proxy_evict_client(&w->proxy))
		return true;
	atomic_store(&s->clients.wanted, 1);
	for (unsigned i = 0; i < s->options->workers; i++) {
		struct worker *other = &s->all[i];

		if (other != w && atomic_load(&other->ready) &&
		    !atomic_exchange(&other->client_evict_posted, true)) {
			other->client_evict_wanted.deliver = evict_clients;
			mailbox_post(&other->tick.mailbox, &other->client_evict_wanted);
		}
	}
	return false;
}

static bool is_drained(struct worker *w)
{
	if (!w->draining)
		return false;
	worker_listeners_sweep(w);
	return list_empty(&w->listeners) && proxy_idle(&w->proxy) && log_files_sweep(w);
}

static void report_started(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, started);

	w->shared->started(w);
}

static void report_ended(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, ended);

	w->shared->ended(w);
}

static int open_proxy(struct worker *w)
{
	struct workers *s = w->shared;
	int error = log_files_open(w, w->first_config);
	uint64_t seed;

	if (error < 0)
		return error;
	w->logs = w->first_config->access;
	w->first_config->access = (struct access_set){ 0 };
	/* On failure the ids of other processes are merely less unlikely to be the same. */
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = w->tick.now_us + w->index;
	return proxy_init(&w->proxy, &(struct proxy_options){
					     .tick = &w->tick,
					     .seed = seed,
					     .generation = generation_of(w->first_config),
					     .stats = &w->stats,
					     .clients = &s->clients,
					     .descriptors = &s->descriptors,
					     .limits = &s->limits,
					     .route_phases = &s->config_versions->phases->routes,
					     .worker = w->index,
					     .logs = w->logs,
					     .evict_elsewhere = evict_elsewhere,
					     .owner = w,
				     });
}

/* Its loop is open. */
static int open_worker(struct worker *w)
{
	int error = loops_use_tls(&w->tick, w->first_config->config_version->config,
				  &w->shared->handshakes);

	if (error < 0)
		return error;

	w->tick.trim_owner = worker_trim;
	timer_init(&w->drain_timer, drain_expired);
	error = open_proxy(w);
	if (error == 0) {
		worker_listeners_open(w, w->first_config);
		worker_listeners_update(w, w->first_config->config_version);
	}
	return error;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	loops_join(w);
	if (w->error == 0)
		w->error = open_worker(w);
	atomic_store(&w->ready, w->error == 0);
	w->started.deliver = report_started;
	mailbox_post(w->shared->control, &w->started);
	if (w->error < 0)
		return NULL;
	sem_wait(&w->may_begin);
	while (!is_drained(w)) {
		tick_once(&w->tick);
		stat_add(&w->stats.ticks, 1);
	}
	w->ended.deliver = report_ended;
	mailbox_post(w->shared->control, &w->ended);
	/* /metrics reads the counters until the control thread allows this. The loop must
	 * be freed on the thread that opened it. */
	sem_wait(&w->stats_released);
	timer_stop(&w->tick.wheel, &w->drain_timer);
	proxy_done(&w->proxy);
	for (unsigned i = 0; i < w->logs.n; i++)
		if (w->logs.all[i])
			log_file_close(w->logs.all[i]);
	tick_done(&w->tick);
	reserve_done();
	return NULL;
}

int worker_start(struct worker *w)
{
	list_init(&w->listeners);
	list_init(&w->closing_logs);
	sem_init(&w->opened, 0, 0);
	sem_init(&w->engine_chosen, 0, 0);
	sem_init(&w->may_begin, 0, 0);
	sem_init(&w->stats_released, 0, 0);
	return -pthread_create(&w->thread, NULL, worker_run, w);
}

void worker_begin(struct worker *w)
{
	sem_post(&w->may_begin);
}

void worker_done(struct worker *w)
{
	sem_post(&w->stats_released);
	pthread_join(w->thread, NULL);
	sem_destroy(&w->opened);
	sem_destroy(&w->engine_chosen);
	sem_destroy(&w->may_begin);
	sem_destroy(&w->stats_released);
}
