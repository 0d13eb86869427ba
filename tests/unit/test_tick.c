#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"

struct tick_user {
	struct task task;
	struct reap reap;
	struct mail mail;
	struct timer timer;
	struct tick *tick;
	struct tick_user *other; /* woken by each step */
	unsigned steps, reaped, delivered, fired;
	bool wakes_itself;
	bool stops_timer; /* once it is due */
	unsigned at;      /* order of its last step or reap */
};

static struct simrig rig;
static unsigned clock_;
static unsigned trims;

static void stepped(struct task *t)
{
	struct tick_user *x = CONTAINER(t, struct tick_user, task);

	x->steps++;
	x->at = ++clock_;
	if (x->other)
		tick_run(x->tick, &x->other->task);
	if (x->wakes_itself)
		tick_run(x->tick, &x->task);
	if (x->stops_timer && x->tick->now_ms >= x->timer.deadline_ms)
		timer_stop(&x->tick->wheel, &x->timer);
}

static void reaped(struct reap *c)
{
	struct tick_user *x = CONTAINER(c, struct tick_user, reap);

	x->reaped++;
	x->at = ++clock_;
}

static void delivered(struct mail *m)
{
	struct tick_user *x = CONTAINER(m, struct tick_user, mail);

	x->delivered++;
	tick_run(x->tick, &x->task);
}

static void fired(struct timer *t)
{
	struct tick_user *x = CONTAINER(t, struct tick_user, timer);

	x->fired++;
	tick_run(x->tick, &x->task);
	tick_reap(x->tick, &x->reap);
}

static void user_init(struct tick_user *x)
{
	memset(x, 0, sizeof(*x));
	task_init(&x->task, stepped);
	list_init(&x->reap.node);
	x->reap.free = reaped;
	x->mail.deliver = delivered;
	timer_init(&x->timer, fired);
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

/* A task is stepped once, however often it was woken; and again if it is woken later. */
static void test_task(void **state)
{
	struct tick_user a, b;

	(void)state;
	user_init(&a);
	user_init(&b);
	tick_run(&rig.tick, &a.task);
	tick_run(&rig.tick, &a.task);
	a.other = &b; /* stepped in the same tick */
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

/* A task that wakes itself again and again does not hold up events: it continues in the
 * next tick, which does not wait. */
static void test_wakes_itself(void **state)
{
	struct tick_user a;
	uint64_t before_us;
	unsigned steps;

	(void)state;
	user_init(&a);
	a.wakes_itself = true;
	tick_run(&rig.tick, &a.task);
	tick_once(&rig.tick);
	steps = a.steps;
	assert_in_range(steps, 2, 100);
	before_us = rig.tick.now_us;
	tick_once(&rig.tick);
	assert_true(a.steps > steps);
	assert_true(rig.tick.now_us - before_us < 1000);
	a.wakes_itself = false;
	tick_once(&rig.tick);
	assert_true(list_empty(&a.task.node));
}

/* A task whose event is there when its timer is due is not late: it is stepped first. */
static void test_events_before_timers(void **state)
{
	/* A timer fires in the first tick that finds it due. */
	uint64_t slot_ms = (rig.tick.now_ms / WHEEL_FINE_MS + 2) * WHEEL_FINE_MS;
	struct tick_user a;

	(void)state;
	user_init(&a);
	a.stops_timer = a.wakes_itself = true;
	timer_set(&rig.tick.wheel, &a.timer, slot_ms);
	tick_run(&rig.tick, &a.task);
	simrig_run(&rig, 3 * WHEEL_FINE_MS);
	assert_int_equal(a.fired, 0);
	assert_false(timer_armed(&a.timer));
	task_stop(&a.task);
}

/* A task that another one stops in the same round is not stepped any more. */
static struct tick_user victim;

static void stop_victim(struct task *t)
{
	(void)t;
	task_stop(&victim.task);
}

static void test_stopped_in_the_round(void **state)
{
	struct tick_user killer;

	(void)state;
	user_init(&killer);
	user_init(&victim);
	killer.task.step = stop_victim;
	tick_run(&rig.tick, &killer.task);
	tick_run(&rig.tick, &victim.task);
	tick_once(&rig.tick);
	assert_int_equal(victim.steps, 0);
}

/* Timers and mail come before steps, steps before reaping. */
static void test_order(void **state)
{
	struct tick_user a;
	uint64_t due_ms;

	(void)state;
	user_init(&a);
	due_ms = rig.tick.now_ms + 50;
	timer_set(&rig.tick.wheel, &a.timer, due_ms);
	while (a.fired == 0)
		tick_once(&rig.tick);
	assert_in_range(rig.tick.now_ms, due_ms, due_ms + WHEEL_FINE_MS);
	assert_int_equal(a.steps, 1);
	assert_int_equal(a.reaped, 1);
	assert_int_equal(a.at, clock_); /* reaped after it was stepped */
	mailbox_post(&rig.tick.mailbox, &a.mail);
	tick_once(&rig.tick); /* woken by the mail, not by a timer */
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
	rig.tick.trim_owner = trimmed;
	simrig_run(&rig, 10500);
	assert_in_range(trims, 9, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_task, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_wakes_itself, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_events_before_timers, open_rig,
						close_rig),
		cmocka_unit_test_setup_teardown(test_stopped_in_the_round, open_rig,
						close_rig),
		cmocka_unit_test_setup_teardown(test_order, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_trim, open_rig, close_rig),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
