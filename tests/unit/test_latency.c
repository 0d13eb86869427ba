#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/proxy/latency.h"
#include "base/check.h"

/* No result until there are enough samples. */
static void test_few(void **state)
{
	static const struct {
		uint32_t percentile, enough;
	} rows[] = { { 50, 20 }, { 90, 20 }, { 95, 20 }, { 97, 33 }, { 98, 50 }, { 99, 100 } };
	struct latency l;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		latency_init(&l, rows[i].percentile);
		for (uint32_t n = 1; n < rows[i].enough; n++) {
			latency_add(&l, 5000);
			assert_int_equal(latency_bound_us(&l), 0);
		}
		latency_add(&l, 5000);
		assert_in_range(latency_bound_us(&l), 5000, 5000 * 9 / 8);
	}
}

/* At most an eighth too high, for any duration. */
static void test_exact(void **state)
{
	struct latency l;

	(void)state;
	for (uint64_t us = 64; us < 200000000; us += us / 7) {
		latency_init(&l, 90);
		for (int i = 0; i < 100; i++)
			latency_add(&l, us);
		assert_in_range(latency_bound_us(&l), us + 1, us + us / 8 + 1);
	}
	latency_init(&l, 90);
	for (int i = 0; i < 100; i++)
		latency_add(&l, 3);
	assert_in_range(latency_bound_us(&l), 1, 72);
	for (int i = 0; i < 2000; i++)
		latency_add(&l, UINT64_MAX);
	assert_true(latency_bound_us(&l) > 200000000);
}

static void test_percentile(void **state)
{
	struct latency l;

	(void)state;
	for (uint32_t percentile = 50; percentile < 100; percentile++) {
		latency_init(&l, percentile);
		for (uint64_t i = 0; i < 1600; i++)
			latency_add(&l, 1000 * (1 + i * 7919 % 100));
		assert_in_range(latency_bound_us(&l), 1000 * percentile,
				1000 * (percentile + 1) * 9 / 8 + 1000);
	}
}

/* The result follows when responses become slower, and when they become faster again. */
static void test_moves(void **state)
{
	struct latency l;
	unsigned n = 0;

	(void)state;
	latency_init(&l, 95);
	for (int i = 0; i < 100000; i++)
		latency_add(&l, 1000);
	while (latency_bound_us(&l) < 100000) {
		latency_add(&l, 100000);
		assert_true(++n < 200);
	}
	for (n = 0; latency_bound_us(&l) > 2000;) {
		latency_add(&l, 1000);
		assert_true(++n < 6 * LATENCY_MOST);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_percentile),
		cmocka_unit_test(test_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
