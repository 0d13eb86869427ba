/* One worker: a thread with a loop, listeners and a proxy of its own. Shares nothing with
 * the others but the configuration, the quotas and its mailbox. */
#ifndef RUN_WORKER_H
#define RUN_WORKER_H

#include <pthread.h>
#include <semaphore.h>

#include "front/listener.h"
#include "proxy/proxy.h"
#include "run/supervisor.h"

#define WORKER_LISTENERS_MAX 64

struct worker;

/* What all workers of the process share. */
struct workers {
	const struct run_options *options;
	struct quota clients, descriptors;
	struct quota *lines;      /* by upstream */
	struct roster **rosters;  /* likewise */
	struct pool *pool;
	struct mailbox *control;  /* the control thread's */
	int log_fd;               /* -1: no access log */
	bool log_is_file;         /* where each write is whole, however long */
	struct worker *all;       /* options->workers of them */
	/* Called on the control thread. */
	void (*started)(struct worker *w);
	void (*ended)(struct worker *w);
};

struct worker {
	unsigned index;
	pthread_t thread;
	struct workers *shared;
	struct tick tick;
	struct proxy proxy;
	struct access access;
	unsigned listener_n;
	int listener_fds[WORKER_LISTENERS_MAX];
	struct listener listeners[WORKER_LISTENERS_MAX];
	struct worker_stats stats;
	struct upstream_stats *upstream_stats; /* by index */
	int error;                  /* of the start: 0 or a negative errno */
	bool draining;
	struct timer drain;         /* then what is left is cut off */
	struct message drain_wanted;/* control to worker */
	struct message evict_wanted;/* worker to worker: descriptors are wanted */
	_Atomic bool evict_posted;
	_Atomic bool ready;         /* its loop and mailbox are open */
	struct message started;     /* worker to control */
	struct message ended;
	sem_t begin;                /* the sandbox is closed */
	sem_t let_go;               /* nobody looks at its counters any more */
};

/* Starts the thread, which opens all it will need; `started` follows, with w->error set if
 * it could not. Returns 0 or a negative errno. */
int worker_start(struct worker *w);

/* The control thread, after `started`: go to work. */
void worker_begin(struct worker *w);

/* Any thread, once: stop accepting, finish, end; `ended` follows. */
void worker_drain(struct worker *w);

/* The control thread, after `ended`: lets the thread free what it has, and joins it. */
void worker_done(struct worker *w);

#endif
