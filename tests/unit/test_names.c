#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/names.h"

#define N 5000

struct named_object {
	struct names_entry entry;
	char name[16];
};

static struct named_object objects[N];

static struct named_object *object_find(const struct names *s, const char *name)
{
	return (struct named_object *)names_find(s, slice_of(name));
}

static void objects_put(struct names *s, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		snprintf(objects[i].name, sizeof(objects[i].name), "n%u", i);
		names_put(s, &objects[i].entry, slice_of(objects[i].name));
	}
}

static void test_many(void **state)
{
	struct names s = { 0 };

	(void)state;
	assert_null(object_find(&s, "n0"));
	for (unsigned n = 1; n <= N; n *= 2) {
		objects_put(&s, n / 2, n);
		for (unsigned i = 0; i < n; i++)
			assert_ptr_equal(object_find(&s, objects[i].name), &objects[i]);
		assert_null(object_find(&s, "n"));
		assert_null(object_find(&s, "n99999"));
		assert_null(object_find(&s, ""));
	}
	for (unsigned i = 0; i < 2048; i += 2)
		names_remove(&s, &objects[i].entry);
	for (unsigned i = 0; i < 2048; i++)
		assert_ptr_equal(object_find(&s, objects[i].name),
				 i % 2 ? &objects[i] : NULL);
	names_done(&s);
	assert_null(object_find(&s, "n1"));
}

/* Up to 8 entries need no allocation. */
static void test_few(void **state)
{
	struct names s = { 0 };

	(void)state;
	objects_put(&s, 0, 8);
	assert_null(s.buckets);
	assert_ptr_equal(object_find(&s, "n7"), &objects[7]);
	objects_put(&s, 8, 9);
	assert_non_null(s.buckets);
	names_done(&s);
}

/* Of several entries with one name the oldest is found, also after the table has
 * grown. */
static void test_twice(void **state)
{
	struct names_entry twins[3];
	struct names s = { 0 };

	(void)state;
	names_put(&s, &twins[0], SLICE("twin"));
	objects_put(&s, 0, 4);
	names_put(&s, &twins[1], SLICE("twin"));
	objects_put(&s, 4, 1000);
	names_put(&s, &twins[2], SLICE("twin"));
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(names_find(&s, SLICE("twin")), &twins[i]);
		names_remove(&s, &twins[i]);
	}
	assert_null(object_find(&s, "twin"));
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
