#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/body.h"
#include "lib/simrig.h"
#include "message/writer.h"

struct writer_case {
	enum framing framing;
	uint64_t length;
	const char *pieces[4];
	const char *trailers; /* NULL: none */
	const char *sent;     /* after the head */
	bool refused;         /* the last writer_piece() fails */
	bool unfinished;      /* writer_end() fails */
};

static const struct writer_case cases[] = {
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

struct writer_fixture {
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
	CONTAINER(c, struct writer_fixture, conn)->dead = true;
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static struct buf *block(struct writer_fixture *f, const char *text)
{
	struct buf *b = buf_new(io_bufs(f->rig.tick.loop), strlen(text) + 1);

	assert_non_null(b);
	b->end = (uint32_t)strlen(text);
	memcpy(b->data, text, b->end);
	return b;
}

/* fail_at: the allocation that fails; 0: none. False: writer_begin() failed. */
static bool write_case(struct writer_fixture *f, const struct writer_case *c, unsigned fail_at)
{
	struct writer w;
	struct buf *head = block(f, "HEAD"), *trailers;
	bool written, ended;

	slab_fail_at(fail_at);
	written = writer_begin(&w, &f->conn, head, c->framing, c->length);
	slab_fail_at(0);
	if (!written)
		return false;
	for (unsigned i = 0; i < 4 && c->pieces[i]; i++) {
		struct buf *b = block(f, c->pieces[i]);
		struct piece p = { b, b->data, b->end };
		bool last = i == 3 || !c->pieces[i + 1];

		assert_int_equal(writer_piece(&w, &f->conn, &p), !(last && c->refused));
		assert_null(p.buf);
		if (simrig_draw(&f->rig, 2))
			simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 4));
	}
	trailers = c->trailers ? block(f, c->trailers) : NULL;
	ended = writer_end(&w, &f->conn, trailers);
	assert_int_equal(ended, !c->unfinished);
	assert_true(w.ended || c->unfinished);
	return true;
}

static void test_cases(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		for (size_t i = 0; i < COUNT(cases); i++) {
			struct writer_fixture f = { .dead = false };
			bool written;

			simrig_open(&f.rig, seed, 16);
			conn_open(&f.conn, &f.rig.tick, &events, simrig_pair(&f.rig, &f.peer),
				  65536);
			written = write_case(&f, &cases[i], seed % 8 == 0);
			assert_int_equal(written, seed % 8 != 0);
			conn_close(&f.conn, CONN_FLUSH, 1000);
			SIMRIG_UNTIL(&f.rig, sim_peer_finished(f.peer) && f.dead, 3000);
			if (written) {
				assert_int_equal(f.peer->in_n, 4 + strlen(cases[i].sent));
				assert_memory_equal(f.peer->in, "HEAD", 4);
				assert_string_equal(f.peer->in + 4, cases[i].sent);
			}
			simrig_close_peers(&f.rig);
			simrig_assert_buffers(&f.rig);
			simrig_close(&f.rig);
		}
	}
}

static void fixture_open(struct writer_fixture *f, uint64_t seed)
{
	*f = (struct writer_fixture){ .dead = false };
	simrig_open(&f->rig, seed, 16);
	conn_open(&f->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &f->peer), 65536);
}

static void fixture_close(struct writer_fixture *f)
{
	conn_close(&f->conn, CONN_FLUSH, 1000);
	SIMRIG_UNTIL(&f->rig, sim_peer_finished(f->peer) && f->dead, 3000);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
}

static void write_piece(struct writer_fixture *f, struct writer *w, const char *text)
{
	struct buf *b = block(f, text);
	struct piece p = { b, b->data, b->end };

	assert_true(writer_piece(w, &f->conn, &p));
}

/* However long the writer waits before it goes on, the peer has every element
 * completely. */
static void test_nothing_withheld(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct writer w;
		struct writer_fixture f;

		fixture_open(&f, seed);
		assert_true(writer_begin(&w, &f.conn, block(&f, "HEAD"), FRAMING_CHUNKED, 0));
		simrig_run(&f.rig, 500);
		assert_string_equal(f.peer->in, "HEAD");
		write_piece(&f, &w, "abc");
		simrig_run(&f.rig, 500);
		assert_string_equal(f.peer->in, "HEAD3\r\nabc\r\n");
		write_piece(&f, &w, "d");
		simrig_run(&f.rig, 500);
		assert_string_equal(f.peer->in, "HEAD3\r\nabc\r\n1\r\nd\r\n");
		assert_true(writer_end(&w, &f.conn, block(&f, "A: b\r\n\r\n")));
		simrig_run(&f.rig, 500);
		assert_string_equal(f.peer->in, "HEAD3\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n");
		fixture_close(&f);
	}
}

/* The CRLF and the next size line share an entry, so that one send takes many chunks. */
static void test_chunks_in_one_send(void **state)
{
	struct writer w;
	struct writer_fixture f;
	unsigned n = 0;

	(void)state;
	fixture_open(&f, 1);
	assert_true(writer_begin(&w, &f.conn, block(&f, "HEAD"), FRAMING_CHUNKED, 0));
	for (; conn_push_space(&f.conn) > 0; n++)
		write_piece(&f, &w, "0123456789abcdef0");
	assert_true(n >= (OUTBOX_MAX - 2 * OUTBOX_SPARE) / 2);
	assert_int_equal(f.conn.outbox->n, 1 + 2 * n + 1);
	assert_true(writer_end(&w, &f.conn, NULL));
	assert_int_equal(f.conn.outbox->n, 1 + 2 * n + 1);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_nothing_withheld),
		cmocka_unit_test(test_chunks_in_one_send),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
