/* One worker: a thread with a loop, listeners and a proxy of its own. Shares nothing with
 * the others but the configuration, the quotas and its mailbox.
 *
 * A worker_config (config_version.h) is what it is told of another configuration: it
 * makes a generation, an
 * access log and what else can fail, and says so; then it is told to adopt or to drop them. */
#ifndef RUN_WORKER_H
#define RUN_WORKER_H

#include <pthread.h>
#include <semaphore.h>

#include "proxy/proxy.h"
#include "run/configversion.h"
#include "run/supervisor.h"

struct worker;

/* What all workers of the process share. */
struct workers {
	const struct run_options *options;
	enum io_engine_kind engine; /* of all loops */
	struct config_versions *config_versions; /* the control thread's */
	struct quota clients, descriptors;
	struct pool *pool;
	struct mailbox *control;  /* the control thread's */
	struct worker *all;       /* options->workers of them */
	/* Called on the control thread. */
	void (*started)(struct worker *w);
	void (*ended)(struct worker *w);
	void (*prepared)(
		struct worker_config
			*wc); /* with t->error; now worker_adopt() or worker_drop() */
	void (*settled)(struct worker_config *wc); /* adopted or dropped */
	void (*released)(
		struct worker_config *wc); /* nothing of it is left on its worker */
	void (*flushed)(
		struct worker_config *wc); /* nor on its way there: see worker_pass() */
};

struct worker {
	unsigned index;
	pthread_t thread;
	struct workers *shared;
	struct tick tick;
	struct proxy proxy;
	struct list listeners;      /* open, and those that are closing */
	struct access *access;      /* NULL: no access log */
	struct list closing_logs;   /* those of before, as long as they write */
	struct worker_stats stats;
	struct worker_config *first_config; /* that it starts with */
	int error;                  /* of the start: 0 or a negative errno */
	bool draining, graceful;
	struct timer drain_timer;   /* then what is left is cut off */
	struct mail drain_wanted;   /* control to worker */
	struct mail shorten_wanted; /* likewise */
	struct mail evict_wanted;   /* worker to worker: descriptors are wanted */
	_Atomic bool evict_posted;
	struct mail client_evict_wanted; /* likewise: a client's place is wanted */
	_Atomic bool client_evict_posted;
	_Atomic bool ready;         /* its loop and mailbox are open */
	struct mail started;        /* worker to control */
	struct mail ended;
	sem_t opened; /* its loop is there, or `error` says why not */
	sem_t engine_chosen;  /* it knows which engine is that of all */
	sem_t may_begin;      /* the sandbox is closed */
	sem_t stats_released; /* nobody looks at its counters any more */
};

/* Starts the thread, which opens a loop (loops.h) and then all it will need; `started` follows,
 * with w->error set if it could not. Returns 0 or a negative errno. */
int worker_start(struct worker *w);

/* The control thread, after `started`: go to work. */
void worker_begin(struct worker *w);

/* The control thread: makes what the worker_config needs; `made` follows. */
void worker_prepare(struct worker_config *wc);

/* The control thread, after `made`: `settled` follows. */
void worker_adopt(struct worker_config *wc);
void worker_drop(struct worker_config *wc);

/* The control thread, when all workers are through with an config_version: `passed`
 * follows when all that was posted to this worker before has been delivered. */
void worker_flush(struct worker_config *wc);

/* Any thread, once: stop accepting, finish, end; `ended` follows. `retire`: another process has
 * the listeners, so whoever is connected may ask once more. */
void worker_drain(struct worker *w, bool graceful);

/* Any thread, once, after worker_drain() to retire: it is to end as at any drain. */
void worker_shorten_drain(struct worker *w);

/* The control thread, after `ended`: lets the thread free what it has, and joins it. */
void worker_done(struct worker *w);

#endif
