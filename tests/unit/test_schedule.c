#include "../../src/tls/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "../../src/tls/provider.h"
#include "base/check.h"
#include "tls/warm.h"

/* One derivation; NULL: the parameter is not there. */
struct kdf_case {
	int mode;
	const char *digest, *label;
	const uint8_t *key, *salt, *data;
	size_t key_n, salt_n, data_n;
};

static const char ours[] = "?" PROVIDER_PROPERTIES;
static const char library[] = "provider=default";

static int derive(const char *properties, const struct kdf_case *d, uint8_t *out,
		  size_t n)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", properties);
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
	char prefix[] = "tls13 ";
	int mode = d->mode, result;
	OSSL_PARAM params[8], *p = params;

	assert_non_null(context);
	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	if (d->digest)
		*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
							(char *)(uintptr_t)d->digest, 0);
	if (d->key)
		*p++ = OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)d->key, d->key_n);
	if (d->salt)
		*p++ = OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)d->salt, d->salt_n);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, 6);
	*p++ = OSSL_PARAM_construct_octet_string(
		OSSL_KDF_PARAM_LABEL, (void *)(uintptr_t)d->label, strlen(d->label));
	if (d->data)
		*p++ = OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_DATA, (void *)(uintptr_t)d->data, d->data_n);
	*p = OSSL_PARAM_construct_end();
	result = EVP_KDF_derive(context, out, n, params);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
	ERR_clear_error();
	return result;
}

static void expect_same(const struct kdf_case *d, size_t n)
{
	uint8_t expected[64] = { 0 }, out[64] = { 0 };

	assert_int_equal(derive(library, d, expected, n), 1);
	assert_int_equal(derive(ours, d, out, n), 1);
	assert_memory_equal(out, expected, sizeof(out));
}

static uint8_t bytes[96];

static const struct {
	const char *name;
	size_t size;
} digests[] = {
	{ "SHA2-256", 32 }, { "SHA256", 32 }, { "SHA2-384", 48 }, { "SHA384", 48 }
};

/* HKDF-Expand-Label beside the library's: each label of RFC 8446 7, each length. */
static void test_expansions(void **state)
{
	static const char *const labels[] = {
		"key",          "iv",         "finished",     "c hs traffic",
		"s hs traffic", "exp master", "c ap traffic", "s ap traffic",
		"res master",   "resumption", "traffic upd"
	};

	(void)state;
	for (size_t i = 0; i < COUNT(digests); i++) {
		for (size_t k = 0; k < COUNT(labels); k++) {
			struct kdf_case d = { .mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
					      .digest = digests[i].name,
					      .label = labels[k],
					      .key = bytes,
					      .key_n = digests[i].size };

			for (size_t n = 1; n <= digests[i].size; n++)
				expect_same(&d, n);
			d.data = bytes + 7;
			for (; d.data_n <= digests[i].size; d.data_n++)
				expect_same(&d, digests[i].size);
		}
	}
}

/* HKDF-Extract behind Derive-Secret: with and without the previous secret and the new one, of
 * each length that a key exchange has. */
static void test_extractions(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(digests); i++) {
		struct kdf_case d = { .mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
				      .digest = digests[i].name,
				      .label = "derived",
				      .salt_n = digests[i].size };

		for (unsigned salted = 0; salted < 2; salted++) {
			d.salt = salted ? bytes + 3 : NULL;
			d.key = NULL;
			expect_same(&d, digests[i].size);
			d.key = bytes + 1;
			for (d.key_n = 1; d.key_n <= 80; d.key_n++)
				expect_same(&d, digests[i].size);
		}
	}
}

static void test_secrets_are_reported(void **state)
{
	struct schedule_secrets s = { 0 }, none = { 0 };
	struct kdf_case d = { .mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
			      .digest = "SHA2-256",
			      .label = "c hs traffic",
			      .key = bytes,
			      .key_n = 32 };
	uint8_t out[32];

	(void)state;
	schedule_report_to(&s);
	assert_int_equal(derive(ours, &d, out, 32), 1);
	assert_memory_equal(&s, &none, sizeof(s));
	d.label = "c ap traffic";
	assert_int_equal(derive(ours, &d, out, 32), 1);
	assert_int_equal(s.known, SCHEDULE_CLIENT);
	assert_memory_equal(s.client, out, 32);
	d.label = "s ap traffic";
	assert_int_equal(derive(ours, &d, out, 32), 1);
	assert_int_equal(s.known, SCHEDULE_CLIENT | SCHEDULE_SERVER);
	assert_memory_equal(s.server, out, 32);
	schedule_report_to(NULL);
	s = none;
	assert_int_equal(derive(ours, &d, out, 32), 1);
	assert_memory_equal(&s, &none, sizeof(s));
}

/* What TLS does not do fails, and writes nothing. */
static void test_the_rest_is_refused(void **state)
{
	static const struct {
		struct kdf_case d;
		size_t n;
	} refused[] = {
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA2-512", "key", bytes, NULL, NULL,
		    64, 0, 0 },
		  16 },
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, NULL, "key", bytes, NULL, NULL, 32, 0,
		    0 },
		  16 },
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA256", "key", NULL, NULL, NULL, 0,
		    0, 0 },
		  16 },
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA256", "key", bytes, NULL, NULL, 48,
		    0, 0 },
		  16 },
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA256", "key", bytes, NULL, NULL, 32,
		    0, 0 },
		  33 },
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA256", "key", bytes, NULL, bytes,
		    32, 0, 49 },
		  16 },
		{ { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA256",
		    "a label of some sixty characters, which is more than those have",
		    bytes, NULL, NULL, 32, 0, 0 },
		  16 },
		{ { EVP_KDF_HKDF_MODE_EXTRACT_ONLY, "SHA256", "derived", bytes, bytes,
		    NULL, 32, 31, 0 },
		  32 },
		{ { EVP_KDF_HKDF_MODE_EXTRACT_ONLY, "SHA256", "derived", bytes, bytes,
		    NULL, 32, 32, 0 },
		  31 },
		{ { EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND, "SHA256", "key", bytes, NULL,
		    NULL, 32, 0, 0 },
		  16 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++) {
		uint8_t out[64] = { 0 }, zeros[64] = { 0 };

		assert_int_equal(derive(ours, &refused[i].d, out, refused[i].n), 0);
		assert_memory_equal(out, zeros, sizeof(out));
	}
}

/* Other programs' contexts, and ours for other algorithms, get the library's. */
static void test_others_are_not_touched(void **state)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", ours);

	(void)state;
	assert_non_null(kdf);
	EVP_KDF_free(kdf);
}

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 11 + 5);
	return tls_library_init() ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expansions),
		cmocka_unit_test(test_extractions),
		cmocka_unit_test(test_secrets_are_reported),
		cmocka_unit_test(test_the_rest_is_refused),
		cmocka_unit_test(test_others_are_not_touched),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
