#include "io/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/check.h"

#define LIMIT_MAX 1000u

static bool in_memory(const struct buf *b)
{
	unsigned char pages[BUF_BYTES / 4096];

	assert_int_equal(mincore(b->data, BUF_BYTES, pages), 0);
	return pages[0] & 1;
}

static void test_limit(void **state)
{
	static const uint32_t limits[] = { 1, 2, 63, 64, 65, 200, LIMIT_MAX };
	static struct buf *bufs[LIMIT_MAX];

	(void)state;
	for (size_t k = 0; k < COUNT(limits); k++) {
		struct buf_pool pool;

		assert_int_equal(buf_pool_init(&pool, limits[k]), 0);
		for (uint32_t i = 0; i < limits[k]; i++) {
			bufs[i] = buf_take(&pool);
			assert_non_null(bufs[i]);
			assert_ptr_equal(pool.all[bufs[i]->id], bufs[i]);
			assert_int_equal(bufs[i]->size, BUF_BYTES);
			assert_int_equal(buf_bytes(bufs[i]).len, 0);
			assert_int_equal(bufs[i]->refs, 1);
			memset(bufs[i]->data, (int)i, BUF_BYTES);
		}
		assert_null(buf_take(&pool));
		assert_int_equal(pool.count, limits[k]);
		for (uint32_t i = 0; i < limits[k]; i++) {
			assert_int_equal(bufs[i]->data[0], (char)i);
			assert_int_equal(bufs[i]->data[BUF_BYTES - 1], (char)i);
			buf_put(bufs[i]);
		}
		assert_int_equal(pool.free_n, limits[k]);
		buf_pool_done(&pool);
	}
}

static void test_hot_ones_first(void **state)
{
	struct buf_pool pool;
	struct buf *a, *b;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 10), 0);
	a = buf_take(&pool);
	b = buf_take(&pool);
	a->end = 5;
	buf_put(b);
	buf_put(a);
	assert_ptr_equal(buf_take(&pool), a);
	assert_int_equal(buf_bytes(a).len, 0);
	assert_ptr_equal(buf_take(&pool), b);
	buf_put(a);
	buf_put(b);
	buf_pool_done(&pool);
}

static void test_references(void **state)
{
	struct buf_pool pool;
	struct piece piece;
	struct buf *b;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 1), 0);
	b = buf_take(&pool);
	piece = (struct piece){ buf_ref(b), b->data, 3 };
	buf_put(b);
	assert_null(buf_take(&pool));
	piece_put(&piece);
	assert_null(piece.buf);
	assert_int_equal(piece.len, 0);
	piece_put(&piece);
	buf_put(NULL);
	assert_int_equal(pool.free_n, 1);
	buf_pool_done(&pool);
}

static void test_blocks(void **state)
{
	static const size_t sizes[] = { 0,    1,    255,  256,  257,    512,     1000,
					4096, 8191, 8192, 8193, 100000, 1u << 20 };
	struct buf *blocks[COUNT(sizes)];
	struct buf_pool pool;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 1), 0);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		blocks[i] = buf_new(&pool, sizes[i]);
		assert_non_null(blocks[i]);
		assert_true(blocks[i]->size >= sizes[i]);
		assert_int_equal(buf_bytes(blocks[i]).len, 0);
		memset(blocks[i]->data, (int)i + 1, blocks[i]->size);
	}
	for (size_t i = 0; i < COUNT(sizes); i++) {
		assert_int_equal(blocks[i]->data[0], i + 1);
		assert_int_equal(blocks[i]->data[blocks[i]->size - 1], i + 1);
		buf_put(blocks[i]);
	}
	assert_int_equal(pool.block_bytes, 0);
	assert_null(buf_new(&pool, SIZE_MAX));
	buf_pool_done(&pool);
}

/* Each allocation of a block fails once; nothing leaks. */
static void test_blocks_scarce(void **state)
{
	struct buf_pool pool;
	struct buf *b;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 1), 0);
	slab_fail_at(1);
	assert_null(buf_new(&pool, 300));
	assert_int_equal(pool.block_bytes, 0);
	b = buf_new(&pool, 300);
	assert_non_null(b);
	buf_put(b);
	buf_pool_done(&pool);
}

/* A view has its own bytes of the parent and nothing behind them, keeps the parent, and costs no
 * block. */
static void test_views(void **state)
{
	struct buf_pool pool;
	struct buf *parent, *view, *inner;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 1), 0);
	parent = buf_take(&pool);
	memcpy(parent->data, "0123456789", 10);
	parent->begin = 2;
	parent->end = 10;
	view = buf_view(&pool, parent, 3, 8);
	assert_int_equal(view->class_, BUF_VIEW);
	assert_int_equal(view->refs, 1);
	assert_int_equal(view->size, 5);
	assert_int_equal(view->size - view->end, 0);
	assert_int_equal(buf_bytes(view).len, 5);
	assert_ptr_equal(buf_bytes(view).ptr, parent->data + 3);
	assert_int_equal(parent->begin, 2);
	assert_int_equal(parent->end, 10);
	assert_int_equal(parent->refs, 2);
	assert_int_equal(pool.block_bytes, 0);

	inner = buf_view(&pool, view, 1, 5);
	buf_ref(inner);
	buf_put(view);
	buf_put(parent);
	assert_int_equal(parent->refs, 1);
	assert_null(buf_take(&pool));
	assert_int_equal(buf_bytes(inner).len, 4);
	assert_memory_equal(buf_bytes(inner).ptr, "4567", 4);
	assert_int_equal(pool.views.taken, 1);
	buf_put(inner);
	assert_int_equal(pool.free_n, 0);
	buf_put(inner);
	assert_int_equal(pool.free_n, 1);
	assert_int_equal(pool.views.taken, 0);
	buf_pool_done(&pool);
}

/* Without memory for a view the parent's references stay as they are. */
static void test_views_scarce(void **state)
{
	struct buf_pool pool;
	struct buf *parent;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 1), 0);
	parent = buf_new(&pool, 100);
	parent->end = 10;
	slab_fail_at(1);
	assert_null(buf_view(&pool, parent, 0, 10));
	assert_int_equal(parent->refs, 1);
	buf_put(parent);
	buf_pool_done(&pool);
}

/* Buffers that stay free between two trims lose their memory, but keep their place in the
 * free list. The first chunk and buffers used in between keep their memory. */
static void test_trim(void **state)
{
	static struct buf *bufs[LIMIT_MAX];
	struct buf_pool pool;
	struct buf *hot;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 200), 0);
	for (unsigned i = 0; i < 200; i++)
		memset((bufs[i] = buf_take(&pool))->data, 1, BUF_BYTES);
	for (unsigned i = 0; i < 200; i++)
		buf_put(bufs[i]);
	buf_pool_trim(&pool);
	for (unsigned i = 0; i < 200; i++)
		assert_true(in_memory(bufs[i]));
	hot = buf_take(&pool);
	buf_put(hot);
	assert_true(hot->id >= 64);
	buf_pool_trim(&pool);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(in_memory(bufs[i]), bufs[i]->id < 64 || bufs[i] == hot);
	/* Trimmed buffers can be used again. */
	for (unsigned i = 0; i < 200; i++) {
		bufs[i] = buf_take(&pool);
		assert_int_equal(bufs[i]->begin, 0);
		memset(bufs[i]->data, 2, BUF_BYTES);
	}
	for (unsigned i = 0; i < 200; i++)
		buf_put(bufs[i]);
	buf_pool_done(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_hot_ones_first),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_blocks_scarce),
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_views_scarce),
		cmocka_unit_test(test_trim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
