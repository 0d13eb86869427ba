/* What everything on one thread shares: the loop, time, and what is to be done
 * before the tick ends.
 *
 * A tick takes facts from the kernel, from other threads and from time; a fact
 * puts its task on the runnable list; then, in one place, tasks are stepped:
 * that is where decisions are made. Time comes last, when all else was decided
 * on: whose bytes lie at hand is not late, however long the thread was held up.
 * At the end each socket with something to say gets one vectored send, and the
 * dead are reaped. Nothing is freed anywhere else. */
#ifndef NET_TICK_H
#define NET_TICK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "base/wheel.h"
#include "io/io.h"
#include "net/mailbox.h"

/* Something that decides. Embedded in its owner. */
struct task {
	struct list node; /* on the runnable list, or on none */
	void (*step)(struct task *t);
};

/* Something to be freed at the end of the tick. */
struct reap {
	struct list node;
	void (*free)(struct reap *c);
};

struct tick {
	struct io_loop *loop;
	struct wheel wheel;
	uint64_t now_us;      /* monotonic, as of this tick */
	uint64_t now_ms;
	uint64_t wall_ms;     /* wall clock, as of this tick */
	struct list runnable; /* tasks */
	struct list writable; /* conns with something to send */
	struct list reap_list; /* reaps */
	struct mailbox mailbox;
	struct slab outboxes; /* of conns that are sending */
	struct timer trim;    /* once a second: gives unused memory back */
	void (*trimmed)(struct tick *t); /* the owner's slabs; may be NULL */
};

/* Opens the loop on this thread. Returns 0 or a negative errno. */
int tick_init(struct tick *t, const struct io_options *options);

/* Everything was closed and reaped. */
void tick_done(struct tick *t);

/* One round: wait, facts, decisions, sends, burial. */
void tick_once(struct tick *t);

/* Puts a task on the runnable list, unless it stands there. */
void tick_run(struct tick *t, struct task *task);

/* Hands something over to be freed at the end of the tick. */
void tick_reap(struct tick *t, struct reap *c);

void task_init(struct task *task, void (*step)(struct task *));

/* Takes the task off the runnable list: its owner is dying. */
void task_stop(struct task *task);

#endif
