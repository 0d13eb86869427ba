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

/* The conn that is tested, and who is at its other end. */
struct line {
	struct simrig rig;
	struct conn conn;
	struct sim_peer *peer;
	unsigned changes, deaths;
	void (*changed)(struct line *l);
	size_t pushed, taken; /* bytes of the pattern */
	struct buf *half;     /* of which a part was pushed */
	struct task task;
};

static struct line *line_of(struct conn *c)
{
	return CONTAINER(c, struct line, conn);
}

static void changed(struct conn *c)
{
	struct line *l = line_of(c);

	assert_int_equal(c->state, CONN_OPEN);
	l->changes++;
	tick_run(c->tick, &l->task);
}

static void dead(struct conn *c)
{
	struct line *l = line_of(c);

	assert_int_equal(c->state, CONN_DEAD);
	l->deaths++;
	task_stop(&l->task);
}

static const struct conn_events events = { .changed = changed, .dead = dead };

/* Buffers are charged whole, and neighbours in one buffer once. */
static void assert_held(const struct outbox *o)
{
	uint32_t held = 0;

	for (unsigned i = o->first; i < o->n; i++)
		if (o->owner[i] && (i + 1u == o->n || o->owner[i + 1] != o->owner[i]))
			held += o->owner[i]->size;
	assert_int_equal(o->charged, held);
}

static void step(struct task *t)
{
	struct line *l = CONTAINER(t, struct line, task);

	conn_check(&l->conn);
	if (l->conn.outbox)
		assert_held(l->conn.outbox);
	if (l->changed && l->conn.state == CONN_OPEN)
		l->changed(l);
}

static void line_open(struct line *l, uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	simrig_open(&l->rig, seed, 64);
	if (seed % 3 == 0)
		sim_set_socket_bytes(l->rig.tick.loop, 1 + (uint32_t)simrig_draw(&l->rig, 20000));
	task_init(&l->task, step);
	conn_open(&l->conn, &l->rig.tick, &events, simrig_pair(&l->rig, &l->peer), WINDOW);
}

/* Whatever is left of it ends; then nothing is left of it. */
static void line_close(struct line *l)
{
	if (l->conn.state != CONN_DEAD)
		conn_close(&l->conn, CONN_NOW, 0);
	SIMRIG_UNTIL(&l->rig, l->deaths > 0, QUIET_MS);
	simrig_run(&l->rig, QUIET_MS);
	assert_int_equal(l->deaths, 1);
	buf_put(l->half);
	simrig_close_peers(&l->rig);
	simrig_assert_buffers(&l->rig);
	simrig_close(&l->rig);
}

static void each_seed(void (*test)(struct line *l))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct line l;

		line_open(&l, seed);
		test(&l);
		line_close(&l);
	}
}

static char pattern(size_t i)
{
	return (char)(i * 31 + i / 251);
}

static void peer_says(struct line *l, size_t n)
{
	char *bytes = malloc(n);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = pattern(l->peer->out_n + i);
	sim_peer_send(l->peer, (struct slice){ bytes, n });
	free(bytes);
}

static void assert_pattern(struct line *l, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != pattern(l->taken + i))
			fail_msg("byte %zu is not what was sent", l->taken + i);
	l->taken += n;
}

/* ---- inbox ------------------------------------------------------------------ */

static void take_some(struct line *l)
{
	struct conn *c = &l->conn;
	struct slice s = conn_peek(c);
	uint32_t before = c->inbox_bytes, n;
	struct piece p;

	if (s.len == 0)
		return;
	n = 1 + (uint32_t)simrig_draw(&l->rig, s.len);
	switch (simrig_draw(&l->rig, 3)) {
	case 0:
		p = conn_take(c, n);
		assert_int_equal(p.len, n);
		assert_pattern(l, p.ptr, p.len);
		piece_put(&p);
		break;
	case 1:
		assert_pattern(l, s.ptr, n);
		conn_consume(c, n);
		break;
	case 2:
		n = 1 + (uint32_t)simrig_draw(&l->rig, 2 * s.len);
		assert_true(conn_linearize(c, n));
		assert_int_equal(c->inbox_bytes, before);
		if (n > before)
			n = before;
		s = conn_peek(c);
		assert_true(s.len >= n);
		assert_pattern(l, s.ptr, n);
		conn_consume(c, n);
		break;
	}
	assert_int_equal(c->inbox_bytes, before - n);
	conn_check(c);
}

static void inbox_is_bounded_and_whole(struct line *l)
{
	size_t all = 8 * WINDOW;

	l->peer->uncut = true;
	peer_says(l, all);
	simrig_run(&l->rig, 2000);
	assert_true(l->conn.inbox_held >= WINDOW);
	assert_true(l->conn.inbox_bytes <= WINDOW + BUF_BYTES);
	while (l->taken < all) {
		assert_true(l->conn.inbox_bytes <= WINDOW + BUF_BYTES);
		SIMRIG_UNTIL(&l->rig, l->conn.inbox, 10000);
		for (unsigned n = 1 + (unsigned)simrig_draw(&l->rig, 8); n > 0; n--)
			take_some(l);
	}
	assert_int_equal(l->conn.received, all);
	assert_int_equal(l->conn.inbox_bytes, 0);
	assert_int_equal(l->conn.inbox_held, 0);
}

static void test_inbox(void **state)
{
	(void)state;
	each_seed(inbox_is_bounded_and_whole);
}

/* The whole of what fits is made contiguous, however it came. */
static void gather_all(struct line *l)
{
	uint32_t all = 2 + (uint32_t)simrig_draw(&l->rig, 20000);
	struct piece hold = { NULL, NULL, 0 };

	peer_says(l, all);
	SIMRIG_UNTIL(&l->rig, l->conn.inbox_bytes > 0, 60000);
	if (simrig_draw(&l->rig, 2))
		hold = conn_take(&l->conn, 1), l->taken++;
	while (l->conn.inbox_bytes < all - (hold.buf != NULL)) {
		simrig_run(&l->rig, 1);
		assert_true(conn_linearize(&l->conn, all));
	}
	assert_int_equal(conn_peek(&l->conn).len, l->conn.inbox_bytes);
	assert_pattern(l, conn_peek(&l->conn).ptr, conn_peek(&l->conn).len);
	assert_int_equal(l->taken, all);
	piece_put(&hold);
}

static void test_gather(void **state)
{
	(void)state;
	each_seed(gather_all);
}

static void gather_without_memory(struct line *l)
{
	peer_says(l, BUF_BYTES + 10);
	SIMRIG_UNTIL(&l->rig, l->conn.inbox && l->conn.inbox->next, 60000);
	buf_ref(l->conn.inbox); /* others look at the first: it may not grow */
	l->half = l->conn.inbox;
	slab_fail_at(1);
	if (conn_linearize(&l->conn, 200))
		assert_true(conn_peek(&l->conn).len >= 200);
	slab_fail_at(0);
	while (l->taken < BUF_BYTES + 10) {
		SIMRIG_UNTIL(&l->rig, l->conn.inbox, 60000);
		take_some(l);
	}
}

static void test_gather_without_memory(void **state)
{
	(void)state;
	each_seed(gather_without_memory);
}

/* ---- outbox ----------------------------------------------------------------- */

static bool push_one(struct line *l)
{
	struct conn *c = &l->conn;
	uint32_t n = 1 + (uint32_t)simrig_draw(&l->rig, 6000);
	struct piece p;
	char small[24];

	if (simrig_draw(&l->rig, 3) == 0) {
		n = 1 + (uint32_t)simrig_draw(&l->rig, sizeof(small));
		for (uint32_t i = 0; i < n; i++)
			small[i] = pattern(l->pushed + i);
		l->pushed += n;
		return conn_push_small(c, (struct slice){ small, n });
	}
	/* Sometimes another run of a buffer that was pushed before. */
	if (!l->half || l->half->end + n > l->half->size || simrig_draw(&l->rig, 2)) {
		buf_put(l->half);
		l->half = buf_new(io_bufs(l->rig.tick.loop), 12000);
		assert_non_null(l->half);
	}
	for (uint32_t i = 0; i < n; i++)
		l->half->data[l->half->end + i] = pattern(l->pushed + i);
	p = (struct piece){ buf_ref(l->half), l->half->data + l->half->end, n };
	l->half->end += n;
	l->pushed += n;
	if (!conn_push(c, &p))
		return false;
	assert_true(p.buf == NULL && p.len == 0);
	return true;
}

#define PUSH_ALL 400000u

/* Pushes only when there is room, and looks again only when told: a wake-up that is lost
 * ends it. */
static void push_while_room(struct line *l)
{
	struct conn *c = &l->conn;

	while (l->pushed < PUSH_ALL && conn_request_space(c) > 0) {
		assert_true(conn_request_space(c) <= WINDOW);
		for (unsigned n = 1 + (unsigned)simrig_draw(&l->rig, OUTBOX_SPARE); n > 0; n--)
			assert_true(push_one(l));
		assert_true(c->outbox->charged <= WINDOW + OUTBOX_SPARE * (12000 + 4384));
	}
}

static void assert_peer_heard(struct line *l)
{
	struct slice s = sim_peer_received(l->peer);

	l->taken = 0;
	assert_pattern(l, s.ptr, s.len);
}

static void outbox_keeps_order(struct line *l)
{
	l->changed = push_while_room;
	l->peer->stopped_reading = simrig_draw(&l->rig, 2);
	if (simrig_draw(&l->rig, 2))
		push_while_room(l);
	else
		assert_true(push_one(l));
	simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 300));
	sim_peer_resume_reading(l->peer);
	/* Sometimes more is pushed while a send is in flight. */
	while (simrig_draw(&l->rig, 40) > 0) {
		simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 3));
		if (l->pushed < PUSH_ALL && conn_request_space(&l->conn) > 0)
			assert_true(push_one(l));
		if (l->conn.outbox)
			assert_held(l->conn.outbox);
	}
	push_while_room(l);
	SIMRIG_UNTIL(&l->rig, l->peer->in_n == l->pushed && l->pushed >= PUSH_ALL, 60000);
	assert_peer_heard(l);
	SIMRIG_UNTIL(&l->rig, conn_unsent(&l->conn) == 0, 5000);
	assert_null(l->conn.outbox);
	assert_int_equal(conn_request_space(&l->conn), WINDOW);
	assert_int_equal(l->conn.sent, l->pushed);
}

static void test_outbox(void **state)
{
	(void)state;
	each_seed(outbox_keeps_order);
}

static void outbox_without_memory(struct line *l)
{
	struct piece p = { NULL, "abc", 3 };

	slab_fail_at(1);
	assert_false(conn_push(&l->conn, &p));
	assert_int_equal(p.len, 3);
	slab_fail_at(1);
	assert_false(conn_push_small(&l->conn, SLICE("abc")));
	slab_fail_at(0);
	/* Short ones share an entry as long as they fit it. */
	for (unsigned i = 0; i < OUTBOX_MAX * 4; i++)
		assert_true(conn_push_small(&l->conn, SLICE("sixsix")));
	assert_int_equal(l->conn.outbox->n, OUTBOX_MAX);
	assert_false(conn_push_small(&l->conn, SLICE("x")));
	assert_false(conn_push(&l->conn, &p));
	assert_int_equal(conn_request_space(&l->conn), 0);
	SIMRIG_UNTIL(&l->rig, l->peer->in_n == OUTBOX_MAX * 24, 5000);
	SIMRIG_UNTIL(&l->rig, conn_request_space(&l->conn) == WINDOW, 5000);
	assert_true(l->changes > 0);
}

static void test_outbox_without_memory(void **state)
{
	(void)state;
	each_seed(outbox_without_memory);
}

/* What the kernel does not have yet is as if it had never been pushed; else all of it goes. */
static void take_back(struct line *l)
{
	struct conn *c = &l->conn;

	for (unsigned round = 0; round < 20; round++) {
		uint64_t from;
		bool handed;

		for (uint64_t n = simrig_draw(&l->rig, 4);
		     n > 0 && conn_request_space(c) > 0; n--)
			assert_true(push_one(l));
		if (simrig_draw(&l->rig, 2))
			simrig_run(&l->rig, 1 + (uint32_t)simrig_draw(&l->rig, 3));
		from = conn_position(c);
		assert_int_equal(from, l->pushed);
		for (uint64_t n = simrig_draw(&l->rig, 4);
		     n > 0 && conn_request_space(c) > 0; n--)
			assert_true(push_one(l));
		if (simrig_draw(&l->rig, 3) == 0)
			tick_once(&l->rig.tick);
		handed = conn_submitted(c) > from;
		assert_int_equal(conn_take_back(c, from), !handed);
		if (!handed)
			l->pushed = from;
		assert_int_equal(conn_position(c), l->pushed);
		if (c->outbox)
			assert_held(c->outbox);
	}
	SIMRIG_UNTIL(&l->rig, l->peer->in_n == l->pushed, 60000);
	simrig_run(&l->rig, QUIET_MS);
	assert_int_equal(l->peer->in_n, l->pushed);
	assert_peer_heard(l);
}

static void test_take_back(void **state)
{
	(void)state;
	each_seed(take_back);
}

/* FIN after what was pushed; receiving goes on; its owner is told. */
static void shut_after_all(struct line *l)
{
	bool with_bytes = simrig_draw(&l->rig, 3) > 0;

	if (with_bytes)
		assert_true(push_one(l));
	conn_shut(&l->conn);
	conn_shut(&l->conn);
	SIMRIG_UNTIL(&l->rig, l->conn.fin_sent, 5000);
	if (with_bytes)
		SIMRIG_UNTIL(&l->rig, l->changes > 0, 5);
	SIMRIG_UNTIL(&l->rig, l->peer->eof, 5000);
	assert_int_equal(l->peer->in_n, l->pushed);
	assert_peer_heard(l);
	l->taken = 0;
	peer_says(l, 5000);
	while (l->taken < 5000) {
		SIMRIG_UNTIL(&l->rig, l->conn.inbox, 5000);
		take_some(l);
	}
}

static void test_shut(void **state)
{
	(void)state;
	each_seed(shut_after_all);
}

/* A send counts as progress when it begins: who waited long for something to send has not
 * been slow. */
static void progress_begins_with_a_send(struct line *l)
{
	simrig_run(&l->rig, 50000);
	assert_true(conn_push_small(&l->conn, SLICE("late")));
	assert_true(l->conn.sent_ms + 5000 >= l->rig.tick.now_ms);
	tick_once(&l->rig.tick);
	assert_true(l->conn.sent_ms + 5000 >= l->rig.tick.now_ms);
}

/* Its end is told with the next thing that happens: that is no progress. */
static void progress_is_not_when_a_send_is_told(struct line *l)
{
	uint64_t begun_ms;

	simrig_run(&l->rig, 50);
	assert_true(conn_push_small(&l->conn, SLICE("x")));
	tick_once(&l->rig.tick);
	assert_true(io_busy(&l->conn.outbox->send.op));
	begun_ms = l->conn.sent_ms;
	SIMRIG_UNTIL(&l->rig, !l->conn.outbox, 5000);
	assert_int_equal(l->conn.sent_ms, begun_ms);
}

/* And a receive when it is told: however long was waited for it. */
static void progress_is_when_bytes_come(struct line *l)
{
	struct sim_faults faults = { .segments = 1, .late_ms = 900 };

	sim_set_faults(l->rig.tick.loop, &faults);
	l->peer->uncut = true;
	for (uint64_t bytes = 1; bytes <= 5; bytes++) {
		peer_says(l, 1);
		SIMRIG_UNTIL(&l->rig, l->conn.received == bytes, 5000);
		assert_true(l->conn.received_ms + 1 >= l->rig.tick.now_ms);
	}
}

static void test_progress(void **state)
{
	(void)state;
	each_seed(progress_is_when_bytes_come);
	each_seed(progress_begins_with_a_send);
	each_seed(progress_is_not_when_a_send_is_told);
}

/* ---- death ------------------------------------------------------------------ */

enum before {
	QUIET,
	UNREAD,      /* bytes in the inbox */
	UNREAD_MORE, /* and more than it takes */
	PUSHED,      /* bytes that were not yet handed to the kernel */
	SENDING,     /* bytes that its peer does not read */
	STARVED,
	PEER_SHUT,
	PEER_RESET,
	SHUT,
	BEFORE_N,
};

static void get_ready(struct line *l, enum before before)
{
	switch (before) {
	case QUIET:
		simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 3));
		break;
	case UNREAD:
	case UNREAD_MORE:
		peer_says(l, before == UNREAD ? 100 : 4 * WINDOW);
		SIMRIG_UNTIL(&l->rig, l->conn.inbox, 5000);
		simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 30));
		break;
	case SENDING:
	case STARVED:
		sim_set_socket_bytes(l->rig.tick.loop, 512);
		l->peer->stopped_reading = true;
		io_cancel(l->rig.tick.loop, &l->peer->recv.op);
		simrig_run(&l->rig, QUIET_MS);
		while (l->pushed < 5000 ||
		       (before == STARVED && conn_request_space(&l->conn) > 0))
			assert_true(push_one(l));
		simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 20));
		if (before == SENDING)
			assert_true(push_one(l));
		break;
	case PUSHED:
		for (unsigned n = 1 + (unsigned)simrig_draw(&l->rig, 5); n > 0; n--)
			assert_true(push_one(l));
		break;
	case PEER_SHUT:
		sim_peer_shutdown(l->peer);
		SIMRIG_UNTIL(&l->rig, l->conn.eof, 5000);
		break;
	case PEER_RESET:
		sim_peer_reset_now(l->peer);
		SIMRIG_UNTIL(&l->rig, l->conn.error || l->conn.eof, 5000);
		break;
	case SHUT:
		assert_true(push_one(l));
		conn_shut(&l->conn);
		simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 3));
		break;
	case BEFORE_N:
		break;
	}
}

/* What the peer of a careful end must have seen. */
static void assert_gentle(struct line *l, enum before before, enum conn_end end)
{
	if (before == PEER_RESET)
		return;
	/* FIN comes at once, and not only when the lingering is over. */
	if (end == CONN_LINGER && before != SENDING && before != STARVED)
		SIMRIG_UNTIL(&l->rig, sim_peer_finished(l->peer), LINGER_MS / 2);
	SIMRIG_UNTIL(&l->rig, sim_peer_finished(l->peer), 5000);
	/* All that was pushed, and then a reset. */
	if (end == CONN_BREAK && before != SHUT) {
		/* Told once, to whoever reads or writes first. */
		assert_true(l->peer->error == -ECONNRESET || l->peer->send_error == -ECONNRESET);
		assert_int_equal(l->peer->in_n, l->pushed);
		assert_peer_heard(l);
	} else if (end == CONN_LINGER || before == QUIET || before == PUSHED || before == SHUT) {
		assert_true(l->peer->eof);
		assert_int_equal(l->peer->in_n, l->pushed);
		assert_peer_heard(l);
	}
}

static void close_in(struct line *l, enum before before, enum conn_end end)
{
	uint64_t start_ms;
	bool gentle = end == CONN_FLUSH || end == CONN_LINGER || end == CONN_BREAK;

	get_ready(l, before);
	start_ms = l->rig.tick.now_ms;
	conn_close(&l->conn, end, LINGER_MS);
	assert_int_not_equal(l->conn.state, CONN_OPEN);
	if (gentle && (before == SENDING || before == STARVED) && simrig_draw(&l->rig, 2)) {
		SIMRIG_UNTIL(&l->rig, l->deaths > 0, LINGER_MS + QUIET_MS);
		assert_true(l->rig.tick.now_ms >= start_ms + LINGER_MS);
		return;
	}
	if (gentle && l->peer->fd >= 0)
		sim_peer_resume_reading(l->peer);
	if (end == CONN_LINGER && before != PEER_RESET) {
		simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 20));
		peer_says(l, 3000); /* read and dropped */
	}
	if (gentle) {
		assert_gentle(l, before, end);
		/* Lingering ends with its peer. */
		if (l->peer->fd >= 0)
			sim_peer_shutdown(l->peer);
		SIMRIG_UNTIL(&l->rig, l->deaths > 0, LINGER_MS + QUIET_MS);
	} else {
		SIMRIG_UNTIL(&l->rig, l->deaths > 0, 20);
		sim_peer_resume_reading(l->peer);
		if (end == CONN_RESET && before != PEER_RESET) {
			SIMRIG_UNTIL(&l->rig, sim_peer_finished(l->peer), 5000);
			assert_int_equal(l->peer->error ? l->peer->error : -ECONNRESET,
					 -ECONNRESET);
		}
	}
}

static void test_close(void **state)
{
	static const enum conn_end ends[] = { CONN_NOW, CONN_FLUSH, CONN_LINGER, CONN_BREAK,
					      CONN_RESET };

	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		for (unsigned before = 0; before < BEFORE_N; before++) {
			struct line l;

			line_open(&l, 1000 * before + seed);
			close_in(&l, (enum before)before, ends[seed % COUNT(ends)]);
			line_close(&l);
		}
	}
}

/* A gentle end is followed by a harsher one, at any time. */
static void test_close_twice(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		static const enum conn_end ends[] = { CONN_FLUSH, CONN_LINGER, CONN_BREAK };
		enum conn_end gentle = ends[seed % COUNT(ends)];
		struct line l;

		line_open(&l, seed);
		get_ready(&l, (enum before)(seed / 2 % BEFORE_N));
		conn_close(&l.conn, gentle, LINGER_MS);
		simrig_run(&l.rig, (uint32_t)simrig_draw(&l.rig, 10));
		if (l.conn.state != CONN_DEAD)
			conn_close(&l.conn, seed / 4 % 2 ? CONN_NOW : CONN_RESET, 0);
		if (l.conn.state != CONN_DEAD)
			conn_close(&l.conn, gentle, LINGER_MS); /* too late */
		SIMRIG_UNTIL(&l.rig, l.deaths > 0, 20);
		line_close(&l);
	}
}

/* A peer that resets: reading or writing tells, whatever comes first. */
static void reset_is_told(struct line *l)
{
	if (simrig_draw(&l->rig, 2))
		assert_true(push_one(l));
	sim_peer_reset_now(l->peer);
	SIMRIG_UNTIL(&l->rig, l->conn.error || l->conn.eof, 5000);
	assert_true(l->changes > 0);
	if (l->conn.error)
		assert_int_equal(conn_request_space(&l->conn), 0);
	assert_true(push_one(l)); /* and goes nowhere */
	simrig_run(&l->rig, QUIET_MS);
	assert_true(l->conn.send_error != 0);
	assert_int_equal(conn_request_space(&l->conn), 0);
	assert_int_equal(conn_unsent(&l->conn), 0);
}

static void test_reset(void **state)
{
	(void)state;
	each_seed(reset_is_told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inbox),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_gather_without_memory),
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
