/* The HTTP/1 stream, used through its operations as an attempt uses a server's stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/forward.h"
#include "lib/simrig.h"
#include "message/http1.h"

#define WINDOW (3 * BUF_BYTES)
#define WAIT_MS 1000
#define DUE_MS 500

static const struct head_limits limits = { 2048, 32, 0 };

struct http1_fixture {
	struct simrig rig;
	struct conn conn;
	struct http1 http1;
	struct stream *s;
	struct sim_peer *peer;
	struct task task;
	struct head head, trailers;
	uint64_t due_ms;
	unsigned steps;
	bool dead;
};

static void changed(struct conn *c)
{
	struct http1_fixture *f = CONTAINER(c, struct http1_fixture, conn);

	http1_record(&f->http1);
	if (f->s->task)
		tick_run(c->tick, f->s->task);
}

static void dead(struct conn *c)
{
	CONTAINER(c, struct http1_fixture, conn)->dead = true;
}

static void timer_fired(struct conn *c)
{
	deadline_fired(&CONTAINER(c, struct http1_fixture, conn)->http1.stream.deadline);
}

static const struct conn_events events = {
	.changed = changed,
	.timer_fired = timer_fired,
	.dead = dead,
};

static void step(struct task *task)
{
	CONTAINER(task, struct http1_fixture, task)->steps++;
}

static uint64_t due_ms(const void *owner)
{
	return ((const struct http1_fixture *)owner)->due_ms;
}

static void passed(void *owner)
{
	((struct http1_fixture *)owner)->s->timed_out = true;
}

static const struct deadline_rules rules = { .due_ms = due_ms, .passed = passed };
static const struct stream_ops ops = { HTTP1_OPS };

static void fixture_open(struct http1_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 16);
	conn_open(&f->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &f->peer),
		  WINDOW);
	f->s = &f->http1.stream;
	f->due_ms = WHEEL_NEVER;
	task_init(&f->task, step);
	http1_init(&f->http1, &ops, &f->conn, &rules, f);
	f->s->limits = &limits;
	http1_check(&f->http1);
	stream_set_state(f->s, STREAM_OPEN);
	stream_use(f->s, &f->task);
}

static void fixture_close(struct http1_fixture *f)
{
	stream_release(f->s);
	stream_set_state(f->s, STREAM_CLOSED);
	conn_close(&f->conn, CONN_NOW, 0);
	http1_check(&f->http1);
	SIMRIG_UNTIL(&f->rig, f->dead, WAIT_MS);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
}

static struct buf *block(struct http1_fixture *f, const char *text)
{
	struct buf *b = buf_new(io_bufs(f->rig.tick.loop), strlen(text));

	assert_non_null(b);
	memcpy(b->data, text, strlen(text));
	b->end = (uint32_t)strlen(text);
	return b;
}

static void send_text(struct http1_fixture *f, const char *text)
{
	struct piece p = { NULL, text, (uint32_t)strlen(text) };

	assert_true(stream_space(f->s) > 0);
	assert_true(stream_send(f->s, &p));
}

static void assert_received(struct http1_fixture *f, const char *text)
{
	SIMRIG_UNTIL(&f->rig, f->peer->in_n >= strlen(text), WAIT_MS);
	assert_string_equal(f->peer->in, text);
}

/* Reads a body to its end or to BODY_MORE, and returns the last event. */
static enum body_event read_body(struct http1_fixture *f, const char *expected)
{
	char text[64];
	size_t n = 0;
	struct piece p;

	for (;;) {
		enum body_event e = stream_body(f->s, &f->trailers, &p);

		http1_check(&f->http1);
		if (e == BODY_TRAILERS) {
			stream_end_trailers(f->s);
			continue;
		}
		if (e != BODY_DATA) {
			assert_int_equal(n, strlen(expected));
			assert_memory_equal(text, expected, n);
			return e;
		}
		assert_true(n + p.len <= sizeof(text));
		memcpy(text + n, p.ptr, p.len);
		n += p.len;
		piece_put(&p);
	}
}

static void peer_sends(struct http1_fixture *f, const char *text)
{
	size_t all = f->conn.received + strlen(text);

	sim_peer_send_text(f->peer, text);
	SIMRIG_UNTIL(&f->rig, f->conn.received == all, WAIT_MS);
}

static void read_head(struct http1_fixture *f, int status)
{
	assert_int_equal(stream_head(f->s, &f->head), VERDICT_OK);
	assert_int_equal(f->head.status, status);
}

/* A request with a body, an interim response, a response with trailers; then another. */
static void two_requests(struct http1_fixture *f)
{
	assert_true(stream_send_kept_head(f->s, block(f, "POST\r\n\r\n"), FRAMING_CHUNKED,
					  0));
	assert_false(f->s->sent);
	send_text(f, "abc");
	assert_true(stream_send_end(f->s, NULL));
	assert_true(f->s->sent);
	assert_int_equal(stream_head(f->s, &f->head), VERDICT_MORE);
	peer_sends(
		f,
		"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n");
	assert_true(f->steps > 0);
	read_head(f, 100);
	stream_skip_head(f->s);
	read_head(f, 200);
	stream_begin_body(f->s, FRAMING_CHUNKED, 0);
	assert_int_equal(read_body(f, ""), BODY_MORE);
	assert_true(f->s->body_awaited && f->s->body_flowing && !f->s->received);
	peer_sends(f, "3\r\nxyz\r\n0\r\nA: b\r\n\r\n");
	assert_int_equal(read_body(f, "xyz"), BODY_END);
	assert_true(f->s->received && !f->s->body_awaited);
	assert_received(f, "POST\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	assert_true(stream_end_sent(f->s));
	http1_wait(&f->http1, false);
	assert_true(f->conn.inbox_limited);
	stream_release(f->s);
	http1_restart(&f->http1);
	assert_false(f->conn.inbox_limited);
	http1_check(&f->http1);
	stream_set_state(f->s, STREAM_OPEN);
	stream_use(f->s, &f->task);
	assert_true(
		stream_send_kept_head(f->s, block(f, "GET\r\n\r\n"), FRAMING_NONE, 0));
	assert_true(f->s->sent);
	peer_sends(f, "HTTP/1.1 204 N\r\n\r\n");
	read_head(f, 204);
	stream_begin_body(f->s, FRAMING_NONE, 0);
	assert_true(f->s->received);
}

/* What the user is told of a body that ends too early, and of a peer that has gone. */
static void truncated(struct http1_fixture *f)
{
	peer_sends(f, "HTTP/1.1 200 O\r\nContent-Length: 5\r\n\r\nab");
	read_head(f, 200);
	stream_begin_body(f->s, FRAMING_LENGTH, 5);
	assert_int_equal(read_body(f, "ab"), BODY_MORE);
	assert_false(f->s->eof);
	f->steps = 0;
	sim_peer_shutdown(f->peer);
	SIMRIG_UNTIL(&f->rig, f->s->eof, WAIT_MS);
	assert_true(f->steps > 0);
	assert_int_equal(read_body(f, ""), BODY_BAD);
	assert_int_equal(f->s->fault, FAULT_BODY_SHORT);
	assert_false(stream_lost(f->s));
	sim_peer_reset_now(f->peer);
	simrig_run(&f->rig, 100);
	assert_true(stream_send_kept_head(f->s, block(f, "X\r\n\r\n"), FRAMING_CLOSE, 0));
	SIMRIG_UNTIL(&f->rig, stream_lost(f->s), WAIT_MS);
	assert_int_equal(stream_space(f->s), 0);
}

/* Nothing more may be queued until the task is run. */
static void no_space(struct http1_fixture *f)
{
	static char bytes[4096];

	f->peer->stopped_reading = true;
	io_cancel(f->rig.tick.loop, &f->peer->recv.op);
	sim_set_socket_bytes(f->rig.tick.loop, 4096);
	assert_true(stream_send_kept_head(f->s, block(f, "H\r\n\r\n"), FRAMING_CLOSE, 0));
	while (stream_space(f->s) > 0) {
		struct piece p = { NULL, bytes, sizeof(bytes) };

		assert_true(stream_send(f->s, &p));
	}
	assert_false(stream_end_sent(f->s));
	stream_await_space(f->s);
	simrig_run(&f->rig, WAIT_MS);
	f->steps = 0;
	sim_peer_resume_reading(f->peer);
	SIMRIG_UNTIL(&f->rig, f->steps > 0, WAIT_MS);
	SIMRIG_UNTIL(&f->rig, stream_space(f->s) > 0, WAIT_MS);
	assert_int_equal(stream_submitted(f->s), stream_position(f->s));
	/* What was not given to the kernel yet can be taken back. */
	assert_true(stream_send(f->s, &(struct piece){ NULL, bytes, 100 }));
	assert_true(stream_take_back(f->s, stream_position(f->s) - 100));
	assert_int_equal(stream_submitted(f->s), stream_position(f->s));
}

/* Both directions of a tunnel end by themselves. */
static void tunnelled(struct http1_fixture *f)
{
	assert_true(
		stream_send_kept_head(f->s, block(f, "GET\r\n\r\n"), FRAMING_NONE, 0));
	peer_sends(f, "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello");
	read_head(f, 101);
	stream_begin_body(f->s, FRAMING_NONE, 0);
	stream_begin_tunnel(f->s);
	http1_check(&f->http1);
	assert_int_equal(read_body(f, "hello"), BODY_MORE);
	assert_false(f->s->body_awaited); /* a tunnel may rest */
	send_text(f, "world");
	assert_false(f->s->sent);
	sim_peer_shutdown(f->peer);
	SIMRIG_UNTIL(&f->rig, f->s->eof, WAIT_MS);
	assert_int_equal(read_body(f, ""), BODY_END);
	assert_received(f, "GET\r\n\r\nworld");
	assert_false(f->peer->eof);
	assert_true(stream_send_end(f->s, NULL));
	SIMRIG_UNTIL(&f->rig, f->peer->eof && stream_end_sent(f->s), WAIT_MS);
}

/* Heads that are written field by field: one with a body, one alone. Without memory none is sent. */
static void written(struct http1_fixture *f)
{
	const struct forward_reply r = { .status = 200, .has_body = true, .length = 2 };
	struct field_block b;

	stream_begin_block(f->s, &b, SIZE_MAX);
	forward_reply(&b.sink, &r);
	assert_false(stream_send_message(f->s, &b, SLICE("ok")));
	stream_begin_block(f->s, &b, SIZE_MAX);
	forward_reply(&b.sink, &r);
	assert_false(stream_send_head(f->s, &b, FRAMING_LENGTH, 2));
	assert_false(f->s->sent);
	stream_begin_block(f->s, &b, forward_reply_max(&r));
	forward_reply(&b.sink, &(struct forward_reply){ .status = 100 });
	assert_true(stream_send_head(f->s, &b, FRAMING_NONE, 0));
	stream_begin_block(f->s, &b, forward_reply_max(&r) + 2);
	forward_reply(&b.sink, &r);
	assert_true(stream_send_message(f->s, &b, SLICE("ok")));
	assert_true(f->s->sent);
	assert_received(f, "HTTP/1.1 100 Continue\r\n\r\n"
			   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

/* Bytes that wait hold no receive buffer, and are limited; a body that flows is not. */
static void waits(struct http1_fixture *f)
{
	const struct buf_pool *pool = io_bufs(f->rig.tick.loop);

	f->peer->uncut = true;
	peer_sends(f, "HTTP/1.1 200 O\r\nContent-Length: 5\r\n\r\nab");
	read_head(f, 200);
	stream_begin_body(f->s, FRAMING_LENGTH, 5);
	http1_wait(&f->http1, true);
	assert_true(f->conn.inbox_limited && f->s->abort_on_eof);
	simrig_run(&f->rig, 100);
	assert_int_equal(pool->free_n, pool->count);
	assert_int_equal(read_body(f, "ab"), BODY_MORE);
	http1_wait(&f->http1, false);
	assert_false(f->conn.inbox_limited);
	stream_pause_body(f->s);
	http1_wait(&f->http1, false);
	assert_true(f->conn.inbox_limited && !f->s->body_awaited);
	assert_int_equal(f->s->since_ms, f->rig.tick.now_ms);
}

static void deadline(struct http1_fixture *f)
{
	f->due_ms = f->rig.tick.now_ms + DUE_MS;
	deadline_bound(&f->s->deadline, f->due_ms);
	simrig_run(&f->rig, DUE_MS - 10);
	assert_true(!f->s->timed_out && stream_responsive(f->s));
	simrig_run(&f->rig, 30);
	assert_true(f->s->timed_out && !stream_responsive(f->s));
}

static void each_seed(void (*test)(struct http1_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct http1_fixture f;

		fixture_open(&f, seed);
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

TEST(two_requests)
TEST(truncated)
TEST(no_space)
TEST(written)
TEST(tunnelled)
TEST(waits)
TEST(deadline)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_requests), cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_no_space),     cmocka_unit_test(test_written),
		cmocka_unit_test(test_tunnelled),    cmocka_unit_test(test_waits),
		cmocka_unit_test(test_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
