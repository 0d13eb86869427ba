#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "front/client.h"
#include "lib/simrig.h"

#define HEADER_MS 3000
#define IDLE_MS 5000
#define SEND_MS 7000
#define RECEIVE_MS 4000
#define LINGER_MS 2000
/* A slot of the wheel, and what the network takes. */
#define LATE_MS 60

/* A front whose waiter answers "/N" with N bytes and "/wait" when it is told to; a body of
 * the request is read first. */
struct room {
	struct simrig rig;
	struct front front;
	struct head scratch;
	struct worker_stats stats;
	struct quota quota;
	struct sim_peer *peer;
	unsigned heads, refused, gone, slow;
	enum fault fault;
	size_t body_n;
	struct client *waits;
	bool go;
	char marker; /* something to be c->exchange */
};

static char filling[1 << 20];

static void answer(struct client *c, int status, size_t n)
{
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), 256);
	bool keep = client_discard_body(c);
	struct piece p;

	if (!b) {
		client_abort_response(c);
		return;
	}
	b->end = (uint32_t)sprintf(b->data, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n",
				   status, n, keep ? "" : "Connection: close\r\n");
	if (!writer_begin(&c->writer, &c->conn, b, FRAMING_LENGTH, n)) {
		client_abort_response(c);
		return;
	}
	p = (struct piece){ NULL, filling, (uint32_t)n };
	if (n > 0 && !writer_piece(&c->writer, &c->conn, &p))
		client_abort_response(c);
	else
		client_finish_response(c, keep);
}

static size_t wanted_n;

static void step(struct client *c)
{
	struct room *r = c->front->owner;
	struct piece p = { NULL, NULL, 0 };

	if (client_lost(c)) {
		client_abort_response(c);
		return;
	}
	if (c->timed_out) {
		r->slow++;
		if (c->body_awaited)
			answer(c, 408, 0);
		else
			client_abort_response(c);
		return;
	}
	for (;;) {
		switch (client_body(c, &r->scratch, &p)) {
		case BODY_DATA:
			r->body_n += p.len;
			piece_put(&p);
			break;
		case BODY_TRAILERS:
			reader_end_trailers(&c->reader, &c->conn);
			break;
		case BODY_END:
			if (c == r->waits && !r->go)
				return;
			if (c == r->waits)
				r->waits = NULL;
			answer(c, 200, wanted_n);
			return;
		case BODY_MORE:
			return;
		case BODY_BAD:
			answer(c, 400, 0);
			return;
		}
	}
}

static void head_received(struct client *c, struct head *h)
{
	struct room *r = c->front->owner;
	char path[32] = "";

	memcpy(path, h->path.ptr, h->path.len < 31 ? h->path.len : 31);
	client_begin_body(c, h);
	r->heads++;
	c->exchange = &r->marker;
	if (strcmp(path, "/wait") == 0)
		r->waits = c;
	wanted_n = strtoul(path + 1, NULL, 10);
}

static void head_refused(struct client *c, enum fault fault)
{
	struct room *r = c->front->owner;
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), 256);

	r->refused++;
	r->fault = fault;
	if (!b)
		return;
	b->end = (uint32_t)sprintf(b->data, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n",
				   fault ? fault_status(fault) : 408);
	writer_begin(&c->writer, &c->conn, b, FRAMING_NONE, 0);
}

static void gone(struct client *c)
{
	struct room *r = c->front->owner;

	c->exchange = NULL;
	if (r->waits == c)
		r->waits = NULL;
	r->gone++;
}

static const struct client_events events = { head_received, head_refused, step, gone };

static void room_open(struct room *r, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	simrig_open(&r->rig, seed, 64);
	quota_init(&r->quota, 10);
	r->front = (struct front){ .tick = &r->rig.tick, .events = &events, .owner = r,
				   .limits = { 4096, 32 },
				   .timeouts = { HEADER_MS, IDLE_MS, SEND_MS, RECEIVE_MS },
				   .window = 65536, .linger_ms = LINGER_MS, .quota = &r->quota,
				   .stats = &r->stats, .scratch = &r->scratch };
	front_init(&r->front);
}

static struct sim_peer *come_in(struct room *r)
{
	struct peer peer = { .family = AF_INET };
	struct sim_peer *a;
	int fd = simrig_pair(&r->rig, &a);

	assert_true(quota_take(&r->quota));
	client_open(&r->front, fd, &peer);
	return a;
}

static void room_close(struct room *r)
{
	front_close(&r->front);
	SIMRIG_UNTIL(&r->rig, front_empty(&r->front), 100);
	simrig_run(&r->rig, 100);
	assert_int_equal(r->quota.used, 0);
	assert_int_equal(r->stats.connections, 0);
	assert_int_equal(r->stats.connections_idle, 0);
	front_done(&r->front);
	simrig_close_peers(&r->rig);
	simrig_assert_buffers(&r->rig);
	simrig_close(&r->rig);
}

static void each_seed(void (*test)(struct room *r))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct room r;

		room_open(&r, seed);
		r.peer = come_in(&r);
		test(&r);
		room_close(&r);
	}
}

#define TEST(name)                                                                    \
	static void test_##name(void **state)                                         \
	{                                                                             \
		(void)state;                                                          \
		each_seed(name);                                                      \
	}

static unsigned count(const struct sim_peer *a, const char *text)
{
	unsigned n = 0;

	for (const char *at = a->in; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* ---- requests --------------------------------------------------------------- */

/* The i-th is answered with i bytes: more of them than one turn takes. */
static void pipelined(struct room *r)
{
	const char *at;
	char text[64];

	for (unsigned i = 1; i <= 60; i++) {
		snprintf(text, sizeof(text), "GET /%u HTTP/1.1\r\nHost: a\r\n\r\n", i);
		sim_peer_send_text(r->peer, text);
	}
	SIMRIG_UNTIL(&r->rig, r->heads == 60 && count(r->peer, "HTTP/1.1 ") == 60, 60000);
	simrig_run(&r->rig, 200);
	at = r->peer->in;
	for (unsigned i = 1; i <= 60; i++) {
		snprintf(text, sizeof(text), "HTTP/1.1 200 X\r\nContent-Length: %u\r\n\r\n", i);
		if (memcmp(at, text, strlen(text)) != 0)
			fail_msg("answer %u is not in its place", i);
		at += strlen(text) + i;
	}
	assert_int_equal(r->stats.connections_idle, 1);
	assert_int_equal(r->stats.requests, 60);
}
TEST(pipelined)

static void one_after_the_other(struct room *r)
{
	for (unsigned i = 1; i <= 5; i++) {
		sim_peer_send_text(
			r->peer,
			"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
			"0123456789");
		SIMRIG_UNTIL(&r->rig, r->peer->in_n == i * 40, 5000);
		assert_int_equal(r->body_n, 10 * i);
		simrig_run(&r->rig, IDLE_MS - 1000);
	}
	assert_false(sim_peer_finished(r->peer));
}
TEST(one_after_the_other)

/* A peer that has said its last is owed its answers. */
static void half_closed(struct room *r)
{
	sim_peer_send_text(r->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
				    "GET /7 HTTP/1.1\r\nHost: a\r\n\r\n");
	sim_peer_shutdown(r->peer);
	SIMRIG_UNTIL(&r->rig, r->waits, 1000);
	simrig_run(&r->rig, 500);
	r->go = true;
	tick_run(&r->rig.tick, &r->waits->task);
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 1000);
	assert_true(r->peer->eof);
	assert_int_equal(count(r->peer, "HTTP/1.1 200"), 2);
	SIMRIG_UNTIL(&r->rig, r->gone == 1, 100);
}
TEST(half_closed)

/* Bytes that are to be ignored change no state: not a clock, not what is idle. */
static void empty_lines(struct room *r)
{
	static const char *const texts[] = { "\r\n", "\r\n\r\n\r\n", "\r" };
	size_t n;

	sim_peer_send_text(r->peer, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, r->peer->in_n == 40, 5000);
	for (size_t i = 0; i < COUNT(texts); i++) {
		sim_peer_send_text(r->peer, texts[i]);
		simrig_run(&r->rig, 1100);
		assert_int_equal(r->stats.connections_idle, 1);
		assert_int_equal(r->peer->in_n, 40);
	}
	if (simrig_draw(&r->rig, 3) == 0) {
		front_drain(&r->front);
		SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 300);
	} else if (simrig_draw(&r->rig, 2)) {
		/* Its idle time began with the answer, and HEADER_MS has passed since the first. */
		simrig_run(&r->rig, IDLE_MS - 3300 - 500);
		assert_false(sim_peer_finished(r->peer));
		SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 1000);
	} else {
		n = r->peer->in_n;
		sim_peer_send_text(r->peer, "\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
		SIMRIG_UNTIL(&r->rig, r->peer->in_n == n + 41, 500);
		return;
	}
	assert_true(r->peer->eof);
	assert_int_equal(r->peer->in_n, 40);
	assert_int_equal(r->refused, 0);
}
TEST(empty_lines)

static void closed_after_its_request(struct room *r)
{
	sim_peer_send_text(r->peer,
			   "GET /7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 1000);
	assert_true(r->peer->eof);
	assert_int_equal(count(r->peer, "Connection: close"), 1);
	sim_peer_close(r->peer);
	SIMRIG_UNTIL(&r->rig, r->gone == 1, 100);
}
TEST(closed_after_its_request)

/* Old clients send a CRLF behind a body (RFC 9112 2.2): the reset that it may bring about
 * does not overtake the answer. */
static void crlf_after_its_body(struct room *r)
{
	sim_peer_send_text(r->peer,
			   "POST /30000 HTTP/1.0\r\nContent-Length: 5\r\n\r\n12345");
	SIMRIG_UNTIL(&r->rig, r->heads == 1, 1000);
	sim_peer_send_text(r->peer, "\r\n");
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 1000);
	assert_true(r->peer->eof);
	assert_int_equal(r->peer->error, 0);
	assert_true(r->peer->in_n > 30000);
	sim_peer_close(r->peer);
	SIMRIG_UNTIL(&r->rig, r->gone == 1, 100);
}
TEST(crlf_after_its_body)

/* Is answered, then listened to for a while: no reset overtakes the answer. */
static void refused(struct room *r)
{
	uint64_t from_ms;

	sim_peer_send_text(r->peer, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, count(r->peer, "HTTP/1.1 400") == 1, 1000);
	from_ms = r->rig.tick.now_ms;
	for (unsigned i = 0; i < 20; i++)
		sim_peer_send_text(r->peer, "and much more that nobody wants to hear");
	SIMRIG_UNTIL(&r->rig, r->peer->eof, 1000);
	assert_int_equal(r->refused, 1);
	if (simrig_draw(&r->rig, 2)) {
		SIMRIG_UNTIL(&r->rig, r->gone == 1, LINGER_MS + LATE_MS);
		assert_true(r->rig.tick.now_ms + LATE_MS >= from_ms + LINGER_MS);
	} else {
		sim_peer_close(r->peer);
		SIMRIG_UNTIL(&r->rig, r->gone == 1, 500);
	}
	assert_int_equal(r->peer->error, 0);
}
TEST(refused)

/* ---- deadlines -------------------------------------------------------------- */

static void assert_ends(struct room *r, uint64_t from_ms, uint32_t after_ms)
{
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 60000);
	if (r->rig.tick.now_ms < from_ms + after_ms - LATE_MS ||
	    r->rig.tick.now_ms > from_ms + after_ms + LATE_MS)
		fail_msg("ended after %llu ms, not %u",
			 (unsigned long long)(r->rig.tick.now_ms - from_ms), after_ms);
}

static void silent_from_the_start(struct room *r)
{
	assert_ends(r, r->rig.tick.now_ms, HEADER_MS);
	assert_int_equal(r->peer->in_n, 0);
}
TEST(silent_from_the_start)

static void slow_head(struct room *r)
{
	uint64_t from_ms;

	sim_peer_send_text(r->peer, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, r->peer->in_n > 0, 1000);
	simrig_run(&r->rig, (uint32_t)simrig_draw(&r->rig, IDLE_MS - 500));
	r->peer->uncut = true;
	sim_peer_send_text(r->peer, "GET");
	from_ms = r->rig.tick.now_ms;
	simrig_run(&r->rig, 2000);
	sim_peer_send_text(r->peer, " /"); /* drips in: that does not help */
	assert_ends(r, from_ms, HEADER_MS);
	assert_int_equal(count(r->peer, "HTTP/1.1 408"), 1);
	assert_int_equal(r->fault, FAULT_NONE);
}
TEST(slow_head)

/* Who is slow must not use up the pool: what waits, waits in a block of its size. */
static void assert_no_receive_buffer(struct room *r)
{
	const struct buf_pool *pool = io_bufs(r->rig.tick.loop);

	assert_int_equal(pool->free_n, pool->count);
}

static void waiting_pins_nothing(struct room *r)
{
	r->peer->uncut = true;
	sim_peer_send_text(r->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT");
	SIMRIG_UNTIL(&r->rig, r->waits, 1000);
	simrig_run(&r->rig, 500);
	assert_no_receive_buffer(r);
	r->go = true;
	tick_run(&r->rig.tick, &r->waits->task);
	SIMRIG_UNTIL(&r->rig, r->peer->in_n > 0, 1000);
	simrig_run(&r->rig, 500);
	assert_no_receive_buffer(r);
	sim_peer_send_text(r->peer, "TP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, count(r->peer, "HTTP/1.1 200") == 2, 1000);
}
TEST(waiting_pins_nothing)

static void idle_ms_is(struct room *r, uint32_t idle_ms)
{
	uint64_t from_ms;

	sim_peer_send_text(r->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, r->waits, 1000);
	simrig_run(&r->rig, (uint32_t)simrig_draw(&r->rig, 30000)); /* that is no idleness */
	r->go = true;
	tick_run(&r->rig.tick, &r->waits->task);
	SIMRIG_UNTIL(&r->rig, r->peer->in_n > 0, 1000);
	from_ms = r->rig.tick.now_ms;
	assert_ends(r, from_ms, idle_ms);
	assert_int_equal(r->slow, 0);
}

static void idle(struct room *r)
{
	idle_ms_is(r, IDLE_MS);
}
TEST(idle)

/* The same where idleness is the shortest of all that is waited for. */
static void idle_shortest(struct room *r)
{
	r->front.timeouts.idle_ms = 500;
	idle_ms_is(r, 500);
}
TEST(idle_shortest)

static void slow_body(struct room *r)
{
	uint64_t from_ms;

	r->peer->uncut = true;
	sim_peer_send_text(r->peer,
			   "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1");
	SIMRIG_UNTIL(&r->rig, r->heads == 1, 1000);
	simrig_run(&r->rig, RECEIVE_MS - 500);
	sim_peer_send_text(r->peer, "2");
	from_ms = r->rig.tick.now_ms;
	assert_ends(r, from_ms, RECEIVE_MS);
	assert_int_equal(count(r->peer, "HTTP/1.1 408"), 1);
	assert_int_equal(r->slow, 1);
}
TEST(slow_body)

/* Reads nothing of a long answer, though it comes after a long time. */
static void deaf(struct room *r)
{
	uint64_t from_ms;

	sim_set_socket_bytes(r->rig.tick.loop, 2000);
	sim_peer_send_text(r->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, r->waits, 1000);
	r->peer->stopped_reading = true;
	io_cancel(r->rig.tick.loop, &r->peer->recv.op);
	simrig_run(&r->rig, 100 + (uint32_t)simrig_draw(&r->rig, 30000));
	/* Some of its answer is written, the rest is still to come. */
	assert_true(conn_push(&r->waits->conn, &(struct piece){ NULL, filling, 60000 }));
	simrig_run(&r->rig, 20);
	from_ms = r->rig.tick.now_ms;
	SIMRIG_UNTIL(&r->rig, r->slow == 1, 60000);
	assert_in_range(r->rig.tick.now_ms, from_ms + SEND_MS - LATE_MS,
			from_ms + SEND_MS + LATE_MS);
	SIMRIG_UNTIL(&r->rig, r->gone == 1, 100);
}
TEST(deaf)

/* Asks for a long answer and for the end, and reads nothing of it for so long: the rest of it
 * waits in the outbox. */
static void stops_reading(struct room *r, uint32_t ms)
{
	sim_set_socket_bytes(r->rig.tick.loop, 2000);
	r->peer->stopped_reading = true;
	sim_peer_send_text(r->peer, "GET /60000 HTTP/1.0\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, r->heads == 1, 1000);
	io_cancel(r->rig.tick.loop, &r->peer->recv.op);
	simrig_run(&r->rig, ms);
}

static void reads_on(struct room *r)
{
	sim_peer_resume_reading(r->peer);
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(r->peer), 1000);
}

static void paused_at_the_end(struct room *r)
{
	uint32_t longest_ms = SEND_MS - LATE_MS;

	stops_reading(r, (uint32_t)simrig_draw(&r->rig, longest_ms));
	reads_on(r);
	assert_true(r->peer->eof);
	assert_true(r->peer->in_n > 60000);
	sim_peer_close(r->peer);
	SIMRIG_UNTIL(&r->rig, r->gone == 1, 100);
}
TEST(paused_at_the_end)

static void assert_cut_off(struct room *r)
{
	assert_int_equal(r->peer->error, -ECONNRESET);
	assert_true(r->peer->in_n < 60000);
}

/* Too long: then what it gets must not look whole. */
static void deaf_at_the_end(struct room *r)
{
	/* What it had taken before it stopped is found out when the time has passed once. */
	stops_reading(r, 2 * (SEND_MS + LATE_MS));
	assert_int_equal(r->gone, 1);
	reads_on(r);
	assert_cut_off(r);
}
TEST(deaf_at_the_end)

/* ---- the end ---------------------------------------------------------------- */

static void drained(struct room *r)
{
	struct sim_peer *busy = come_in(r), *half = come_in(r);

	sim_peer_send_text(
		busy,
		"GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
	sim_peer_send_text(half, "GET /5 HTTP/1.1\r\n");
	SIMRIG_UNTIL(&r->rig, r->waits, 1000);
	simrig_run(&r->rig, 200);
	front_drain(&r->front);
	SIMRIG_UNTIL(&r->rig, r->peer->eof, 200); /* it was idle */
	sim_peer_close(r->peer);
	sim_peer_send_text(half, "Host: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, half->eof, 500);
	assert_int_equal(count(half, "Connection: close"), 1);
	r->go = true;
	tick_run(&r->rig.tick, &r->waits->task);
	SIMRIG_UNTIL(&r->rig, busy->eof, 500);
	assert_int_equal(count(busy, "HTTP/1.1"), 1);
	assert_int_equal(count(busy, "Connection: close"), 1);
	sim_peer_close(half);
	sim_peer_close(busy);
	SIMRIG_UNTIL(&r->rig, front_empty(&r->front), 500);
	assert_int_equal(r->gone, 3);
}
TEST(drained)

/* Cut off whenever, in whatever state. */
static void cut_off(struct room *r)
{
	static const char *const texts[] = {
		"", "GET", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /900000 HTTP/1.1\r\nHost: a\r\n\r\n", "GET HTTP\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx",
		"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	};

	for (unsigned i = 0; i < 7; i++)
		sim_peer_send_text(come_in(r), texts[simrig_draw(&r->rig, COUNT(texts))]);
	if (simrig_draw(&r->rig, 3) == 0)
		slab_fail_at(1 + (unsigned)simrig_draw(&r->rig, 10));
	simrig_run(&r->rig, (uint32_t)simrig_draw(&r->rig, 60));
	slab_fail_at(0);
	front_close(&r->front);
	SIMRIG_UNTIL(&r->rig, front_empty(&r->front), 100);
	assert_int_equal(r->gone, 8);
}
TEST(cut_off)

/* Whom an answer is owed sees that it is cut off; who was idle, a good end. */
static void cut_off_visibly(struct room *r)
{
	struct sim_peer *busy = come_in(r);

	sim_peer_send_text(busy, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&r->rig, r->waits, 1000);
	simrig_run(&r->rig, 50);
	front_close(&r->front);
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(busy) && sim_peer_finished(r->peer), 100);
	assert_int_equal(busy->error, -ECONNRESET);
	assert_int_equal(r->peer->error, 0);
}
TEST(cut_off_visibly)

/* While what is left of its answer is being sent. */
static void cut_off_at_the_end(struct room *r)
{
	stops_reading(r, 100);
	front_close(&r->front);
	SIMRIG_UNTIL(&r->rig, r->gone == 1, 100);
	reads_on(r);
	assert_cut_off(r);
}
TEST(cut_off_at_the_end)

static void no_memory_for_it(struct room *r)
{
	struct peer peer = { .family = AF_INET };
	struct sim_peer *a;
	int fd = simrig_pair(&r->rig, &a);

	assert_true(quota_take(&r->quota));
	slab_fail_at(1);
	client_open(&r->front, fd, &peer);
	slab_fail_at(0);
	SIMRIG_UNTIL(&r->rig, sim_peer_finished(a), 500);
	assert_int_equal(r->quota.used, 1);
}
TEST(no_memory_for_it)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_empty_lines),
		cmocka_unit_test(test_closed_after_its_request),
		cmocka_unit_test(test_crlf_after_its_body),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_silent_from_the_start),
		cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_waiting_pins_nothing),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_idle_shortest),
		cmocka_unit_test(test_slow_body),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_paused_at_the_end),
		cmocka_unit_test(test_deaf_at_the_end),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_cut_off_visibly),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_cut_off_at_the_end),
		cmocka_unit_test(test_no_memory_for_it),
	};

	memset(filling, 'x', sizeof(filling));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
