/* tsan: this one has threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/quota.h"

#define THREADS 4
#define LIMIT 3

static struct quota quota;
static _Atomic unsigned inside, most;

static void test_limit(void **state)
{
	(void)state;
	quota_init(&quota, 2);
	assert_true(quota_take(&quota));
	assert_true(quota_take(&quota));
	for (unsigned i = 0; i < 10; i++)
		assert_false(quota_take(&quota));
	assert_int_equal(quota.used, 2); /* refusals leave no trace */
	quota_put(&quota);
	assert_true(quota_take(&quota));
	quota_put(&quota);
	quota_put(&quota);
	assert_int_equal(quota.used, 0);
	quota_init(&quota, 0);
	assert_false(quota_take(&quota));
}

static void *take_and_put(void *arg)
{
	for (unsigned i = 0; i < 50000; i++) {
		unsigned n;

		if (!quota_take(&quota))
			continue;
		n = atomic_fetch_add(&inside, 1) + 1;
		if (n > atomic_load(&most))
			atomic_store(&most, n);
		atomic_fetch_sub(&inside, 1);
		quota_put(&quota);
	}
	return arg;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	quota_init(&quota, LIMIT);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_put, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(quota.used, 0);
	assert_true(most >= 1 && most <= LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
