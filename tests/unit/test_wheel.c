#include "base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

#define TIMERS 300
#define FINE WHEEL_FINE_MS

/* A timer of the wheel and, beside it, the deadline that a test expects. */
struct model {
	struct timer timer;
	uint64_t deadline_ms; /* 0: not armed */
	unsigned expired;
};

static struct model models[TIMERS];
static struct wheel wheel;
static uint64_t now_ms;
static int restart_one_in; /* one in so many timers re-arms when it expires; 0: none */

static void model_expired(struct timer *t)
{
	struct model *m = CONTAINER(t, struct model, timer);

	assert_false(timer_armed(t));
	assert_true(m->deadline_ms > 0 && m->deadline_ms <= now_ms);
	m->deadline_ms = 0;
	m->expired++;
	if (restart_one_in && rand() % restart_one_in == 0) {
		m->deadline_ms = now_ms + 1 + (uint64_t)rand() % 5000;
		timer_set(&wheel, t, m->deadline_ms);
	}
}

static void models_start(uint64_t from_ms)
{
	now_ms = from_ms;
	restart_one_in = 0;
	wheel_init(&wheel, now_ms);
	for (int i = 0; i < TIMERS; i++) {
		models[i] = (struct model){ .deadline_ms = 0 };
		timer_init(&models[i].timer, model_expired);
	}
}

static void model_set(struct model *m, uint64_t deadline_ms)
{
	m->deadline_ms = deadline_ms;
	timer_set(&wheel, &m->timer, deadline_ms);
}

/* No timer is more than a slot late, the counters are consistent, and wheel_next() is not
 * too late. */
static void models_check(void)
{
	uint64_t first = WHEEL_NEVER, next = wheel_next(&wheel);
	unsigned armed = 0;

	for (int i = 0; i < TIMERS; i++) {
		uint64_t deadline = models[i].deadline_ms;

		assert_int_equal(timer_armed(&models[i].timer), deadline > 0);
		if (deadline == 0)
			continue;
		armed++;
		assert_true(deadline + FINE > now_ms / FINE * FINE);
		if (deadline < first)
			first = deadline;
	}
	assert_int_equal(wheel.armed, armed);
	if (armed == 0) {
		assert_true(next == WHEEL_NEVER);
		return;
	}
	assert_true(next > now_ms / FINE * FINE);
	if (first < now_ms)
		first = now_ms;
	assert_true(next <= first + FINE);
}

static void advance(uint64_t to_ms)
{
	now_ms = to_ms;
	wheel_expire(&wheel, now_ms);
	models_check();
}

/* One timer at a time, at each phase of both levels: it is not early, and at most a slot
 * late when the loop sleeps until wheel_next(). */
static void test_one_timer(void **state)
{
	static const uint64_t starts[] = {
		1, 8, 2040, 2047, 2048, 12345, 524287, 524288
	};
	static const uint64_t delays[] = { 1,      7,      8,      9,      100,
					   2039,   2040,   2041,   2047,   2048,
					   2049,   4096,   10000,  60000,  522239,
					   522240, 524287, 524288, 600000, 3600000 };

	(void)state;
	for (size_t s = 0; s < COUNT(starts); s++) {
		for (size_t d = 0; d < COUNT(delays); d++) {
			uint64_t deadline = starts[s] + delays[d];
			unsigned turns = 0;

			models_start(starts[s]);
			model_set(&models[0], deadline);
			models_check();
			while (!models[0].expired) {
				advance(wheel_next(&wheel));
				assert_true(now_ms < deadline + FINE);
				assert_true(++turns < 20);
			}
			assert_true(now_ms >= deadline);
			/* In a fine slot it takes one wake-up. */
			assert_true(delays[d] >= 2039 || turns == 1);
			assert_true(wheel_next(&wheel) == WHEEL_NEVER);
		}
	}
}

static void test_move_and_stop(void **state)
{
	(void)state;
	models_start(1000);
	model_set(&models[0], 1100);
	model_set(&models[0], 5000); /* later: only stored */
	advance(4999);
	assert_int_equal(models[0].expired, 0);
	model_set(&models[0], 5016);
	model_set(&models[0], 5009); /* earlier */
	advance(5016);
	assert_int_equal(models[0].expired, 1);
	model_set(&models[0], 6000);
	models[0].deadline_ms = 0;
	timer_stop(&wheel, &models[0].timer);
	timer_stop(&wheel, &models[0].timer);
	models_check();
	advance(100000);
	assert_int_equal(models[0].expired, 1);
}

/* A timer that is armed with a past deadline expires in the next slot. */
static void test_past(void **state)
{
	(void)state;
	models_start(10000);
	model_set(&models[0], 1);
	assert_int_equal(wheel_next(&wheel), 10008);
	advance(10008);
	assert_int_equal(models[0].expired, 1);
}

static struct model *victim;

static void stops_another(struct timer *t)
{
	model_expired(t);
	victim->deadline_ms = 0;
	timer_stop(&wheel, &victim->timer);
}

/* Two timers in one slot: the first to expire stops the other, which then must not
 * expire. */
static void test_stop_inside(void **state)
{
	(void)state;
	models_start(1);
	timer_init(&models[0].timer, stops_another);
	victim = &models[1];
	model_set(&models[0], 100);
	model_set(&models[1], 100);
	advance(200);
	assert_int_equal(models[0].expired, 1);
	assert_int_equal(models[1].expired, 0);
}

static uint64_t random_ms(uint64_t most)
{
	static const uint64_t scales[] = { 10, 100, 3000, 100000, 2000000 };
	uint64_t scale = scales[(unsigned)rand() % COUNT(scales)];

	return 1 + (uint64_t)rand() % (scale < most ? scale : most);
}

static void test_random(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 30; seed++) {
		srand(seed);
		models_start(1 + (uint64_t)rand());
		restart_one_in = 3;
		for (unsigned step = 0; step < 3000; step++) {
			struct model *m = &models[rand() % TIMERS];

			switch (rand() % 4) {
			case 0:
			case 1:
				model_set(m, now_ms + random_ms(UINT64_MAX));
				break;
			case 2:
				m->deadline_ms = 0;
				timer_stop(&wheel, &m->timer);
				break;
			case 3:
				advance(now_ms + random_ms(rand() % 20 ? 3000 : 2000000));
				break;
			}
			models_check();
		}
		restart_one_in = 0;
		advance(now_ms + 4000000);
		assert_int_equal(wheel.armed, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_timer), cmocka_unit_test(test_move_and_stop),
		cmocka_unit_test(test_past),      cmocka_unit_test(test_stop_inside),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
