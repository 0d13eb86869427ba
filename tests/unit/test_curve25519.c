#include "../../src/tls/curve25519.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/check.h"
#include "base/hash.h"
#include "lib/hex.h"
#include "tls/warm.h"

#define BYTES CURVE25519_BYTES
#ifdef __SANITIZE_ADDRESS__
#define RUNS 2000
#else
#define RUNS 20000
#endif

/* The library's code for Ed25519, which it uses for this too. */
static void expect_same(const uint8_t private[BYTES])
{
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", "provider=default",
						      private, BYTES);
	uint8_t expected[BYTES], public[BYTES];
	size_t n = BYTES;

	assert_non_null(k);
	assert_int_equal(EVP_PKEY_get_raw_public_key(k, expected, &n), 1);
	curve25519_public(public, private);
	assert_memory_equal(public, expected, BYTES);
	EVP_PKEY_free(k);
}

/* RFC 7748 6.1. */
static void test_vectors(void **state)
{
	static const struct {
		const char *private, *public;
	} cases[] = {
		{ "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		  "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a" },
		{ "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		  "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f" },
	};
	uint8_t private[BYTES], expected[BYTES], public[BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		hex_read(cases[i].private, private, BYTES);
		hex_read(cases[i].public, expected, BYTES);
		curve25519_public(public, private);
		assert_memory_equal(public, expected, BYTES);
	}
}

/* The same digit in each place, with all carries and without; single bits. */
static void test_digits(void **state)
{
	uint8_t private[BYTES];

	(void)state;
	for (unsigned digits = 0; digits < 256; digits++) {
		memset(private, (int)digits, BYTES);
		expect_same(private);
	}
	for (unsigned bit = 0; bit < 256; bit++) {
		memset(private, 0, BYTES);
		private[bit / 8] = (uint8_t)(1u << bit % 8);
		expect_same(private);
		memset(private, 0xff, BYTES);
		private[bit / 8] ^= (uint8_t)(1u << bit % 8);
		expect_same(private);
	}
}

static void test_many(void **state)
{
	uint8_t private[BYTES];

	(void)state;
	for (uint64_t i = 0; i < RUNS; i++) {
		for (uint64_t word = 0; word < 4; word++) {
			uint64_t bits = hash_mix(4 * i + word);

			memcpy(private + 8 * word, &bits, 8);
		}
		expect_same(private);
	}
}

static int setup(void **state)
{
	(void)state;
	if (!tls_library_init())
		return -1;
	curve25519_init(); /* again, in case it was not wanted */
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_digits),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
