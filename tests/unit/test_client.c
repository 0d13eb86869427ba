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
#include "lib/simtls.h"
#include "tls/warm.h"

#define HEADER_MS 3000
#define HANDSHAKE_MS 2500
#define IDLE_MS 5000
#define SEND_MS 7000
#define RECEIVE_MS 4000
#define LINGER_MS 2000
/* A slot of the wheel, and the latency of the network. */
#define LATE_MS 60

/* A front whose handler responds to "/N" with N bytes, and to "/wait" once `may_respond`
 * is set; it reads the request's body first. */
struct client_fixture {
	struct simrig rig;
	struct front front;
	struct head scratch;
	struct worker_stats stats;
	struct quota quota;
	bool secured; /* the clients use TLS */
	struct tls_context *server_context, *client_context;
	struct sim_peer *peer;
	unsigned heads, refused, closed, timed_out_n;
	enum fault fault;
	size_t body_n;
	struct client *waiting;
	bool may_respond;
	bool not_ready; /* requests read nothing more of their bodies */
	struct test_request {
		struct client *client; /* NULL: unused */
		struct stream *stream;
		struct task task;
	} requests[10];
};

static char content[1 << 20];

static void request_end(struct stream *s)
{
	struct test_request *r = CONTAINER(s->task, struct test_request, task);

	stream_release(s);
	task_stop(&r->task);
	r->client = NULL;
}

static void request_abort(struct stream *s)
{
	request_end(s);
	stream_abort(s, STREAM_INCOMPLETE);
}

static void respond(struct client *c, struct stream *s, int status, size_t n)
{
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), 256);
	bool keep = stream_discard_body(s);
	struct piece p;

	if (!b) {
		request_abort(s);
		return;
	}
	b->end = (uint32_t)sprintf(b->data,
				   "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n",
				   status, n, keep ? "" : "Connection: close\r\n");
	if (!stream_send_kept_head(s, b, FRAMING_LENGTH, n)) {
		request_abort(s);
		return;
	}
	p = (struct piece){ NULL, content, (uint32_t)n };
	if (n > 0 && !stream_send(s, &p)) {
		request_abort(s);
		return;
	}
	request_end(s);
	stream_finish(s, keep);
}

static size_t content_n;

/* True: the response was sent. */
static bool read_request(struct client *c, struct stream *s)
{
	struct client_fixture *f = c->front->owner;
	struct piece p = { NULL, NULL, 0 };

	for (;;) {
		switch (stream_body(s, &f->scratch, &p)) {
		case BODY_DATA:
			f->body_n += p.len;
			piece_put(&p);
			break;
		case BODY_TRAILERS:
			stream_end_trailers(s);
			break;
		case BODY_END:
			if (c == f->waiting && !f->may_respond)
				return false;
			if (c == f->waiting)
				f->waiting = NULL;
			respond(c, s, 200, content_n);
			return true;
		case BODY_MORE:
			return false;
		case BODY_BAD:
			respond(c, s, 400, 0);
			return true;
		}
	}
}

static void step(struct task *task)
{
	struct test_request *r = CONTAINER(task, struct test_request, task);
	struct client *c = r->client;
	struct stream *s = r->stream;
	struct client_fixture *f = c->front->owner;

	if (s->state == STREAM_CLOSED || (f->not_ready && !s->timed_out))
		return;
	if (stream_lost(s)) {
		request_abort(s);
	} else if (s->timed_out) {
		f->timed_out_n++;
		if (s->body_awaited)
			respond(c, s, 408, 0);
		else
			request_abort(s);
	} else if (!read_request(c, s)) {
		stream_wait(s, false);
	}
}

static struct test_request *request_new(struct client_fixture *f)
{
	struct test_request *r = f->requests;

	while (r->client)
		r++;
	assert_true(r < f->requests + COUNT(f->requests));
	return r;
}

static void head_received(struct client *c, struct stream *s, struct head *h)
{
	struct client_fixture *f = c->front->owner;
	struct test_request *r = request_new(f);
	char path[32] = "";

	stream_begin_body(s, h->framing, h->length);
	/* The head is valid until the return. */
	memcpy(path, h->path.ptr, h->path.len < 31 ? h->path.len : 31);
	f->heads++;
	*r = (struct test_request){ .client = c, .stream = s };
	task_init(&r->task, step);
	stream_use(s, &r->task);
	if (strcmp(path, "/wait") == 0)
		f->waiting = c;
	content_n = strtoul(path + 1, NULL, 10);
	step(&r->task);
}

static void head_refused(struct client *c, struct stream *s, enum fault fault)
{
	struct client_fixture *f = c->front->owner;
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), 256);

	f->refused++;
	f->fault = fault;
	if (!b)
		return;
	b->end = (uint32_t)sprintf(b->data, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n",
				   fault ? fault_status(fault) : 408);
	stream_send_kept_head(s, b, FRAMING_NONE, 0);
}

static void closed(struct client *c)
{
	struct client_fixture *f = c->front->owner;

	if (f->waiting == c)
		f->waiting = NULL;
	f->closed++;
}

static const struct client_events events = { head_received, head_refused, request_end,
					     closed, NULL, NULL };

static void fixture_open(struct client_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 64);
	f->secured = seed % 2 == 0;
	if (f->secured) {
		assert_true(tick_use_tls(&f->rig.tick, NULL, 1));
		f->server_context = simtls_server_context();
		f->client_context = simtls_client_context();
	}
	quota_init(&f->quota, 10);
	f->front =
		(struct front){ .tick = &f->rig.tick,
				.events = &events,
				.owner = f,
				.limits = { 4096, 32 },
				.timeouts = { HEADER_MS, IDLE_MS, SEND_MS, RECEIVE_MS, 0 },
				.handshake_ms = HANDSHAKE_MS,
				.window = 65536,
				.linger_ms = LINGER_MS,
				.quota = &f->quota,
				.stats = &f->stats,
				.scratch = &f->scratch };
	front_init(&f->front);
}

static struct sim_peer *client_connect(struct client_fixture *f)
{
	struct peer peer = { .family = AF_INET };
	struct sim_peer *a;
	int fd = simrig_pair(&f->rig, &a);
	struct client *c;

	assert_true(quota_take(&f->quota));
	c = client_open(&f->front, fd, &peer);
	if (f->secured) {
		client_secure(c, f->server_context);
		simtls_secure(a, f->rig.tick.tls, f->client_context, SLICE("a"), NULL);
	}
	return a;
}

static void fixture_close(struct client_fixture *f)
{
	front_close(&f->front);
	SIMRIG_UNTIL(&f->rig, front_empty(&f->front), 100);
	simrig_run(&f->rig, 100);
	assert_int_equal(f->quota.used, 0);
	assert_int_equal(f->stats.connections, 0);
	assert_int_equal(f->stats.connections_idle, 0);
	front_done(&f->front);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
	tls_context_unref(f->server_context);
	tls_context_unref(f->client_context);
}

static void each_seed(void (*test)(struct client_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct client_fixture f;

		fixture_open(&f, seed);
		f.peer = client_connect(&f);
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

static unsigned count(const struct sim_peer *a, const char *text)
{
	unsigned n = 0;

	for (const char *at = a->in; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* ---- requests --------------------------------------------------------------- */

/* The i-th response has i bytes. There are more requests than one step serves. */
static void pipelined(struct client_fixture *f)
{
	const char *at;
	char text[64];

	for (unsigned i = 1; i <= 60; i++) {
		snprintf(text, sizeof(text), "GET /%u HTTP/1.1\r\nHost: a\r\n\r\n", i);
		sim_peer_send_text(f->peer, text);
	}
	SIMRIG_UNTIL(&f->rig, f->heads == 60 && count(f->peer, "HTTP/1.1 ") == 60, 60000);
	simrig_run(&f->rig, 200);
	at = f->peer->in;
	for (unsigned i = 1; i <= 60; i++) {
		snprintf(text, sizeof(text),
			 "HTTP/1.1 200 X\r\nContent-Length: %u\r\n\r\n", i);
		if (memcmp(at, text, strlen(text)) != 0)
			fail_msg("response %u is missing or out of order", i);
		at += strlen(text) + i;
	}
	assert_int_equal(f->stats.connections_idle, 1);
	assert_int_equal(f->stats.requests, 60);
}
TEST(pipelined)

/* While responses are not read, what follows them waits in one buffer; a head that needs more is
 * received when they were read. */
static void large_head_behind_unread_responses(struct client_fixture *f)
{
	struct client *c = LIST_ITEM(f->front.all.next, struct client, node);
	char field[20001];

	memset(field, 'x', sizeof(field) - 1);
	field[sizeof(field) - 1] = '\0';
	f->front.limits.bytes = 32768;
	SIMRIG_UNTIL(&f->rig, f->stats.connections_idle == 1,
		     500); /* secured: Finished */
	sim_set_socket_bytes(f->rig.tick.loop, 60000);
	f->peer->stopped_reading = true;
	io_cancel(f->rig.tick.loop, &f->peer->recv.op);
	for (unsigned i = 0; i < 30 && conn_push_space(&c->conn) > 0; i++) {
		sim_peer_send_text(f->peer, "GET /50000 HTTP/1.1\r\nHost: a\r\n\r\n");
		simrig_run(&f->rig, 30);
	}
	assert_int_equal(conn_push_space(&c->conn), 0);
	sim_peer_send_text(f->peer, "GET /1 HTTP/1.1\r\nHost: a\r\nX: ");
	sim_peer_send_text(f->peer, field);
	simrig_run(&f->rig, 500);
	sim_peer_resume_reading(f->peer);
	sim_peer_send_text(f->peer, "\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, count(f->peer, "Content-Length: 1\r\n") == 1 || f->refused,
		     60000);
	assert_int_equal(f->refused, 0);
}
TEST(large_head_behind_unread_responses)

static void kept_alive(struct client_fixture *f)
{
	for (unsigned i = 1; i <= 5; i++) {
		sim_peer_send_text(
			f->peer,
			"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
			"0123456789");
		SIMRIG_UNTIL(&f->rig, f->peer->in_n == i * 40, 5000);
		assert_int_equal(f->body_n, 10 * i);
		simrig_run(&f->rig, IDLE_MS - 1000);
	}
	assert_false(sim_peer_finished(f->peer));
}
TEST(kept_alive)

/* After FIN the peer still gets its responses. */
static void half_closed(struct client_fixture *f)
{
	sim_peer_send_text(f->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
				    "GET /7 HTTP/1.1\r\nHost: a\r\n\r\n");
	sim_peer_shutdown(f->peer);
	SIMRIG_UNTIL(&f->rig, f->waiting, 1000);
	simrig_run(&f->rig, 500);
	f->may_respond = true;
	tick_run(&f->rig.tick, f->waiting->http1.stream.task);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_true(f->peer->eof);
	assert_int_equal(count(f->peer, "HTTP/1.1 200"), 2);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
}
TEST(half_closed)

/* Ignored bytes change no state: neither a timeout nor the number of idle connections. */
static void empty_lines(struct client_fixture *f)
{
	static const char *const texts[] = { "\r\n", "\r\n\r\n\r\n", "\r" };
	size_t n;

	sim_peer_send_text(f->peer, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->peer->in_n == 40, 5000);
	for (size_t i = 0; i < COUNT(texts); i++) {
		sim_peer_send_text(f->peer, texts[i]);
		simrig_run(&f->rig, 1100);
		assert_int_equal(f->stats.connections_idle, 1);
		assert_int_equal(f->peer->in_n, 40);
	}
	if (simrig_draw(&f->rig, 3) == 0) {
		front_drain(&f->front);
		SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 300);
	} else if (simrig_draw(&f->rig, 2)) {
		/* The idle time began with the response; HEADER_MS has passed since the
		 * first. */
		simrig_run(&f->rig, IDLE_MS - 3300 - 500);
		assert_false(sim_peer_finished(f->peer));
		SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	} else {
		n = f->peer->in_n;
		sim_peer_send_text(f->peer, "\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
		SIMRIG_UNTIL(&f->rig, f->peer->in_n == n + 41, 500);
		return;
	}
	assert_true(f->peer->eof);
	assert_int_equal(f->peer->in_n, 40);
	assert_int_equal(f->refused, 0);
}
TEST(empty_lines)

static void connection_close(struct client_fixture *f)
{
	sim_peer_send_text(f->peer,
			   "GET /7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_true(f->peer->eof);
	assert_int_equal(count(f->peer, "Connection: close"), 1);
	sim_peer_close(f->peer);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
}
TEST(connection_close)

/* Old clients send a CRLF after a body (RFC 9112 2.2): the reset that it may cause does
 * not overtake the response. */
static void crlf_after_body(struct client_fixture *f)
{
	sim_peer_send_text(f->peer,
			   "POST /30000 HTTP/1.0\r\nContent-Length: 5\r\n\r\n12345");
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 1000);
	sim_peer_send_text(f->peer, "\r\n");
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
	assert_true(f->peer->eof);
	assert_int_equal(f->peer->error, 0);
	assert_true(f->peer->in_n > 30000);
	sim_peer_close(f->peer);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
}
TEST(crlf_after_body)

/* Gets a response and lingers, so that no reset overtakes it. */
static void refused(struct client_fixture *f)
{
	uint64_t from_ms;

	sim_peer_send_text(f->peer, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, count(f->peer, "HTTP/1.1 400") == 1, 1000);
	from_ms = f->rig.tick.now_ms;
	for (unsigned i = 0; i < 20; i++)
		sim_peer_send_text(f->peer, "and much more that nobody reads");
	SIMRIG_UNTIL(&f->rig, f->peer->eof, 1000);
	assert_int_equal(f->refused, 1);
	if (simrig_draw(&f->rig, 2)) {
		SIMRIG_UNTIL(&f->rig, f->closed == 1, LINGER_MS + LATE_MS);
		assert_true(f->rig.tick.now_ms + LATE_MS >= from_ms + LINGER_MS);
	} else {
		sim_peer_close(f->peer);
		SIMRIG_UNTIL(&f->rig, f->closed == 1, 500);
	}
	assert_int_equal(f->peer->error, 0);
}
TEST(refused)

/* ---- deadlines -------------------------------------------------------------- */

static void assert_ends(struct client_fixture *f, uint64_t from_ms, uint32_t after_ms)
{
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 60000);
	if (f->rig.tick.now_ms < from_ms + after_ms - LATE_MS ||
	    f->rig.tick.now_ms > from_ms + after_ms + LATE_MS)
		fail_msg("ended after %llu ms, not %u",
			 (unsigned long long)(f->rig.tick.now_ms - from_ms), after_ms);
}

static void no_request(struct client_fixture *f)
{
	SIMRIG_UNTIL(&f->rig, f->stats.connections_idle == 1,
		     500); /* secured: Finished */
	assert_ends(f, f->rig.tick.now_ms, HEADER_MS);
	assert_int_equal(f->peer->in_n, 0);
	assert_int_equal(f->peer->error, 0);
}
TEST(no_request)

static void slow_head(struct client_fixture *f)
{
	uint64_t from_ms;

	sim_peer_send_text(f->peer, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->peer->in_n > 0, 1000);
	simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, IDLE_MS - 500));
	f->peer->uncut = true;
	sim_peer_send_text(f->peer, "GET");
	from_ms = f->rig.tick.now_ms;
	simrig_run(&f->rig, 2000);
	sim_peer_send_text(f->peer, " /"); /* does not extend the timeout */
	assert_ends(f, from_ms, HEADER_MS);
	assert_int_equal(count(f->peer, "HTTP/1.1 408"), 1);
	assert_int_equal(f->fault, FAULT_NONE);
}
TEST(slow_head)

/* A slow client must not use up the pool: bytes that wait are moved to a block of their
 * size. */
static void assert_no_receive_buffer(struct client_fixture *f)
{
	const struct buf_pool *pool = io_bufs(f->rig.tick.loop);

	assert_int_equal(pool->free_n, pool->count);
}

static void waiting_holds_no_receive_buffer(struct client_fixture *f)
{
	f->peer->uncut = true;
	sim_peer_send_text(f->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT");
	SIMRIG_UNTIL(&f->rig, f->waiting, 1000);
	simrig_run(&f->rig, 500);
	assert_no_receive_buffer(f);
	f->may_respond = true;
	tick_run(&f->rig.tick, f->waiting->http1.stream.task);
	SIMRIG_UNTIL(&f->rig, f->peer->in_n > 0, 1000);
	simrig_run(&f->rig, 500);
	assert_no_receive_buffer(f);
	sim_peer_send_text(f->peer, "TP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, count(f->peer, "HTTP/1.1 200") == 2, 1000);
}
TEST(waiting_holds_no_receive_buffer)

static void assert_idle_timeout(struct client_fixture *f, uint32_t idle_ms)
{
	uint64_t from_ms;

	sim_peer_send_text(f->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->waiting, 1000);
	simrig_run(&f->rig,
		   (uint32_t)simrig_draw(&f->rig, 30000)); /* this is not idle time */
	f->may_respond = true;
	tick_run(&f->rig.tick, f->waiting->http1.stream.task);
	SIMRIG_UNTIL(&f->rig, f->peer->in_n > 0, 1000);
	from_ms = f->rig.tick.now_ms;
	assert_ends(f, from_ms, idle_ms);
	assert_int_equal(f->timed_out_n, 0);
}

static void idle(struct client_fixture *f)
{
	assert_idle_timeout(f, IDLE_MS);
}
TEST(idle)

/* Nor are key updates, which are answered, a sign of life. */
static void idle_with_key_updates(struct client_fixture *f)
{
	uint64_t from_ms;

	if (!f->secured)
		return;
	sim_peer_send_text(f->peer, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->peer->in_n == 40, 5000);
	from_ms = f->rig.tick.now_ms;
	while (!sim_peer_finished(f->peer) &&
	       f->rig.tick.now_ms < from_ms + 2 * IDLE_MS) {
		simtls_update_keys(f->peer, true);
		sim_peer_send_text(f->peer, "\r\n");
		simrig_run(&f->rig, 500);
	}
	assert_true(f->rig.tick.now_ms < from_ms + IDLE_MS + 1500);
}
TEST(idle_with_key_updates)

/* The same with an idle timeout that is the shortest of all. */
static void idle_timeout_shortest(struct client_fixture *f)
{
	f->front.timeouts.idle_ms = 500;
	assert_idle_timeout(f, 500);
}
TEST(idle_timeout_shortest)

static void slow_body(struct client_fixture *f)
{
	uint64_t from_ms;

	f->peer->uncut = true;
	sim_peer_send_text(f->peer,
			   "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1");
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 1000);
	simrig_run(&f->rig, RECEIVE_MS - 500);
	sim_peer_send_text(f->peer, "2");
	from_ms = f->rig.tick.now_ms;
	assert_ends(f, from_ms, RECEIVE_MS);
	assert_int_equal(count(f->peer, "HTTP/1.1 408"), 1);
	assert_int_equal(f->timed_out_n, 1);
}
TEST(slow_body)

/* All of the body has come, and its request is not ready for it: the client is not late. */
static void body_that_waits(struct client_fixture *f)
{
	sim_peer_send_text(f->peer,
			   "POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n"
			   "\r\n01234");
	SIMRIG_UNTIL(&f->rig, f->body_n == 5, 1000);
	f->not_ready = true;
	sim_peer_send_text(f->peer, "56789");
	simrig_run(&f->rig, 3 * RECEIVE_MS);
	assert_int_equal(f->timed_out_n, 0);
	f->not_ready = false;
	tick_run(&f->rig.tick, f->requests[0].stream->task);
	SIMRIG_UNTIL(&f->rig, count(f->peer, "HTTP/1.1 200") == 1, 1000);
}
TEST(body_that_waits)

/* Reads nothing of a long response that begins late. */
static void never_reads(struct client_fixture *f)
{
	uint64_t from_ms;

	sim_set_socket_bytes(f->rig.tick.loop, 2000);
	sim_peer_send_text(f->peer, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->waiting, 1000);
	f->peer->stopped_reading = true;
	io_cancel(f->rig.tick.loop, &f->peer->recv.op);
	simrig_run(&f->rig, 100 + (uint32_t)simrig_draw(&f->rig, 30000));
	/* Part of the response is written. */
	assert_true(
		conn_push(&f->waiting->conn, &(struct piece){ NULL, content, 60000 }));
	simrig_run(&f->rig, 20);
	from_ms = f->rig.tick.now_ms;
	SIMRIG_UNTIL(&f->rig, f->timed_out_n == 1, 60000);
	/* Secured: what the handshake sent counts as progress once. */
	assert_in_range(f->rig.tick.now_ms, from_ms + SEND_MS - LATE_MS,
			from_ms + SEND_MS + LATE_MS + (f->secured ? SEND_MS : 0));
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
}
TEST(never_reads)

/* Requests a long response without keep-alive, and reads nothing for this long: the rest
 * of it waits in the outbox. */
static void stops_reading(struct client_fixture *f, uint32_t ms)
{
	sim_set_socket_bytes(f->rig.tick.loop, 2000);
	f->peer->stopped_reading = true;
	sim_peer_send_text(f->peer, "GET /60000 HTTP/1.0\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->heads == 1, 1000);
	io_cancel(f->rig.tick.loop, &f->peer->recv.op);
	simrig_run(&f->rig, ms);
}

static void resumes_reading(struct client_fixture *f)
{
	sim_peer_resume_reading(f->peer);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer), 1000);
}

static void reads_late_at_the_end(struct client_fixture *f)
{
	uint32_t longest_ms = SEND_MS - LATE_MS;

	stops_reading(f, (uint32_t)simrig_draw(&f->rig, longest_ms));
	resumes_reading(f);
	assert_true(f->peer->eof);
	assert_true(f->peer->in_n > 60000);
	sim_peer_close(f->peer);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
}
TEST(reads_late_at_the_end)

static void assert_reset(struct client_fixture *f)
{
	assert_int_equal(f->peer->error, -ECONNRESET);
	assert_true(f->peer->in_n < 60000);
}

/* Beyond the send timeout: the truncated response must not look complete. */
static void never_reads_at_the_end(struct client_fixture *f)
{
	/* The first expiry only finds that it had taken bytes before it stopped. */
	stops_reading(f, 2 * (SEND_MS + LATE_MS));
	assert_int_equal(f->closed, 1);
	resumes_reading(f);
	assert_reset(f);
}
TEST(never_reads_at_the_end)

/* ---- closing ---------------------------------------------------------------- */

static void drained(struct client_fixture *f)
{
	struct sim_peer *busy = client_connect(f), *half = client_connect(f);

	sim_peer_send_text(
		busy,
		"GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
	sim_peer_send_text(half, "GET /5 HTTP/1.1\r\n");
	SIMRIG_UNTIL(&f->rig, f->waiting, 1000);
	simrig_run(&f->rig, 200);
	front_drain(&f->front);
	SIMRIG_UNTIL(&f->rig, f->peer->eof, 200); /* idle */
	sim_peer_close(f->peer);
	sim_peer_send_text(half, "Host: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, half->eof, 500);
	assert_int_equal(count(half, "Connection: close"), 1);
	f->may_respond = true;
	tick_run(&f->rig.tick, f->waiting->http1.stream.task);
	SIMRIG_UNTIL(&f->rig, busy->eof, 500);
	assert_int_equal(count(busy, "HTTP/1.1"), 1);
	assert_int_equal(count(busy, "Connection: close"), 1);
	sim_peer_close(half);
	sim_peer_close(busy);
	SIMRIG_UNTIL(&f->rig, front_empty(&f->front), 500);
	assert_int_equal(f->closed, 3);
}
TEST(drained)

/* front_close() at any time, in any state. */
static void closed_in_any_state(struct client_fixture *f)
{
	static const char *const texts[] = {
		"",
		"GET",
		"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /900000 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET HTTP\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx",
		"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	};

	for (unsigned i = 0; i < 7; i++)
		sim_peer_send_text(client_connect(f),
				   texts[simrig_draw(&f->rig, COUNT(texts))]);
	if (simrig_draw(&f->rig, 3) == 0)
		slab_fail_at(1 + (unsigned)simrig_draw(&f->rig, 10));
	simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 60));
	slab_fail_at(0);
	front_close(&f->front);
	SIMRIG_UNTIL(&f->rig, front_empty(&f->front), 100);
	assert_int_equal(f->closed, 8);
}
TEST(closed_in_any_state)

/* A client with a pending response sees a reset, an idle one sees FIN; secured: without
 * close_notify. */
static void truncation_is_visible(struct client_fixture *f)
{
	struct sim_peer *busy = client_connect(f);

	sim_peer_send_text(busy, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
	SIMRIG_UNTIL(&f->rig, f->waiting, 1000);
	simrig_run(&f->rig, 50);
	front_close(&f->front);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(busy) && sim_peer_finished(f->peer), 100);
	assert_int_equal(busy->error, -ECONNRESET);
	assert_int_equal(f->peer->error, f->secured ? -ECONNRESET : 0);
	assert_true(f->peer->fin_received);
}
TEST(truncation_is_visible)

/* While the rest of the response is being sent. */
static void closed_while_flushing(struct client_fixture *f)
{
	stops_reading(f, 100);
	front_close(&f->front);
	SIMRIG_UNTIL(&f->rig, f->closed == 1, 100);
	resumes_reading(f);
	assert_reset(f);
}
TEST(closed_while_flushing)

static void no_memory_for_a_client(struct client_fixture *f)
{
	struct peer peer = { .family = AF_INET };
	struct sim_peer *a;
	int fd = simrig_pair(&f->rig, &a);

	assert_true(quota_take(&f->quota));
	slab_fail_at(1);
	client_open(&f->front, fd, &peer);
	slab_fail_at(0);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(a), 500);
	assert_int_equal(f->quota.used, 1);
}
TEST(no_memory_for_a_client)

static int set_up(void **state)
{
	(void)state;
	return tls_library_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_large_head_behind_unread_responses),
		cmocka_unit_test(test_kept_alive),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_empty_lines),
		cmocka_unit_test(test_connection_close),
		cmocka_unit_test(test_crlf_after_body),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_request),
		cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_waiting_holds_no_receive_buffer),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_idle_with_key_updates),
		cmocka_unit_test(test_idle_timeout_shortest),
		cmocka_unit_test(test_slow_body),
		cmocka_unit_test(test_body_that_waits),
		cmocka_unit_test(test_never_reads),
		cmocka_unit_test(test_reads_late_at_the_end),
		cmocka_unit_test(test_never_reads_at_the_end),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_truncation_is_visible),
		cmocka_unit_test(test_closed_in_any_state),
		cmocka_unit_test(test_closed_while_flushing),
		cmocka_unit_test(test_no_memory_for_a_client),
	};

	memset(content, 'x', sizeof(content));
	return cmocka_run_group_tests(tests, set_up, NULL);
}
