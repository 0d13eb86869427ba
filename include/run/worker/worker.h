/* One worker: a thread with its own loop, listeners and proxy. Workers share only the
 * configuration versions, the quotas and their mailboxes.
 *
 * A new configuration reaches a worker as a worker_config (configversion.h), in two
 * steps. The worker first prepares it: it makes the generation, the access log and
 * everything else that can fail, and reports the result. When all workers have reported,
 * the control thread lets all of them adopt it, or all drop it (reload.h).
 *
 * Owner: the control thread, which allocates all workers. */
#ifndef RUN_WORKER_WORKER_H
#define RUN_WORKER_WORKER_H

#include <pthread.h>
#include <semaphore.h>

#include "proxy/proxy.h"
#include "run/worker/configversion.h"
#include "run/options.h"

struct worker;

/* Shared by all workers of the process. */
struct workers {
	const struct run_options *options;
	enum io_engine_kind engine;              /* of all loops */
	struct config_versions *config_versions; /* of the control thread */
	struct quota clients, descriptors, handshakes;
	struct limits limits;
	struct mailbox *control; /* of the control thread */
	struct list listings;    /* of the admin API, in progress: run/worker/listing.h */
	unsigned listing_n;
	struct worker *all;      /* options->workers of them */
	/* Called on the control thread. */
	void (*started)(struct worker *w);             /* w->error: it failed */
	void (*ended)(struct worker *w);
	void (*prepared)(struct worker_config *wc);    /* wc->error: it failed */
	void (*settled)(struct worker_config *wc);     /* adopted or dropped */
	void (*released)(struct worker_config *wc);    /* its worker no longer uses it */
	void (*flushed)(struct worker_config *wc);     /* worker_flush() has finished */
};

struct worker {
	unsigned index;
	pthread_t thread;
	struct workers *shared;
	struct tick tick;
	struct proxy proxy;
	struct list listeners;    /* worker_listeners, open or closing */
	struct access_set logs;   /* by index of the logs of the configuration in force */
	struct list closing_logs; /* replaced access logs with unwritten lines */
	struct worker_stats stats;
	struct worker_config *first_config; /* the configuration it starts with */
	int error;                  /* of the start: 0 or a negative errno */
	bool draining;
	bool graceful;              /* idle clients stay open: see worker_drain() */
	struct timer drain_timer;   /* when it fires, the remaining connections are aborted */
	struct mail drain_wanted;   /* from the control thread */
	struct mail shorten_wanted; /* from the control thread */
	struct mail rearm_wanted;   /* from the control thread */
	_Atomic bool rearm_posted;
	struct mail ordered;        /* from the control thread: see orders.h */
	_Atomic bool ordered_posted;
	struct mail evict_wanted;   /* from another worker, which needs descriptors */
	_Atomic bool evict_posted;
	struct mail client_evict_wanted; /* from another worker, which is at the client limit */
	_Atomic bool client_evict_posted;
	_Atomic bool ready;         /* its loop and mailbox are open */
	struct mail started;        /* to the control thread */
	struct mail ended;          /* to the control thread */
	sem_t opened;         /* its loop is open, or `error` is set */
	sem_t engine_chosen;  /* workers->engine is final: see loops.h */
	sem_t may_begin;      /* the sandbox is closed: it may run */
	sem_t stats_released; /* the control thread no longer reads its counters */
};

/* Starts the thread. It opens its loop (loops.h) and everything else it needs, then calls
 * `started`. Returns 0 or a negative errno. */
int worker_start(struct worker *w);

/* Control thread, after `started`: lets the worker run its loop. */
void worker_begin(struct worker *w);

/* Control thread: prepares the configuration on the worker; `prepared` follows. */
void worker_prepare(struct worker_config *wc);

/* Control thread, after `prepared`: `settled` follows. */
void worker_adopt(struct worker_config *wc);
void worker_drop(struct worker_config *wc);

/* Control thread, after all workers released a configuration version: `flushed` follows
 * when every message that was posted to this worker before has been delivered. */
void worker_flush(struct worker_config *wc);

/* Any thread, once: stops accepting, finishes the requests in flight and ends; `ended`
 * follows. Connections that remain after limits.drain_timeout are aborted. `graceful`:
 * another worker process has taken over the listening sockets; each connection may send
 * one more request, and the limit is limits.upgrade_timeout. */
void worker_drain(struct worker *w, bool graceful);

/* Any thread, once, after a graceful worker_drain(): continues as a drain that is not
 * graceful. */
void worker_shorten_drain(struct worker *w);

/* Control thread, after `started`: listener_rearm() for all listeners. */
void worker_rearm(struct worker *w);

/* Control thread, after `ended`: lets the thread free its memory, and joins it. */
void worker_done(struct worker *w);

#endif
