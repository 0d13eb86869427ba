#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/names.h"

#define N 5000

struct thing {
	struct names_entry entry;
	char name[16];
};

static struct thing things[N];

static struct thing *find(const struct names *s, const char *name)
{
	return (struct thing *)names_find(s, slice_of(name));
}

static void put(struct names *s, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		snprintf(things[i].name, sizeof(things[i].name), "n%u", i);
		names_put(s, &things[i].entry, slice_of(things[i].name));
	}
}

static void test_many(void **state)
{
	struct names s = { 0 };

	(void)state;
	assert_null(find(&s, "n0"));
	for (unsigned n = 1; n <= N; n *= 2) {
		put(&s, n / 2, n);
		for (unsigned i = 0; i < n; i++)
			assert_ptr_equal(find(&s, things[i].name), &things[i]);
		assert_null(find(&s, "n"));
		assert_null(find(&s, "n99999"));
		assert_null(find(&s, ""));
	}
	for (unsigned i = 0; i < 2048; i += 2)
		names_remove(&s, &things[i].entry);
	for (unsigned i = 0; i < 2048; i++)
		assert_ptr_equal(find(&s, things[i].name), i % 2 ? &things[i] : NULL);
	names_done(&s);
	assert_null(find(&s, "n1"));
}

/* A few are kept without an allocation. */
static void test_few(void **state)
{
	struct names s = { 0 };

	(void)state;
	put(&s, 0, 8);
	assert_null(s.buckets);
	assert_ptr_equal(find(&s, "n7"), &things[7]);
	put(&s, 8, 9);
	assert_non_null(s.buckets);
	names_done(&s);
}

/* Of two with one name the first is found, however the table grows. */
static void test_twice(void **state)
{
	struct names_entry twins[3];
	struct names s = { 0 };

	(void)state;
	names_put(&s, &twins[0], SLICE("twin"));
	put(&s, 0, 4);
	names_put(&s, &twins[1], SLICE("twin"));
	put(&s, 4, 1000);
	names_put(&s, &twins[2], SLICE("twin"));
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(names_find(&s, SLICE("twin")), &twins[i]);
		names_remove(&s, &twins[i]);
	}
	assert_null(find(&s, "twin"));
	names_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
