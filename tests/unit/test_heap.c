#include "../../src/tls/heap.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "../../src/tls/library.h"
#include "base/check.h"
#include "tls/session.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS 0
#else
#define KEEPS 1
#endif

#define SIZE_LAST (40u << 10)

static void fill(void *p, size_t n)
{
	memset(p, (int)(n & 0xff), n);
}

static bool filled(const void *p, size_t n)
{
	const uint8_t *bytes = p;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] != (n & 0xff))
			return false;
	return true;
}

/* Each size, twice, so that the second one is a kept block; they do not overlap. */
static void test_sizes(void **state)
{
	(void)state;
	heap_begin();
	for (size_t n = 1; n < SIZE_LAST; n += n < 2048 ? 1 : 61) {
		for (unsigned round = 0; round < 2; round++) {
			void *a = OPENSSL_malloc(n), *b = OPENSSL_malloc(n + 1);

			assert_int_equal((uintptr_t)a % 16, 0);
			fill(a, n);
			fill(b, n + 1);
			assert_true(filled(a, n) && filled(b, n + 1));
			OPENSSL_free(a);
			OPENSSL_free(b);
		}
		assert_true(heap_kept() <= HEAP_KEPT_MAX);
	}
	heap_end();
	assert_int_equal(heap_kept(), 0);
}

static void test_longer_and_shorter(void **state)
{
	(void)state;
	heap_begin();
	for (size_t from = 1; from < 3000; from += 97) {
		for (size_t to = 1; to < 3000; to += 101) {
			uint8_t *p = OPENSSL_realloc(NULL, from);
			size_t both = from < to ? from : to;

			memset(p, 0x5a, from);
			p = OPENSSL_realloc(p, to);
			for (size_t i = 0; i < both; i++)
				assert_int_equal(p[i], 0x5a);
			memset(p, 1, to);
			assert_null(OPENSSL_realloc(p, 0));
		}
	}
	heap_end();
}

/* What is freed is taken again; a thread that has not begun keeps nothing. */
static void test_kept(void **state)
{
	void *p, *q;

	(void)state;
	OPENSSL_free(OPENSSL_malloc(100));
	assert_int_equal(heap_kept(), 0);
	heap_begin();
	heap_begin();
	p = OPENSSL_malloc(100);
	OPENSSL_free(p);
	assert_int_equal(heap_kept() > 0, KEEPS);
	q = OPENSSL_malloc(99);
	assert_int_equal(p == q, KEEPS);
	assert_int_equal(heap_kept(), 0);
	OPENSSL_free(q);
	heap_end();
	assert_int_equal(heap_kept() > 0, KEEPS);
	heap_end();
	assert_int_equal(heap_kept(), 0);
}

static void test_limit(void **state)
{
	static void *blocks[100];

	(void)state;
	heap_begin();
	for (size_t i = 0; i < COUNT(blocks); i++)
		blocks[i] = OPENSSL_malloc(16384);
	for (size_t i = 0; i < COUNT(blocks); i++)
		OPENSSL_free(blocks[i]);
	assert_true(heap_kept() <= HEAP_KEPT_MAX);
	assert_int_equal(heap_kept() > HEAP_KEPT_MAX / 2, KEEPS);
	heap_end();
}

/* A block goes back when it was not needed between two trims. */
static void test_trim(void **state)
{
	void *p, *q;
	size_t both;

	(void)state;
	heap_begin();
	p = OPENSSL_malloc(500);
	q = OPENSSL_malloc(500);
	OPENSSL_free(p);
	OPENSSL_free(q);
	both = heap_kept();
	heap_trim();
	assert_int_equal(heap_kept(), both);
	OPENSSL_free(OPENSSL_malloc(500));
	heap_trim();
	assert_int_equal(heap_kept(), both / 2);
	heap_trim();
	assert_int_equal(heap_kept(), 0);
	heap_end();
}

/* ---- several threads ----------------------------------------------------------------- */

#define TURNS 2000

static void *_Atomic handed;

static void *free_what_is_handed(void *unused)
{
	heap_begin();
	for (unsigned i = 0; i < TURNS; i++) {
		void *p;

		while (!(p = handed))
			sched_yield();
		handed = NULL;
		OPENSSL_free(p);
	}
	heap_end();
	return unused;
}

/* Blocks that another thread frees are counted once. */
static void test_freed_elsewhere(void **state)
{
	size_t before = tls_library_bytes();
	pthread_t thread;

	(void)state;
	heap_begin();
	assert_int_equal(pthread_create(&thread, NULL, free_what_is_handed, NULL), 0);
	for (unsigned i = 0; i < TURNS; i++) {
		void *p = OPENSSL_malloc(1 + i);

		fill(p, 1 + i);
		while (handed)
			sched_yield();
		handed = p;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	heap_end();
	assert_in_range(tls_library_bytes(), before, before + 16384);
}

static void test_failures(void **state)
{
	void *p;

	(void)state;
	heap_begin();
	OPENSSL_free(OPENSSL_malloc(64));
	library_fail_at(2);
	p = OPENSSL_malloc(64);
	assert_non_null(p);
	assert_null(OPENSSL_realloc(p, 4000));
	assert_int_equal(library_fail_at(0), 0);
	OPENSSL_free(p);
	assert_null(OPENSSL_malloc(SIZE_MAX - 8));
	heap_end();
}

static int setup(void **state)
{
	(void)state;
	return heap_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_longer_and_shorter),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_freed_elsewhere),
		cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
