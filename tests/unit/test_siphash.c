#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/siphash.h"

/* The authors' vectors: key 00 01 … 0f, texts "", 00, 00 01, … */
static void test_vectors(void **state)
{
	static const uint64_t expected[] = {
		0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au,
		0x85676696d7fb7e2du, 0xcf2794e0277187b7u, 0x18765564cd99a68du,
		0xcbc9466e58fee3ceu, 0xab0200f58b01d137u, 0x93f5f5799a932462u,
	};
	uint8_t key[SIPHASH_KEY_BYTES];
	char text[15];

	(void)state;
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)i;
	for (size_t n = 0; n < sizeof(expected) / sizeof(expected[0]); n++)
		assert_true(siphash(key, (struct slice){ text, n }) == expected[n]);
	/* The example of the paper. */
	assert_true(siphash(key, (struct slice){ text, 15 }) == 0xa129ca6149be45e5u);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
