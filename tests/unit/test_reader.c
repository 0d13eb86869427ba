#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "message/reader.h"

#define WINDOW (4 * BUF_BYTES)

static const struct head_limits limits = { 2048, 32, 0 };

struct reader_case {
	const char *text;    /* a head and the bytes after it */
	enum framing framing;
	uint64_t length;
	const char *body;    /* the content read */
	const char *trailer; /* name of the first field, or NULL */
	enum body_event end; /* BODY_MORE: incomplete while the connection is open */
	const char *rest;    /* bytes after the message */
	bool eof;            /* the connection ends after the text */
};

#define HEAD "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"

static const struct reader_case cases[] = {
	{ HEAD, FRAMING_NONE, 0, "", NULL, BODY_END, "", false },
	{ HEAD "next", FRAMING_NONE, 0, "", NULL, BODY_END, "next", false },
	{ HEAD "abcde", FRAMING_LENGTH, 5, "abcde", NULL, BODY_END, "", false },
	{ HEAD "abcde", FRAMING_LENGTH, 0, "", NULL, BODY_END, "abcde", false },
	{ HEAD "abcdefg", FRAMING_LENGTH, 5, "abcde", NULL, BODY_END, "fg", false },
	{ HEAD "abc", FRAMING_LENGTH, 5, "abc", NULL, BODY_MORE, "", false },
	{ HEAD "abc", FRAMING_LENGTH, 5, "abc", NULL, BODY_BAD, "", true },
	{ HEAD "abc", FRAMING_CLOSE, 0, "abc", NULL, BODY_MORE, "", false },
	{ HEAD "abc", FRAMING_CLOSE, 0, "abc", NULL, BODY_END, "", true },
	{ HEAD, FRAMING_CLOSE, 0, "", NULL, BODY_END, "", true },
	{ HEAD "3;q=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", FRAMING_CHUNKED, 0, "abcde", NULL,
	  BODY_END, "", false },
	{ HEAD "3\r\nabc\r\n0\r\nSum: 1\r\nB: c\r\n\r\nnext", FRAMING_CHUNKED, 0, "abc", "Sum",
	  BODY_END, "next", false },
	{ HEAD "0\r\n\r\nnext", FRAMING_CHUNKED, 0, "", NULL, BODY_END, "next", false },
	{ HEAD "3\r\nabc\r\n", FRAMING_CHUNKED, 0, "abc", NULL, BODY_MORE, "", false },
	{ HEAD "3\r\nabc\r\n", FRAMING_CHUNKED, 0, "abc", NULL, BODY_BAD, "", true },
	{ HEAD "3\r\nabc\r\n0\r\nSum: ", FRAMING_CHUNKED, 0, "abc", NULL, BODY_BAD, NULL,
	  true },
	{ HEAD "3\r\nabcd", FRAMING_CHUNKED, 0, "abc", NULL, BODY_BAD, NULL, false },
	{ HEAD "g\r\n", FRAMING_CHUNKED, 0, "", NULL, BODY_BAD, NULL, false },
	{ HEAD "0\r\nbad trailer\r\n\r\n", FRAMING_CHUNKED, 0, "", NULL, BODY_BAD, NULL,
	  false },
};

struct reader_fixture {
	struct simrig rig;
	struct conn conn;
	struct sim_peer *peer;
	bool dead;
	struct reader reader;
	struct head head, trailers;
};

static void changed(struct conn *c)
{
	(void)c;
}

static void dead(struct conn *c)
{
	CONTAINER(c, struct reader_fixture, conn)->dead = true;
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static void fixture_open(struct reader_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 16);
	conn_open(&f->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &f->peer), WINDOW);
	reader_init(&f->reader);
}

static void fixture_close(struct reader_fixture *f)
{
	conn_close(&f->conn, CONN_NOW, 0);
	SIMRIG_UNTIL(&f->rig, f->dead, 100);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
}

static void read_body(struct reader_fixture *f, const struct reader_case *c)
{
	char body[64];
	size_t n = 0;
	bool trailers = false;
	uint64_t until_ms = f->rig.tick.now_ms + 3000;
	struct piece p;

	for (;;) {
		enum body_event e = reader_body(&f->reader, &f->conn, &limits, &f->trailers, &p);

		switch (e) {
		case BODY_DATA:
			assert_true(n + p.len < sizeof(body));
			memcpy(body + n, p.ptr, p.len);
			n += p.len;
			piece_put(&p);
			continue;
		case BODY_TRAILERS:
			trailers = f->trailers.field_n > 0;
			if (c->trailer) {
				assert_true(trailers);
				assert_true(slice_equal(f->trailers.fields[0].name,
							slice_of(c->trailer)));
			}
			reader_end_trailers(&f->reader, &f->conn);
			continue;
		case BODY_MORE:
			if (f->rig.tick.now_ms < until_ms) {
				simrig_run(&f->rig, 3);
				continue;
			}
			/* fall through */
		case BODY_END:
		case BODY_BAD:
			assert_int_equal(e, c->end);
			break;
		}
		break;
	}
	assert_int_equal(n, strlen(c->body));
	assert_memory_equal(body, c->body, n);
	assert_int_equal(trailers, c->trailer != NULL);
	assert_int_equal(reader_ended(&f->reader), c->end == BODY_END);
}

/* `split`: pauses after this many bytes; 0: split by the seed alone. */
static void read_case(const struct reader_case *c, uint64_t seed, size_t split)
{
	struct reader_fixture f;
	uint64_t until_ms;
	enum verdict v;

	fixture_open(&f, seed);
	f.peer->uncut = split > 0;
	sim_peer_send(f.peer, (struct slice){ c->text, split });
	if (split > 0)
		SIMRIG_UNTIL(&f.rig, f.conn.received == split, 1000);
	until_ms = f.rig.tick.now_ms + 5000;
	v = reader_response(&f.reader, &f.conn, &limits, &f.head);
	assert_true(v != VERDICT_BAD);
	sim_peer_send_text(f.peer, c->text + split);
	if (c->eof)
		sim_peer_shutdown(f.peer);
	while (v == VERDICT_MORE && f.rig.tick.now_ms < until_ms) {
		simrig_run(&f.rig, 2);
		v = reader_response(&f.reader, &f.conn, &limits, &f.head);
	}
	assert_int_equal(v, VERDICT_OK);
	assert_int_equal(f.head.status, 200);
	assert_true(slice_equal(f.head.fields[0].name, SLICE("X")));
	reader_begin_body(&f.reader, &f.conn, c->framing, c->length);
	read_body(&f, c);
	if (c->rest) {
		SIMRIG_UNTIL(&f.rig, f.conn.inbox_bytes == strlen(c->rest), 3000);
		assert_true(conn_linearize(&f.conn, f.conn.inbox_bytes));
		assert_memory_equal(conn_peek(&f.conn).ptr, c->rest, strlen(c->rest));
	}
	fixture_close(&f);
}

static void test_seeds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++)
		for (size_t i = 0; i < COUNT(cases); i++)
			read_case(&cases[i], seed, 0);
}

static void test_split_at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t split = 1; split < strlen(cases[i].text); split++)
			read_case(&cases[i], 1000 * i + split, split);
}

/* Bodies are read, or discarded in part or as a whole. */
static void test_consecutive_messages(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct reader_fixture f;
		struct piece p;

		fixture_open(&f, seed);
		for (unsigned i = 0; i < 20; i++)
			sim_peer_send_text(f.peer,
					   i % 2 ? "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
						 : "POST / HTTP/1.1\r\nHost: a\r\n"
						   "Content-Length: 4\r\n\r\nbody");
		for (unsigned i = 0; i < 20; i++) {
			SIMRIG_UNTIL(&f.rig, reader_request(&f.reader, &f.conn, &limits,
							    &f.head) == VERDICT_OK, 3000);
			assert_int_equal(f.head.method, i % 2 ? METHOD_GET : METHOD_POST);
			reader_begin_body(&f.reader, &f.conn, f.head.framing, f.head.length);
			if (simrig_draw(&f.rig, 2) &&
			    reader_body(&f.reader, &f.conn, &limits, &f.trailers, &p) ==
				    BODY_DATA)
				piece_put(&p);
			SIMRIG_UNTIL(&f.rig,
				     reader_discard_body(&f.reader, &f.conn, &limits,
							 &f.trailers),
				     3000);
			reader_init(&f.reader);
		}
		fixture_close(&f);
	}
}

/* A head that is too large is refused, however it is split. */
static void test_limits(void **state)
{
	char text[4000];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct reader_fixture f;
		enum verdict v;

		fixture_open(&f, seed);
		sim_peer_send(f.peer, (struct slice){ text, sizeof(text) });
		SIMRIG_UNTIL(&f.rig, (v = reader_request(&f.reader, &f.conn, &limits,
							 &f.head)) != VERDICT_MORE, 20000);
		assert_int_equal(v, VERDICT_BAD);
		assert_int_equal(f.head.fault, FAULT_HEAD_LARGE);
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_split_at_every_byte),
		cmocka_unit_test(test_consecutive_messages),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
