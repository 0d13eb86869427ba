#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "net/deadline.h"

#define WINDOW (3 * BUF_BYTES)
/* A slot of the wheel. */
#define LATE_MS 10

/* Two owners of one deadline. */
struct deadline_user {
	struct deadline_fixture *fixture;
	uint64_t due_ms;
	bool awaits_delivery; /* due `due_ms` after the peer last took bytes */
	unsigned fired, passed;
	uint64_t passed_ms;
};

struct deadline_fixture {
	struct simrig rig;
	struct conn conn;
	struct sim_peer *peer;
	struct deadline deadline;
	struct deadline_user one, two;
	bool dead;
};

static void changed(struct conn *c)
{
	(void)c;
}

static void dead(struct conn *c)
{
	CONTAINER(c, struct deadline_fixture, conn)->dead = true;
}

static void timer_fired(struct conn *c)
{
	deadline_fired(&CONTAINER(c, struct deadline_fixture, conn)->deadline);
}

static const struct conn_events events = {
	.changed = changed,
	.timer_fired = timer_fired,
	.dead = dead,
};

static uint64_t due_ms(const void *owner)
{
	const struct deadline_user *w = owner;

	return w->due_ms + (w->awaits_delivery ? w->fixture->conn.sent_ms : 0);
}

static void passed(void *owner)
{
	struct deadline_user *w = owner;

	w->passed++;
	w->passed_ms = w->fixture->rig.tick.now_ms;
}

static void fired(void *owner)
{
	((struct deadline_user *)owner)->fired++;
}

static const struct deadline_rules rules = { due_ms, passed, fired };
static const struct deadline_rules quiet_rules = { .due_ms = due_ms, .passed = passed };

static void fixture_open(struct deadline_fixture *f)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, 1, 16);
	conn_open(&f->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &f->peer),
		  WINDOW);
	f->one.fixture = f->two.fixture = f;
	deadline_init(&f->deadline, &f->conn, &rules, &f->one);
	simrig_run(&f->rig, 100);
}

static void fixture_close(struct deadline_fixture *f)
{
	conn_close(&f->conn, CONN_NOW, 0);
	SIMRIG_UNTIL(&f->rig, f->dead, 1000);
	simrig_close(&f->rig);
}

static void test_passes(void **state)
{
	struct deadline_fixture f;
	uint64_t begun_ms;

	(void)state;
	fixture_open(&f);
	begun_ms = f.rig.tick.now_ms;
	assert_false(deadline_running(&f.deadline));
	f.one.due_ms = begun_ms + 500;
	deadline_bound(&f.deadline, f.one.due_ms);
	assert_true(deadline_running(&f.deadline));
	simrig_run(&f.rig, 490);
	assert_int_equal(f.one.fired, 0);
	simrig_run(&f.rig, 1000);
	assert_int_equal(f.one.passed, 1);
	assert_in_range(f.one.passed_ms, begun_ms + 500, begun_ms + 500 + LATE_MS);
	assert_false(deadline_running(&f.deadline));
	fixture_close(&f);
}

/* Progress stores a time only: the timer fires early and is set anew. */
static void test_computed_when_fired(void **state)
{
	struct deadline_fixture f;
	uint64_t begun_ms;

	(void)state;
	fixture_open(&f);
	begun_ms = f.rig.tick.now_ms;
	deadline_bound(&f.deadline, begun_ms + 500);
	f.one.due_ms = begun_ms + 900;
	simrig_run(&f.rig, 600);
	assert_int_equal(f.one.fired, 1);
	assert_int_equal(f.one.passed, 0);
	simrig_run(&f.rig, 400);
	assert_int_equal(f.one.fired, 2);
	assert_in_range(f.one.passed_ms, begun_ms + 900, begun_ms + 900 + LATE_MS);
	/* Nothing is awaited: the timer rests until the next bound. */
	f.one.due_ms = WHEEL_NEVER;
	deadline_bound(&f.deadline, f.one.due_ms);
	assert_false(deadline_running(&f.deadline));
	deadline_bound(&f.deadline, f.rig.tick.now_ms + 10);
	simrig_run(&f.rig, 100);
	assert_int_equal(f.one.fired, 3);
	assert_int_equal(f.one.passed, 1);
	assert_false(deadline_running(&f.deadline));
	fixture_close(&f);
}

/* Only an earlier time moves the timer. */
static void test_bound(void **state)
{
	struct deadline_fixture f;
	uint64_t begun_ms;

	(void)state;
	fixture_open(&f);
	begun_ms = f.rig.tick.now_ms;
	deadline_bound(&f.deadline, begun_ms + 500);
	deadline_bound(&f.deadline, begun_ms + 800);
	assert_int_equal(f.conn.timer.deadline_ms, begun_ms + 500);
	f.one.due_ms = begun_ms + 200;
	deadline_bound(&f.deadline, f.one.due_ms);
	simrig_run(&f.rig, 220);
	assert_int_equal(f.one.passed, 1);
	fixture_close(&f);
}

/* The timer that was set for one owner fires for the next. */
static void test_owners(void **state)
{
	struct deadline_fixture f;
	uint64_t begun_ms;

	(void)state;
	fixture_open(&f);
	begun_ms = f.rig.tick.now_ms;
	f.one.due_ms = begun_ms + 300;
	deadline_bound(&f.deadline, f.one.due_ms);
	f.two.due_ms = begun_ms + 700;
	deadline_own(&f.deadline, &quiet_rules, &f.two);
	deadline_bound(&f.deadline, f.two.due_ms);
	simrig_run(&f.rig, 1000);
	assert_int_equal(f.one.fired, 0);
	assert_int_equal(f.one.passed, 0);
	assert_int_equal(f.two.passed, 1);
	assert_in_range(f.two.passed_ms, begun_ms + 700, begun_ms + 700 + LATE_MS);
	fixture_close(&f);
}

/* A peer that takes bytes of a send in progress, which reports nothing, is not late. */
static void test_delivery(void **state)
{
	static char bytes[100000];
	struct deadline_fixture f;
	struct piece p = { NULL, bytes, sizeof(bytes) };

	(void)state;
	fixture_open(&f);
	sim_set_socket_bytes(f.rig.tick.loop, 4096);
	f.peer->stopped_reading = true;
	io_cancel(f.rig.tick.loop, &f.peer->recv.op);
	f.one.due_ms = 300;
	f.one.awaits_delivery = true;
	assert_true(conn_push(&f.conn, &p));
	simrig_run(&f.rig, 200);
	deadline_bound(&f.deadline, f.rig.tick.now_ms + 50);
	/* What fits into the sockets was taken since the send began. */
	simrig_run(&f.rig, 200);
	assert_true(conn_unsent(&f.conn) > 0);
	assert_int_equal(f.one.passed, 0);
	simrig_run(&f.rig, 1000);
	assert_int_equal(f.one.passed, 1);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passes),
		cmocka_unit_test(test_computed_when_fired),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_delivery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
