/* tsan: uses threads. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/rules/verified.h"
#include "../../src/rules/verifier.h"
#include "base/check.h"

#define BCRYPT "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" /* secret */

/* ---- threads ------------------------------------------------------------------ */

static struct mailbox box;
static sem_t woken;
static pthread_t worker;
static unsigned finished;

static void wake(void *sleeper)
{
	sem_post(sleeper);
}

static void came_back(struct verification *v)
{
	assert_true(pthread_equal(pthread_self(), worker)); /* delivered by the mailbox */
	for (size_t i = 0; i < sizeof(v->password); i++)
		assert_int_equal(v->password[i], 0);
	finished++;
}

static void collect(unsigned n)
{
	while (finished < n) {
		sem_wait(&woken);
		mailbox_drain(&box);
	}
}

static int start(void **state)
{
	(void)state;
	worker = pthread_self();
	finished = 0;
	sem_init(&woken, 0, 0);
	mailbox_init(&box, wake, &woken);
	return 0;
}

static bool submit(struct verifier *verifier, struct verification *v,
		   const char *password)
{
	*v = (struct verification){ .reply_to = &box, .done = came_back, .hash = BCRYPT };
	snprintf(v->password, sizeof(v->password), "%s", password);
	return verifier_submit(verifier, v);
}

static void all_come_back(unsigned threads)
{
	static struct verification all[VERIFIER_QUEUE_MAX], more;
	struct verifier *verifier = verifier_new(threads);

	assert_non_null(verifier);
	finished = 0;
	for (unsigned i = 0; i < VERIFIER_QUEUE_MAX; i++)
		assert_true(submit(verifier, &all[i], i % 3 == 0 ? "secret" : "Secret"));
	/* Those that have come back count until the worker has seen them. */
	assert_false(submit(verifier, &more, "secret"));
	assert_int_equal(more.password[0], 0);
	collect(VERIFIER_QUEUE_MAX);
	for (unsigned i = 0; i < VERIFIER_QUEUE_MAX; i++)
		assert_int_equal(all[i].matches, i % 3 == 0);
	assert_true(submit(verifier, &more, "secret"));
	collect(VERIFIER_QUEUE_MAX + 1);
	assert_true(more.matches);
	verifier_free(verifier);
}

static void test_all_come_back(void **state)
{
	(void)state;
	all_come_back(0);
	all_come_back(1);
	all_come_back(3);
}

static void test_idle_ends(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= VERIFIER_THREADS_MAX + 1; i++) {
		struct verifier *v = verifier_new(i);

		assert_non_null(v);
		verifier_free(v);
	}
	verifier_free(NULL);
}

/* ---- verified credentials ------------------------------------------------------- */

static void test_found(void **state)
{
	struct verified *v = verified_new();
	struct verified_key k, others[5];

	(void)state;
	assert_non_null(v);
	k = verified_key(v, SLICE("hash"), SLICE("user"), SLICE("password"), 9000);
	others[0] =
		verified_key(v, SLICE("hasH"), SLICE("user"), SLICE("password"), 9000);
	others[1] =
		verified_key(v, SLICE("hash"), SLICE("useR"), SLICE("password"), 9000);
	others[2] =
		verified_key(v, SLICE("hash"), SLICE("user"), SLICE("passworD"), 9000);
	others[3] =
		verified_key(v, SLICE("hash"), SLICE("userp"), SLICE("assword"), 9000);
	/* A rule that may not keep for so long has to ask again. */
	others[4] = verified_key(v, SLICE("hash"), SLICE("user"), SLICE("password"), 0);
	assert_false(verified_find(v, &k, 5000));
	verified_put(v, &k, 5000, 2000);
	assert_true(verified_find(v, &k, 5000));
	assert_true(verified_find(v, &k, 6999));
	assert_false(verified_find(v, &k, 7000));
	for (unsigned i = 0; i < COUNT(others); i++)
		assert_false(verified_find(v, &others[i], 5000));
	verified_put(v, &k, 9000, 2000);
	assert_true(verified_find(v, &k, 10999));
	verified_free(v);
}

/* Another process has other keys. */
static void test_secret(void **state)
{
	struct verified *a = verified_new(), *b = verified_new();
	struct verified_key k = verified_key(a, SLICE("h"), SLICE("u"), SLICE("p"), 9000);
	struct verified_key l = verified_key(b, SLICE("h"), SLICE("u"), SLICE("p"), 9000);

	(void)state;
	assert_true(k.first != l.first);
	verified_free(a);
	verified_free(b);
}

/* Of a full set the entry that expires first gives way; nothing else is forgotten. */
static void test_full(void **state)
{
	struct verified *v = verified_new();
	struct verified_key k = { .set = 3 };

	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		k.first = i + 1;
		k.rest = i;
		verified_put(v, &k, 0, 10000 + (i + 2) % 4 * 1000);
	}
	k.first = 9;
	verified_put(v, &k, 0, 5000);
	for (uint32_t i = 0; i < 4; i++) {
		k.first = i + 1;
		k.rest = i;
		assert_int_equal(verified_find(v, &k, 0), i != 2);
	}
	k.rest = 7; /* only half of it */
	assert_false(verified_find(v, &k, 0));
	verified_free(v);
}

static void *hammer(void *arg)
{
	struct verified *v = arg;

	for (uint32_t i = 0; i < 20000; i++) {
		struct verified_key k = { .first = i % 7 + 1,
					  .rest = i % 7,
					  .set = i % 2 };

		verified_put(v, &k, 0, 1000 + i);
		k.rest += 7; /* never put, not even with another `first` */
		if (verified_find(v, &k, 0))
			return arg;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct verified *v = verified_new();
	pthread_t threads[3];
	void *result;

	(void)state;
	for (unsigned i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, v), 0);
	for (unsigned i = 0; i < COUNT(threads); i++) {
		pthread_join(threads[i], &result);
		assert_null(result);
	}
	verified_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_come_back, start),
		cmocka_unit_test_setup(test_idle_ends, start),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
