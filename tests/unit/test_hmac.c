#include "../../src/tls/hmac.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/check.h"
#include "lib/hex.h"

/* RFC 4231 4: test cases 1 to 4. Those with longer keys are not for this function. */
static const struct hmac_case {
	const char *key, *text, *sha256, *sha384;
} cases[] = {
	{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
	  "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
	  "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
	  "faea9ea9076ede7f4af152e8b2fa9cb6" },
	{ "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
	  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
	  "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
	  "8e2240ca5e69e2c78b3239ecfab21649" },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	  "dddddddddddddddddddddddddddddddddddddddddddddddddd"
	  "dddddddddddddddddddddddddddddddddddddddddddddddddd",
	  "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
	  "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b"
	  "2a5ab39dc13814b94e3ab6e101a34f27" },
	{ "0102030405060708090a0b0c0d0e0f10111213141516171819",
	  "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
	  "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
	  "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
	  "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e"
	  "6801dd23c4a7d679ccf8a386c674cffb" },
};

static void expect_bytes(const uint8_t *bytes, const char *expected)
{
	uint8_t right[HMAC_BYTES_MAX];
	size_t n = hex_read(expected, right, sizeof(right));

	assert_memory_equal(bytes, right, n);
}

/* Each text whole, and cut in two at each byte. */
static void test_known_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t key[64], text[64], out[HMAC_BYTES_MAX];
		size_t key_n = hex_read(cases[i].key, key, sizeof(key));
		size_t n = hex_read(cases[i].text, text, sizeof(text));

		for (size_t cut = 0; cut <= n; cut++) {
			const struct slice parts[] = {
				{ (const char *)text, cut },
				{ (const char *)text + cut, n - cut },
			};

			hmac(CRYPT_SHA256, key, key_n, parts, 2, out);
			expect_bytes(out, cases[i].sha256);
			hmac(CRYPT_SHA384, key, key_n, parts, 2, out);
			expect_bytes(out, cases[i].sha384);
		}
	}
}

/* FIPS 180-4: the hashes of the empty message. */
static void test_nothing_is_hashed(void **state)
{
	uint8_t out[HMAC_BYTES_MAX];

	(void)state;
	hash_of_nothing(CRYPT_SHA256, out);
	expect_bytes(out, "e3b0c44298fc1c149afbf4c8996fb924"
			  "27ae41e4649b934ca495991b7852b855");
	hash_of_nothing(CRYPT_SHA384, out);
	expect_bytes(out, "38b060a751ac96384cd9327eb1b1e36a21fdb71114be0743"
			  "4c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b");
}

/* ---- what stays on the stack -------------------------------------------------------- */

#define STACK_BYTES (256u << 10)

static uint8_t secret[48], derived[48];

static void *derive(void *hash)
{
	hkdf_expand_label((enum crypt_hash)(uintptr_t)hash, secret, SLICE("tls13 key"),
			  SLICE(""), derived, 16);
	return NULL;
}

static bool stack_has(const uint8_t *stack, const uint8_t *bytes, uint8_t pad)
{
	uint8_t looked_for[16];

	for (unsigned i = 0; i < sizeof(looked_for); i++)
		looked_for[i] = bytes[i] ^ pad;
	return memmem(stack, STACK_BYTES, looked_for, sizeof(looked_for));
}

/* Neither the secret, nor a block that is made of it, nor what was derived. */
static void test_nothing_stays_on_the_stack(void **state)
{
	static const uint8_t pads[] = { 0, 0x36, 0x5c };
	pthread_attr_t attributes;
	pthread_t thread;
	uint8_t *stack;

	(void)state;
	for (unsigned i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(0x37 + 5 * i);
	for (uintptr_t hash = 0; hash < CRYPT_HASHES; hash++) {
		stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(stack, MAP_FAILED);
		assert_int_equal(pthread_attr_init(&attributes), 0);
		assert_int_equal(pthread_attr_setstack(&attributes, stack, STACK_BYTES),
				 0);
		assert_int_equal(
			pthread_create(&thread, &attributes, derive, (void *)hash), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		for (size_t i = 0; i < COUNT(pads); i++)
			assert_false(stack_has(stack, secret, pads[i]));
		assert_false(stack_has(stack, derived, 0));
		pthread_attr_destroy(&attributes);
		munmap(stack, STACK_BYTES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_nothing_is_hashed),
		cmocka_unit_test(test_nothing_stays_on_the_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
