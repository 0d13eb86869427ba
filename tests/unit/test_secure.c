/* Secured connections, with peers that speak TLS without cryptography: every byte arrives, once and
 * in order; ends are what they look like; handshakes are rationed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "lib/simtls.h"
#include "net/conn.h"
#include "tls/warm.h"

#define WINDOW (3 * BUF_BYTES)
#define LINGER_MS 500
/* Longer than anything takes in the simulated network. */
#define QUIET_MS 400
#define MANY 12

struct secured {
	struct conn conn;
	struct sim_peer *peer;
	struct secure_fixture *fixture;
	struct task task;
	unsigned changes, deaths;
	bool paused;      /* takes nothing from its inbox */
	bool waits;       /* … and what it holds is not needed soon */
	unsigned replies; /* sends something back, at once, and that allocation fails */
	bool incomplete;  /* it needs more than it has received */
	bool told_deaf;   /* it was told while nothing could be received */
	size_t pushed, taken; /* bytes of the pattern */
};

struct secure_fixture {
	struct simrig rig;
	struct quota quota;
	struct tls_context *server, *client;
	struct tls_thread *peers; /* of their sessions */
	struct tls_saved saved;
	struct secured ends[MANY];
};

static char pattern(size_t i)
{
	return (char)(i * 31 + i / 251);
}

static void take_all(struct secured *e)
{
	for (struct slice s; (s = conn_peek(&e->conn)).len > 0;) {
		for (size_t i = 0; i < s.len; i++)
			if (s.ptr[i] != pattern(e->taken + i))
				fail_msg("byte %zu differs from what was sent",
					 e->taken + i);
		e->taken += s.len;
		conn_consume(&e->conn, (uint32_t)s.len);
	}
}

static void step(struct task *t)
{
	struct secured *e = CONTAINER(t, struct secured, task);

	conn_check(&e->conn);
	if (e->conn.state == CONN_OPEN && !e->paused)
		take_all(e);
	if (e->conn.state == CONN_OPEN && e->replies > 0 && e->taken > 0) {
		assert_true(conn_push_small(&e->conn, SLICE("reply")));
		slab_fail_at(e->replies);
		e->replies = 0;
	}
	if (e->conn.state == CONN_OPEN && (e->waits || e->incomplete))
		conn_compact(&e->conn);
	if (e->conn.state == CONN_OPEN && e->waits)
		conn_limit_inbox(&e->conn, true);
}

static void changed(struct conn *c)
{
	struct secured *e = CONTAINER(c, struct secured, conn);

	assert_int_equal(c->state, CONN_OPEN);
	e->changes++;
	e->told_deaf = !conn_can_receive(c);
	tick_run(c->tick, &e->task);
}

static void dead(struct conn *c)
{
	struct secured *e = CONTAINER(c, struct secured, conn);

	e->deaths++;
	task_stop(&e->task);
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static void fixture_open(struct secure_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 128);
	if (seed % 3 == 0)
		sim_set_socket_bytes(f->rig.tick.loop,
				     1 + (uint32_t)simrig_draw(&f->rig, 20000));
	quota_init(&f->quota, 3);
	assert_true(tick_use_tls(&f->rig.tick, &f->quota, 1));
	f->peers = tls_thread_new(io_bufs(f->rig.tick.loop));
	assert_non_null(f->peers);
	f->server = simtls_server_context();
	f->client = simtls_client_context();
}

/* A server's connection; its peer begins the handshake. */
static struct secured *accept_end(struct secure_fixture *f, unsigned i)
{
	struct secured *e = &f->ends[i];

	e->fixture = f;
	task_init(&e->task, step);
	conn_open(&e->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &e->peer),
		  WINDOW);
	assert_true(conn_secure(&e->conn, f->server));
	return e;
}

static void peer_begins(struct secured *e)
{
	struct secure_fixture *f = e->fixture;

	simtls_secure(e->peer, f->peers, f->client, SLICE("example.org"), NULL);
}

static bool is_open(const struct secured *e)
{
	return conn_tls(&e->conn) && conn_tls(&e->conn)->state == TLS_OPEN;
}

static struct secured *opened_end(struct secure_fixture *f, unsigned i)
{
	struct secured *e = accept_end(f, i);

	peer_begins(e);
	SIMRIG_UNTIL(&f->rig, is_open(e), QUIET_MS);
	return e;
}

/* Each connection dies once; nothing is left of it. */
static void fixture_close(struct secure_fixture *f)
{
	for (unsigned i = 0; i < MANY; i++)
		if (f->ends[i].fixture && !f->ends[i].deaths &&
		    f->ends[i].conn.state != CONN_DEAD)
			conn_close(&f->ends[i].conn, CONN_NOW, 0);
	simrig_run(&f->rig, 2 * QUIET_MS + 1100);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(f->ends[i].deaths, f->ends[i].fixture != NULL);
	assert_int_equal(f->quota.used, 0);
	assert_int_equal(f->rig.tick.handshakes.stats.shaking, 0);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	assert_int_equal(f->rig.tick.secures.taken, 0);
	assert_int_equal(f->rig.tick.flights.taken, 0);
	tls_saved_drop(&f->saved);
	tls_thread_free(f->peers);
	simrig_close(&f->rig);
	tls_context_unref(f->server);
	tls_context_unref(f->client);
}

static void each_seed(void (*test)(struct secure_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		static struct secure_fixture f;

		fixture_open(&f, seed);
		if (getenv("V"))
			print_message("seed %lu\n", seed);
		test(&f);
		fixture_close(&f);
	}
}

#define TEST(name)                            \
	static void test_##name(void **state) \
	{                                     \
		(void)state;                  \
		each_seed(name);              \
	}

/* ---- bytes ------------------------------------------------------------------ */

static void peer_sends(struct secured *e, size_t n)
{
	char *bytes = malloc(n);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = pattern(e->peer->plain_n + i);
	sim_peer_send(e->peer, (struct slice){ bytes, n });
	free(bytes);
}

static void receives(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = 1 + simrig_draw(&f->rig, 400000);

	assert_int_equal(conn_tls(&e->conn)->protocol, TLS_HTTP_1_1);
	for (size_t at = 0; at < n;) {
		size_t part = 1 + simrig_draw(&f->rig, n - at);

		peer_sends(e, part);
		at += part;
	}
	/* While it takes nothing, it holds no more than its window, and a buffer. */
	e->paused = true;
	simrig_run(&f->rig, QUIET_MS);
	assert_in_range(e->conn.inbox_held, 0, 2 * (WINDOW + BUF_BYTES));
	e->paused = false;
	tick_run(&f->rig.tick, &e->task);
	SIMRIG_UNTIL(&f->rig, e->taken == n, 60000);
	assert_false(e->conn.eof);
	sim_peer_shutdown(e->peer);
	SIMRIG_UNTIL(&f->rig, e->conn.eof, QUIET_MS);
	assert_int_equal(e->conn.error, 0);
}
TEST(receives)

/* Pieces of buffers, some of which are shared, and copied bytes. */

static bool push_some(struct secured *e, struct buf **shared, size_t most)
{
	struct secure_fixture *f = e->fixture;
	size_t n = 1 + simrig_draw(&f->rig, most < 5000 ? most : 5000);
	struct buf *b;
	struct piece p;

	if (n <= 24) {
		char small[24];

		for (size_t i = 0; i < n; i++)
			small[i] = pattern(e->pushed + i);
		e->pushed += n;
		return conn_push_small(&e->conn, (struct slice){ small, n });
	}
	b = buf_new(io_bufs(f->rig.tick.loop), n);
	for (size_t i = 0; i < n; i++)
		b->data[i] = pattern(e->pushed + i);
	b->end = (uint32_t)n;
	if (!*shared && simrig_draw(&f->rig, 3) == 0)
		*shared = buf_ref(b);
	e->pushed += n;
	/* In two entries, sometimes: both are of one buffer. */
	p = (struct piece){ b, b->data, (uint32_t)n };
	if (n > 100 && simrig_draw(&f->rig, 2) == 0) {
		struct piece first = { buf_ref(b), b->data, 50 };

		assert_true(conn_push(&e->conn, &first));
		p = (struct piece){ b, b->data + 50, (uint32_t)n - 50 };
	}
	return conn_push(&e->conn, &p);
}

static void assert_received(struct secured *e, size_t n)
{
	assert_int_equal(e->peer->in_n, n);
	for (size_t i = 0; i < n; i++)
		if (e->peer->in[i] != pattern(i))
			fail_msg("byte %zu differs from what was sent", i);
}

static void sends(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = 1 + simrig_draw(&f->rig, 300000);
	struct buf *shared = NULL;

	while (e->pushed < n) {
		if (conn_push_space(&e->conn) > 0)
			assert_true(push_some(e, &shared, n - e->pushed));
		else
			tick_once(&f->rig.tick);
		assert_int_equal(conn_position(&e->conn), e->pushed);
		if (shared && simrig_draw(&f->rig, 4) == 0) {
			tick_once(&f->rig.tick);
			/* What others may read was not sealed where it lies. */
			for (uint32_t i = 1; i < shared->end; i++)
				if ((char)(shared->data[i] - shared->data[i - 1]) != 31 &&
				    (char)(shared->data[i] - shared->data[i - 1]) != 32)
					fail_msg("a shared buffer was changed");
			buf_put(shared);
			shared = NULL;
		}
	}
	buf_put(shared);
	conn_close(&e->conn, CONN_FLUSH, LINGER_MS);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(e->peer), 60000);
	assert_int_equal(e->peer->error, 0);
	assert_true(e->peer->eof);
	assert_received(e, n);
}
TEST(sends)

/* Static bytes are sealed elsewhere; more than one flight has space for. */
static void sends_static(struct secure_fixture *f)
{
	static char big[1 << 20];
	struct secured *e = opened_end(f, 0);
	struct piece p = { NULL, big, sizeof(big) };
	unsigned before = (unsigned)simrig_draw(&f->rig, 3);

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = pattern(i + before);
	for (unsigned i = 0; i < before; i++)
		assert_true(conn_push_small(&e->conn,
					    (struct slice){ (char[]){ pattern(i) }, 1 }));
	assert_true(conn_push(&e->conn, &p));
	simrig_run(&f->rig, simrig_draw(&f->rig, 3) * 10);
	conn_close(&e->conn, CONN_LINGER, LINGER_MS);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(e->peer), 600000);
	assert_true(e->peer->eof && !e->peer->error);
	assert_received(e, sizeof(big) + before);
	for (size_t i = 0; i < sizeof(big); i++)
		if (big[i] != pattern(i + before))
			fail_msg("static byte %zu was changed", i);
}

static void test_sends_static(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS / 5; seed++) {
		static struct secure_fixture f;

		fixture_open(&f, seed);
		sends_static(&f);
		fixture_close(&f);
	}
}

/* What was not submitted can be taken back, and not a byte that was. */
static void takes_back(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	struct buf *shared = NULL;
	size_t kept;

	while (e->pushed < 2000)
		assert_true(push_some(e, &shared, 1000));
	if (simrig_draw(&f->rig, 2) == 0)
		tick_once(&f->rig.tick);
	kept = e->pushed;
	for (unsigned i = 0; i < 5; i++)
		assert_true(push_some(e, &shared, 1000));
	assert_false(conn_submitted(&e->conn) > kept);
	kept += simrig_draw(&f->rig, e->pushed - kept + 1);
	assert_true(conn_take_back(&e->conn, kept));
	assert_int_equal(conn_position(&e->conn), kept);
	buf_put(shared);
	simrig_run(&f->rig, QUIET_MS);
	conn_close(&e->conn, CONN_FLUSH, LINGER_MS);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(e->peer), 60000);
	assert_received(e, kept);
}
TEST(takes_back)

/* ---- ends ------------------------------------------------------------------- */

/* A FIN without close_notify may be an attacker's: it is no end, but what came before is read. */
static void truncation(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = simrig_draw(&f->rig, 100000);

	if (n > 0)
		peer_sends(e, n);
	e->peer->cuts_off = true;
	sim_peer_shutdown(e->peer);
	SIMRIG_UNTIL(&f->rig, e->conn.error, 60000);
	assert_int_equal(e->taken, n);
	assert_int_equal(e->conn.error, -ECONNRESET);
	assert_int_equal(conn_tls(&e->conn)->fault, TLS_FAULT_TRUNCATED);
	assert_false(e->conn.eof);
	assert_int_equal(f->rig.tick.handshakes.stats
				 .failures[TLS_SIDE_SERVER][TLS_FAULT_TRUNCATED],
			 1);
}
TEST(truncation)

static void no_close_notify(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);

	conn_close(&e->conn, simrig_draw(&f->rig, 2) ? CONN_NOW : CONN_FLUSH_RESET,
		   LINGER_MS);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(e->peer), 60000);
	assert_false(e->peer->eof);
	assert_int_equal(e->peer->error, -ECONNRESET);
}
TEST(no_close_notify)

/* Each side of a tunnel ends for itself. */
static void half_close(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	struct buf *shared = NULL;

	assert_true(push_some(e, &shared, 3000));
	buf_put(shared);
	conn_send_fin(&e->conn);
	SIMRIG_UNTIL(&f->rig, e->peer->eof, 60000);
	assert_received(e, e->pushed);
	SIMRIG_UNTIL(&f->rig, e->peer->fin_received, QUIET_MS);
	peer_sends(e, 30000);
	SIMRIG_UNTIL(&f->rig, e->taken == 30000, 60000);
	sim_peer_shutdown(e->peer);
	SIMRIG_UNTIL(&f->rig, e->conn.eof, 60000);
	assert_int_equal(e->conn.error, 0);
}
TEST(half_close)

/* A record with a wrong tag: nothing of it is seen, and the peer learns of it, although bytes that
 * were not read would make a reset of a FIN. */
static void bad_record(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = simrig_draw(&f->rig, 40000), wire;

	if (n > 0)
		peer_sends(e, n);
	SIMRIG_UNTIL(&f->rig, e->taken == n, 60000);
	wire = e->peer->out_n;
	e->peer->pause_ms = 5;
	simrig_run(&f->rig, 20);
	peer_sends(e, 1 + simrig_draw(&f->rig, 20000));
	e->peer->out[wire + 5 + simrig_draw(&f->rig, e->peer->out_n - wire - 5)] ^= 1;
	SIMRIG_UNTIL(&f->rig, e->conn.error, 60000);
	assert_int_equal(e->conn.error, -EPROTO);
	assert_in_range(e->taken, n, e->peer->plain_n);
	conn_close(&e->conn, CONN_LINGER, LINGER_MS);
	SIMRIG_UNTIL(&f->rig, e->peer->error, 60000);
	assert_int_equal(e->peer->tls->fault, TLS_FAULT_ALERT);
}
TEST(bad_record)

/* ---- handshakes ------------------------------------------------------------- */

static unsigned beyond_hello(const struct secure_fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++)
		n += f->ends[i].fixture && conn_tls(&f->ends[i].conn)->state != TLS_HELLO;
	return n;
}

static unsigned open_n(const struct secure_fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++)
		n += f->ends[i].fixture && is_open(&f->ends[i]);
	return n;
}

/* However many arrive at once: a tick makes one heavy step, and three handshakes are under way. */
static void rations(struct secure_fixture *f)
{
	unsigned before = 0, opened = 0;

	for (unsigned i = 0; i < MANY; i++)
		accept_end(f, i);
	for (unsigned i = 0; i < MANY; i++)
		peer_begins(&f->ends[i]);
	simrig_alarm(&f->rig, 60000);
	while (opened < MANY && timer_armed(&f->rig.alarm)) {
		unsigned now;

		tick_once(&f->rig.tick);
		now = beyond_hello(f);
		opened = open_n(f);
		assert_in_range(now, before, before + 1);
		assert_in_range(now - opened, 0, 3);
		assert_in_range(f->quota.used, now - opened, 3);
		before = now;
	}
	assert_int_equal(opened, MANY);
	timer_stop(&f->rig.tick.wheel, &f->rig.alarm);
	assert_int_equal(
		f->rig.tick.handshakes.stats.handshakes[TLS_SIDE_SERVER][TLS_1_3][0],
		MANY);
	assert_true(f->rig.tick.handshakes.stats.units_awaited > 0);
}
TEST(rations)

/* Connections end while they wait: for bytes, for a unit, for a step. */
static void ends_while_waiting(struct secure_fixture *f)
{
	for (unsigned i = 0; i < MANY; i++) {
		accept_end(f, i);
		peer_begins(&f->ends[i]);
	}
	simrig_run(&f->rig, simrig_draw(&f->rig, 30));
	for (unsigned i = 0; i < MANY; i++) {
		if (simrig_draw(&f->rig, 2))
			conn_close(&f->ends[i].conn,
				   simrig_draw(&f->rig, 2) ? CONN_LINGER : CONN_NOW,
				   LINGER_MS);
		if (simrig_draw(&f->rig, 2))
			tick_once(&f->rig.tick);
	}
	simrig_run(&f->rig, simrig_draw(&f->rig, 30));
}
TEST(ends_while_waiting)

/* Another thread gives a unit back: nobody tells this one. */
static void unit_from_elsewhere(struct secure_fixture *f)
{
	struct secured *e = accept_end(f, 0);

	for (unsigned i = 0; i < 3; i++)
		assert_true(quota_take(&f->quota));
	peer_begins(e);
	simrig_run(&f->rig, QUIET_MS);
	assert_int_equal(conn_tls(&e->conn)->state, TLS_HELLO);
	for (unsigned i = 0; i < 3; i++)
		quota_put(&f->quota);
	SIMRIG_UNTIL(&f->rig, is_open(e), QUIET_MS);
}
TEST(unit_from_elsewhere)

/* A part of a ClientHello keeps no receive buffer. */
static void part_of_hello(struct secure_fixture *f)
{
	struct secured *e = accept_end(f, 0);
	const struct buf_pool *pool = io_bufs(f->rig.tick.loop);
	static const char part[100] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

	sim_peer_send(e->peer, (struct slice){ part, sizeof(part) });
	simrig_run(&f->rig, QUIET_MS);
	assert_int_equal(e->conn.received, sizeof(part));
	assert_int_equal(pool->free_n, pool->count);
	assert_in_range(e->conn.inbox_held, 1, 256);
	sim_peer_close(e->peer);
	SIMRIG_UNTIL(&f->rig, e->conn.error, QUIET_MS);
	assert_int_equal(conn_tls(&e->conn)->fault, TLS_FAULT_CLOSED);
}
TEST(part_of_hello)

static void plain_http(struct secure_fixture *f)
{
	struct secured *e = accept_end(f, 0);

	sim_peer_send_text(e->peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, e->conn.error, QUIET_MS);
	assert_int_equal(conn_tls(&e->conn)->fault, TLS_FAULT_PLAIN_HTTP);
	assert_true(conn_unsecure(&e->conn));
	assert_null(conn_tls(&e->conn));
	assert_true(conn_push_small(&e->conn, SLICE("HTTP/1.1 400 X\r\n\r\n")));
	conn_close(&e->conn, CONN_LINGER, LINGER_MS);
	SIMRIG_UNTIL(&f->rig, e->peer->eof, 60000);
	assert_string_equal(e->peer->in, "HTTP/1.1 400 X\r\n\r\n");
}
TEST(plain_http)

/* All but the last byte of the last record. */
static void peer_sends_part(struct secured *e, size_t n)
{
	struct simrig *rig = &e->fixture->rig;
	struct timer *pause = &e->peer->pause;

	SIMRIG_UNTIL(rig, e->peer->out_sent == e->peer->out_n, 60000);
	e->peer->uncut = true;
	timer_set(&rig->tick.wheel, pause, rig->tick.now_ms + 60000);
	peer_sends(e, n);
	e->peer->out_n--; /* held back */
	timer_stop(&rig->tick.wheel, pause);
	sim_peer_append_output(e->peer, "", 0);
}

/* A part of a record stays: its receive buffer is given back within two seconds. */
static void part_of_record(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	const struct buf_pool *pool = io_bufs(f->rig.tick.loop);

	peer_sends_part(e, 30000);
	SIMRIG_UNTIL(&f->rig, e->peer->out_sent == e->peer->out_n, 60000);
	simrig_run(&f->rig, 2200);
	assert_in_range(e->taken, 1, 29999);
	assert_int_equal(pool->free_n, pool->count);
	e->peer->out_n++;
	sim_peer_append_output(e->peer, "", 0);
	SIMRIG_UNTIL(&f->rig, e->taken == 30000, 60000);
}
TEST(part_of_record)

/* The first bytes behind a silence go in small records. */
#define SMALL_RECORDS 13000

static unsigned unnoticed_n; /* seeds in which no receive could notice FIN */

/* A part of a record takes the space that a receive needs: as nothing could notice FIN behind it, the
 * owner is told, and asks the socket. */
static void end_behind_part(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = 1 + simrig_draw(&f->rig, 1000);

	peer_sends(e, SMALL_RECORDS);
	SIMRIG_UNTIL(&f->rig, e->taken == SMALL_RECORDS, 60000);
	e->paused = e->waits = true;
	peer_sends(e, n);
	SIMRIG_UNTIL(&f->rig, e->conn.inbox_bytes == n, 60000);
	peer_sends_part(e, 15000 + simrig_draw(&f->rig, 1384));
	e->peer->cuts_off = true;
	sim_peer_shutdown(e->peer);
	simrig_run(&f->rig, QUIET_MS);
	/* FIN was received, or not sent; or the records were small because the peer was slow. */
	if (e->conn.error || conn_can_receive(&e->conn) || !e->peer->fin_sent ||
	    e->conn.inbox_bytes > n)
		return;
	unnoticed_n++;
	assert_true(io_peer_ended(f->rig.tick.loop, e->conn.fd));
	assert_true(e->told_deaf);
}

static void test_end_behind_part(void **state)
{
	(void)state;
	unnoticed_n = 0;
	each_seed(end_behind_part);
	assert_in_range(unnoticed_n, SIMRIG_SEEDS / 2, SIMRIG_SEEDS);
}

/* Whoever needs more than the inbox has gets the rest of a record, whatever that has taken of the
 * window already. */
static void part_behind_incomplete(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = 1 + simrig_draw(&f->rig, 16000), more = 16384;

	peer_sends(e, SMALL_RECORDS);
	SIMRIG_UNTIL(&f->rig, e->taken == SMALL_RECORDS, 60000);
	e->paused = e->incomplete = true;
	e->peer->uncut = simrig_draw(&f->rig, 2);
	e->peer->pause_ms = (uint32_t)simrig_draw(&f->rig, 3);
	peer_sends(e, n);
	peer_sends(e, more);
	SIMRIG_UNTIL(&f->rig, e->conn.inbox_bytes == n + more, 60000);
}
TEST(part_behind_incomplete)

/* Nor do whole records hold receive buffers that wait behind a full inbox. */
static void records_behind_full_inbox(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	const struct buf_pool *pool = io_bufs(f->rig.tick.loop);
	size_t n = 30000 + simrig_draw(&f->rig, 70000);

	e->paused = e->waits = true;
	peer_sends(e, n);
	simrig_run(&f->rig, QUIET_MS);
	assert_in_range(e->conn.inbox_bytes, 1, n - 1);
	assert_int_equal(pool->free_n, pool->count);
	e->paused = e->waits = false;
	conn_limit_inbox(&e->conn, false);
	tick_run(&f->rig.tick, &e->task);
	SIMRIG_UNTIL(&f->rig, e->taken == n, 60000);
}
TEST(records_behind_full_inbox)

/* A part of a record that is copied out of its receive buffers makes space: receiving goes on. */
static void space_of_part(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);
	size_t n = 20000 + simrig_draw(&f->rig, 28000);

	e->paused = true;
	e->peer->uncut = true;
	peer_sends_part(e, n);
	e->peer->cuts_off = true;
	sim_peer_shutdown(e->peer);
	for (unsigned ms = 0; ms < 3000; ms++) {
		simrig_run(&f->rig, 1);
		if (conn_can_receive(&e->conn))
			assert_true(io_busy(&e->conn.recv.op));
	}
}
TEST(space_of_part)

/* The answer to a key update has no memory, with something to send behind it: the connection ends. */
static void key_update_without_memory(struct secure_fixture *f)
{
	struct secured *e = opened_end(f, 0);

	e->replies = 1 + (unsigned)simrig_draw(&f->rig, 4);
	simtls_update_keys(e->peer, true);
	peer_sends(e, 1);
	simrig_run(&f->rig, QUIET_MS);
	slab_fail_at(0);
	assert_int_equal(e->replies, 0);
	if (!e->conn.send_error)
		assert_int_equal(e->peer->in_n, 5);
}
TEST(key_update_without_memory)

/* ---- without memory ---------------------------------------------------------- */

/* The n-th allocation fails: the connection fails or goes on, and nothing is left of it. */
static void test_without_memory(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 60; n++) {
		static struct secure_fixture f;
		struct secured *e = &f.ends[0];

		fixture_open(&f, n);
		e->fixture = &f;
		task_init(&e->task, step);
		conn_open(&e->conn, &f.rig.tick, &events, simrig_pair(&f.rig, &e->peer),
			  WINDOW);
		slab_fail_at(n);
		if (conn_secure(&e->conn, f.server)) {
			slab_fail_at(0);
			peer_begins(e);
			slab_fail_at(n);
			peer_sends(e, 50000);
			(void)SIMRIG_REACHED(&f.rig,
					     e->taken == 50000 || e->conn.error ||
						     e->conn.send_error || e->peer->error,
					     5000);
			if (is_open(e))
				conn_push_small(&e->conn, SLICE("response"));
			conn_close(&e->conn, CONN_LINGER, LINGER_MS);
			(void)SIMRIG_REACHED(&f.rig, sim_peer_finished(e->peer), 5000);
		}
		slab_fail_at(0);
		fixture_close(&f);
	}
}

static int set_up(void **state)
{
	(void)state;
	return tls_library_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receives),
		cmocka_unit_test(test_sends),
		cmocka_unit_test(test_sends_static),
		cmocka_unit_test(test_takes_back),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_no_close_notify),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_bad_record),
		cmocka_unit_test(test_rations),
		cmocka_unit_test(test_ends_while_waiting),
		cmocka_unit_test(test_unit_from_elsewhere),
		cmocka_unit_test(test_part_of_hello),
		cmocka_unit_test(test_plain_http),
		cmocka_unit_test(test_part_of_record),
		cmocka_unit_test(test_end_behind_part),
		cmocka_unit_test(test_part_behind_incomplete),
		cmocka_unit_test(test_records_behind_full_inbox),
		cmocka_unit_test(test_space_of_part),
		cmocka_unit_test(test_key_update_without_memory),
		cmocka_unit_test(test_without_memory),
	};

	if (getenv("T"))
		cmocka_set_test_filter(getenv("T"));
	return cmocka_run_group_tests(tests, set_up, NULL);
}
