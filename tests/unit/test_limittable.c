/* tsan: threads take from the same keys. */
#include "base/limittable.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/random.h"

#define SECOND UINT64_C(1000000)
#define THREADS 4
#define EACH 20000

static struct limit_table table;
static uint64_t now_us = UINT64_C(1) << 41; /* the state of a word has 40 bits */

static int open_table(void **state)
{
	(void)state;
	return limit_table_init(&table, 1024) ? 0 : -1;
}

static int close_table(void **state)
{
	(void)state;
	limit_table_done(&table);
	return 0;
}

static const struct rate ten = { .interval_us = SECOND / 10, .tokens = 5 };

static unsigned take_all(uint64_t hash, const struct rate *r)
{
	unsigned n = 0;

	while (rate_take(&table, hash, r, now_us, 0).taken)
		n++;
	return n;
}

static void test_bucket(void **state)
{
	uint64_t hash = hash_mix(1);
	struct rate_result x;

	(void)state;
	x = rate_take(&table, hash, &ten, now_us, 0);
	assert_true(x.taken && x.wait_us == 0 && x.left == 4);
	assert_int_equal(x.full_us, SECOND / 10);
	assert_int_equal(x.next_us, 0);
	assert_int_equal(take_all(hash, &ten), 4);
	x = rate_take(&table, hash, &ten, now_us, 0);
	assert_false(x.taken);
	assert_int_equal(x.wait_us, SECOND / 10);
	assert_int_equal(x.next_us, SECOND / 10);
	assert_int_equal(x.left, 0);
	assert_int_equal(x.full_us, SECOND / 2);
	/* What was refused took nothing. */
	now_us += SECOND / 10 - 1;
	assert_int_equal(take_all(hash, &ten), 0);
	now_us += 1;
	assert_int_equal(take_all(hash, &ten), 1);
	now_us += 3 * SECOND / 10;
	assert_int_equal(take_all(hash, &ten), 3);
	now_us += 100 * SECOND;
	assert_int_equal(take_all(hash, &ten), 5);
}

/* Over a long time: the rate, not one more. */
static void test_rate(void **state)
{
	uint64_t hash = hash_mix(2), from = now_us;
	struct random random;
	unsigned n = 0;

	(void)state;
	random_init(&random, 1);
	while (now_us < from + 1000 * SECOND) {
		n += take_all(hash, &ten);
		now_us += random_below(&random, SECOND / 3);
	}
	assert_in_range(n, 10000 - 100, 10000 + ten.tokens);
}

/* Each one waits for the one before it. */
static void test_waits(void **state)
{
	uint64_t hash = hash_mix(3);

	(void)state;
	assert_int_equal(take_all(hash, &ten), 5);
	for (unsigned i = 1; i <= 3; i++) {
		struct rate_result x = rate_take(&table, hash, &ten, now_us,
						 3 * SECOND / 10);

		assert_true(x.taken);
		assert_int_equal(x.wait_us, i * SECOND / 10);
	}
	assert_false(rate_take(&table, hash, &ten, now_us, 3 * SECOND / 10).taken);
	now_us += SECOND;
}

/* A key that was not seen for years is a new one, also when the times in the word have wrapped. */
static void test_idle(void **state)
{
	(void)state;
	for (unsigned days = 1; days < 40; days++) {
		uint64_t hash = hash_mix(100 + days);

		take_all(hash, &ten);
		now_us += days * 24 * 3600 * SECOND + 2 * SECOND;
		assert_int_equal(take_all(hash, &ten), 5);
	}
	/* The time in the word looks as if it were ahead. */
	take_all(hash_mix(99), &ten);
	now_us += (UINT64_C(1) << 40) - 10 * SECOND;
	assert_int_equal(take_all(hash_mix(99), &ten), 5);
}

/* The same bits of the clock come again: a word of then must not look as if it were of now, neither
 * in a line that nobody has used since, nor in one that others use each day. */
static void test_idle_for_a_wrap(void **state)
{
	const struct rate hourly = { .interval_us = 3600 * SECOND, .tokens = 1 };
	const uint64_t alone = UINT64_C(1) << 50 | 7, among = UINT64_C(1) << 50 | 8;
	const uint64_t day = 24 * 3600 * SECOND;

	(void)state;
	for (unsigned late = 0; late < 60; late += 7) {
		uint64_t until = now_us + (UINT64_C(1) << 40) + late * 60 * SECOND;

		assert_int_equal(take_all(alone, &hourly), 1);
		assert_int_equal(take_all(among, &hourly), 1);
		for (; now_us + day < until; now_us += day)
			assert_int_equal(take_all(UINT64_C(2) << 50 | 8, &hourly), 1);
		now_us = until;
		assert_int_equal(take_all(alone, &hourly), 1);
		assert_int_equal(take_all(among, &hourly), 1);
		now_us += 2 * 3600 * SECOND;
	}
}

/* What is in use stays so from one age to the next. */
static void test_ages(void **state)
{
	const struct rate hourly = { .interval_us = 3600 * SECOND, .tokens = 1 };
	const uint64_t hash = UINT64_C(3) << 50 | 9;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		now_us = ((now_us >> 38) + 1 + i % 3) << 38;
		now_us -= 1800 * SECOND;
		assert_int_equal(take_all(hash, &hourly), 1);
		now_us += 3599 * SECOND;
		assert_int_equal(take_all(hash, &hourly), 0);
		now_us += SECOND;
		assert_int_equal(take_all(hash, &hourly), 1);
	}
}

/* More keys than a line has words: none is stricter than it should be, and they count. */
static void test_full_line(void **state)
{
	uint64_t evicted = table.evicted;

	(void)state;
	now_us += SECOND;
	for (uint64_t i = 1; i <= LIMIT_RATES + 3; i++)
		assert_int_equal(take_all(i << 50, &ten), 5);
	assert_int_equal(table.evicted - evicted, 3);
	/* Those that are full again give way first, and are none. */
	now_us += SECOND;
	for (uint64_t i = 20; i < 20 + LIMIT_RATES; i++)
		assert_int_equal(take_all(i << 50, &ten), 5);
	assert_int_equal(table.evicted - evicted, 3);
}

static void test_counts(void **state)
{
	static struct limit_table counts;
	uint64_t hash = hash_mix(5);

	(void)state;
	assert_true(limit_table_init(&counts, 64));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(count_take(&counts, hash, 3), COUNT_TAKEN);
	assert_int_equal(count_take(&counts, hash, 3), COUNT_REFUSED);
	count_put(&counts, hash);
	assert_int_equal(count_take(&counts, hash, 3), COUNT_TAKEN);
	for (unsigned i = 0; i < 3; i++)
		count_put(&counts, hash);
	for (uint64_t i = 0; i < (uint64_t)counts.lines * LIMIT_LINE; i++)
		assert_int_equal(counts.words[i], 0);
	/* A full line. */
	for (uint64_t i = 1; i <= LIMIT_LINE; i++)
		assert_int_equal(count_take(&counts, i << 50, 1), COUNT_TAKEN);
	assert_int_equal(count_take(&counts, UINT64_C(99) << 50, 1), COUNT_UNTRACKED);
	assert_int_equal(counts.untracked, 1);
	assert_int_equal(count_take(&counts, UINT64_C(3) << 50, 1), COUNT_REFUSED);
	count_put(&counts, UINT64_C(3) << 50);
	assert_int_equal(count_take(&counts, UINT64_C(99) << 50, 1), COUNT_TAKEN);
	limit_table_done(&counts);
}

/* ---- threads ---------------------------------------------------------------- */

#define KEYS 40
static struct limit_table shared;
static const struct rate slow = { .interval_us = SECOND, .tokens = 1000 };
static _Atomic unsigned taken[KEYS], at_once[KEYS], too_many;

static void *take_rates(void *arg)
{
	struct random random;

	random_init(&random, (uint64_t)(uintptr_t)arg);
	for (unsigned i = 0; i < EACH; i++) {
		unsigned key = (unsigned)random_below(&random, KEYS);

		taken[key] += rate_take(&shared, hash_mix(key), &slow, now_us, 0).taken;
	}
	return NULL;
}

/* The count is put back before the test's own, so that the test's may only be larger. */
static void *take_counts(void *arg)
{
	struct random random;

	random_init(&random, (uint64_t)(uintptr_t)arg);
	for (unsigned i = 0; i < EACH; i++) {
		unsigned key = (unsigned)random_below(&random, KEYS);

		if (count_take(&shared, hash_mix(key), 2) != COUNT_TAKEN)
			continue;
		if (++at_once[key] > 2 + THREADS)
			too_many++;
		at_once[key]--;
		count_put(&shared, hash_mix(key));
	}
	return NULL;
}

static void run_threads(void *(*run)(void *))
{
	pthread_t threads[THREADS];

	assert_true(limit_table_init(&shared, 4096));
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)(i + 1)),
				 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void test_rates_of_threads(void **state)
{
	(void)state;
	run_threads(take_rates);
	/* About 2,000 tries each: not one more than the bucket has, and not one less. */
	for (unsigned i = 0; i < KEYS; i++)
		assert_int_equal(taken[i], slow.tokens);
	limit_table_done(&shared);
}

static void test_counts_of_threads(void **state)
{
	(void)state;
	run_threads(take_counts);
	assert_int_equal(too_many, 0);
	for (uint64_t i = 0; i < (uint64_t)shared.lines * LIMIT_LINE; i++)
		assert_int_equal(shared.words[i], 0);
	limit_table_done(&shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_idle_for_a_wrap),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_full_line),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_rates_of_threads),
		cmocka_unit_test(test_counts_of_threads),
	};

	return cmocka_run_group_tests(tests, open_table, close_table);
}
