#include "../../src/tls/x25519.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include "../../src/tls/provider.h"
#include "base/check.h"
#include "lib/hex.h"
#include "tls/warm.h"

#define BYTES 32
#define RUNS 200

static const char ours[] = "?" PROVIDER_PROPERTIES, library[] = "provider=default";

/* ---- the library's interface --------------------------------------------------- */

static EVP_PKEY *pair_of(const char *properties, const uint8_t *private)
{
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", properties, private,
						      BYTES);

	assert_non_null(k);
	return k;
}

static EVP_PKEY *public_of(const char *properties, const uint8_t *public)
{
	EVP_PKEY *k = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", properties, public,
						     BYTES);

	assert_non_null(k);
	return k;
}

static EVP_PKEY *pair_new(const char *properties)
{
	EVP_PKEY *k = EVP_PKEY_Q_keygen(NULL, properties, "X25519");

	assert_non_null(k);
	return k;
}

static void public_bytes(const EVP_PKEY *k, uint8_t out[BYTES])
{
	size_t n = BYTES;

	assert_int_equal(EVP_PKEY_get_raw_public_key(k, out, &n), 1);
	assert_int_equal(n, BYTES);
}

/* As libssl does it. */
static int derive(const char *properties, EVP_PKEY *pair, EVP_PKEY *peer,
		  uint8_t out[BYTES])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, pair, properties);
	size_t n = 0;
	int result;

	assert_non_null(c);
	result = EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_derive_set_peer(c, peer) == 1 &&
		 EVP_PKEY_derive(c, NULL, &n) == 1;
	if (result) {
		assert_int_equal(n, BYTES);
		result = EVP_PKEY_derive(c, out, &n) == 1;
	}
	EVP_PKEY_CTX_free(c);
	ERR_clear_error();
	return result;
}

static bool is_ours(const EVP_PKEY *k)
{
	return strcmp(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(k)), "fairlead") ==
	       0;
}

/* ---- tests ----------------------------------------------------------------------- */

/* RFC 7748 5.2 and 6.1. */
static void test_vectors(void **state)
{
	static const struct {
		const char *private, *peer, *secret;
	} cases[] = {
		{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
		{ "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
		{ "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		  "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
		  "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742" },
		{ "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		  "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		  "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742" },
	};
	static const char alice[] =
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
	uint8_t private[BYTES], peer[BYTES], secret[BYTES], out[BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		EVP_PKEY *a, *b;

		hex_read(cases[i].private, private, BYTES);
		hex_read(cases[i].peer, peer, BYTES);
		hex_read(cases[i].secret, secret, BYTES);
		a = pair_of(ours, private);
		b = public_of(ours, peer);
		assert_true(is_ours(a) && is_ours(b));
		assert_int_equal(derive(ours, a, b, out), 1);
		assert_memory_equal(out, secret, BYTES);
		if (i == 2) {
			public_bytes(a, out);
			hex_read(alice, secret, BYTES);
			assert_memory_equal(out, secret, BYTES);
		}
		EVP_PKEY_free(a);
		EVP_PKEY_free(b);
	}
}

/* New pairs beside the library's code: the public key, and the secret from both sides. */
static void test_beside_the_library(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RUNS; i++) {
		EVP_PKEY *mine = pair_new(ours), *theirs = pair_new(library), *copy,
			 *public;
		uint8_t private[BYTES], a[BYTES], b[BYTES];
		size_t n = BYTES;

		assert_true(is_ours(mine) && !is_ours(theirs));
		assert_int_equal(EVP_PKEY_get_raw_private_key(mine, private, &n), 1);
		copy = pair_of(library, private);
		public_bytes(mine, a);
		public_bytes(copy, b);
		assert_memory_equal(a, b, BYTES);
		public_bytes(theirs, b);
		public = public_of(ours, b);
		assert_int_equal(derive(ours, mine, public, a), 1);
		assert_int_equal(derive(library, copy, theirs, b), 1);
		assert_memory_equal(a, b, BYTES);
		assert_int_equal(EVP_PKEY_eq(mine, copy), 1); /* exports */
		assert_int_equal(EVP_PKEY_eq(mine, theirs), 0);
		EVP_PKEY_free(mine);
		EVP_PKEY_free(theirs);
		EVP_PKEY_free(copy);
		EVP_PKEY_free(public);
	}
}

/* Points of small order, and those that differ from them by the modulus. */
static void test_small_order_is_refused(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	EVP_PKEY *mine = pair_new(ours), *theirs = pair_new(library);
	uint8_t peer[BYTES], out[BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT(points); i++) {
		EVP_PKEY *a, *b;

		hex_read(points[i], peer, BYTES);
		a = public_of(ours, peer);
		b = public_of(library, peer);
		assert_int_equal(derive(ours, mine, a, out), 0);
		assert_int_equal(derive(library, theirs, b, out), 0);
		EVP_PKEY_free(a);
		EVP_PKEY_free(b);
	}
	EVP_PKEY_free(mine);
	EVP_PKEY_free(theirs);
}

/* A key of the wrong length, another group, and what is no pair. */
static void test_the_rest_is_refused(void **state)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "X25519", ours);
	EVP_PKEY *mine = pair_new(ours), *public, *k = NULL;
	uint8_t bytes[BYTES + 1] = { 9 }, out[BYTES];

	(void)state;
	assert_null(EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", ours, bytes, 31));
	assert_null(EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", ours, bytes, 33));
	assert_int_equal(EVP_PKEY_keygen_init(c), 1);
	assert_int_not_equal(EVP_PKEY_CTX_set_group_name(c, "x448"), 1);
	EVP_PKEY_CTX_free(c);
	public = public_of(ours, bytes);
	assert_int_equal(derive(ours, public, mine, out), 0);
	/* As libssl gives the key of a client to its place. */
	c = EVP_PKEY_CTX_new_from_name(NULL, "X25519", ours);
	assert_int_equal(EVP_PKEY_paramgen_init(c), 1);
	assert_int_equal(EVP_PKEY_CTX_set_group_name(c, "X25519"), 1);
	assert_int_equal(EVP_PKEY_paramgen(c, &k), 1);
	assert_int_equal(derive(ours, mine, k, out), 0);
	assert_int_not_equal(EVP_PKEY_set1_encoded_public_key(k, bytes, 31), 1);
	assert_int_equal(EVP_PKEY_set1_encoded_public_key(k, bytes, BYTES), 1);
	assert_int_equal(derive(ours, mine, k, out), 1);
	/* … of TLS 1.2, or of a server. */
	EVP_PKEY_free(k);
	k = EVP_PKEY_new();
	assert_int_equal(EVP_PKEY_copy_parameters(k, mine), 1);
	assert_int_equal(derive(ours, mine, k, out), 0);
	assert_int_equal(EVP_PKEY_set1_encoded_public_key(k, bytes, BYTES), 1);
	assert_int_equal(derive(ours, mine, k, out), 1);
	assert_int_equal(derive(ours, k, mine, out), 0);
	EVP_PKEY_CTX_free(c);
	EVP_PKEY_free(k);
	EVP_PKEY_free(public);
	EVP_PKEY_free(mine);
	ERR_clear_error();
}

static int setup(void **state)
{
	(void)state;
	return tls_library_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_beside_the_library),
		cmocka_unit_test(test_small_order_is_refused),
		cmocka_unit_test(test_the_rest_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
