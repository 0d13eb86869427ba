#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/body.h"
#include "lib/simrig.h"
#include "message/writer.h"

struct row {
	enum framing framing;
	uint64_t length;
	const char *pieces[4];
	const char *trailers; /* NULL: none */
	const char *sent;     /* after the head */
	bool refused;         /* the last piece, */
	bool unfinished;      /* or the end */
};

static const struct row rows[] = {
	{ FRAMING_NONE, 0, { NULL }, NULL, "", false, false },
	{ FRAMING_NONE, 0, { "x" }, NULL, "", true, false },
	{ FRAMING_LENGTH, 0, { NULL }, NULL, "", false, false },
	{ FRAMING_LENGTH, 5, { "abcde" }, NULL, "abcde", false, false },
	{ FRAMING_LENGTH, 5, { "ab", "cde" }, NULL, "abcde", false, false },
	{ FRAMING_LENGTH, 5, { "ab", "cde" }, "A: b\r\n\r\n", "abcde", false, false },
	{ FRAMING_LENGTH, 5, { "ab", "cdef" }, NULL, "ab", true, true },
	{ FRAMING_LENGTH, 5, { "abcde", "f" }, NULL, "abcde", true, false },
	{ FRAMING_LENGTH, 5, { "ab" }, NULL, "ab", false, true },
	{ FRAMING_CHUNKED, 0, { NULL }, NULL, "0\r\n\r\n", false, false },
	{ FRAMING_CHUNKED, 0, { "abc", "0123456789abcdef0" }, NULL,
	  "3\r\nabc\r\n11\r\n0123456789abcdef0\r\n0\r\n\r\n", false, false },
	{ FRAMING_CHUNKED, 0, { "abc" }, "A: b\r\n\r\n", "3\r\nabc\r\n0\r\nA: b\r\n\r\n", false,
	  false },
	{ FRAMING_CHUNKED, 0, { NULL }, "A: b\r\n\r\n", "0\r\nA: b\r\n\r\n", false, false },
	{ FRAMING_CLOSE, 0, { "ab", "cd", "e" }, NULL, "abcde", false, false },
};

struct line {
	struct simrig rig;
	struct conn conn;
	struct sim_peer *peer;
	bool dead;
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

static struct buf *block(struct line *l, const char *text)
{
	struct buf *b = buf_new(io_bufs(l->rig.tick.loop), strlen(text) + 1);

	assert_non_null(b);
	b->end = (uint32_t)strlen(text);
	memcpy(b->data, text, b->end);
	return b;
}

/* fail_at: which take of the writer's finds no memory; 0: none. False: something said so. */
static bool write_row(struct line *l, const struct row *row, unsigned fail_at)
{
	struct writer w;
	struct buf *head = block(l, "HEAD"), *trailers;
	bool good, ended;

	slab_fail_at(fail_at);
	good = writer_begin(&w, &l->conn, head, row->framing, row->length);
	slab_fail_at(0);
	if (!good)
		return false;
	for (unsigned i = 0; i < 4 && row->pieces[i]; i++) {
		struct buf *b = block(l, row->pieces[i]);
		struct piece p = { b, b->data, b->end };
		bool last = i == 3 || !row->pieces[i + 1];

		assert_int_equal(writer_piece(&w, &l->conn, &p), !(last && row->refused));
		assert_null(p.buf);
		if (simrig_draw(&l->rig, 2))
			simrig_run(&l->rig, (uint32_t)simrig_draw(&l->rig, 4));
	}
	trailers = row->trailers ? block(l, row->trailers) : NULL;
	ended = writer_end(&w, &l->conn, trailers);
	assert_int_equal(ended, !row->unfinished);
	assert_true(w.ended || row->unfinished);
	return true;
}

static void test_rows(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		for (size_t i = 0; i < COUNT(rows); i++) {
			struct line l = { .dead = false };
			bool good;

			simrig_open(&l.rig, seed, 16);
			conn_open(&l.conn, &l.rig.tick, &events, simrig_pair(&l.rig, &l.peer),
				  65536);
			good = write_row(&l, &rows[i], seed % 8 == 0);
			assert_int_equal(good, seed % 8 != 0);
			conn_close(&l.conn, CONN_FLUSH, 1000);
			SIMRIG_UNTIL(&l.rig, sim_peer_finished(l.peer) && l.dead, 3000);
			if (good) {
				assert_int_equal(l.peer->in_n, 4 + strlen(rows[i].sent));
				assert_memory_equal(l.peer->in, "HEAD", 4);
				assert_string_equal(l.peer->in + 4, rows[i].sent);
			}
			simrig_close_peers(&l.rig);
			simrig_assert_buffers(&l.rig);
			simrig_close(&l.rig);
		}
	}
}

static void line_open(struct line *l, uint64_t seed)
{
	*l = (struct line){ .dead = false };
	simrig_open(&l->rig, seed, 16);
	conn_open(&l->conn, &l->rig.tick, &events, simrig_pair(&l->rig, &l->peer), 65536);
}

static void line_close(struct line *l)
{
	conn_close(&l->conn, CONN_FLUSH, 1000);
	SIMRIG_UNTIL(&l->rig, sim_peer_finished(l->peer) && l->dead, 3000);
	simrig_close_peers(&l->rig);
	simrig_assert_buffers(&l->rig);
	simrig_close(&l->rig);
}

static void write_piece(struct line *l, struct writer *w, const char *text)
{
	struct buf *b = block(l, text);
	struct piece p = { b, b->data, b->end };

	assert_true(writer_piece(w, &l->conn, &p));
}

/* Whoever writes may wait for long before it goes on: its peer has each element whole. */
static void test_nothing_withheld(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct writer w;
		struct line l;

		line_open(&l, seed);
		assert_true(writer_begin(&w, &l.conn, block(&l, "HEAD"), FRAMING_CHUNKED, 0));
		simrig_run(&l.rig, 500);
		assert_string_equal(l.peer->in, "HEAD");
		write_piece(&l, &w, "abc");
		simrig_run(&l.rig, 500);
		assert_string_equal(l.peer->in, "HEAD3\r\nabc\r\n");
		write_piece(&l, &w, "d");
		simrig_run(&l.rig, 500);
		assert_string_equal(l.peer->in, "HEAD3\r\nabc\r\n1\r\nd\r\n");
		assert_true(writer_end(&w, &l.conn, block(&l, "A: b\r\n\r\n")));
		simrig_run(&l.rig, 500);
		assert_string_equal(l.peer->in, "HEAD3\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n");
		line_close(&l);
	}
}

/* So many chunks leave in one send, as what stands between two of them takes one entry. */
static void test_chunks_in_one_send(void **state)
{
	struct writer w;
	struct line l;
	unsigned n = 0;

	(void)state;
	line_open(&l, 1);
	assert_true(writer_begin(&w, &l.conn, block(&l, "HEAD"), FRAMING_CHUNKED, 0));
	for (; conn_request_space(&l.conn) > 0; n++)
		write_piece(&l, &w, "0123456789abcdef0");
	assert_true(n >= (OUTBOX_MAX - 2 * OUTBOX_SPARE) / 2);
	assert_int_equal(l.conn.outbox->n, 1 + 2 * n + 1);
	assert_true(writer_end(&w, &l.conn, NULL));
	assert_int_equal(l.conn.outbox->n, 1 + 2 * n + 1);
	line_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_nothing_withheld),
		cmocka_unit_test(test_chunks_in_one_send),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
