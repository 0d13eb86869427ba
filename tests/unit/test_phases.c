/* tsan: threads take slots of one table and give them back. */
#include "base/phases.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"

#define SLOTS 1000
#define WORKERS 3
#define THREADS 4

static struct phase_table table;

static int open_table(void **state)
{
	(void)state;
	return phase_table_init(&table, WORKERS, SLOTS) ? 0 : -1;
}

static int close_table(void **state)
{
	(void)state;
	phase_table_done(&table);
	return 0;
}

/* The bucket is the first whose upper bound is not less. */
static void test_buckets(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		uint64_t bound = (uint64_t)HISTOGRAM_FIRST_US << i;

		assert_int_equal(histogram_bucket(bound - 1), i);
		assert_int_equal(histogram_bucket(bound), i);
		assert_int_equal(histogram_bucket(bound + 1), i + 1);
	}
	assert_int_equal(histogram_bucket(0), 0);
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_slots(void **state)
{
	uint32_t slot;

	(void)state;
	for (uint32_t i = 1; i <= SLOTS; i++)
		assert_int_equal(phase_table_take(&table), i);
	assert_int_equal(phase_table_take(&table), PHASE_SLOT_OTHER);
	assert_int_equal(phase_table_take(&table), PHASE_SLOT_OTHER);
	assert_int_equal(atomic_load(&table.sharing), 2);
	phase_table_put(&table, PHASE_SLOT_OTHER);
	assert_int_equal(atomic_load(&table.sharing), 1);
	/* The next object of a slot begins at 0, on every worker. */
	for (uint32_t w = 0; w < WORKERS; w++)
		phases_add(phase_table_at(&table, w, 7), PHASE_TOTAL, 1000 * w);
	phase_table_put(&table, 7);
	slot = phase_table_take(&table);
	assert_int_equal(slot, 7);
	for (uint32_t w = 0; w < WORKERS; w++) {
		const struct phases *p = phase_table_at(&table, w, slot);

		for (size_t i = 0; i < sizeof(*p) / sizeof(uint64_t); i++)
			assert_int_equal(((const uint64_t *)(const void *)p)[i], 0);
	}
	assert_int_equal(phase_table_take(&table), PHASE_SLOT_OTHER);
}

/* Pages of the table that are in memory. */
static size_t pages_in_use(void)
{
	static unsigned char in_memory[4096];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
	size_t bytes = (size_t)WORKERS * (SLOTS + 1) * sizeof(struct phases);
	size_t pages = (bytes + page - 1) / page;

	assert_true(pages <= sizeof(in_memory));
	assert_int_equal(mincore(table.all, bytes, in_memory), 0);
	for (size_t i = 0; i < pages; i++)
		n += in_memory[i] & 1;
	return n;
}

/* Slots that are taken, read and given back cost no page; one that is used costs two at most. */
static void test_memory(void **state)
{
	size_t before;

	(void)state;
	before = pages_in_use();
	for (uint32_t i = 1; i <= SLOTS; i++)
		assert_int_equal(phase_table_take(&table), i);
	assert_int_equal(pages_in_use(), before);
	phases_add(phase_table_at(&table, 1, 500), PHASE_QUEUE, 1);
	assert_true(pages_in_use() <= before + 2);
}

static void *take_and_put(void *arg)
{
	uint32_t slots[SLOTS / THREADS];

	(void)arg;
	for (unsigned round = 0; round < 20; round++) {
		for (size_t i = 0; i < COUNT(slots); i++) {
			slots[i] = phase_table_take(&table);
			phases_add(phase_table_at(&table, 0, slots[i]), PHASE_TOTAL, 1);
		}
		for (size_t i = 0; i < COUNT(slots); i++)
			phase_table_put(&table, slots[i]);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	char taken[SLOTS + 1] = { 0 };

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_put, NULL),
				 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t slot = phase_table_take(&table);

		assert_true(slot != PHASE_SLOT_OTHER && !taken[slot]);
		taken[slot] = 1;
		assert_int_equal(phase_table_at(&table, 0, slot)->of[PHASE_TOTAL].sum_us,
				 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test_setup_teardown(test_slots, open_table, close_table),
		cmocka_unit_test_setup_teardown(test_memory, open_table, close_table),
		cmocka_unit_test_setup_teardown(test_threads, open_table, close_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
