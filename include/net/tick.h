/* What everything on one thread shares: the event loop, the clock, timers, and what is
 * left to do before the tick ends.
 *
 * A tick is one round of the loop, in five phases:
 *   1. Events: completions from the kernel, then mail from other threads.
 *   2. Runnable tasks are stepped: those of secured connections, whose handshakes go on and
 *      whose bytes are opened, then those of their owners.
 *   3. Timers expire, and the tasks that they made runnable are stepped. Data that has
 *      arrived is handled before its deadline is checked, so a delay of the thread makes
 *      nothing late.
 *   4. Tasks that gather what the others have queued are stepped (HTTP/2); each socket with
 *      bytes to send gets one vectored send.
 *   5. Objects handed to tick_reap() are freed.
 *
 * Decisions about a request are made in steps of tasks only. A completion records its result
 * and puts a task on the runnable list; an accepted socket becomes a client at once. Callbacks
 * of mail and of timers may also change the state of upstreams, servers, leases, listeners and
 * timers, and close idle connections: a lease gets a connection or fails, and its request
 * follows in the step of its task.
 *
 * Objects that a step may still refer to are freed in phase 5 only: conns and the owners
 * that embed one, servers, probes, exchanges, fetches, dials, retries and joins. When
 * such an object has released what it holds (a conn: when its last op has completed), it
 * is given to tick_reap() or tick_reap_to_slab(); its memory stays valid until the end of
 * the tick. Memcached calls and jobs have one user, which forgets them when they end:
 * they are freed in that step.
 *
 * Owner: the thread. Limits: after 16 rounds of tasks that wake each other, the rest is
 * left to the next tick. Errors: tick_init() only. */
#ifndef NET_TICK_H
#define NET_TICK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "base/wheel.h"
#include "io/io.h"
#include "net/handshakes.h"
#include "net/mailbox.h"

/* Makes decisions when it is stepped. Embedded in its owner. */
struct task {
	struct list node; /* on tick->runnable, or on no list */
	void (*step)(struct task *t);
};

/* To be freed at the end of the tick. Embedded in its owner. */
struct reap {
	struct list node;
	void (*free)(struct reap *r);
};

/* To be returned to its slab at the end of the tick. The first member of its owner. */
struct slab_reap {
	struct reap reap;
	struct slab *slab;
};

struct tick {
	struct io_loop *loop;
	struct wheel wheel;
	uint64_t now_us;       /* monotonic; read once per tick, after the wait */
	uint64_t now_ms;       /* the same time in milliseconds */
	uint64_t wall_ms;      /* wall clock, read at the same time */
	struct list runnable;  /* tasks to be stepped */
	struct list flushes;   /* tasks that are stepped last, before the sends */
	struct list writable;  /* outboxes with bytes to submit */
	struct list reap_list; /* struct reap, to be freed */
	struct mailbox mailbox;
	struct slab outboxes; /* of conns that are sending */
	struct slab dials;    /* connections that are being opened */
	struct tls_thread *tls; /* NULL: no connection of this thread is secured */
	struct handshakes handshakes; /* of secured conns: which go on in this tick */
	struct list partial;  /* secured conns that keep a part of a record in receive buffers */
	struct slab secures;  /* of secured conns */
	struct slab flights;  /* of secured conns that are sending */
	struct timer trim;    /* once a second: returns unused memory to the system */
	/* Called at that time: the owner trims its slabs. May be NULL. */
	void (*trim_owner)(struct tick *t);
};

/* Opens the event loop on this thread. Returns 0 or a negative errno. */
int tick_init(struct tick *t, const struct io_options *options);

/* Before the first conn_secure(): makes what secured connections share. `handshakes`: the
 * quota of the process, NULL: no limit; `steps`: see net/handshakes.h. False: no memory. */
bool tick_use_tls(struct tick *t, struct quota *handshakes, unsigned steps);

/* Frees the loop. Everything was closed and reaped before. */
void tick_done(struct tick *t);

/* One round: waits for events, handles them, steps tasks, submits sends, frees. */
void tick_once(struct tick *t);

/* The time of an event. For callbacks that run inside io_wait(), which may have waited long,
 * before the tick reads the clock: `now_ms` is then the time of the previous tick. */
static inline uint64_t tick_event_ms(const struct tick *t)
{
	return io_now_us(t->loop) / 1000;
}

/* Puts a task on the runnable list, unless it is there already. */
void tick_run(struct tick *t, struct task *task);

/* The task is stepped at the end of the tick, before the sends. It may make other tasks runnable,
 * in the next tick. */
void tick_run_last(struct tick *t, struct task *task);

/* r->free(r) is called at the end of the tick. */
void tick_reap(struct tick *t, struct reap *r);

/* The object that begins with `r` is returned to `slab` at the end of the tick. */
void tick_reap_to_slab(struct tick *t, struct slab *slab, struct slab_reap *r);

void task_init(struct task *task, void (*step)(struct task *));

/* Takes the task off the runnable list: its owner is about to be freed. */
void task_stop(struct task *task);

#endif
