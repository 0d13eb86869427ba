/* tsan: one thread writes, one reads. */
#include "base/exemplar.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 2000000

static struct exemplars all;
static _Atomic bool done;

static void test_buckets(void **state)
{
	struct exemplar_copy x;

	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		assert_false(exemplar_read(&all, i, &x));
	exemplar_set(&all, "0123456789abcdef0123456789abcdef", 251, 7);
	assert_false(exemplar_read(&all, 0, &x));
	assert_true(exemplar_read(&all, 1, &x));
	assert_memory_equal(x.id, "0123456789abcdef0123456789abcdef", sizeof(x.id));
	assert_true(x.value_us == 251 && x.wall_ms == 7);
	exemplar_set(&all, "1123456789abcdef0123456789abcdef", 300, 8);
	assert_true(exemplar_read(&all, 1, &x));
	assert_true(x.id[0] == '1' && x.value_us == 300);
}

static void *change(void *arg)
{
	char id[EXEMPLAR_ID_TEXT];

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		memset(id, 'a' + (int)(i % 26), sizeof(id));
		exemplar_set(&all, id, 400 + i % 26, i % 26);
	}
	done = true;
	return NULL;
}

/* What is read belongs together. */
static void test_threads(void **state)
{
	struct exemplar_copy x;
	pthread_t thread;

	(void)state;
	memset(&all, 0, sizeof(all));
	assert_int_equal(pthread_create(&thread, NULL, change, NULL), 0);
	while (!done) {
		if (!exemplar_read(&all, 1, &x))
			continue;
		for (size_t k = 0; k < sizeof(x.id); k++)
			assert_int_equal(x.id[k], 'a' + (int)x.wall_ms);
		assert_int_equal(x.value_us, 400 + x.wall_ms);
	}
	pthread_join(thread, NULL);
	assert_true(exemplar_read(&all, 1, &x));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
