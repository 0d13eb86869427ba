#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "net/conn.h"

#define WINDOW (3 * BUF_BYTES)
#define LINGER_MS 500
/* Longer than anything takes in the simulated network. */
#define QUIET_MS 200

/* The connection under test, and its peer. */
struct conn_fixture {
	struct simrig rig;
	struct conn conn;
	struct sim_peer *peer;
	unsigned changes, deaths;
	void (*changed)(struct conn_fixture *f);
	size_t pushed, taken; /* bytes of the pattern */
	struct buf *half;     /* a part of it was pushed */
	struct task task;
};

static struct conn_fixture *fixture_of(struct conn *c)
{
	return CONTAINER(c, struct conn_fixture, conn);
}

static void changed(struct conn *c)
{
	struct conn_fixture *f = fixture_of(c);

	assert_int_equal(c->state, CONN_OPEN);
	f->changes++;
	tick_run(c->tick, &f->task);
}

static void dead(struct conn *c)
{
	struct conn_fixture *f = fixture_of(c);

	assert_int_equal(c->state, CONN_DEAD);
	f->deaths++;
	task_stop(&f->task);
}

static const struct conn_events events = { .changed = changed, .dead = dead };

/* Buffers are charged in full; consecutive entries in one buffer are charged once. */
static void assert_charged(const struct outbox *o)
{
	uint32_t charged = 0;

	for (unsigned i = o->first; i < o->n; i++)
		if (o->owner[i] && (i + 1u == o->n || o->owner[i + 1] != o->owner[i]))
			charged += o->owner[i]->size;
	assert_int_equal(o->charged, charged);
}

static void step(struct task *t)
{
	struct conn_fixture *f = CONTAINER(t, struct conn_fixture, task);

	conn_check(&f->conn);
	if (f->conn.outbox)
		assert_charged(f->conn.outbox);
	if (f->changed && f->conn.state == CONN_OPEN)
		f->changed(f);
}

static void fixture_open(struct conn_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 64);
	if (seed % 3 == 0)
		sim_set_socket_bytes(f->rig.tick.loop,
				     1 + (uint32_t)simrig_draw(&f->rig, 20000));
	task_init(&f->task, step);
	conn_open(&f->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &f->peer),
		  WINDOW);
}

/* Closes the connection: it dies once, and releases every buffer. */
static void fixture_close(struct conn_fixture *f)
{
	if (f->conn.state != CONN_DEAD)
		conn_close(&f->conn, CONN_NOW, 0);
	SIMRIG_UNTIL(&f->rig, f->deaths > 0, QUIET_MS);
	simrig_run(&f->rig, QUIET_MS);
	assert_int_equal(f->deaths, 1);
	buf_put(f->half);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
}

static void each_seed(void (*test)(struct conn_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct conn_fixture f;

		fixture_open(&f, seed);
		test(&f);
		fixture_close(&f);
	}
}

static char pattern(size_t i)
{
	return (char)(i * 31 + i / 251);
}

static void peer_sends(struct conn_fixture *f, size_t n)
{
	char *bytes = malloc(n);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = pattern(f->peer->out_n + i);
	sim_peer_send(f->peer, (struct slice){ bytes, n });
	free(bytes);
}

static void assert_pattern(struct conn_fixture *f, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != pattern(f->taken + i))
			fail_msg("byte %zu differs from what was sent", f->taken + i);
	f->taken += n;
}

/* ---- inbox ------------------------------------------------------------------ */

static void take_some(struct conn_fixture *f)
{
	struct conn *c = &f->conn;
	struct slice s = conn_peek(c);
	uint32_t before = c->inbox_bytes, n;
	struct piece p;

	if (s.len == 0)
		return;
	n = 1 + (uint32_t)simrig_draw(&f->rig, s.len);
	switch (simrig_draw(&f->rig, 3)) {
	case 0:
		p = conn_take(c, n);
		assert_int_equal(p.len, n);
		assert_pattern(f, p.ptr, p.len);
		piece_put(&p);
		break;
	case 1:
		assert_pattern(f, s.ptr, n);
		conn_consume(c, n);
		break;
	case 2:
		n = 1 + (uint32_t)simrig_draw(&f->rig, 2 * s.len);
		assert_true(conn_linearize(c, n));
		assert_int_equal(c->inbox_bytes, before);
		if (n > before)
			n = before;
		s = conn_peek(c);
		assert_true(s.len >= n);
		assert_pattern(f, s.ptr, n);
		conn_consume(c, n);
		break;
	}
	assert_int_equal(c->inbox_bytes, before - n);
	conn_check(c);
}

static void inbox_is_bounded_and_whole(struct conn_fixture *f)
{
	size_t all = 8 * WINDOW;

	f->peer->uncut = true;
	peer_sends(f, all);
	simrig_run(&f->rig, 2000);
	assert_true(f->conn.inbox_held >= WINDOW);
	assert_true(f->conn.inbox_bytes <= WINDOW + BUF_BYTES);
	while (f->taken < all) {
		assert_true(f->conn.inbox_bytes <= WINDOW + BUF_BYTES);
		SIMRIG_UNTIL(&f->rig, f->conn.inbox, 10000);
		for (unsigned n = 1 + (unsigned)simrig_draw(&f->rig, 8); n > 0; n--)
			take_some(f);
	}
	assert_int_equal(f->conn.received, all);
	assert_int_equal(f->conn.inbox_bytes, 0);
	assert_int_equal(f->conn.inbox_held, 0);
}

static void test_inbox(void **state)
{
	(void)state;
	each_seed(inbox_is_bounded_and_whole);
}

/* All bytes are made contiguous, however they were split. */
static void linearize_all(struct conn_fixture *f)
{
	uint32_t all = 2 + (uint32_t)simrig_draw(&f->rig, 20000);
	struct piece hold = { NULL, NULL, 0 };

	peer_sends(f, all);
	SIMRIG_UNTIL(&f->rig, f->conn.inbox_bytes > 0, 60000);
	if (simrig_draw(&f->rig, 2))
		hold = conn_take(&f->conn, 1), f->taken++;
	while (f->conn.inbox_bytes < all - (hold.buf != NULL)) {
		simrig_run(&f->rig, 1);
		assert_true(conn_linearize(&f->conn, all));
	}
	assert_int_equal(conn_peek(&f->conn).len, f->conn.inbox_bytes);
	assert_pattern(f, conn_peek(&f->conn).ptr, conn_peek(&f->conn).len);
	assert_int_equal(f->taken, all);
	piece_put(&hold);
}

static void test_linearize(void **state)
{
	(void)state;
	each_seed(linearize_all);
}

static void linearize_without_memory(struct conn_fixture *f)
{
	peer_sends(f, BUF_BYTES + 10);
	SIMRIG_UNTIL(&f->rig, f->conn.inbox && f->conn.inbox->next, 60000);
	buf_ref(f->conn.inbox); /* shared: it must not be appended to */
	f->half = f->conn.inbox;
	slab_fail_at(1);
	if (conn_linearize(&f->conn, 200))
		assert_true(conn_peek(&f->conn).len >= 200);
	slab_fail_at(0);
	while (f->taken < BUF_BYTES + 10) {
		SIMRIG_UNTIL(&f->rig, f->conn.inbox, 60000);
		take_some(f);
	}
}

static void test_linearize_without_memory(void **state)
{
	(void)state;
	each_seed(linearize_without_memory);
}

/* ---- outbox ----------------------------------------------------------------- */

static bool push_one(struct conn_fixture *f)
{
	struct conn *c = &f->conn;
	uint32_t n = 1 + (uint32_t)simrig_draw(&f->rig, 6000);
	struct piece p;
	char small[24];

	if (simrig_draw(&f->rig, 3) == 0) {
		n = 1 + (uint32_t)simrig_draw(&f->rig, sizeof(small));
		for (uint32_t i = 0; i < n; i++)
			small[i] = pattern(f->pushed + i);
		f->pushed += n;
		return conn_push_small(c, (struct slice){ small, n });
	}
	/* Sometimes another part of a buffer that was pushed before. */
	if (!f->half || f->half->end + n > f->half->size || simrig_draw(&f->rig, 2)) {
		buf_put(f->half);
		f->half = buf_new(io_bufs(f->rig.tick.loop), 12000);
		assert_non_null(f->half);
	}
	for (uint32_t i = 0; i < n; i++)
		f->half->data[f->half->end + i] = pattern(f->pushed + i);
	p = (struct piece){ buf_ref(f->half), f->half->data + f->half->end, n };
	f->half->end += n;
	f->pushed += n;
	if (!conn_push(c, &p))
		return false;
	assert_true(p.buf == NULL && p.len == 0);
	return true;
}

#define PUSH_ALL 400000u

/* Pushes only while there is space, and continues only when notified: without that, the
 * test would not end. */
static void push_while_space(struct conn_fixture *f)
{
	struct conn *c = &f->conn;

	while (f->pushed < PUSH_ALL && conn_push_space(c) > 0) {
		assert_true(conn_push_space(c) <= WINDOW);
		for (unsigned n = 1 + (unsigned)simrig_draw(&f->rig, OUTBOX_SPARE); n > 0;
		     n--)
			assert_true(push_one(f));
		assert_true(c->outbox->charged <= WINDOW + OUTBOX_SPARE * (12000 + 4384));
	}
	if (f->pushed < PUSH_ALL)
		conn_await_space(c);
}

static void assert_peer_received(struct conn_fixture *f)
{
	struct slice s = sim_peer_received(f->peer);

	f->taken = 0;
	assert_pattern(f, s.ptr, s.len);
}

static void outbox_keeps_order(struct conn_fixture *f)
{
	f->changed = push_while_space;
	f->peer->stopped_reading = simrig_draw(&f->rig, 2);
	if (simrig_draw(&f->rig, 2))
		push_while_space(f);
	else
		assert_true(push_one(f));
	simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 300));
	sim_peer_resume_reading(f->peer);
	/* Sometimes more is pushed while a send is in flight. */
	while (simrig_draw(&f->rig, 40) > 0) {
		simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 3));
		if (f->pushed < PUSH_ALL && conn_push_space(&f->conn) > 0)
			assert_true(push_one(f));
		if (f->conn.outbox)
			assert_charged(f->conn.outbox);
	}
	push_while_space(f);
	SIMRIG_UNTIL(&f->rig, f->peer->in_n == f->pushed && f->pushed >= PUSH_ALL, 60000);
	assert_peer_received(f);
	SIMRIG_UNTIL(&f->rig, conn_unsent(&f->conn) == 0, 5000);
	assert_null(f->conn.outbox);
	assert_int_equal(conn_push_space(&f->conn), WINDOW);
	assert_int_equal(f->conn.sent, f->pushed);
}

static void test_outbox(void **state)
{
	(void)state;
	each_seed(outbox_keeps_order);
}

static void outbox_without_memory(struct conn_fixture *f)
{
	struct piece p = { NULL, "abc", 3 };

	slab_fail_at(1);
	assert_false(conn_push(&f->conn, &p));
	assert_int_equal(p.len, 3);
	slab_fail_at(1);
	assert_false(conn_push_small(&f->conn, SLICE("abc")));
	slab_fail_at(0);
	/* Short pushes share an entry while they fit. */
	for (unsigned i = 0; i < OUTBOX_MAX * 4; i++)
		assert_true(conn_push_small(&f->conn, SLICE("sixsix")));
	assert_int_equal(f->conn.outbox->n, OUTBOX_MAX);
	assert_false(conn_push_small(&f->conn, SLICE("x")));
	assert_false(conn_push(&f->conn, &p));
	assert_int_equal(conn_push_space(&f->conn), 0);
	conn_await_space(&f->conn);
	SIMRIG_UNTIL(&f->rig, f->peer->in_n == OUTBOX_MAX * 24, 5000);
	SIMRIG_UNTIL(&f->rig, conn_push_space(&f->conn) == WINDOW, 5000);
	assert_true(f->changes > 0);
}

static void test_outbox_without_memory(void **state)
{
	(void)state;
	each_seed(outbox_without_memory);
}

/* Bytes not submitted yet are removed as if never pushed; otherwise all of them are
 * sent. */
static void take_back(struct conn_fixture *f)
{
	struct conn *c = &f->conn;

	for (unsigned round = 0; round < 20; round++) {
		uint64_t from;
		bool submitted;

		for (uint64_t n = simrig_draw(&f->rig, 4);
		     n > 0 && conn_push_space(c) > 0; n--)
			assert_true(push_one(f));
		if (simrig_draw(&f->rig, 2))
			simrig_run(&f->rig, 1 + (uint32_t)simrig_draw(&f->rig, 3));
		from = conn_position(c);
		assert_int_equal(from, f->pushed);
		for (uint64_t n = simrig_draw(&f->rig, 4);
		     n > 0 && conn_push_space(c) > 0; n--)
			assert_true(push_one(f));
		if (simrig_draw(&f->rig, 3) == 0)
			tick_once(&f->rig.tick);
		submitted = conn_submitted(c) > from;
		assert_int_equal(conn_take_back(c, from), !submitted);
		if (!submitted)
			f->pushed = from;
		assert_int_equal(conn_position(c), f->pushed);
		if (c->outbox)
			assert_charged(c->outbox);
	}
	SIMRIG_UNTIL(&f->rig, f->peer->in_n == f->pushed, 60000);
	simrig_run(&f->rig, QUIET_MS);
	assert_int_equal(f->peer->in_n, f->pushed);
	assert_peer_received(f);
}

static void test_take_back(void **state)
{
	(void)state;
	each_seed(take_back);
}

/* FIN follows the pushed bytes; receiving goes on; the owner is notified. */
static void fin_after_all_bytes(struct conn_fixture *f)
{
	bool with_bytes = simrig_draw(&f->rig, 3) > 0;

	if (with_bytes)
		assert_true(push_one(f));
	conn_send_fin(&f->conn);
	conn_send_fin(&f->conn);
	SIMRIG_UNTIL(&f->rig, f->conn.fin_sent, 5000);
	if (with_bytes)
		SIMRIG_UNTIL(&f->rig, f->changes > 0, 5);
	SIMRIG_UNTIL(&f->rig, f->peer->eof, 5000);
	assert_int_equal(f->peer->in_n, f->pushed);
	assert_peer_received(f);
	f->taken = 0;
	peer_sends(f, 5000);
	while (f->taken < 5000) {
		SIMRIG_UNTIL(&f->rig, f->conn.inbox, 5000);
		take_some(f);
	}
}

static void test_shut(void **state)
{
	(void)state;
	each_seed(fin_after_all_bytes);
}

/* Starting a send counts as progress: a peer to which nothing was sent is not slow. */
static void progress_begins_with_a_send(struct conn_fixture *f)
{
	simrig_run(&f->rig, 50000);
	assert_true(conn_push_small(&f->conn, SLICE("late")));
	assert_true(f->conn.sent_ms + 5000 >= f->rig.tick.now_ms);
	tick_once(&f->rig.tick);
	assert_true(f->conn.sent_ms + 5000 >= f->rig.tick.now_ms);
}

/* A silent send completes with the next event: that is not progress. */
static void progress_is_not_the_completion_of_a_send(struct conn_fixture *f)
{
	uint64_t begun_ms;

	simrig_run(&f->rig, 50);
	assert_true(conn_push_small(&f->conn, SLICE("x")));
	tick_once(&f->rig.tick);
	assert_true(io_busy(&f->conn.outbox->send.op));
	begun_ms = f->conn.sent_ms;
	SIMRIG_UNTIL(&f->rig, !f->conn.outbox, 5000);
	assert_int_equal(f->conn.sent_ms, begun_ms);
}

/* A receive counts as progress when it completes, however long that took. */
static void progress_is_when_bytes_are_received(struct conn_fixture *f)
{
	struct sim_faults faults = { .segments = 1, .late_ms = 900 };

	sim_set_faults(f->rig.tick.loop, &faults);
	f->peer->uncut = true;
	for (uint64_t bytes = 1; bytes <= 5; bytes++) {
		peer_sends(f, 1);
		SIMRIG_UNTIL(&f->rig, f->conn.received == bytes, 5000);
		assert_true(f->conn.received_ms + 1 >= f->rig.tick.now_ms);
	}
}

static void test_progress(void **state)
{
	(void)state;
	each_seed(progress_is_when_bytes_are_received);
	each_seed(progress_begins_with_a_send);
	each_seed(progress_is_not_the_completion_of_a_send);
}

/* ---- closing ---------------------------------------------------------------- */

enum situation {
	QUIET,
	UNREAD,      /* bytes in the inbox */
	UNREAD_MORE, /* more than the inbox takes */
	PUSHED,      /* bytes that were not submitted yet */
	SENDING,     /* bytes that the peer does not read */
	OUTBOX_FULL,
	PEER_FIN,
	PEER_RESET,
	FIN_WANTED,
	SITUATIONS,
};

static void situation_create(struct conn_fixture *f, enum situation situation)
{
	switch (situation) {
	case QUIET:
		simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 3));
		break;
	case UNREAD:
	case UNREAD_MORE:
		peer_sends(f, situation == UNREAD ? 100 : 4 * WINDOW);
		SIMRIG_UNTIL(&f->rig, f->conn.inbox, 5000);
		simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 30));
		break;
	case SENDING:
	case OUTBOX_FULL:
		sim_set_socket_bytes(f->rig.tick.loop, 512);
		f->peer->stopped_reading = true;
		io_cancel(f->rig.tick.loop, &f->peer->recv.op);
		simrig_run(&f->rig, QUIET_MS);
		while (f->pushed < 5000 ||
		       (situation == OUTBOX_FULL && conn_push_space(&f->conn) > 0))
			assert_true(push_one(f));
		simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 20));
		if (situation == SENDING)
			assert_true(push_one(f));
		break;
	case PUSHED:
		for (unsigned n = 1 + (unsigned)simrig_draw(&f->rig, 5); n > 0; n--)
			assert_true(push_one(f));
		break;
	case PEER_FIN:
		sim_peer_shutdown(f->peer);
		SIMRIG_UNTIL(&f->rig, f->conn.eof, 5000);
		break;
	case PEER_RESET:
		sim_peer_reset_now(f->peer);
		SIMRIG_UNTIL(&f->rig, f->conn.error || f->conn.eof, 5000);
		break;
	case FIN_WANTED:
		assert_true(push_one(f));
		conn_send_fin(&f->conn);
		simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 3));
		break;
	case SITUATIONS:
		break;
	}
}

/* What the peer must have seen after a gentle end. */
static void assert_gentle(struct conn_fixture *f, enum situation situation,
			  enum conn_end end)
{
	if (situation == PEER_RESET)
		return;
	/* FIN is sent at once, not at the end of lingering. */
	if (end == CONN_LINGER && situation != SENDING && situation != OUTBOX_FULL)
		SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), LINGER_MS / 2);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 5000);
	/* All pushed bytes, then a reset. */
	if (end == CONN_FLUSH_RESET && situation != FIN_WANTED) {
		/* Reported once, to the read or the write, whichever is first. */
		assert_true(f->peer->error == -ECONNRESET ||
			    f->peer->send_error == -ECONNRESET);
		assert_int_equal(f->peer->in_n, f->pushed);
		assert_peer_received(f);
	} else if (end == CONN_LINGER || situation == QUIET || situation == PUSHED ||
		   situation == FIN_WANTED) {
		assert_true(f->peer->eof);
		assert_int_equal(f->peer->in_n, f->pushed);
		assert_peer_received(f);
	}
}

static void close_in_situation(struct conn_fixture *f, enum situation situation,
			       enum conn_end end)
{
	uint64_t start_ms;
	bool gentle = end == CONN_FLUSH || end == CONN_LINGER || end == CONN_FLUSH_RESET;

	situation_create(f, situation);
	start_ms = f->rig.tick.now_ms;
	conn_close(&f->conn, end, LINGER_MS);
	assert_int_not_equal(f->conn.state, CONN_OPEN);
	if (gentle && (situation == SENDING || situation == OUTBOX_FULL) &&
	    simrig_draw(&f->rig, 2)) {
		SIMRIG_UNTIL(&f->rig, f->deaths > 0, LINGER_MS + QUIET_MS);
		assert_true(f->rig.tick.now_ms >= start_ms + LINGER_MS);
		return;
	}
	if (gentle && f->peer->fd >= 0)
		sim_peer_resume_reading(f->peer);
	if (end == CONN_LINGER && situation != PEER_RESET) {
		simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 20));
		peer_sends(f, 3000); /* read and discarded */
	}
	if (gentle) {
		assert_gentle(f, situation, end);
		/* Lingering ends when the peer closes. */
		if (f->peer->fd >= 0)
			sim_peer_shutdown(f->peer);
		SIMRIG_UNTIL(&f->rig, f->deaths > 0, LINGER_MS + QUIET_MS);
	} else {
		SIMRIG_UNTIL(&f->rig, f->deaths > 0, 20);
		sim_peer_resume_reading(f->peer);
		if (end == CONN_RESET && situation != PEER_RESET) {
			SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 5000);
			assert_int_equal(f->peer->error ? f->peer->error : -ECONNRESET,
					 -ECONNRESET);
		}
	}
}

static void test_close(void **state)
{
	static const enum conn_end ends[] = { CONN_NOW, CONN_FLUSH, CONN_LINGER, CONN_FLUSH_RESET,
					      CONN_RESET };

	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		for (unsigned situation = 0; situation < SITUATIONS; situation++) {
			struct conn_fixture f;

			fixture_open(&f, 1000 * situation + seed);
			close_in_situation(&f, (enum situation)situation,
					   ends[seed % COUNT(ends)]);
			fixture_close(&f);
		}
	}
}

/* A gentle end may be followed by a harsher one, at any time. */
static void test_close_twice(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		static const enum conn_end ends[] = { CONN_FLUSH, CONN_LINGER, CONN_FLUSH_RESET };
		enum conn_end gentle = ends[seed % COUNT(ends)];
		struct conn_fixture f;

		fixture_open(&f, seed);
		situation_create(&f, (enum situation)(seed / 2 % SITUATIONS));
		conn_close(&f.conn, gentle, LINGER_MS);
		simrig_run(&f.rig, (uint32_t)simrig_draw(&f.rig, 10));
		if (f.conn.state != CONN_DEAD)
			conn_close(&f.conn, seed / 4 % 2 ? CONN_NOW : CONN_RESET, 0);
		if (f.conn.state != CONN_DEAD)
			conn_close(&f.conn, gentle, LINGER_MS); /* too late */
		SIMRIG_UNTIL(&f.rig, f.deaths > 0, 20);
		fixture_close(&f);
	}
}

/* A reset by the peer is reported by the receive or the send, whichever is first. */
static void reset_is_reported(struct conn_fixture *f)
{
	if (simrig_draw(&f->rig, 2))
		assert_true(push_one(f));
	sim_peer_reset_now(f->peer);
	SIMRIG_UNTIL(&f->rig, f->conn.error || f->conn.eof, 5000);
	assert_true(f->changes > 0);
	if (f->conn.error)
		assert_int_equal(conn_push_space(&f->conn), 0);
	assert_true(push_one(f)); /* is never sent */
	simrig_run(&f->rig, QUIET_MS);
	assert_true(f->conn.send_error != 0);
	assert_int_equal(conn_push_space(&f->conn), 0);
	assert_int_equal(conn_unsent(&f->conn), 0);
}

static void test_reset(void **state)
{
	(void)state;
	each_seed(reset_is_reported);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inbox),
		cmocka_unit_test(test_linearize),
		cmocka_unit_test(test_linearize_without_memory),
		cmocka_unit_test(test_outbox),
		cmocka_unit_test(test_outbox_without_memory),
		cmocka_unit_test(test_take_back),
		cmocka_unit_test(test_shut),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_close_twice),
		cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
