#include "run/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/reserve.h"

static void accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct worker *w = l->owner;

	proxy_accepted(&w->proxy, fd, peer);
}

static const struct listener_events listener_events = { accepted };

static void trimmed(struct tick *t)
{
	proxy_trim(&CONTAINER(t, struct worker, tick)->proxy);
}

static void drain_expired(struct timer *t)
{
	proxy_close(&CONTAINER(t, struct worker, drain)->proxy);
}

/* On the worker's thread. */
static void drain(struct message *m)
{
	struct worker *w = CONTAINER(m, struct worker, drain_wanted);

	w->draining = true;
	for (unsigned i = 0; i < w->listener_n; i++)
		listener_stop(&w->listeners[i]);
	proxy_drain(&w->proxy);
	timer_set(&w->tick.wheel, &w->drain,
		  w->tick.now_ms + w->shared->options->config->limits.drain_timeout_ms + 1);
}

void worker_drain(struct worker *w)
{
	w->drain_wanted.deliver = drain;
	mailbox_post(&w->tick.mailbox, &w->drain_wanted);
}

/* On the worker that may have idle connections. */
static void evict(struct message *m)
{
	struct worker *w = CONTAINER(m, struct worker, evict_wanted);
	uint32_t n;

	atomic_store(&w->evict_posted, false);
	n = atomic_exchange(&w->shared->descriptors.wanted, 0);
	while (n > 0 && proxy_evict(&w->proxy))
		n--;
	if (n > 0)
		atomic_fetch_add(&w->shared->descriptors.wanted, n);
}

/* On the worker that is short of descriptors. */
static void ask_others(void *owner, uint32_t n)
{
	struct worker *w = owner;
	struct workers *s = w->shared;

	atomic_fetch_add(&s->descriptors.wanted, n);
	for (unsigned i = 0; i < s->options->workers; i++) {
		struct worker *other = &s->all[i];

		if (other != w && atomic_load(&other->ready) &&
		    !atomic_exchange(&other->evict_posted, true)) {
			other->evict_wanted.deliver = evict;
			mailbox_post(&other->tick.mailbox, &other->evict_wanted);
		}
	}
}

static bool is_over(struct worker *w)
{
	if (!w->draining)
		return false;
	for (unsigned i = 0; i < w->listener_n; i++)
		if (!listener_stopped(&w->listeners[i]))
			return false;
	return proxy_idle(&w->proxy);
}

static void report_started(struct message *m)
{
	struct worker *w = CONTAINER(m, struct worker, started);

	w->shared->started(w);
}

static void report_ended(struct message *m)
{
	struct worker *w = CONTAINER(m, struct worker, ended);

	w->shared->ended(w);
}

static int open_proxy(struct worker *w)
{
	struct workers *s = w->shared;
	const struct config *config = s->options->config;
	int error = 0;

	if (s->log_fd >= 0)
		error = access_init(&w->access, &w->tick, &w->stats, config->log_format, s->log_fd);
	if (error < 0)
		return error;
	if (s->log_fd >= 0 && !s->log_is_file)
		access_share(&w->access);
	return proxy_init(&w->proxy, &(struct proxy_options){
		.tick = &w->tick,
		.config = config,
		.stats = &w->stats,
		.upstream_stats = w->upstream_stats,
		.clients = &s->clients,
		.descriptors = &s->descriptors,
		.lines = s->lines,
		.rosters = s->rosters,
		.worker = w->index,
		.access = s->log_fd >= 0 ? &w->access : NULL,
		.pool = s->pool,
		.ask_others = ask_others,
		.owner = w,
	});
}

static uint32_t buffers_of(const struct run_options *o)
{
	uint64_t n = o->config->limits.buffers / BUF_BYTES / o->workers;

	return n < 64 ? 64 : n > 65535 ? 65535 : (uint32_t)n;
}

static int open_worker(struct worker *w)
{
	const struct run_options *o = w->shared->options;
	int error = tick_init(&w->tick, &(struct io_options){
		.engine = o->engine,
		.buffers = buffers_of(o),
		.writes = w->shared->log_fd >= 0,
	});

	if (error < 0)
		return error;
	w->tick.trimmed = trimmed;
	timer_init(&w->drain, drain_expired);
	error = open_proxy(w);
	if (error < 0)
		return error;
	for (unsigned i = 0; i < w->listener_n; i++)
		listener_start(&w->listeners[i], &w->tick, w->listener_fds[i],
			       &w->shared->clients, &w->stats, &listener_events, w);
	return 0;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	w->error = reserve_init(RESERVE_CHUNKS_MAX);
	if (w->error == 0)
		w->error = open_worker(w);
	atomic_store(&w->ready, w->error == 0);
	w->started.deliver = report_started;
	mailbox_post(w->shared->control, &w->started);
	if (w->error < 0)
		return NULL;
	sem_wait(&w->begin);
	while (!is_over(w)) {
		tick_once(&w->tick);
		stat_add(&w->stats.ticks, 1);
	}
	w->ended.deliver = report_ended;
	mailbox_post(w->shared->control, &w->ended);
	/* Counters are shown until the control thread lets go of them; then the loop is freed
	 * here, as it belongs to this thread. */
	sem_wait(&w->let_go);
	timer_stop(&w->tick.wheel, &w->drain);
	proxy_done(&w->proxy);
	if (w->shared->log_fd >= 0)
		access_done(&w->access);
	tick_done(&w->tick);
	reserve_done();
	return NULL;
}

int worker_start(struct worker *w)
{
	w->upstream_stats = calloc(w->shared->options->config->upstream_n + 1,
				   sizeof(w->upstream_stats[0]));
	if (!w->upstream_stats)
		return -ENOMEM;
	sem_init(&w->begin, 0, 0);
	sem_init(&w->let_go, 0, 0);
	return -pthread_create(&w->thread, NULL, worker_run, w);
}

void worker_begin(struct worker *w)
{
	sem_post(&w->begin);
}

void worker_done(struct worker *w)
{
	sem_post(&w->let_go);
	pthread_join(w->thread, NULL);
	sem_destroy(&w->begin);
	sem_destroy(&w->let_go);
	free(w->upstream_stats);
}
