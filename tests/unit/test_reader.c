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

struct row {
	const char *text;    /* a head and what follows it */
	enum framing framing;
	uint64_t length;
	const char *body;    /* what is read of it */
	const char *trailer; /* name of the first field, or NULL */
	enum body_event end; /* BODY_MORE: it does not end while the connection goes on */
	const char *rest;    /* of the connection's bytes, after the message */
	bool eof;            /* the connection ends after the text */
};

#define HEAD "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"

static const struct row rows[] = {
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

struct line {
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
	CONTAINER(c, struct line, conn)->dead = true;
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static void line_open(struct line *l, uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	simrig_open(&l->rig, seed, 16);
	conn_open(&l->conn, &l->rig.tick, &events, simrig_pair(&l->rig, &l->peer), WINDOW);
	reader_init(&l->reader);
}

static void line_close(struct line *l)
{
	conn_close(&l->conn, CONN_NOW, 0);
	SIMRIG_UNTIL(&l->rig, l->dead, 100);
	simrig_close_peers(&l->rig);
	simrig_assert_buffers(&l->rig);
	simrig_close(&l->rig);
}

static void read_body(struct line *l, const struct row *row)
{
	char body[64];
	size_t n = 0;
	bool trailers = false;
	uint64_t until_ms = l->rig.tick.now_ms + 3000;
	struct piece p;

	for (;;) {
		enum body_event e = reader_body(&l->reader, &l->conn, &limits, &l->trailers, &p);

		switch (e) {
		case BODY_DATA:
			assert_true(n + p.len < sizeof(body));
			memcpy(body + n, p.ptr, p.len);
			n += p.len;
			piece_put(&p);
			continue;
		case BODY_TRAILERS:
			trailers = l->trailers.field_n > 0;
			if (row->trailer) {
				assert_true(trailers);
				assert_true(slice_equal(l->trailers.fields[0].name,
							slice_of(row->trailer)));
			}
			reader_end_trailers(&l->reader, &l->conn);
			continue;
		case BODY_MORE:
			if (l->rig.tick.now_ms < until_ms) {
				simrig_run(&l->rig, 3);
				continue;
			}
			/* fall through */
		case BODY_END:
		case BODY_BAD:
			assert_int_equal(e, row->end);
			break;
		}
		break;
	}
	assert_int_equal(n, strlen(row->body));
	assert_memory_equal(body, row->body, n);
	assert_int_equal(trailers, row->trailer != NULL);
	assert_int_equal(reader_ended(&l->reader), row->end == BODY_END);
}

/* `cut`: a pause after so many bytes; 0: the seed alone cuts. */
static void read_row(const struct row *row, uint64_t seed, size_t cut)
{
	struct line l;
	uint64_t until_ms;
	enum verdict v;

	line_open(&l, seed);
	l.peer->uncut = cut > 0;
	sim_peer_send(l.peer, (struct slice){ row->text, cut });
	if (cut > 0)
		SIMRIG_UNTIL(&l.rig, l.conn.received == cut, 1000);
	until_ms = l.rig.tick.now_ms + 5000;
	v = reader_response(&l.reader, &l.conn, &limits, &l.head);
	assert_true(v != VERDICT_BAD);
	sim_peer_send_text(l.peer, row->text + cut);
	if (row->eof)
		sim_peer_shutdown(l.peer);
	while (v == VERDICT_MORE && l.rig.tick.now_ms < until_ms) {
		simrig_run(&l.rig, 2);
		v = reader_response(&l.reader, &l.conn, &limits, &l.head);
	}
	assert_int_equal(v, VERDICT_OK);
	assert_int_equal(l.head.status, 200);
	assert_true(slice_equal(l.head.fields[0].name, SLICE("X")));
	reader_begin_body(&l.reader, &l.conn, row->framing, row->length);
	read_body(&l, row);
	if (row->rest) {
		SIMRIG_UNTIL(&l.rig, l.conn.inbox_bytes == strlen(row->rest), 3000);
		assert_true(conn_linearize(&l.conn, l.conn.inbox_bytes));
		assert_memory_equal(conn_peek(&l.conn).ptr, row->rest, strlen(row->rest));
	}
	line_close(&l);
}

static void test_seeds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++)
		for (size_t i = 0; i < COUNT(rows); i++)
			read_row(&rows[i], seed, 0);
}

static void test_cut_at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t cut = 1; cut < strlen(rows[i].text); cut++)
			read_row(&rows[i], 1000 * i + cut, cut);
}

/* One after the other, whatever of it is read or skipped. */
static void test_in_a_row(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct line l;
		struct piece p;

		line_open(&l, seed);
		for (unsigned i = 0; i < 20; i++)
			sim_peer_send_text(l.peer,
					   i % 2 ? "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
						 : "POST / HTTP/1.1\r\nHost: a\r\n"
						   "Content-Length: 4\r\n\r\nbody");
		for (unsigned i = 0; i < 20; i++) {
			SIMRIG_UNTIL(&l.rig, reader_request(&l.reader, &l.conn, &limits,
							    &l.head) == VERDICT_OK, 3000);
			assert_int_equal(l.head.method, i % 2 ? METHOD_GET : METHOD_POST);
			reader_begin_body(&l.reader, &l.conn, l.head.framing, l.head.length);
			if (simrig_draw(&l.rig, 2) &&
			    reader_body(&l.reader, &l.conn, &limits, &l.trailers, &p) ==
				    BODY_DATA)
				piece_put(&p);
			SIMRIG_UNTIL(&l.rig,
				     reader_discard_body(&l.reader, &l.conn, &limits,
							 &l.trailers),
				     3000);
			reader_init(&l.reader);
		}
		line_close(&l);
	}
}

/* Heads too large are told, however they come; and so is a lack of memory. */
static void test_limits(void **state)
{
	char text[4000];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct line l;
		enum verdict v;

		line_open(&l, seed);
		sim_peer_send(l.peer, (struct slice){ text, sizeof(text) });
		SIMRIG_UNTIL(&l.rig, (v = reader_request(&l.reader, &l.conn, &limits,
							 &l.head)) != VERDICT_MORE, 20000);
		assert_int_equal(v, VERDICT_BAD);
		assert_int_equal(l.head.fault, FAULT_HEAD_LARGE);
		line_close(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_in_a_row),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
