/* A server's and a client's session that speak with each other, and a server's that is given raw
 * frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "h2/block.h"
#include "h2/session.h"

#define STREAMS 64
#define WIRE_BYTES (1u << 20)

static struct buf_pool pool;
static struct h2_thread thread;
static const struct head_limits heads = { 16384, 100, 0 };

/* One end: its session, what it has to send, and the streams the peer has begun. */
struct h2_end {
	struct h2_session *s;
	char out[WIRE_BYTES];
	size_t n, space;
	struct h2_stream streams[STREAMS];
	unsigned opened, refuse_after;
	unsigned changes;
};

static struct h2_end server, client;
static struct h2_limits limits;

static struct h2_stream *end_opened(struct h2_session *s)
{
	struct h2_end *e = s->owner;

	if (e->opened == e->refuse_after)
		return NULL;
	return &e->streams[e->opened++ % STREAMS];
}

static void end_changed(struct h2_stream *stream)
{
	struct h2_end *e = stream->session->owner;

	e->changes++;
}

static bool end_push(struct h2_session *s, struct piece *p)
{
	struct h2_end *e = s->owner;

	assert_true(e->n + p->len <= WIRE_BYTES);
	memcpy(e->out + e->n, p->ptr, p->len);
	e->n += p->len;
	e->space = e->space > p->len ? e->space - p->len : 0;
	piece_put(p);
	return true;
}

static uint32_t end_space(const struct h2_session *s)
{
	const struct h2_end *e = s->owner;

	return (uint32_t)e->space;
}

static const struct h2_events events = { end_opened, end_changed, end_push, end_space };

static void end_begin(struct h2_end *e, enum h2_side side)
{
	memset(e, 0, sizeof(*e));
	e->space = WIRE_BYTES;
	e->refuse_after = UINT32_MAX;
	e->s = h2_new(&thread, side, &events, &limits, e);
	assert_non_null(e->s);
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(buf_pool_init(&pool, 256), 0);
	h2_thread_init(&thread, &pool);
	limits = (struct h2_limits){
		.streams = 100,
		.window = 65535,
		.connection_window = 1 << 20,
		.resets = 100,
		.oddities = 200,
		.queued = 65536,
		.heads = &heads,
	};
	end_begin(&server, H2_SERVER);
	end_begin(&client, H2_CLIENT);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < STREAMS; i++) {
		h2_leave(&server.streams[i], H2_CANCEL);
		h2_leave(&client.streams[i], H2_CANCEL);
	}
	h2_free(server.s);
	h2_free(client.s);
	h2_thread_done(&thread);
	buf_pool_done(&pool);
	return 0;
}

/* Gives all bytes of one end to the other, in parts of at most `step` bytes, each in a receive
 * buffer. */
static bool carry(struct h2_end *from, struct h2_end *to, size_t step)
{
	bool good = true;
	size_t at = 0;

	if (!h2_flush(from->s))
		return false;
	while (at < from->n && good) {
		struct buf *b = buf_take(&pool);
		size_t n = from->n - at < step ? from->n - at : step;

		assert_non_null(b);
		memcpy(b->data, from->out + at, n);
		b->end = (uint32_t)n;
		good = h2_receive(to->s, b, buf_bytes(b));
		buf_put(b);
		at += n;
	}
	from->n = 0;
	from->space = WIRE_BYTES;
	return good;
}

static void talk(size_t step)
{
	for (int i = 0; i < 64; i++) {
		assert_true(carry(&client, &server, step));
		assert_true(carry(&server, &client, step));
		if (!h2_wants_flush(client.s) && !h2_wants_flush(server.s))
			return;
	}
	fail_msg("they do not end");
}

/* ---- heads to be sent ------------------------------------------------------------ */

struct field_text {
	const char *name, *value;
};

static struct buf *block_of(const struct field_text *pairs)
{
	struct buf *b = buf_new(&pool, 32768);
	struct sink sink = { .out = { b->data, b->data + b->size, false },
			     .ops = &sink_http2_ops };

	for (; pairs->name; pairs++)
		sink_field(&sink, slice_of(pairs->name), slice_of(pairs->value));
	assert_false(sink.out.overflow);
	b->end = (uint32_t)(sink.out.at - b->data);
	return b;
}

#define FIELDS(...) ((const struct field_text[]){ __VA_ARGS__, { NULL, NULL } })
#define GET                                                                           \
	{ ":method", "GET" }, { ":scheme", "http" }, { ":authority", "example.com" }, \
		{ ":path", "/a?b" }

static void assert_text(const struct buf *text, const char *expected)
{
	struct slice s = buf_bytes(text);

	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.ptr, expected, s.len);
}

static struct piece piece_of(const char *bytes, size_t n)
{
	struct buf *b = buf_new(&pool, n);

	memcpy(b->data, bytes, n);
	b->end = (uint32_t)n;
	return (struct piece){ b, b->data, (uint32_t)n };
}

/* Takes all that is there. */
static size_t take_all(struct h2_stream *stream, char *to)
{
	struct piece p;
	size_t n = 0;

	while ((p = h2_take(stream, 1000)).len > 0) {
		if (to)
			memcpy(to + n, p.ptr, p.len);
		n += p.len;
		piece_put(&p);
	}
	return n;
}

/* ---- messages --------------------------------------------------------------------- */

static void exchange(size_t step)
{
	struct h2_stream *c = &client.streams[0], *s = &server.streams[0];
	struct piece p = piece_of("hello", 5);
	char body[16];

	assert_true(h2_request(client.s, c,
			       block_of(FIELDS(GET, { "Accept", "*/*" }, { "cookie", "a=1" },
					       { "te", "trailers" }, { "cookie", "b=2" })),
			       false));
	assert_true(h2_send(c, &p));
	h2_send_end(c, NULL);
	talk(step);
	assert_int_equal(server.opened, 1);
	assert_text(s->head, "GET /a?b HTTP/1.1\r\nhost: example.com\r\naccept: */*\r\n"
			     "te: trailers\r\ncookie: a=1; b=2\r\n\r\n");
	assert_true(s->received_end && c->sent_end && !s->reset);
	assert_int_equal(take_all(s, body), 5);
	assert_memory_equal(body, "hello", 5);

	assert_true(h2_respond(s, block_of(FIELDS({ ":status", "103" }, { "Link", "</x>" })),
			       true, false));
	assert_true(h2_respond(s, block_of(FIELDS({ ":status", "200" }, { "ETag", "x" })),
			       false, false));
	p = piece_of("world", 5);
	assert_true(h2_send(s, &p));
	h2_send_end(s, block_of(FIELDS({ "grpc-status", "0" })));
	talk(step);
	assert_text(c->head, "HTTP/1.1 103 \r\nlink: </x>\r\n\r\n"
			     "HTTP/1.1 200 \r\netag: x\r\n\r\n");
	assert_int_equal(take_all(c, body), 5);
	assert_memory_equal(body, "world", 5);
	assert_text(c->trailers, "grpc-status: 0\r\n\r\n");
	assert_true(c->received_end && s->sent_end && !c->reset && !s->reset);
	assert_int_equal(c->state, H2_STREAM_CLOSED);
	assert_int_equal(s->state, H2_STREAM_CLOSED);
	assert_int_equal(client.s->streams + server.s->streams, 0);
}

static void test_exchange(void **state)
{
	(void)state;
	exchange(BUF_BYTES);
}

static void test_exchange_in_single_bytes(void **state)
{
	(void)state;
	exchange(1);
}

/* A section of trailers behind no body at all. */
static void test_trailers_only(void **state)
{
	struct h2_stream *c = &client.streams[0], *s = &server.streams[0];

	(void)state;
	assert_true(h2_request(client.s, c, block_of(FIELDS(GET)), true));
	talk(BUF_BYTES);
	assert_true(h2_respond(s, block_of(FIELDS({ ":status", "200" })), false, false));
	h2_send_end(s, block_of(FIELDS({ "grpc-status", "5" })));
	talk(BUF_BYTES);
	assert_non_null(c->trailers);
	assert_text(c->trailers, "grpc-status: 5\r\n\r\n");
	assert_true(c->received_end && c->state == H2_STREAM_CLOSED);
}

/* ---- credit ----------------------------------------------------------------------- */

/* No more is sent than the window, until the receiver takes some; all of it arrives intact. */
static void test_window(void **state)
{
	enum { BYTES = 300000 };
	struct h2_stream *c = &client.streams[0], *s = &server.streams[0];
	char *sent = malloc(BYTES), *got = malloc(BYTES);
	size_t at = 0, received = 0;

	(void)state;
	for (size_t i = 0; i < BYTES; i++)
		sent[i] = (char)(i * 7 + i / 251);
	assert_true(h2_request(client.s, c, block_of(FIELDS(GET)), true));
	talk(BUF_BYTES);
	assert_true(h2_respond(s, block_of(FIELDS({ ":status", "200" })), false, false));
	while (received < BYTES) {
		while (at < BYTES && h2_send_space(s) > 0) {
			size_t n = BYTES - at < 9000 ? BYTES - at : 9000;
			struct piece p = piece_of(sent + at, n);

			assert_true(h2_send(s, &p));
			at += n;
			if (at == BYTES)
				h2_send_end(s, NULL);
		}
		talk(BUF_BYTES);
		assert_true(c->in.bytes <= limits.window);
		received += take_all(c, got + received);
	}
	talk(BUF_BYTES);
	assert_true(c->received_end);
	assert_memory_equal(sent, got, BYTES);
	free(sent);
	free(got);
}

/* What nobody takes stops this stream only; leaving it gives its bytes back to the connection. */
static void test_unread_stream(void **state)
{
	(void)state;
	limits.connection_window = 100000;
	h2_free(client.s);
	end_begin(&client, H2_CLIENT);
	for (unsigned i = 0; i < 10; i++) {
		struct h2_stream *c = &client.streams[i], *s = &server.streams[i];

		assert_true(h2_request(client.s, c, block_of(FIELDS(GET)), true));
		talk(BUF_BYTES);
		assert_true(h2_respond(s, block_of(FIELDS({ ":status", "200" })), false,
				       false));
		for (int n = 0; n < 6; n++) {
			char bytes[9000] = { 0 };
			struct piece p = piece_of(bytes, sizeof(bytes));

			assert_true(h2_send_space(s) > 0);
			assert_true(h2_send(s, &p));
		}
		talk(BUF_BYTES);
		/* Nine tenths are in the queue of a stream that nobody reads. */
		assert_int_equal(c->in.bytes, 54000);
		h2_leave(c, H2_CANCEL);
		talk(BUF_BYTES);
		assert_true(s->reset && s->reset_by_peer && s->error == H2_CANCEL);
		assert_int_equal(server.s->queued, 0);
	}
}

/* Without space for bytes a body waits, and goes on later. */
static void test_space(void **state)
{
	struct h2_stream *c = &client.streams[0], *s = &server.streams[0];
	char bytes[5000] = { 0 };
	struct piece p = piece_of(bytes, sizeof(bytes));

	(void)state;
	assert_true(h2_request(client.s, c, block_of(FIELDS(GET)), true));
	talk(BUF_BYTES);
	assert_true(h2_respond(s, block_of(FIELDS({ ":status", "200" })), false, false));
	assert_true(h2_send(s, &p));
	h2_send_end(s, NULL);
	server.space = 0;
	assert_true(h2_flush(server.s));
	assert_int_equal(server.n, 0);
	server.space = 1;
	talk(BUF_BYTES);
	assert_int_equal(take_all(c, NULL), sizeof(bytes));
	assert_true(c->received_end);
}

/* ---- refusals ---------------------------------------------------------------------- */

static void test_refused_stream(void **state)
{
	struct h2_stream *c = &client.streams[0];

	(void)state;
	server.refuse_after = 0;
	assert_true(h2_request(client.s, c, block_of(FIELDS(GET)), true));
	talk(BUF_BYTES);
	assert_true(c->reset && c->error == H2_REFUSED_STREAM);
	assert_false(client.s->failed);
}

static void refused(const struct field_text *fields, enum fault fault)
{
	struct h2_stream *c = &client.streams[0], *s = &server.streams[server.opened];

	memset(c, 0, sizeof(*c));
	assert_true(h2_request(client.s, c, block_of(fields), true));
	talk(BUF_BYTES);
	assert_false(server.s->failed);
	if (fault == FAULT_NONE) { /* reset by the library */
		assert_true(c->reset);
	} else {
		assert_false(c->reset);
		assert_null(s->head);
		assert_int_equal(s->fault, fault);
	}
	h2_leave(c, H2_CANCEL);
	h2_leave(s, H2_CANCEL);
	talk(BUF_BYTES);
}

static void test_refused_heads(void **state)
{
	char large[9000];

	(void)state;
	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = 0;
	refused(FIELDS({ ":method", "GET" }, { ":scheme", "https" }, { ":authority", "a" },
		       { ":path", "/" }),
		FAULT_TARGET);
	refused(FIELDS(GET, { "host", "other" }), FAULT_HOST_REPEATED);
	refused(FIELDS(GET, { "a", large }, { "b", large }), FAULT_HEAD_LARGE);
	refused(FIELDS(GET, { "a b", "x" }), FAULT_NONE);
	refused(FIELDS(GET, { "a:b", "x" }), FAULT_NONE);
	refused(FIELDS(GET, { "a", "x\r\nb: y" }), FAULT_NONE);
	refused(FIELDS(GET, { "connection", "close" }), FAULT_NONE);
	refused(FIELDS(GET, { "transfer-encoding", "chunked" }), FAULT_NONE);
	refused(FIELDS(GET, { ":path", "/twice" }), FAULT_NONE);
}

/* More requests that are reset than are answered end the connection, whoever resets them. */
static void test_rapid_reset(void **state)
{
	unsigned i;
	bool good = true;

	(void)state;
	for (i = 0; good && i < 1000; i++) {
		struct h2_stream *c = &client.streams[i % STREAMS];

		h2_leave(c, H2_CANCEL);
		memset(c, 0, sizeof(*c));
		h2_leave(&server.streams[server.opened % STREAMS], H2_CANCEL);
		memset(&server.streams[server.opened % STREAMS], 0, sizeof(*c));
		assert_true(h2_request(client.s, c, block_of(FIELDS(GET)), true));
		assert_true(carry(&client, &server, BUF_BYTES));
		h2_leave(c, H2_CANCEL);
		good = carry(&client, &server, BUF_BYTES) &&
		       carry(&server, &client, BUF_BYTES);
	}
	assert_true(i > limits.resets && i < limits.resets + 10);
	assert_true(server.s->failed);
	assert_int_equal(server.s->error, H2_ENHANCE_YOUR_CALM);
	assert_true(h2_flush(server.s));
	assert_true(carry(&server, &client, BUF_BYTES) || client.s->goaway_received);
	assert_int_equal(client.s->goaway_error, H2_ENHANCE_YOUR_CALM);
}

/* ---- raw frames --------------------------------------------------------------------- */

static bool raw(const char *bytes, size_t n)
{
	struct buf *b = buf_new(&pool, n);
	bool good;

	memcpy(b->data, bytes, n);
	b->end = (uint32_t)n;
	good = h2_receive(server.s, b, buf_bytes(b));
	buf_put(b);
	return good;
}

#define RAW(bytes) raw(bytes, sizeof(bytes) - 1)

static void greet(void)
{
	assert_true(raw(h2_preface, H2_PREFACE_BYTES));
	assert_true(RAW("\0\0\0\4\0\0\0\0\0"));
}

/* GET / of http://a on a stream: indexed fields, and a literal :authority. */
#define HEADERS(id) "\0\0\6\1\5\0\0\0" id "\x82\x86\x84\x41\x01" "a"

static void flood(const char *frame, size_t n, enum h2_oddity oddity)
{
	unsigned i;

	greet();
	for (i = 0; i < 10000 && raw(frame, n); i++)
		assert_true(h2_flush(server.s));
	assert_true(i >= limits.oddities - 1 && i <= limits.oddities);
	assert_int_equal(server.s->error, H2_ENHANCE_YOUR_CALM);
	assert_true(server.s->frames.oddities[oddity] >= limits.oddities);
}

static void test_flood_ping(void **state)
{
	(void)state;
	flood("\0\0\x08\6\0\0\0\0\0" "12345678", 17, H2_ODDITY_PING);
}

static void test_flood_settings(void **state)
{
	(void)state;
	flood("\0\0\0\4\0\0\0\0\0", 9, H2_ODDITY_SETTINGS);
}

static void test_flood_window_updates(void **state)
{
	(void)state;
	flood("\0\0\4\x08\0\0\0\0\0\0\0\0\1", 13, H2_ODDITY_WINDOW);
}

static void test_flood_unknown(void **state)
{
	(void)state;
	flood("\0\0\0\x77\0\0\0\0\0", 9, H2_ODDITY_UNKNOWN);
}

static void test_flood_priority(void **state)
{
	(void)state;
	flood("\0\0\5\2\0\0\0\0\1\0\0\0\0\x10", 14, H2_ODDITY_PRIORITY);
}

/* A request on a stream that was passed over (RFC 9113 5.1.1). */
static void test_old_stream(void **state)
{
	(void)state;
	greet();
	assert_true(RAW(HEADERS("\5")));
	assert_int_equal(server.opened, 1);
	assert_false(RAW(HEADERS("\3")));
	assert_int_equal(server.opened, 1);
	assert_true(server.s->failed);
}

/* Trailers of a stream that we have just reset are no fault: the peer could not know. */
static void test_frames_after_our_reset(void **state)
{
	(void)state;
	greet();
	assert_true(RAW("\0\0\6\1\4\0\0\0\1\x83\x86\x84\x41\x01" "a"));
	assert_int_equal(server.opened, 1);
	h2_leave(&server.streams[0], H2_CANCEL);
	assert_true(h2_flush(server.s));
	assert_true(RAW("\0\0\3\0\0\0\0\0\1" "abc"));
	assert_true(RAW("\0\0\4\1\5\0\0\0\1\0\1" "a\0"));
	assert_false(server.s->failed);
	assert_int_equal(server.s->frames.oddities[H2_ODDITY_CLOSED], 2);
}

/* ---- GOAWAY ------------------------------------------------------------------------- */

static void test_drain(void **state)
{
	struct h2_stream *c = client.streams;

	(void)state;
	assert_true(h2_request(client.s, &c[0], block_of(FIELDS(GET)), true));
	talk(BUF_BYTES);
	h2_drain(server.s);
	talk(BUF_BYTES);
	assert_true(client.s->goaway_received && client.s->last_id == INT32_MAX);
	assert_false(h2_request(client.s, &c[1], block_of(FIELDS(GET)), true));
	h2_drain_end(server.s);
	assert_true(h2_respond(&server.streams[0], block_of(FIELDS({ ":status", "204" })),
			       false, true));
	talk(BUF_BYTES);
	assert_int_equal(client.s->last_id, 1);
	assert_non_null(c[0].head);
	assert_true(c[0].received_end && !c[0].reset);
}

/* Requests above the last one of a GOAWAY were not processed, and may be repeated. */
static void test_goaway_above(void **state)
{
	struct h2_stream *c = client.streams;

	(void)state;
	assert_true(h2_request(client.s, &c[0], block_of(FIELDS(GET)), true));
	talk(BUF_BYTES);
	h2_drain_end(server.s);
	assert_true(h2_request(client.s, &c[1], block_of(FIELDS(GET)), true));
	assert_true(h2_flush(client.s));
	assert_true(carry(&server, &client, BUF_BYTES));
	assert_true(c[1].reset && c[1].error == H2_REFUSED_STREAM);
	assert_false(c[0].reset);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_exchange),
		TEST(test_exchange_in_single_bytes),
		TEST(test_trailers_only),
		TEST(test_window),
		TEST(test_unread_stream),
		TEST(test_space),
		TEST(test_refused_stream),
		TEST(test_refused_heads),
		TEST(test_rapid_reset),
		TEST(test_flood_ping),
		TEST(test_flood_settings),
		TEST(test_flood_window_updates),
		TEST(test_flood_unknown),
		TEST(test_flood_priority),
		TEST(test_old_stream),
		TEST(test_frames_after_our_reset),
		TEST(test_drain),
		TEST(test_goaway_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
