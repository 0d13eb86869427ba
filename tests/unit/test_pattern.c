#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/pattern.h"

static struct pattern *pattern_of(const char *text, bool machine_code)
{
	char why[PATTERN_WHY_MAX];
	size_t offset;
	struct pattern *p = pattern_new(slice_of(text), machine_code, &offset, why);

	if (!p)
		fail_msg("%s: at %zu: %s", text, offset, why);
	return p;
}

static const struct {
	const char *pattern, *text;
	enum pattern_result expected;
} cases[] = {
	{ "b", "abc", PATTERN_MATCHES },
	{ "^b", "abc", PATTERN_DIFFERS },
	{ "^abc$", "abc", PATTERN_MATCHES },
	{ "^abc$", "abc\n", PATTERN_DIFFERS },
	{ "B", "abc", PATTERN_DIFFERS },
	{ "(?i)B", "abc", PATTERN_MATCHES },
	{ "^$", "", PATTERN_MATCHES },
	{ "^.$", "\xff", PATTERN_MATCHES }, /* a byte, not UTF-8 */
	{ "^.{2}$", "\xc3\xa4", PATTERN_MATCHES },
	{ "(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", PATTERN_GAVE_UP },
};

static void test_cases(void **state)
{
	(void)state;
	for (unsigned machine_code = 0; machine_code < 2; machine_code++)
		for (size_t i = 0; i < COUNT(cases); i++) {
			struct pattern *p = pattern_of(cases[i].pattern, machine_code);
			enum pattern_result got =
				pattern_match(p, slice_of(cases[i].text), NULL, 0);

			if (got != cases[i].expected)
				fail_msg("%s on %s: %d", cases[i].pattern, cases[i].text,
					 (int)got);
			pattern_free(p);
		}
}

static void test_groups(void **state)
{
	struct pattern *p = pattern_of("^/(a)?(x)?/([^/]*)", false);
	struct slice groups[6], text = SLICE("/x/items/7");

	(void)state;
	assert_int_equal(pattern_groups(p), 4);
	assert_int_equal(pattern_match(p, text, groups, 6), PATTERN_MATCHES);
	assert_true(slice_equal(groups[0], SLICE("/x/items")));
	assert_int_equal(groups[1].len, 0);
	assert_true(slice_equal(groups[2], SLICE("x")));
	assert_true(slice_equal(groups[3], SLICE("items")));
	assert_int_equal(groups[4].len, 0);
	assert_int_equal(groups[5].len, 0);
	assert_ptr_equal(groups[3].ptr, text.ptr + 3);
	pattern_free(p);
}

static const struct {
	const char *pattern, *why;
	size_t offset;
} wrong[] = {
	{ "a(b", "missing closing parenthesis", 3 },
	{ "[z-a]", "range out of order in character class", 3 },
	{ "(*UTF)a", "using UTF is disabled by the application", 6 },
	{ "\\C", "using \\C is disabled by the application", 2 },
	{ "()()()()()()()()()()", "more than 9 groups; (?:…) is no group", 0 },
};

static void test_wrong(void **state)
{
	char why[PATTERN_WHY_MAX];
	size_t offset;

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		assert_null(pattern_new(slice_of(wrong[i].pattern), false, &offset, why));
		assert_string_equal(why, wrong[i].why);
		if (wrong[i].offset > 0)
			assert_int_equal(offset, wrong[i].offset);
	}
}

static void test_too_long(void **state)
{
	char text[PATTERN_SUBJECT_MAX + 1], why[PATTERN_WHY_MAX];
	struct pattern *p = pattern_of("a", false);
	size_t offset;

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_null(pattern_new((struct slice){ text, PATTERN_BYTES_MAX + 1 }, false,
				&offset, why));
	assert_string_equal(why, "longer than 4096 bytes");
	assert_int_equal(pattern_match(p, (struct slice){ text, sizeof(text) }, NULL, 0),
			 PATTERN_GAVE_UP);
	assert_int_equal(
		pattern_match(p, (struct slice){ text, sizeof(text) - 1 }, NULL, 0),
		PATTERN_MATCHES);
	pattern_free(p);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Exponential on the whole of the longest text: without the limit until the next day. */
static void test_bounded(void **state)
{
	static const char *const slow[] = { "(a+)+[PQ]", "(?:a|,|aa)+[PQ]",
					    "(.*?,){11}[PQ]", "a.*.*.*[PQ]" };
	char text[PATTERN_SUBJECT_MAX];

	(void)state;
	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < sizeof(text); i += 2)
		text[i] = i % 64 == 0 ? ',' : 'a';
	text[sizeof(text) - 1] = 'b';
	for (size_t i = 0; i < COUNT(slow); i++) {
		struct pattern *p = pattern_of(slow[i], false);
		double begin = seconds();

		assert_int_equal(
			pattern_match(p, (struct slice){ text, sizeof(text) }, NULL, 0),
			PATTERN_GAVE_UP);
		assert_true(seconds() - begin < 2);
		pattern_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),   cmocka_unit_test(test_groups),
		cmocka_unit_test(test_wrong),   cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
