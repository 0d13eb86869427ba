#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/uuid.h"

/* 2022-02-22 19:22:22 UTC, the example of RFC 9562 A.6. */
#define RFC_MS 0x017f22e279b0u

static void test_form(void **state)
{
	char text[UUID_TEXT + 1] = "";
	struct random r;

	(void)state;
	random_init(&r, 1);
	for (unsigned i = 0; i < 1000; i++) {
		uuid_text(text, &r, RFC_MS);
		assert_memory_equal(text, "017f22e2-79b0-7", 15);
		for (unsigned at = 0; at < UUID_TEXT; at++)
			if (at == 8 || at == 13 || at == 18 || at == 23)
				assert_int_equal(text[at], '-');
			else
				assert_non_null(strchr("0123456789abcdef", text[at]));
		assert_non_null(strchr("89ab", text[19]));
		assert_int_equal(text[UUID_TEXT], '\0');
	}
}

/* Each differs, and later ones sort behind. */
static void test_order(void **state)
{
	char before[UUID_TEXT], next[UUID_TEXT];
	struct random r;

	(void)state;
	random_init(&r, 7);
	uuid_text(before, &r, RFC_MS);
	for (unsigned i = 1; i < 1000; i++) {
		uuid_text(next, &r, RFC_MS + i);
		assert_true(memcmp(before, next, UUID_TEXT) < 0);
		memcpy(before, next, UUID_TEXT);
	}
	uuid_text(next, &r, RFC_MS + 999);
	assert_memory_not_equal(before, next, UUID_TEXT);
	assert_memory_equal(before, next, 14);
}

/* All random bits take part. */
static void test_random_bits(void **state)
{
	uint8_t seen[UUID_TEXT] = { 0 };
	char text[UUID_TEXT], first[UUID_TEXT];
	struct random r;

	(void)state;
	random_init(&r, 3);
	uuid_text(first, &r, 0);
	for (unsigned i = 0; i < 100; i++) {
		uuid_text(text, &r, 0);
		for (unsigned at = 0; at < UUID_TEXT; at++)
			seen[at] |= (uint8_t)(text[at] != first[at]);
	}
	for (unsigned at = 15; at < UUID_TEXT; at++)
		assert_int_equal(seen[at], at != 18 && at != 23);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_random_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
