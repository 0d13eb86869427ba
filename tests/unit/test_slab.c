#include "base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

#define MANY 5000

static void test_zeroed_aligned_and_apart(void **state)
{
	static const size_t sizes[] = { 1, 8, 16, 17, 100, 4096, 65536 - 64 };
	unsigned char *objects[100];

	(void)state;
	for (size_t k = 0; k < COUNT(sizes); k++) {
		struct slab s;

		slab_init(&s, "test", sizes[k], 0);
		for (int round = 0; round < 2; round++) {
			for (int i = 0; i < 100; i++) {
				objects[i] = slab_take(&s);
				assert_non_null(objects[i]);
				assert_int_equal((uintptr_t)objects[i] % 16, 0);
				for (size_t n = 0; n < sizes[k]; n++)
					assert_int_equal(objects[i][n], 0);
				memset(objects[i], i + 1, sizes[k]);
			}
			for (int i = 0; i < 100; i++)
				for (size_t n = 0; n < sizes[k]; n++)
					assert_int_equal(objects[i][n], i + 1);
			for (int i = 0; i < 100; i++)
				slab_put(&s, objects[(i * 37) % 100]);
		}
		slab_done(&s);
	}
}

/* slab_take_raw() counts towards `taken` and the limit. */
static void test_raw(void **state)
{
	unsigned char *raw, *zeroed;
	struct slab s;

	(void)state;
	slab_init(&s, "test", 64, 1);
	raw = slab_take_raw(&s);
	assert_non_null(raw);
	assert_null(slab_take_raw(&s));
	memset(raw, 7, 64);
	slab_put(&s, raw);
	zeroed = slab_take(&s);
	assert_ptr_equal(zeroed, raw);
	for (int i = 0; i < 64; i++)
		assert_int_equal(zeroed[i], 0);
	slab_put(&s, zeroed);
	slab_fail_at(1);
	assert_null(slab_take_raw(&s));
	slab_fail_at(0);
	slab_done(&s);
}

static void test_limit(void **state)
{
	struct slab s;
	void *a, *b;

	(void)state;
	slab_init(&s, "test", 64, 2);
	a = slab_take(&s);
	b = slab_take(&s);
	assert_non_null(a);
	assert_non_null(b);
	assert_null(slab_take(&s));
	slab_put(&s, a);
	a = slab_take(&s);
	assert_non_null(a);
	assert_null(slab_take(&s));
	slab_put(&s, a);
	slab_put(&s, b);
	assert_int_equal(s.taken, 0);
	slab_done(&s);
}

/* Only the n-th take fails, counted over all slabs. */
static void test_fail_at(void **state)
{
	struct slab s[2];
	void *objects[6];

	(void)state;
	slab_init(&s[0], "a", 64, 0);
	slab_init(&s[1], "b", 64, 0);
	slab_fail_at(4);
	for (int i = 0; i < 6; i++) {
		objects[i] = slab_take(&s[i % 2]);
		assert_int_equal(objects[i] == NULL, i == 3);
	}
	for (int i = 0; i < 6; i++)
		if (objects[i])
			slab_put(&s[i % 2], objects[i]);
	slab_fail_at(1);
	slab_fail_at(0);
	objects[0] = slab_take(&s[0]);
	assert_non_null(objects[0]);
	slab_put(&s[0], objects[0]);
	slab_done(&s[0]);
	slab_done(&s[1]);
}

/* Chunks that stay empty between two trims are freed, others are not. */
static void test_trim(void **state)
{
	static void *objects[MANY];
	struct slab s;

	(void)state;
	slab_init(&s, "test", 512, 0);
	for (int i = 0; i < MANY; i++)
		objects[i] = slab_take(&s);
	for (int i = 1; i < MANY; i++)
		slab_put(&s, objects[i]);
	assert_int_equal(s.empty, MANY / s.per_chunk);
	slab_trim(&s);
	assert_int_equal(s.empty, MANY / s.per_chunk);
	slab_trim(&s);
	assert_int_equal(s.empty, 0);
	assert_int_equal(s.taken, 1);
	/* A burst that comes back between trims keeps its chunks. */
	for (int round = 0; round < 3; round++) {
		for (int i = 1; i < MANY; i++)
			objects[i] = slab_take(&s);
		for (int i = 1; i < MANY; i++)
			slab_put(&s, objects[i]);
		slab_trim(&s);
		assert_int_equal(s.empty, MANY / s.per_chunk);
	}
	slab_put(&s, objects[0]);
	slab_done(&s);
}

/* Random takes, puts and trims keep the counters consistent. */
static void test_random(void **state)
{
	static unsigned *objects[MANY];
	struct slab s;
	unsigned n = 0;

	(void)state;
	srand(7);
	slab_init(&s, "test", 3000, MANY);
	for (unsigned step = 0; step < 60000; step++) {
		/* Waves: mostly takes, then mostly puts. */
		bool take = (unsigned)rand() % 10 < (step / 3000 % 2 ? 3u : 7u);

		if (take && n < MANY) {
			objects[n] = slab_take(&s);
			assert_non_null(objects[n]);
			assert_int_equal(*objects[n], 0);
			*objects[n] = n + 1;
			n++;
		} else if (!take && n > 0) {
			unsigned i = (unsigned)rand() % n;

			assert_int_equal(*objects[i], i + 1);
			slab_put(&s, objects[i]);
			objects[i] = objects[--n];
			if (i < n)
				*objects[i] = i + 1;
		}
		if (step % 1000 == 0)
			slab_trim(&s);
		assert_int_equal(s.taken, n);
	}
	while (n > 0)
		slab_put(&s, objects[--n]);
	slab_trim(&s);
	slab_trim(&s);
	assert_int_equal(s.empty, 0);
	slab_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zeroed_aligned_and_apart),
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_fail_at),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
