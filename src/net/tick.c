#include "net/tick.h"

#include <string.h>

#include "base/reserve.h"
#include "net/conn.h"
#include "net/dial.h"
#include "secure.h"

#define TRIM_MS 1000

/* Tasks may wake each other: after this many rounds, those still runnable wait for the
 * next tick, after new events. */
#define ROUNDS_MAX 16

static void trim_expired(struct timer *timer)
{
	struct tick *t = CONTAINER(timer, struct tick, trim);

	slab_trim(&t->outboxes);
	slab_trim(&t->dials);
	slab_trim(&t->secures);
	slab_trim(&t->flights);
	secure_trim(t);
	if (t->tls)
		tls_thread_trim(t->tls);
	buf_pool_trim(io_bufs(t->loop));
	if (t->trim_owner)
		t->trim_owner(t);
	reserve_refill(); /* last: with the memory that was trimmed above */
	timer_set(&t->wheel, timer, t->now_ms + TRIM_MS);
}

static void wake_loop(void *loop)
{
	io_wake(loop);
}

static void read_clock(struct tick *t)
{
	t->now_us = io_now_us(t->loop);
	t->now_ms = t->now_us / 1000;
	t->wall_ms = io_wall_ms(t->loop);
}

int tick_init(struct tick *t, const struct io_options *options)
{
	int error;

	memset(t, 0, sizeof(*t));
	error = io_open(&t->loop, options);
	if (error < 0)
		return error;
	read_clock(t);
	wheel_init(&t->wheel, t->now_ms);
	list_init(&t->runnable);
	list_init(&t->flushes);
	list_init(&t->writable);
	list_init(&t->reap_list);
	list_init(&t->partial);
	mailbox_init(&t->mailbox, wake_loop, t->loop);
	slab_init(&t->outboxes, "outbox", sizeof(struct outbox), 0);
	slab_use_reserve(&t->outboxes);
	slab_init(&t->dials, "dial", sizeof(struct dial), 0);
	slab_init(&t->secures, "secured connection", sizeof(struct secure), 0);
	slab_init(&t->flights, "flight", sizeof(struct tls_flight), 0);
	slab_use_reserve(&t->flights);
	handshakes_init(t);
	timer_init(&t->trim, trim_expired);
	timer_set(&t->wheel, &t->trim, t->now_ms + TRIM_MS);
	return 0;
}

bool tick_use_tls(struct tick *t, struct quota *handshakes, unsigned steps)
{
	ASSERT(!t->tls && steps > 0);
	t->handshakes.quota = handshakes;
	t->handshakes.steps_max = steps;
	t->tls = tls_thread_new(io_bufs(t->loop));
	return t->tls != NULL;
}

void tick_done(struct tick *t)
{
	timer_stop(&t->wheel, &t->trim);
	ASSERT(list_empty(&t->runnable) && list_empty(&t->writable) &&
	       list_empty(&t->flushes) && list_empty(&t->reap_list));
	ASSERT(list_empty(&t->handshakes.waiting) && list_empty(&t->handshakes.queued));
	ASSERT(t->wheel.armed == 0);
	slab_done(&t->outboxes);
	slab_done(&t->dials);
	slab_done(&t->secures);
	slab_done(&t->flights);
	if (t->tls)
		tls_thread_free(t->tls);
	io_free(t->loop);
}

void task_init(struct task *task, void (*step)(struct task *))
{
	list_init(&task->node);
	task->step = step;
}

void task_stop(struct task *task)
{
	list_remove(&task->node);
}

void tick_run(struct tick *t, struct task *task)
{
	if (list_empty(&task->node))
		list_append(&t->runnable, &task->node);
}

void tick_reap(struct tick *t, struct reap *r)
{
	list_append(&t->reap_list, &r->node);
}

static void put_to_slab(struct reap *reap)
{
	struct slab_reap *r = CONTAINER(reap, struct slab_reap, reap);

	slab_put(r->slab, r);
}

void tick_reap_to_slab(struct tick *t, struct slab *slab, struct slab_reap *r)
{
	ASSERT(!r->slab); /* an object ends once */
	r->slab = slab;
	list_init(&r->reap.node);
	r->reap.free = put_to_slab;
	tick_reap(t, &r->reap);
}

void tick_run_last(struct tick *t, struct task *task)
{
	if (list_empty(&task->node))
		list_append(&t->flushes, &task->node);
}

static void step_flushes(struct tick *t)
{
	struct list *node;

	while ((node = list_pop(&t->flushes))) {
		struct task *task = LIST_ITEM(node, struct task, node);

		task->step(task);
	}
}

static void step_all(struct tick *t)
{
	for (unsigned round = 0; round < ROUNDS_MAX && !list_empty(&t->runnable);
	     round++) {
		struct list now;
		struct list *node;

		list_init(&now);
		list_move(&now, &t->runnable);
		while ((node = list_pop(&now))) {
			struct task *task = LIST_ITEM(node, struct task, node);

			task->step(task);
		}
	}
}

static void reap_all(struct tick *t)
{
	struct list *node;

	while ((node = list_pop(&t->reap_list))) {
		struct reap *r = LIST_ITEM(node, struct reap, node);

		r->free(r);
	}
}

static uint64_t timeout_us(const struct tick *t)
{
	uint64_t next;

	if (!list_empty(&t->runnable) || !list_empty(&t->writable) ||
	    !list_empty(&t->flushes) ||
	    !list_empty(&t->handshakes.waiting))
		return 0;
	next = wheel_next(&t->wheel);
	if (next == WHEEL_NEVER)
		return UINT64_MAX;
	next *= 1000;
	return next > t->now_us ? next - t->now_us : 0;
}

void tick_once(struct tick *t)
{
	io_wait(t->loop, timeout_us(t)); /* events from the kernel */
	read_clock(t);
	mailbox_drain(&t->mailbox); /* events from other threads */
	handshakes_begin(t);
	step_all(t); /* decisions about requests, here and below only */
	wheel_expire(&t->wheel, t->now_ms);
	step_all(t);
	step_flushes(t);
	conn_flush_all(t); /* one vectored send per socket */
	reap_all(t);       /* frees, here only */
}
