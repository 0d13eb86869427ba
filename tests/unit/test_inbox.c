/* Views in the inbox; test_conn.c has the rest. */
#include "../../src/net/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"

struct inbox_fixture {
	struct simrig rig;
	struct conn conn;
	unsigned deaths;
};

static void changed(struct conn *c)
{
	(void)c;
}

static void dead(struct conn *c)
{
	CONTAINER(c, struct inbox_fixture, conn)->deaths++;
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static void fixture_open(struct inbox_fixture *f)
{
	struct sim_peer *peer;

	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, 1, 64);
	conn_open(&f->conn, &f->rig.tick, &events, simrig_pair(&f->rig, &peer),
		  BUF_BYTES);
}

static void fixture_close(struct inbox_fixture *f)
{
	conn_close(&f->conn, CONN_NOW, 0);
	SIMRIG_UNTIL(&f->rig, f->deaths > 0, 1000);
	simrig_close_peers(&f->rig);
	simrig_assert_buffers(&f->rig);
	simrig_close(&f->rig);
}

/* A buffer with "abc…", whose first 10 bytes are in the inbox as two views, and then a short one of
 * its own. */
static struct buf *append_views(struct inbox_fixture *f)
{
	struct buf_pool *pool = io_bufs(f->rig.tick.loop);
	struct buf *b = buf_take(pool), *last = buf_new(pool, 10);

	memcpy(b->data, "abcdefghijklmnop", 16);
	b->end = 16;
	inbox_append(&f->conn, buf_view(pool, b, 0, 4));
	inbox_append(&f->conn, buf_view(pool, b, 4, 10));
	assert_int_equal(f->conn.inbox_held, 10);
	memcpy(last->data, "XYZ", 3);
	last->end = 3;
	inbox_append(&f->conn, last);
	return b;
}

/* Nothing is written behind the bytes of a view, and nothing moves in its parent. */
static void test_views_in_the_inbox(void **state)
{
	struct inbox_fixture f;
	struct buf *b;

	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		fixture_open(&f);
		b = append_views(&f);
		if (way == 0)
			assert_true(conn_linearize(&f.conn, 13));
		else
			conn_compact(&f.conn);
		assert_int_equal(conn_peek(&f.conn).len, 13);
		assert_memory_equal(conn_peek(&f.conn).ptr, "abcdefghijXYZ", 13);
		assert_memory_equal(b->data, "abcdefghijklmnop", 16);
		assert_int_equal(b->refs, 1);
		buf_put(b);
		conn_consume(&f.conn, 13);
		fixture_close(&f);
	}
	/* A view alone holds the whole buffer, so it is copied when it has to wait. */
	fixture_open(&f);
	b = buf_take(io_bufs(f.rig.tick.loop));
	inbox_append(&f.conn, buf_view(io_bufs(f.rig.tick.loop), b, 4, 10));
	assert_int_equal(b->refs, 2);
	conn_compact(&f.conn);
	assert_int_equal(conn_peek(&f.conn).len, 6);
	assert_int_equal(b->refs, 1);
	buf_put(b);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_views_in_the_inbox),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
