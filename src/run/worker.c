#include "run/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/reserve.h"
#include "loops.h"

static void accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct worker *w = l->owner;

	proxy_accepted(&w->proxy, fd, peer,
		       CONTAINER(l, struct worker_listener, listener)->paths_strict);
}

static bool make_room(struct listener *l);

static const struct listener_events listener_events = { accepted, make_room };

/* ---- listeners and logs ----------------------------------------------------- */

static void worker_listeners_sweep(struct worker *w)
{
	LIST_EACH(&w->listeners, node) {
		struct worker_listener *d = LIST_ITEM(node, struct worker_listener, node);

		if (!listener_stopped(&d->listener))
			continue;
		list_remove(&d->node);
		free(d);
	}
}

static void worker_listeners_open(struct worker *w, struct worker_config *t)
{
	struct list *node;

	while ((node = list_pop(&t->listeners))) {
		struct worker_listener *d = LIST_ITEM(node, struct worker_listener, node);

		list_append(&w->listeners, &d->node);
		listener_start(&d->listener, &w->tick, d->fd, &w->shared->clients, &w->stats,
			       &listener_events, w);
		if (w->draining)
			listener_stop(&d->listener);
	}
}

/* What is written of their addresses now. */
static void worker_listeners_update(struct worker *w, const struct config_version *e)
{
	LIST_EACH(&w->listeners, node) {
		struct worker_listener *d = LIST_ITEM(node, struct worker_listener, node);

		d->paths_strict = config_version_paths_strict(e, d->number);
	}
}

/* Whose address the newest configuration does not have. */
static void worker_listeners_close(struct worker *w, const struct config_version *e)
{
	LIST_EACH(&w->listeners, node) {
		struct worker_listener *d = LIST_ITEM(node, struct worker_listener, node);

		if (!config_version_keeps_address(e, d->number))
			listener_stop(&d->listener);
	}
}

/* Logs of before whose last lines nobody has taken yet: a worker holds so many, and buffers and
 * a descriptor for each. */
#define LOG_FILES_MAX 8

/* The log of one worker and one opening of the file. */
struct log_file {
	struct access access;
	struct list node; /* in worker->accesses */
};

static bool has_room(const struct worker *w)
{
	unsigned n = 0;

	LIST_EACH(&w->accesses, node)
		n++;
	return n < LOG_FILES_MAX;
}

static int log_file_open(struct worker *w, struct worker_config *t)
{
	struct log_file *l;
	int error;

	if (t->log_fd < 0)
		return 0;
	if (!has_room(w))
		return -EBUSY;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	error = access_init(&l->access, &w->tick, &w->stats,
			    t->config_version->config->log_format, t->log_fd);
	if (error < 0) {
		free(l);
		return error;
	}
	if (!t->log_is_file)
		access_limit_writes(&l->access);
	list_init(&l->node);
	t->log_fd = -1;
	t->access = &l->access;
	return 0;
}

static void log_file_close(struct access *a)
{
	struct log_file *l = CONTAINER(a, struct log_file, access);

	list_remove(&l->node);
	access_done(a);
	close(a->fd);
	free(l);
}

/* True: all is written. */
static bool log_files_sweep(struct worker *w)
{
	LIST_EACH(&w->accesses, node) {
		struct access *a = &LIST_ITEM(node, struct log_file, node)->access;

		access_flush(a);
		if (access_idle(a))
			log_file_close(a);
	}
	return list_empty(&w->accesses);
}

static void log_file_change(struct worker *w, struct worker_config *t)
{
	if (t->log_kept)
		return;
	if (w->access)
		list_append(&w->accesses,
			    &CONTAINER(w->access, struct log_file, access)->node);
	w->access = t->access;
	t->access = NULL;
	proxy_change_access(&w->proxy, w->access);
	log_files_sweep(w);
}

static void trimmed(struct tick *t)
{
	struct worker *w = CONTAINER(t, struct worker, tick);

	worker_listeners_sweep(w);
	log_files_sweep(w);
	proxy_trim(&w->proxy);
}

/* ---- another configuration -------------------------------------------------- */

static void report_over(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, over);

	t->worker->shared->over(t);
}

/* On the worker's thread. */
static void generation_over(void *owner)
{
	struct worker_config *t = owner;

	t->over.deliver = report_over;
	mailbox_post(t->worker->shared->control, &t->over);
}

static struct generation_options generation_of(struct worker_config *t)
{
	return (struct generation_options){
		.config = t->config_version->config,
		.upstream_views = t->upstream_views,
		.unused = generation_over,
		.owner = t,
	};
}

static void report_made(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, message);

	t->worker->shared->made(t);
}

static void report_settled(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, message);

	t->worker->shared->settled(t);
}

static void answer(struct worker_config *t, void (*deliver)(struct mail *m))
{
	t->message.deliver = deliver;
	mailbox_post(t->worker->shared->control, &t->message);
}

static void make(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, message);
	struct generation_options options = generation_of(t);

	log_files_sweep(t->worker);
	t->error = log_file_open(t->worker, t);
	if (t->error == 0)
		t->generation = generation_new(&t->worker->proxy, &options);
	if (t->error == 0 && !t->generation)
		t->error = -ENOMEM;
	answer(t, report_made);
}

/* Between two ticks' decisions: what begins from here on is of it. */
static void adopt(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, message);
	struct worker *w = t->worker;
	struct generation *g = t->generation;

	t->generation = NULL;
	worker_listeners_close(w, t->config_version);
	worker_listeners_open(w, t);
	worker_listeners_update(w, t->config_version);
	log_file_change(w, t);
	proxy_adopt(&w->proxy, g);
	answer(t, report_settled);
}

static void drop(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, message);

	if (t->generation)
		generation_drop(&t->generation);
	if (t->access)
		log_file_close(t->access);
	t->access = NULL;
	answer(t, report_settled);
}

static void command(struct worker_config *t, void (*deliver)(struct mail *m))
{
	t->message.deliver = deliver;
	mailbox_post(&t->worker->tick.mailbox, &t->message);
}

void worker_make(struct worker_config *t)
{
	command(t, make);
}

void worker_adopt(struct worker_config *t)
{
	command(t, adopt);
}

void worker_drop(struct worker_config *t)
{
	command(t, drop);
}

static void report_passed(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, over);

	t->worker->shared->passed(t);
}

static void pass(struct mail *m)
{
	struct worker_config *t = CONTAINER(m, struct worker_config, over);

	t->over.deliver = report_passed;
	mailbox_post(t->worker->shared->control, &t->over);
}

void worker_pass(struct worker_config *t)
{
	t->over.deliver = pass;
	mailbox_post(&t->worker->tick.mailbox, &t->over);
}

/* ---- the end, and descriptors ----------------------------------------------- */

static void drain_expired(struct timer *t)
{
	struct worker *w = CONTAINER(t, struct worker, drain);

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
	if (w->retiring)
		proxy_drain_gracefully(&w->proxy);
	else
		proxy_drain(&w->proxy);
	timer_set(&w->tick.wheel, &w->drain,
		  w->tick.now_ms + 1 + (w->retiring ? l->upgrade_timeout_ms : l->drain_timeout_ms));
}

void worker_drain(struct worker *w, bool retire)
{
	w->retiring = retire;
	w->drain_wanted.deliver = drain;
	mailbox_post(&w->tick.mailbox, &w->drain_wanted);
}

/* On the worker's thread. */
static void shorten_drain(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, shorten_wanted);
	uint64_t end_ms = w->tick.now_ms + 1 +
			  w->proxy.generation->config->limits.drain_timeout_ms;

	proxy_drain(&w->proxy);
	if (timer_armed(&w->drain) && end_ms < w->drain.deadline_ms)
		timer_set(&w->tick.wheel, &w->drain, end_ms);
}

void worker_shorten_drain(struct worker *w)
{
	w->shorten_wanted.deliver = shorten_drain;
	mailbox_post(&w->tick.mailbox, &w->shorten_wanted);
}

/* On the worker that may have idle connections. */
static void evict(struct mail *m)
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

/* On the worker that is short of descriptors. */
static void evict_elsewhere(void *owner, uint32_t n)
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

/* On the worker that may have idle clients. */
static void let_in(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, room_wanted);
	uint32_t n;

	atomic_store(&w->room_posted, false);
	n = atomic_exchange(&w->shared->clients.wanted, 0);
	while (n > 0 && proxy_evict_client(&w->proxy))
		n--;
	if (n > 0)
		atomic_fetch_add(&w->shared->clients.wanted, n);
}

/* The limit is that of all workers: who has nobody idle asks the others. */
static bool make_room(struct listener *l)
{
	struct worker *w = l->owner;
	struct workers *s = w->shared;

	if (proxy_evict_client(&w->proxy))
		return true;
	atomic_store(&s->clients.wanted, 1);
	for (unsigned i = 0; i < s->options->workers; i++) {
		struct worker *other = &s->all[i];

		if (other != w && atomic_load(&other->ready) &&
		    !atomic_exchange(&other->room_posted, true)) {
			other->room_wanted.deliver = let_in;
			mailbox_post(&other->tick.mailbox, &other->room_wanted);
		}
	}
	return false;
}

static bool is_over(struct worker *w)
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
	int error = log_file_open(w, w->first);

	if (error < 0)
		return error;
	w->access = w->first->access;
	w->first->access = NULL;
	return proxy_init(&w->proxy, &(struct proxy_options){
					     .tick = &w->tick,
					     .generation = generation_of(w->first),
					     .stats = &w->stats,
					     .clients = &s->clients,
					     .descriptors = &s->descriptors,
					     .worker = w->index,
					     .access = w->access,
					     .pool = s->pool,
					     .evict_elsewhere = evict_elsewhere,
					     .owner = w,
				     });
}

/* With its loop. A reload may bring a log. */
static int open_worker(struct worker *w)
{
	int error;

	w->tick.trimmed = trimmed;
	timer_init(&w->drain, drain_expired);
	error = open_proxy(w);
	if (error == 0) {
		worker_listeners_open(w, w->first);
		worker_listeners_update(w, w->first->config_version);
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
	if (w->access)
		log_file_close(w->access);
	tick_done(&w->tick);
	reserve_done();
	return NULL;
}

int worker_start(struct worker *w)
{
	list_init(&w->listeners);
	list_init(&w->accesses);
	sem_init(&w->opened, 0, 0);
	sem_init(&w->chosen, 0, 0);
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
	sem_destroy(&w->opened);
	sem_destroy(&w->chosen);
	sem_destroy(&w->begin);
	sem_destroy(&w->let_go);
}
