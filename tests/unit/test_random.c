#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/random.h"

/* The first numbers of the reference implementation (prng.di.unimi.it/splitmix64.c). */
static void test_reference(void **state)
{
	struct random r;

	(void)state;
	random_init(&r, 0);
	assert_true(random_next(&r) == 0xe220a8397b1dcdafu);
	assert_true(random_next(&r) == 0x6e789e6aa1b965f4u);
	assert_true(random_next(&r) == 0x06c45d188009454fu);
}

static void test_seed_repeats(void **state)
{
	struct random a, b, other;
	unsigned same = 0;

	(void)state;
	random_init(&a, 7);
	random_init(&b, 7);
	random_init(&other, 8);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t n = random_next(&a);

		assert_true(n == random_next(&b));
		same += n == random_next(&other);
	}
	assert_int_equal(same, 0);
}

/* Each of 10 values comes about as often, from the first number on. */
static void test_below(void **state)
{
	unsigned count[10] = { 0 };
	struct random r;

	(void)state;
	random_init(&r, 1);
	assert_int_equal(random_below(&r, 1), 0);
	for (unsigned i = 0; i < 10000; i++)
		count[random_below(&r, 10)]++;
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(count[i], 850, 1150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_seed_repeats),
		cmocka_unit_test(test_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
