#include "../../src/tls/crypt.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "lib/hex.h"

static struct crypt *crypt;

static int setup(void **state)
{
	(void)state;
	crypt = crypt_new();
	return crypt ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	crypt_free(crypt);
	return 0;
}

/* ---- AEAD ----------------------------------------------------------------------- */

/* One known answer of each cipher. */
static const struct aead_case {
	enum crypt_cipher cipher;
	const char *key, *nonce, *aad, *plain, *sealed, *tag;
} aead_cases[] = {
	/* McGrew and Viega, The Galois/Counter Mode of Operation: test cases 4 and 16. */
	{ CRYPT_AES_128_GCM, "feffe9928665731c6d6a8f9467308308",
	  "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	  "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
	  "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
	  "5bc94fbc3221a5db94fae95ae7121a47" },
	{ CRYPT_AES_256_GCM,
	  "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
	  "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
	  "76fc6ece0f4e1768cddf8853bb2d551b" },
	/* RFC 8439 2.8.2 */
	{ CRYPT_CHACHA20_POLY1305,
	  "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
	  "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
	  "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a"
	  "204966204920636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f72207468"
	  "65206675747572652c2073756e73637265656e20776f756c642062652069742e",
	  "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282"
	  "fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab3"
	  "24e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116",
	  "1ae10b594f09e26a7e902ecbd0600691" },
};

/* In place and out of place, in one update and cut in two at each byte. */
static void test_known_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(aead_cases); i++) {
		const struct aead_case *t = &aead_cases[i];
		uint8_t key[32], nonce[12], aad[32], plain[128], sealed[128], tag[16];
		uint8_t out[128], out_tag[16];
		size_t n, aad_n;

		hex_read(t->key, key, sizeof(key));
		hex_read(t->nonce, nonce, sizeof(nonce));
		aad_n = hex_read(t->aad, aad, sizeof(aad));
		n = hex_read(t->plain, plain, sizeof(plain));
		assert_int_equal(hex_read(t->sealed, sealed, sizeof(sealed)), n);
		hex_read(t->tag, tag, sizeof(tag));
		for (size_t cut = 0; cut <= n; cut++) {
			assert_true(crypt_begin(crypt, t->cipher, CRYPT_SEAL, key, nonce,
						aad, aad_n));
			assert_true(crypt_update(crypt, plain, out, cut));
			memcpy(out + cut, plain + cut, n - cut);
			assert_true(crypt_update(crypt, out + cut, out + cut, n - cut));
			assert_true(crypt_end_seal(crypt, out_tag));
			assert_memory_equal(out, sealed, n);
			assert_memory_equal(out_tag, tag, 16);

			assert_true(crypt_begin(crypt, t->cipher, CRYPT_OPEN, key, nonce,
						aad, aad_n));
			assert_true(crypt_update(crypt, out, out, cut));
			assert_true(crypt_update(crypt, out + cut, out + cut, n - cut));
			assert_true(crypt_end_open(crypt, tag));
			assert_memory_equal(out, plain, n);
		}
	}
}

/* With each cipher, the null one too: another bit in anything, or another order of the bytes, is
 * noticed. */
static void test_tags(void **state)
{
	(void)state;
	for (enum crypt_cipher cipher = 0; cipher < CRYPT_CIPHERS; cipher++) {
		/* key 16, nonce 12, aad 5, plaintext 40, tag 16 */
		uint8_t all[16 + 12 + 5 + 40 + 16], copy[sizeof(all)];
		uint8_t key[32] = { 0 }, *text = all + 33;

		for (size_t i = 0; i < sizeof(all); i++)
			all[i] = (uint8_t)(i * 7);
		memcpy(key, all, 16);
		assert_true(crypt_begin(crypt, cipher, CRYPT_SEAL, key, all + 16,
					all + 28, 5));
		assert_true(crypt_update(crypt, text, text, 40));
		assert_true(crypt_end_seal(crypt, text + 40));
		for (size_t i = 0; i < 40; i++)
			assert_true(text[i] != (uint8_t)((33 + i) * 7) ||
				    cipher != CRYPT_NULL);
		for (size_t bit = 0; bit <= 8 * sizeof(all); bit++) {
			bool same = bit == 8 * sizeof(all);

			memcpy(copy, all, sizeof(all));
			if (!same)
				copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
			memcpy(key, copy, 16);
			assert_true(crypt_begin(crypt, cipher, CRYPT_OPEN, key, copy + 16,
						copy + 28, 5));
			assert_true(crypt_update(crypt, copy + 33, copy + 33, 40));
			assert_int_equal(crypt_end_open(crypt, copy + 73), same);
			assert_int_equal(ERR_peek_error(), 0);
		}
		memcpy(copy, all, sizeof(all));
		copy[33] = all[41];
		copy[41] = all[33];
		memcpy(key, copy, 16);
		assert_true(crypt_begin(crypt, cipher, CRYPT_OPEN, key, copy + 16,
					copy + 28, 5));
		assert_true(crypt_update(crypt, copy + 33, copy + 33, 40));
		assert_false(crypt_end_open(crypt, copy + 73));
	}
}

static void seal_zeros(enum crypt_cipher cipher, const uint8_t *key, uint8_t out[16 + 16])
{
	const uint8_t nonce[CRYPT_NONCE_BYTES] = { 1 };

	memset(out, 0, 16);
	assert_true(crypt_begin(crypt, cipher, CRYPT_SEAL, key, nonce, nonce, 5));
	assert_true(crypt_update(crypt, out, out, 16));
	assert_true(crypt_end_seal(crypt, out + 16));
}

/* The contexts have the key of the connection whose record comes, and not that of the last one. */
static void test_changing_keys(void **state)
{
	uint8_t keys[3][32] = { { 1 }, { 2 }, { 0 } }, sealed[3][32], again[32];
	static const unsigned order[] = { 0, 0, 1, 1, 0, 2, 2, 0, 1, 2 };

	(void)state;
	for (enum crypt_cipher cipher = 0; cipher < CRYPT_CIPHERS; cipher++) {
		for (unsigned i = 0; i < 3; i++)
			seal_zeros(cipher, keys[i], sealed[i]);
		assert_memory_not_equal(sealed[0], sealed[1], 32);
		for (unsigned i = 0; i < COUNT(order); i++) {
			seal_zeros(cipher, keys[order[i]], again);
			assert_memory_equal(again, sealed[order[i]], 32);
		}
	}
}

/* All blocks that the library has allocated. */
static struct {
	uint8_t *bytes;
	size_t n;
} blocks[8192];

static void block_note(void *old, void *bytes, size_t n)
{
	for (size_t i = 0; i < COUNT(blocks); i++) {
		if (blocks[i].bytes != old)
			continue;
		blocks[i].bytes = bytes;
		blocks[i].n = n;
		return;
	}
	fail_msg("more blocks than the test has space for");
}

static void *library_malloc(size_t n, const char *file, int line)
{
	void *p = malloc(n);

	(void)file;
	(void)line;
	if (p)
		block_note(NULL, p, n);
	return p;
}

static void library_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p)
		block_note(p, NULL, 0);
	free(p);
}

static void *library_realloc(void *old, size_t n, const char *file, int line)
{
	void *p = library_malloc(n, file, line);
	size_t had = old ? malloc_usable_size(old) : 0;

	if (!p || !old)
		return p;
	memcpy(p, old, had < n ? had : n);
	library_free(old, file, line);
	return p;
}

/* The bytes are in a block of the library, or in the struct crypt. */
static bool memory_has(const uint8_t *bytes, size_t n)
{
	if (memmem(crypt, malloc_usable_size(crypt), bytes, n))
		return true;
	for (size_t i = 0; i < COUNT(blocks); i++)
		if (blocks[i].bytes && memmem(blocks[i].bytes, blocks[i].n, bytes, n))
			return true;
	return false;
}

/* After crypt_forget() the key is nowhere; the first round key of AES is the key itself. */
static void test_forget(void **state)
{
	uint8_t key[32], text[32];

	(void)state;
	for (enum crypt_cipher cipher = 0; cipher < CRYPT_NULL; cipher++) {
		for (unsigned way = 0; way < CRYPT_WAYS; way++) {
			for (unsigned i = 0; i < sizeof(key); i++)
				key[i] = (uint8_t)(0x51 + 3 * i + cipher);
			assert_false(memory_has(key, 16));
			assert_true(crypt_begin(crypt, cipher, way, key, key, key, 5));
			assert_true(crypt_update(crypt, text, text, sizeof(text)));
			assert_true(memory_has(key, 16));
			crypt_forget(crypt, cipher);
			assert_false(memory_has(key, 16));
		}
	}
}

/* ---- keys ----------------------------------------------------------------------- */

/* HKDF-Expand-Label, by the library's own function. */
static void library_expand(const char *digest, const uint8_t *secret, size_t secret_n,
			   const char *label, uint8_t *out, size_t n)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", "provider=default");
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	char prefix[] = "tls13 ";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 (char *)(uintptr_t)digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
						  (void *)(uintptr_t)secret, secret_n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, 6),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_LABEL, (void *)(uintptr_t)label, strlen(label)),
		OSSL_PARAM_construct_end(),
	};

	assert_int_equal(EVP_KDF_derive(context, out, n, params), 1);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
}

static void test_expand_label(void **state)
{
	static const char *const labels[] = { "key", "iv", "traffic upd", "" };
	static const uint16_t numbers[] = { 0x1301, 0x1302, 0x1303 };

	(void)state;
	for (size_t i = 0; i < COUNT(numbers); i++) {
		const struct suite *suite = suite_find(numbers[i]);
		uint8_t secret[48], expected[48], out[48];

		for (size_t k = 0; k < sizeof(secret); k++)
			secret[k] = (uint8_t)(k * 11 + i);
		for (size_t k = 0; k < COUNT(labels); k++) {
			for (size_t n = 1; n <= suite->secret_bytes; n++) {
				library_expand(suite->hash == CRYPT_SHA384 ? "SHA384"
									   : "SHA256",
					       secret, suite->secret_bytes, labels[k],
					       expected, n);
				assert_true(crypt_expand_label(crypt, suite, secret,
							       labels[k], out, n));
				assert_memory_equal(out, expected, n);
			}
		}
	}
}

static void library_prf(const char *digest, const uint8_t *secret, const char *label,
			const uint8_t *seed, uint8_t *out, size_t n)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 (char *)(uintptr_t)digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET,
						  (void *)(uintptr_t)secret, 48),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SEED, (void *)(uintptr_t)label, strlen(label)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED,
						  (void *)(uintptr_t)seed, 64),
		OSSL_PARAM_construct_end(),
	};

	assert_int_equal(EVP_KDF_derive(context, out, n, params), 1);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
}

static void test_prf(void **state)
{
	static const uint16_t numbers[] = { 0xc02f, 0xc030 };

	(void)state;
	for (size_t i = 0; i < COUNT(numbers); i++) {
		const struct suite *suite = suite_find(numbers[i]);
		uint8_t master[48], seed[64], expected[150], out[150];

		for (size_t k = 0; k < 64; k++)
			seed[k] = master[k % 48] = (uint8_t)(k * 13 + i);
		for (size_t n = 1; n <= sizeof(out); n++) {
			memset(out, 0xee, sizeof(out));
			library_prf(suite->hash == CRYPT_SHA384 ? "SHA384" : "SHA256",
				    master, "key expansion", seed, expected, n);
			assert_true(crypt_prf(crypt, suite, master, "key expansion", seed,
					      sizeof(seed), out, n));
			assert_memory_equal(out, expected, n);
			for (size_t k = n; k < sizeof(out); k++)
				assert_int_equal(out[k], 0xee);
		}
	}
}

static void test_suites(void **state)
{
	(void)state;
	assert_null(suite_find(0x1304));
	assert_null(suite_find(0xc013));
	assert_non_null(suite_find(SUITE_NULL));
	assert_string_equal(suite_find(0x1302)->name, "TLS_AES_256_GCM_SHA384");
	assert_int_equal(suite_find(0x1302)->secret_bytes, 48);
	assert_true(suite_find(0xcca9)->ecdsa);
	assert_false(suite_find(0xcca8)->ecdsa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_changing_keys),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_expand_label),
		cmocka_unit_test(test_prf),
		cmocka_unit_test(test_suites),
	};

	if (!CRYPTO_set_mem_functions(library_malloc, library_realloc, library_free))
		return 1;
	return cmocka_run_group_tests(tests, setup, teardown);
}
