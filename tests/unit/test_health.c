#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/watch/health.h"
#include "base/check.h"

/* '+': a good result, '-': a bad one; then the state, in capitals where it has changed. */
static const struct {
	uint32_t rise, fall;
	const char *results, *states;
} runs[] = {
	/* The first result decides. */
	{ 2, 3, "+", "U" },
	{ 2, 3, "-", "D" },
	/* Only consecutive results count. */
	{ 2, 3, "+--+--+---", "UuuuuuuuuD" },
	{ 2, 3, "---+-+-++", "DdddddddU" },
	{ 1, 1, "+-+-", "UDUD" },
	{ 3, 2, "--+++--+++", "DdddUuDddU" },
	{ 1, 3, "---+", "DddU" },
	{ 5, 1, "+-++++-+++++", "UDdddddddddU" },
};

static char letter(enum health_state state, bool changed)
{
	switch (state) {
	case HEALTH_UP:
		return changed ? 'U' : 'u';
	case HEALTH_DOWN:
		return changed ? 'D' : 'd';
	case HEALTH_UNKNOWN:
		break;
	}
	return '?';
}

static void test_consecutive(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(runs); i++) {
		struct health h = { HEALTH_UNKNOWN, 0 };
		const char *expected = runs[i].states;

		for (const char *r = runs[i].results; *r && *expected; r++, expected++) {
			bool changed = health_update(&h, *r == '+', runs[i].rise,
						     runs[i].fall);

			if (letter(h.state, changed) != *expected)
				fail_msg("run %u, result %td: %c", i, r - runs[i].results,
					 letter(h.state, changed));
		}
		assert_int_equal(*expected, '\0');
	}
}

static void test_pause(void **state)
{
	uint32_t least = UINT32_MAX, most = 0;

	(void)state;
	assert_int_equal(health_pause_ms(5000, 0, 12345), 5000);
	for (uint64_t random = 0; random < 5000; random++) {
		uint32_t ms = health_pause_ms(5000, 10, random);

		least = ms < least ? ms : least;
		most = ms > most ? ms : most;
	}
	assert_int_equal(least, 4500);
	assert_int_equal(most, 5500);
	/* Never 0: that would be an endless loop. */
	assert_int_equal(health_pause_ms(10, 100, 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_consecutive),
		cmocka_unit_test(test_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
