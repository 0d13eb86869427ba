#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/hash.h"

/* Results of the FNV reference, which decide the server of a key: they must not change. */
static void test_bytes(void **state)
{
	(void)state;
	assert_true(hash_bytes(HASH_BEGIN, SLICE("")) == 0xcbf29ce484222325u);
	assert_true(hash_bytes(HASH_BEGIN, SLICE("a")) == 0xaf63dc4c8601ec8cu);
	assert_true(hash_bytes(HASH_BEGIN, SLICE("foobar")) == 0x85944171f73967e8u);
	/* A byte is unsigned. */
	assert_true(hash_bytes(HASH_BEGIN, SLICE("\xff")) ==
		    (0xcbf29ce484222325u ^ 0xffu) * 0x100000001b3u);
}

static void test_parts(void **state)
{
	uint64_t begun = hash_bytes(HASH_BEGIN, SLICE("foo"));

	(void)state;
	assert_true(hash_bytes(begun, SLICE("bar")) ==
		    hash_bytes(HASH_BEGIN, SLICE("foobar")));
}

/* Each bit of x changes about half of the bits of the result. */
static void test_mix(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		unsigned changed = 0;

		for (uint64_t x = 1; x <= 64; x++)
			changed += (unsigned)__builtin_popcountll(
				hash_mix(x) ^ hash_mix(x ^ (uint64_t)1 << bit));
		assert_in_range(changed, 64 * 28, 64 * 36);
	}
	assert_true(hash_mix(0) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
