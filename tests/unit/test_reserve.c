#include "base/reserve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/slab.h"

#define CHUNKS 4

static void assert_zeros(const char *chunk)
{
	assert_non_null(chunk);
	assert_int_equal((uintptr_t)chunk % RESERVE_CHUNK_BYTES, 0);
	assert_int_equal(chunk[0], 0);
	assert_memory_equal(chunk, chunk + 1, RESERVE_CHUNK_BYTES - 1);
}

/* With use_reserve all chunks of the reserve are handed out, without it none; returned
 * chunks refill the reserve. */
static void test_use_reserve(void **state)
{
	char *out[CHUNKS], *first;

	(void)state;
	assert_true(reserve_whole());
	assert_int_equal(reserve_init(CHUNKS), 0);
	reserve_fail_after(1);
	first = reserve_map(false);
	assert_zeros(first);
	assert_true(reserve_whole());
	assert_null(reserve_map(false));
	assert_false(
		reserve_whole()); /* no chunk was taken, but the system has refused one */
	for (unsigned i = 0; i < CHUNKS; i++) {
		assert_null(reserve_map(false));
		out[i] = reserve_map(true);
		assert_zeros(out[i]);
		memset(out[i], 1, RESERVE_CHUNK_BYTES);
	}
	assert_null(reserve_map(true));
	for (unsigned i = 0; i < CHUNKS; i++) {
		assert_false(reserve_whole());
		reserve_unmap(out[i]);
	}
	assert_true(reserve_whole());
	out[0] = reserve_map(true); /* zeroed, although it was written to */
	assert_zeros(out[0]);
	reserve_unmap(out[0]);
	reserve_unmap(first);
	reserve_fail_after(-1);
	reserve_done();
	assert_true(reserve_whole());
}

/* The reserve is not whole before the system has memory again. */
static void test_refill(void **state)
{
	void *out[CHUNKS];

	(void)state;
	assert_int_equal(reserve_init(CHUNKS), 0);
	reserve_fail_after(0);
	for (unsigned i = 0; i < CHUNKS; i++)
		out[i] = reserve_map(true);
	reserve_refill();
	assert_false(reserve_whole());
	reserve_fail_after(CHUNKS);
	reserve_refill();
	assert_false(reserve_whole()); /* it is full, but the system still refuses */
	reserve_fail_after(1);
	reserve_refill();
	assert_true(reserve_whole());
	reserve_fail_after(-1);
	for (unsigned i = 0; i < CHUNKS; i++)
		reserve_unmap(out[i]);
	reserve_done();
}

static void test_no_memory_at_all(void **state)
{
	(void)state;
	reserve_fail_after(CHUNKS - 1);
	assert_int_equal(reserve_init(CHUNKS), -12); /* ENOMEM */
	reserve_fail_after(-1);
	assert_true(reserve_whole());
	assert_int_equal(reserve_init(CHUNKS), 0);
	reserve_done();
}

/* A slab that uses the reserve still gets objects when the system refuses; other slabs do
 * not. Until the reserve is whole, all slabs give back empty chunks at once. */
static void test_slabs(void **state)
{
	struct slab begun, new;
	void *objects[3], *other;

	(void)state;
	assert_int_equal(reserve_init(CHUNKS), 0);
	slab_init(&begun, "begun", 60000, 0);
	slab_init(&new, "new", 60000, 0);
	slab_use_reserve(&begun);
	other = slab_take(&new);
	assert_non_null(other);
	reserve_fail_after(0);
	assert_null(slab_take(&new));
	for (unsigned i = 0; i < 3; i++) {
		objects[i] = slab_take(&begun);
		assert_non_null(objects[i]);
	}
	assert_null(slab_take(&new));
	assert_false(reserve_whole());
	slab_put(&begun, objects[0]);
	slab_put(&begun, objects[1]);
	assert_false(reserve_whole());
	slab_put(&new, other);
	assert_true(reserve_whole());
	assert_int_equal(new.empty + new.empty_min + begun.empty + begun.empty_min, 0);
	slab_put(&begun, objects[2]);
	assert_int_equal(begun.empty, 1); /* kept for the next burst, as usual */
	reserve_fail_after(-1);
	slab_done(&begun);
	slab_done(&new);
	reserve_done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_use_reserve),
		cmocka_unit_test(test_refill),
		cmocka_unit_test(test_no_memory_at_all),
		cmocka_unit_test(test_slabs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
