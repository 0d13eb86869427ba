#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"

struct thing {
	struct task task;
	struct reap reap;
	struct mail message;
	struct timer timer;
	struct tick *tick;
	struct thing *other; /* that it wakes */
	unsigned steps, buried, delivered, rang;
	bool selfish;        /* wakes itself */
	bool stops_timer;    /* when its time has come */
	unsigned at;         /* when it was stepped last */
};

static struct simrig rig;
static unsigned clock_;
static unsigned trims;

static void stepped(struct task *t)
{
	struct thing *x = CONTAINER(t, struct thing, task);

	x->steps++;
	x->at = ++clock_;
	if (x->other)
		tick_run(x->tick, &x->other->task);
	if (x->selfish)
		tick_run(x->tick, &x->task);
	if (x->stops_timer && x->tick->now_ms >= x->timer.deadline_ms)
		timer_stop(&x->tick->wheel, &x->timer);
}

static void buried(struct reap *c)
{
	struct thing *x = CONTAINER(c, struct thing, reap);

	x->buried++;
	x->at = ++clock_;
}

static void delivered(struct mail *m)
{
	struct thing *x = CONTAINER(m, struct thing, message);

	x->delivered++;
	tick_run(x->tick, &x->task);
}

static void rang(struct timer *t)
{
	struct thing *x = CONTAINER(t, struct thing, timer);

	x->rang++;
	tick_run(x->tick, &x->task);
	tick_reap(x->tick, &x->reap);
}

static void make(struct thing *x)
{
	memset(x, 0, sizeof(*x));
	task_init(&x->task, stepped);
	list_init(&x->reap.node);
	x->reap.free = buried;
	x->message.deliver = delivered;
	timer_init(&x->timer, rang);
	x->tick = &rig.tick;
}

static int open_rig(void **state)
{
	(void)state;
	simrig_open(&rig, 1, 8);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	simrig_close(&rig);
	return 0;
}

/* However often it is woken, it is stepped once; and again if it is woken later. */
static void test_task(void **state)
{
	struct thing a, b;

	(void)state;
	make(&a);
	make(&b);
	tick_run(&rig.tick, &a.task);
	tick_run(&rig.tick, &a.task);
	a.other = &b; /* is stepped in the same tick */
	tick_once(&rig.tick);
	assert_int_equal(a.steps, 1);
	assert_int_equal(b.steps, 1);
	tick_run(&rig.tick, &a.task);
	tick_run(&rig.tick, &b.task);
	task_stop(&b.task);
	task_stop(&b.task);
	a.other = NULL;
	tick_once(&rig.tick);
	assert_int_equal(a.steps, 2);
	assert_int_equal(b.steps, 1);
}

/* Who wakes itself for ever does not keep the others from their facts: it goes on in the
 * next tick, which does not wait. */
static void test_selfish(void **state)
{
	struct thing a;
	uint64_t before_us;
	unsigned steps;

	(void)state;
	make(&a);
	a.selfish = true;
	tick_run(&rig.tick, &a.task);
	tick_once(&rig.tick);
	steps = a.steps;
	assert_in_range(steps, 2, 100);
	before_us = rig.tick.now_us;
	tick_once(&rig.tick);
	assert_true(a.steps > steps);
	assert_true(rig.tick.now_us - before_us < 1000);
	a.selfish = false;
	tick_once(&rig.tick);
	assert_true(list_empty(&a.task.node));
}

/* Whose fact is at hand when its time runs out is not late: it is stepped first. */
static void test_fact_before_time(void **state)
{
	/* Rings in the first tick that finds it due. */
	uint64_t slot_ms = (rig.tick.now_ms / WHEEL_FINE_MS + 2) * WHEEL_FINE_MS;
	struct thing a;

	(void)state;
	make(&a);
	a.stops_timer = a.selfish = true;
	timer_set(&rig.tick.wheel, &a.timer, slot_ms);
	tick_run(&rig.tick, &a.task);
	simrig_run(&rig, 3 * WHEEL_FINE_MS);
	assert_int_equal(a.rang, 0);
	assert_false(timer_armed(&a.timer));
	task_stop(&a.task);
}

/* Stepped by another of the same round, it is not stepped any more once stopped. */
static struct thing victim;

static void stop_victim(struct task *t)
{
	(void)t;
	task_stop(&victim.task);
}

static void test_stopped_in_the_round(void **state)
{
	struct thing killer;

	(void)state;
	make(&killer);
	make(&victim);
	killer.task.step = stop_victim;
	tick_run(&rig.tick, &killer.task);
	tick_run(&rig.tick, &victim.task);
	tick_once(&rig.tick);
	assert_int_equal(victim.steps, 0);
}

/* Facts of time and of other threads come before decisions, decisions before burials. */
static void test_order(void **state)
{
	struct thing a;
	uint64_t due_ms;

	(void)state;
	make(&a);
	due_ms = rig.tick.now_ms + 50;
	timer_set(&rig.tick.wheel, &a.timer, due_ms);
	while (a.rang == 0)
		tick_once(&rig.tick);
	assert_in_range(rig.tick.now_ms, due_ms, due_ms + WHEEL_FINE_MS);
	assert_int_equal(a.steps, 1);
	assert_int_equal(a.buried, 1);
	assert_int_equal(a.at, clock_); /* buried last */
	mailbox_post(&rig.tick.mailbox, &a.message);
	tick_once(&rig.tick); /* woken: no wait for a timer */
	assert_int_equal(a.delivered, 1);
	assert_int_equal(a.steps, 2);
}

static void trimmed(struct tick *t)
{
	assert_ptr_equal(t, &rig.tick);
	trims++;
}

static void test_trim(void **state)
{
	(void)state;
	rig.tick.trimmed = trimmed;
	simrig_run(&rig, 10500);
	assert_in_range(trims, 9, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_task, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_selfish, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_fact_before_time, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_stopped_in_the_round, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_order, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_trim, open_rig, close_rig),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
