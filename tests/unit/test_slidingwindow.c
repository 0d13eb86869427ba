#include "base/slidingwindow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/random.h"

#define SECOND UINT64_C(1000000)

static struct window window(uint64_t interval_us, uint32_t tokens)
{
	return window_of(&(struct rate){ interval_us, tokens });
}

static void test_windows(void **state)
{
	struct window w = window(6 * SECOND, 10);

	(void)state;
	assert_true(w.length_us == 60 * SECOND && w.quota == 10);
	/* Too short for clocks of several machines: a second at the same rate. */
	w = window(SECOND / 20, 1);
	assert_true(w.length_us == SECOND && w.quota == 20);
	w = window(100, 1);
	assert_true(w.length_us == SECOND && w.quota == 10000);
	w = window(SECOND, 1);
	assert_true(w.length_us == SECOND && w.quota == 1);
	w = window(3600 * SECOND, 1);
	assert_true(w.length_us == LIMIT_FILL_US && w.quota == 1);
	assert_true(window_plausible(&w, 2 * WINDOW_PROCESSES));
	assert_false(window_plausible(&w, 2 * WINDOW_PROCESSES + 1));
}

/* Windows of 60 s, 10 requests. */
static void test_judged(void **state)
{
	static const struct row {
		unsigned elapsed_s, previous, current;
		unsigned wait_s, left, next_s; /* in seconds, rounded up */
	} rows[] = {
		{ 0, 0, 1, 0, 9, 0 },     { 59, 0, 9, 0, 1, 0 },
		{ 30, 0, 10, 0, 0, 36 }, /* 11 of the next window's previous: 10/11 at 5.5 s */
		{ 0, 10, 1, 6, 0, 6 },    { 6, 10, 1, 0, 0, 6 },
		{ 30, 10, 1, 0, 4, 0 },   { 30, 10, 5, 0, 0, 6 },
		{ 30, 10, 6, 6, 0, 6 },   { 30, 20, 1, 3, 0, 3 },
		{ 30, 0, 20, 60, 0, 60 }, /* half of the next window */
		{ 59, 0, 11, 7, 0, 7 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct window w = window(6 * SECOND, 10);
		const struct row *x = &rows[i];
		struct rate_result r = window_judge(&w, x->elapsed_s * SECOND,
						    x->previous, x->current, 0);

		if (r.taken != (x->wait_s == 0) ||
		    (r.wait_us + SECOND - 1) / SECOND != x->wait_s || r.left != x->left ||
		    (r.next_us + SECOND - 1) / SECOND != x->next_s)
			fail_msg("row %zu: taken %d, wait %lu, left %u, next %lu", i,
				 r.taken, (unsigned long)r.wait_us, r.left,
				 (unsigned long)r.next_us);
		r = window_judge(&w, x->elapsed_s * SECOND, x->previous, x->current,
				 x->wait_s * SECOND);
		assert_true(r.taken);
	}
}

/* The largest numbers that are believed do not overflow. */
static void test_largest(void **state)
{
	const struct window w = window(3600, 1000000);
	const uint64_t most = 2 * WINDOW_PROCESSES * w.quota;
	struct rate_result r;

	(void)state;
	assert_true(w.length_us == LIMIT_FILL_US && window_plausible(&w, most));
	r = window_judge(&w, 0, most, most, 0);
	assert_false(r.taken);
	assert_in_range(r.wait_us, 2 * w.length_us - w.length_us / 1000, 2 * w.length_us);
	r = window_judge(&w, w.length_us - 1, most, 1, 0);
	assert_true(r.taken);
}

/* ---- against what really came --------------------------------------------------- */

#define EVENTS_MAX 20000
static uint64_t passed[EVENTS_MAX];
static unsigned passed_n;

/* More than `rate` try, in bursts; only those that pass are counted. Returns the most that passed
 * within one window, wherever it begins. */
static unsigned most_in_window(const struct window *w, uint64_t seed)
{
	uint64_t counts[2] = { 0, 0 }, number = 0, now_us = 0;
	unsigned most = 0, first = 0;
	struct random random;

	random_init(&random, seed);
	for (passed_n = 0; passed_n < EVENTS_MAX && now_us < 1000 * w->length_us;) {
		uint64_t n = now_us / w->length_us;

		if (n != number) {
			counts[1] = n == number + 1 ? counts[0] : 0;
			counts[0] = 0;
			number = n;
		}
		if (window_judge(w, now_us % w->length_us, counts[1], counts[0] + 1, 0)
			    .taken) {
			counts[0]++;
			passed[passed_n++] = now_us;
		}
		now_us += random_below(&random, 20) == 0
				  ? random_below(&random, w->length_us)
				  : random_below(&random, 2 * w->length_us / w->quota);
	}
	for (unsigned i = 0; i < passed_n; i++) {
		while (passed[i] - passed[first] >= w->length_us)
			first++;
		if (i - first + 1 > most)
			most = i - first + 1;
	}
	return most;
}

/* As the header promises: twice the quota in any window, and the quota on average. */
static void test_bounds(void **state)
{
	const struct window w = window(SECOND / 10, 30);

	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		unsigned most = most_in_window(&w, seed);

		assert_in_range(most, w.quota, 2 * w.quota);
		assert_in_range(passed_n, 1,
				(passed[passed_n - 1] / w.length_us + 1) * w.quota);
	}
}

/* A full window in its last moment, and another at the begin of the next: a fixed window would let
 * both through. */
static void test_border(void **state)
{
	const struct window w = window(SECOND / 10, 30);
	unsigned n = 0;

	(void)state;
	while (window_judge(&w, SECOND / 100, w.quota, n + 1, 0).taken)
		n++;
	assert_int_equal(n, 0);
	while (window_judge(&w, w.length_us / 2, w.quota, n + 1, 0).taken)
		n++;
	assert_int_equal(n, w.quota / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows), cmocka_unit_test(test_judged),
		cmocka_unit_test(test_largest), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_border),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
