#include "../../src/tls/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "lib/guard.h"
#include "lib/hex.h"
#include "lib/records.h"

static struct crypt *thread;

static int setup(void **state)
{
	(void)state;
	thread = crypt_new();
	return thread ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	crypt_free(thread);
	return 0;
}

static const uint16_t all_suites[] = { 0x1301, 0x1302, 0x1303,    0xc02f,
				       0xc030, 0xcca8, SUITE_NULL };

/* Keys of both ends of one direction: `k` seals, `peer` opens. */
static void keys_make(uint16_t number, struct record_keys *k, struct record_keys *peer)
{
	const struct suite *suite = suite_find(number);
	uint8_t secret[48];

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)i;
	if (suite->version == TLS_1_3) {
		assert_true(record_keys_from_secret(k, thread, suite, secret, 0));
	} else {
		struct record_keys other;

		assert_true(record_keys_from_master(k, &other, thread, suite, secret,
						    secret, secret + 16));
	}
	*peer = *k;
}

/* ---- every cut ---------------------------------------------------------------------- */

/* A record cut in three at all pairs of places, the last part before an unreadable page, with
 * bytes behind it that stay. */
static void check_cuts(uint16_t suite, size_t n, size_t step)
{
	uint8_t plain[64], record[200], opened[200];
	struct record_keys k, peer, keys;
	size_t bytes;

	for (size_t i = 0; i < n; i++)
		plain[i] = (uint8_t)(i + 1);
	keys_make(suite, &k, &peer);
	bytes = records_seal(&k, thread, RECORD_DATA, plain, n, record);
	for (size_t a = 0; a <= bytes; a += step) {
		for (size_t b = a; b <= bytes; b += step) {
			char *parts[4] = { guard_copy((char *)record, a),
					   guard_copy((char *)record + a, b - a),
					   guard_copy((char *)record + b, bytes - b),
					   guard_copy("behind", 6) };
			struct iovec iov[] = { { parts[0], a },
					       { parts[1], b - a },
					       { parts[2], bytes - b },
					       { parts[3], 6 } };
			struct record_plain r;

			keys = peer;
			assert_int_equal(record_open(&keys, thread, iov, 4, &r),
					 TLS_FAULT_NONE);
			memcpy(opened, parts[0], a);
			memcpy(opened + a, parts[1], b - a);
			memcpy(opened + b, parts[2], bytes - b);
			assert_int_equal(r.length, n);
			assert_memory_equal(opened + r.begin, plain, n);
			assert_memory_equal(parts[3], "behind", 6);
			for (unsigned i = 0; i < 4; i++)
				guard_free(parts[i]);
		}
	}
}

static void test_cuts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		check_cuts(all_suites[i], 17, 1);
		check_cuts(all_suites[i], 64, 7);
		check_cuts(all_suites[i], 1, 1);
		check_cuts(all_suites[i], 0, 1);
	}
}

/* Plaintext in any number of parts, in place and out of place, is the same record; what is read
 * out of place stays as it was. */
static void test_parts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		uint8_t plain[60], whole[120], head[RECORD_HEAD_MAX],
			tail[RECORD_TAIL_MAX];
		struct record_keys k, peer, keys;
		size_t bytes;

		for (size_t n = 0; n < sizeof(plain); n++)
			plain[n] = (uint8_t)(n * 3);
		keys_make(all_suites[i], &k, &peer);
		keys = k;
		bytes = records_seal(&keys, thread, RECORD_DATA, plain, sizeof(plain),
				     whole);
		for (unsigned cut = 0; cut <= sizeof(plain); cut++) {
			uint8_t in_place[sizeof(plain)], elsewhere[sizeof(plain)];
			unsigned rest = sizeof(plain) - cut;
			struct record_part parts[] = { { in_place, in_place, cut },
						       { NULL, NULL, 0 },
						       { plain + cut, elsewhere, rest } };

			memcpy(in_place, plain, cut);
			keys = k;
			assert_true(record_seal(&keys, thread, RECORD_DATA, parts, 3,
						head, tail));
			assert_memory_equal(head, whole, record_head_bytes(&k));
			assert_memory_equal(in_place, whole + record_head_bytes(&k), cut);
			assert_memory_equal(elsewhere,
					    whole + record_head_bytes(&k) + cut, rest);
			assert_memory_equal(tail, whole + bytes - record_tail_bytes(&k),
					    record_tail_bytes(&k));
			for (unsigned n = cut; n < sizeof(plain); n++)
				assert_int_equal(plain[n], (uint8_t)(n * 3));
		}
	}
}

/* ---- faults ------------------------------------------------------------------------- */

/* Another bit anywhere in a record: nothing is returned, and nothing that was decrypted stays.
 * The number of the record is used up. */
static void test_another_bit(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		uint8_t plain[24], record[80], copy[80], zeros[24] = { 0 };
		struct record_keys k, peer, keys;
		size_t bytes, begin;

		memset(plain, 'p', sizeof(plain));
		keys_make(all_suites[i], &k, &peer);
		bytes = records_seal(&k, thread, RECORD_DATA, plain, sizeof(plain),
				     record);
		begin = record_head_bytes(&k);
		for (size_t bit = 0; bit < 8 * bytes; bit++) {
			struct record_plain r = { .bytes = 12345 };
			enum tls_fault fault;

			memcpy(copy, record, bytes);
			copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (bit / 8 == 3 || bit / 8 == 4) /* the length: other tests */
				continue;
			keys = peer;
			fault = records_open(&keys, thread, copy, bytes, &r);
			assert_int_not_equal(fault, TLS_FAULT_NONE);
			assert_int_equal(r.bytes, 12345);
			if (bit / 8 >= 5) {
				assert_int_equal(fault, TLS_FAULT_RECORD_AUTHENTICATION);
				assert_memory_equal(copy + begin, zeros, sizeof(zeros));
				assert_int_equal(keys.sequence, peer.sequence + 1);
			}
			assert_int_equal(ERR_peek_error(), 0);
		}
	}
}

/* Records are opened in the order in which they were sealed, each once. */
static void test_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		uint8_t records[3][60], copy[60];
		struct record_keys k, peer, keys;
		struct record_plain r;
		size_t bytes = 0;

		keys_make(all_suites[i], &k, &peer);
		for (unsigned n = 0; n < 3; n++)
			bytes = records_seal(&k, thread, RECORD_DATA, "same", 4,
					     records[n]);
		assert_memory_not_equal(records[0], records[1], bytes);
		for (unsigned first = 0; first < 3; first++) {
			for (unsigned second = 0; second < 3; second++) {
				keys = peer;
				memcpy(copy, records[first], bytes);
				assert_int_equal(
					!records_open(&keys, thread, copy, bytes, &r),
					first == 0);
				memcpy(copy, records[second], bytes);
				assert_int_equal(
					!records_open(&keys, thread, copy, bytes, &r),
					second == 1);
			}
		}
	}
}

/* Headers that are refused before the record has arrived, and the limits themselves. */
static void test_headers(void **state)
{
	static const struct {
		uint16_t suite;
		uint8_t type, version[2];
		uint32_t length;
		enum tls_fault fault;
	} rows[] = {
		{ 0x1301, 23, { 3, 3 }, 16384 + 17, TLS_FAULT_NONE },
		{ 0x1301, 23, { 3, 3 }, 16384 + 18, TLS_FAULT_RECORD_LARGE },
		{ 0x1301, 23, { 3, 3 }, 65535, TLS_FAULT_RECORD_LARGE },
		{ 0x1301, 23, { 3, 3 }, 17, TLS_FAULT_NONE },
		{ 0x1301, 23, { 3, 3 }, 16, TLS_FAULT_RECORD_AUTHENTICATION },
		{ 0x1301, 23, { 3, 3 }, 0, TLS_FAULT_RECORD_AUTHENTICATION },
		{ 0x1301, 23, { 3, 1 }, 17, TLS_FAULT_NONE },
		{ 0x1301, 20, { 3, 3 }, 17, TLS_FAULT_MESSAGE },
		{ 0x1301, 21, { 3, 3 }, 17, TLS_FAULT_MESSAGE },
		{ 0x1301, 22, { 3, 3 }, 17, TLS_FAULT_MESSAGE },
		{ 0x1301, 24, { 3, 3 }, 17, TLS_FAULT_MESSAGE },
		{ 0xc02f, 23, { 3, 3 }, 16384 + 24, TLS_FAULT_NONE },
		{ 0xc02f, 23, { 3, 3 }, 16384 + 25, TLS_FAULT_RECORD_LARGE },
		{ 0xc02f, 22, { 3, 3 }, 24, TLS_FAULT_NONE },
		{ 0xc02f, 21, { 3, 3 }, 23, TLS_FAULT_RECORD_AUTHENTICATION },
		{ 0xc02f, 20, { 3, 3 }, 30, TLS_FAULT_MESSAGE },
		{ 0xc02f, 24, { 3, 3 }, 30, TLS_FAULT_MESSAGE },
		{ 0xc02f, 23, { 3, 1 }, 30, TLS_FAULT_NOT_TLS },
		{ 0xc02f, 23, { 2, 3 }, 30, TLS_FAULT_NOT_TLS },
		{ 0xcca8, 23, { 3, 3 }, 16384 + 16, TLS_FAULT_NONE },
		{ 0xcca8, 23, { 3, 3 }, 16384 + 17, TLS_FAULT_RECORD_LARGE },
		{ 0xcca8, 23, { 3, 3 }, 15, TLS_FAULT_RECORD_AUTHENTICATION },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t header[5] = { rows[i].type, rows[i].version[0],
				      rows[i].version[1], (uint8_t)(rows[i].length >> 8),
				      (uint8_t)rows[i].length };
		struct record_keys k, peer;
		struct record_plain r;
		uint32_t bytes = 0;

		keys_make(rows[i].suite, &k, &peer);
		assert_int_equal(record_header(&k, header, &bytes), rows[i].fault);
		assert_int_equal(bytes, rows[i].fault ? 0 : 5 + rows[i].length);
		if (rows[i].fault)
			assert_int_equal(records_open(&peer, thread, header, 5, &r),
					 rows[i].fault);
	}
}

/* The largest record of each suite, and the smallest ones. */
static void test_lengths(void **state)
{
	static const size_t lengths[] = { 0, 1, 15, 16, 17, 1000, 16383, 16384 };
	static uint8_t plain[16384], record[RECORD_BYTES_MAX];

	(void)state;
	for (size_t n = 0; n < sizeof(plain); n++)
		plain[n] = (uint8_t)(n * 5 >> 3);
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		struct record_keys k, peer;
		struct record_plain r;

		keys_make(all_suites[i], &k, &peer);
		for (size_t n = 0; n < COUNT(lengths); n++) {
			size_t bytes = records_seal(&k, thread, RECORD_DATA, plain,
						    lengths[n], record);

			assert_int_equal(records_open(&peer, thread, record, bytes, &r),
					 TLS_FAULT_NONE);
			assert_int_equal(r.length, lengths[n]);
			assert_memory_equal(record + r.begin, plain, r.length);
		}
		assert_true(peer.sequence == k.sequence);
	}
}

/* TLS 1.3: content, its type, and padding, as one plaintext that is sealed by hand. */
static size_t seal_inner(struct record_keys *k, const uint8_t *inner, size_t n,
			 uint8_t *out)
{
	uint8_t nonce[12];

	memcpy(nonce, k->iv, 12);
	nonce[11] ^= (uint8_t)k->sequence++;
	out[0] = 23;
	out[1] = out[2] = 3;
	out[3] = (uint8_t)((n + 16) >> 8);
	out[4] = (uint8_t)(n + 16);
	assert_true(
		crypt_begin(thread, k->suite->cipher, CRYPT_SEAL, k->key, nonce, out, 5));
	assert_true(crypt_update(thread, inner, out + 5, n));
	assert_true(crypt_end_seal(thread, out + 5 + n));
	return 5 + n + 16;
}

static void test_inner_types(void **state)
{
	static const struct {
		const char *inner;
		size_t padding;
		enum tls_fault fault;
		uint8_t type;
		uint16_t length;
	} rows[] = {
		{ "aabb17", 0, TLS_FAULT_NONE, RECORD_DATA, 2 },
		{ "aabb17", 1, TLS_FAULT_NONE, RECORD_DATA, 2 },
		{ "aabb17", 16382, TLS_FAULT_NONE, RECORD_DATA, 2 },
		{ "00000017", 7, TLS_FAULT_NONE, RECORD_DATA, 3 },
		{ "17", 5, TLS_FAULT_NONE, RECORD_DATA, 0 },
		{ "010015", 3, TLS_FAULT_NONE, RECORD_ALERT, 2 },
		{ "180000010016", 3, TLS_FAULT_NONE, RECORD_HANDSHAKE, 5 },
		{ "15", 3, TLS_FAULT_MESSAGE, 0, 0 },   /* empty alert */
		{ "16", 0, TLS_FAULT_MESSAGE, 0, 0 },   /* empty handshake */
		{ "0114", 0, TLS_FAULT_MESSAGE, 0, 0 }, /* change_cipher_spec */
		{ "0118", 0, TLS_FAULT_MESSAGE, 0, 0 }, /* heartbeat */
		{ "01ff", 0, TLS_FAULT_MESSAGE, 0, 0 },
		{ "", 1, TLS_FAULT_MESSAGE, 0, 0 }, /* nothing but padding */
		{ "", 16385, TLS_FAULT_MESSAGE, 0, 0 },
	};
	static uint8_t inner[16500], record[16600];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = hex_read(rows[i].inner, inner, sizeof(inner));
		struct record_keys k, peer, keys;
		struct record_plain r = { .type = 0 };
		size_t bytes;

		memset(inner + n, 0, rows[i].padding);
		keys_make(0x1301, &k, &peer);
		bytes = seal_inner(&k, inner, n + rows[i].padding, record);
		/* Cut where the type may be, or not. */
		for (size_t cut = 5; cut <= 12 && cut <= bytes; cut++) {
			struct iovec iov[] = { { record, cut },
					       { record + cut, bytes - cut } };

			bytes = (k = peer,
				 seal_inner(&k, inner, n + rows[i].padding, record));
			keys = peer;
			assert_int_equal(record_open(&keys, thread, iov, 2, &r),
					 rows[i].fault);
			assert_int_equal(r.type, rows[i].type);
			assert_int_equal(r.length, rows[i].length);
		}
	}
}

/* ---- sequence numbers and keys ------------------------------------------------------- */

/* A sealing that failed has used its number up: nothing that was sealed is left, and the next
 * record has another nonce. */
static void test_failed_seal(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		uint8_t head[RECORD_HEAD_MAX], tail[RECORD_TAIL_MAX];
		uint8_t text[] = "plaintext", zeros[sizeof(text)] = { 0 };
		uint8_t lost[60], next[60];
		struct record_part part = { text, text, sizeof(text) };
		struct record_keys k, peer, keys;
		struct record_plain r;
		size_t bytes;

		keys_make(all_suites[i], &k, &peer);
		keys = k;
		bytes = records_seal(&keys, thread, RECORD_DATA, text, sizeof(text),
				     lost);
		crypt_fail_at(1);
		assert_false(record_seal(&k, thread, RECORD_DATA, &part, 1, head, tail));
		assert_memory_equal(text, zeros, sizeof(text));
		assert_int_equal(k.sequence, peer.sequence + 1);
		records_seal(&k, thread, RECORD_DATA, "plaintext", sizeof(text), next);
		assert_memory_not_equal(next + 5, lost + 5, bytes - 5);
		peer.sequence++;
		assert_int_equal(records_open(&peer, thread, next, bytes, &r),
				 TLS_FAULT_NONE);
	}
}

static void test_last_number(void **state)
{
	struct record_keys k, peer;
	struct record_plain r;
	uint8_t record[40];
	uint8_t text[] = "x";
	struct record_part part = { text, text, 1 };
	size_t bytes;

	(void)state;
	keys_make(0x1301, &k, &peer);
	assert_false(record_keys_worn(&k));
	k.sequence = (1u << 23) - 1;
	assert_false(record_keys_worn(&k));
	k.sequence++;
	assert_true(record_keys_worn(&k));
	k.sequence = peer.sequence = UINT64_MAX - 1;
	bytes = records_seal(&k, thread, RECORD_DATA, "x", 1, record);
	assert_int_equal(records_open(&peer, thread, record, bytes, &r), TLS_FAULT_NONE);
	assert_false(record_seal(&k, thread, RECORD_DATA, &part, 1, record, record + 20));
	assert_int_equal(records_open(&peer, thread, record, bytes, &r),
			 TLS_FAULT_LIBRARY);
	assert_true(k.sequence == UINT64_MAX && peer.sequence == UINT64_MAX);
}

/* After an update both ends count from 0 with another key, and have forgotten the old secret. */
static void test_update(void **state)
{
	static const uint16_t suites[] = { 0x1301, 0x1302, 0x1303, SUITE_NULL };

	(void)state;
	for (size_t i = 0; i < COUNT(suites); i++) {
		struct record_keys k, peer, old;
		struct record_plain r;
		uint8_t record[60], copy[60];
		size_t bytes;

		keys_make(suites[i], &k, &peer);
		records_seal(&k, thread, RECORD_DATA, "a", 1, record);
		old = k;
		assert_true(record_keys_update(&k, thread));
		assert_true(k.sequence == 0);
		assert_memory_not_equal(k.key, old.key, k.suite->key_bytes);
		assert_memory_not_equal(k.iv, old.iv, sizeof(k.iv));
		assert_memory_not_equal(k.secret, old.secret, k.suite->secret_bytes);
		bytes = records_seal(&k, thread, RECORD_DATA, "b", 1, record);
		memcpy(copy, record, bytes);
		old = peer;
		assert_int_equal(records_open(&old, thread, copy, bytes, &r),
				 TLS_FAULT_RECORD_AUTHENTICATION);
		assert_true(record_keys_update(&peer, thread));
		assert_int_equal(records_open(&peer, thread, record, bytes, &r),
				 TLS_FAULT_NONE);
	}
}

static void test_cleansed(void **state)
{
	static const struct record_keys none;

	(void)state;
	for (size_t i = 0; i < COUNT(all_suites); i++) {
		struct record_keys k, peer;

		keys_make(all_suites[i], &k, &peer);
		record_keys_done(&k, thread);
		assert_memory_equal(&k, &none, sizeof(k));
		record_keys_done(&k, thread);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),        cmocka_unit_test(test_parts),
		cmocka_unit_test(test_another_bit), cmocka_unit_test(test_order),
		cmocka_unit_test(test_headers),     cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_inner_types), cmocka_unit_test(test_failed_seal),
		cmocka_unit_test(test_last_number), cmocka_unit_test(test_update),
		cmocka_unit_test(test_cleansed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
