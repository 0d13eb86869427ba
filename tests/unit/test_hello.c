#include "../../src/tls/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/guard.h"
#include "lib/hellos.h"

static void assert_slice(struct slice s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.ptr, expected, s.len);
}

static void assert_list(struct slice s, const char *hex)
{
	uint8_t bytes[200];

	assert_int_equal(s.len, hex_read(hex, bytes, sizeof(bytes)));
	assert_memory_equal(s.ptr, bytes, s.len);
}

/* RFC 8448 3 */
static const char rfc8448[] =
	"010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113"
	"031302010000910000000b0009000006736572766572ff01000100000a00140012001d001700180019010001"
	"010102010301040023000000330026002400 1d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae"
	"4d5413691e529aaf2c002b0003020304000d0020001e04030503060302030804080508060401050106010201"
	"0402050206020202002d00020101001c00024001";

static void test_message(void **state)
{
	static struct hellos b;
	struct hello h;

	(void)state;
	b.n = 0;
	hellos_put_hex(&b, rfc8448);
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_NONE);
	assert_slice(hello_name(&h), "server");
	assert_list(h.suites, "130113031302");
	assert_list(h.versions, "0304");
	assert_list(h.groups, "001d00170018001901000101010201030104");
	assert_int_equal(h.signatures.len, 30);
	assert_int_equal(h.protocols.len, 0);
	assert_true(h.tls_1_3 && !h.tls_1_2 && h.has_name && !h.has_protocols);
	assert_true(h.ecdsa && !h.ticket);
	assert_true(hello_offers_group(&h, 0x1d) && !hello_offers_group(&h, 0x1e));
	assert_true(hello_offers_suite(&h, 0x1303) && !hello_offers_suite(&h, 0x0313));
}

/* Each part of a message is malformed; no byte behind it is read. */
static void test_cut_message(void **state)
{
	static struct hellos b;
	struct hello h;

	(void)state;
	b.n = 0;
	hellos_put_hex(&b, rfc8448);
	for (size_t n = 0; n < b.n; n++) {
		char *cut = guard_copy((char *)b.bytes, n);

		assert_int_equal(hello_parse((struct slice){ cut, n }, &h),
				 TLS_FAULT_HELLO);
		/* The same with a length that agrees. */
		if (n >= 4) {
			cut[2] = (char)((n - 4) >> 8);
			cut[3] = (char)(n - 4);
			assert_int_equal(hello_parse((struct slice){ cut, n }, &h),
					 n == 49 ? TLS_FAULT_NONE : TLS_FAULT_HELLO);
		}
		guard_free(cut);
	}
}

static void test_protocols(void **state)
{
	static struct hellos b;
	struct slice protocol;
	struct hello h;
	size_t at = 0;

	(void)state;
	hellos_begin(&b, 0x0303, "1301");
	hellos_extension(&b, 16, "000c 02 6832 08 687474702f312e31");
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_NONE);
	assert_true(h.has_protocols);
	assert_true(hello_protocol(&h, &at, &protocol));
	assert_slice(protocol, "h2");
	assert_true(hello_protocol(&h, &at, &protocol));
	assert_slice(protocol, "http/1.1");
	assert_false(hello_protocol(&h, &at, &protocol));
}

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_names(void **state)
{
	static const struct {
		const char *name, *result; /* NULL: malformed */
	} rows[] = {
		{ "a", "a" },
		{ "WWW.Example.COM", "www.example.com" },
		{ "example.com.", "example.com" },
		{ "_x.a-b.0", "_x.a-b.0" },
		{ "192.0.2.1", "192.0.2.1" },
		{ A63 ".com", A63 ".com" },
		{ A63 "." A63 "." A63 "." A63, NULL },
		{ A63 "." A63 "." A63
		      ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  A63 "." A63 "." A63
		      ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
		{ "a" A63 ".com", NULL },
		{ "", NULL },
		{ ".", NULL },
		{ "..", NULL },
		{ ".a", NULL },
		{ "a..b", NULL },
		{ "a..", NULL },
		{ "a b", NULL },
		{ "a\tb", NULL },
		{ "a/b", NULL },
		{ "*.a", NULL },
		{ "[::1]", NULL },
		{ "m\xc3\xbcller", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct hellos b;
		struct hello h;

		hellos_begin(&b, 0x0303, "1301");
		hellos_name(&b, slice_of(rows[i].name));
		assert_int_equal(hello_parse(hellos_message(&b), &h),
				 rows[i].result ? TLS_FAULT_NONE : TLS_FAULT_HELLO);
		if (rows[i].result)
			assert_slice(hello_name(&h), rows[i].result);
	}
}

static void test_name_with_nul(void **state)
{
	static struct hellos b;
	struct hello h;

	(void)state;
	hellos_begin(&b, 0x0303, "1301");
	hellos_name(&b, (struct slice){ "good.com\0.evil.com", 18 });
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_HELLO);
}

/* Extensions that the library could read in another way, or refuses. */
static void test_extensions(void **state)
{
	static const struct {
		uint16_t type;
		const char *hex;
		bool good;
	} rows[] = {
		{ 0, "0004 00 0001 61", true },
		{ 0, "", false },
		{ 0, "0000", false },
		{ 0, "0004 01 0001 61", false },            /* another type of name */
		{ 0, "0004 00 0001 61 00", false },         /* bytes behind the list */
		{ 0, "0008 00 0001 61 00 0001 62", false }, /* two names */
		{ 0, "0005 00 0001 61 62", false },         /* bytes in the list */
		{ 0, "0003 00 0001 61", false },            /* list too short */
		{ 0, "0005 00 0001 61", false },            /* list too long */
		{ 10, "0002 0017", true },
		{ 10, "0000", false },
		{ 10, "0003 001700", false },
		{ 10, "0002 0017 00", false },
		{ 10, "0004 0017", false },
		{ 13, "0002 0403", true },
		{ 13, "0000", false },
		{ 13, "0001 04", false },
		{ 16, "0003 02 6832", true },
		{ 16, "0000", false },
		{ 16, "0001 00", false },
		{ 16, "0004 02 6832 00", false }, /* an empty name */
		{ 16, "0003 03 6832", false },
		{ 16, "0003 02 6832 00", false },
		{ 43, "02 0304", true },
		{ 43, "00", false },
		{ 43, "03 030400", false },
		{ 43, "02 0304 00", false },
		{ 43, "04 0304", false },
		{ 35, "", true },
		{ 41, "0000", true },
		{ 0xfafa, "00", true },
		{ 65535, "", true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct hellos b;
		struct hello h;

		hellos_begin(&b, 0x0303, "1301");
		hellos_extension(&b, rows[i].type, rows[i].hex);
		assert_int_equal(hello_parse(hellos_message(&b), &h),
				 rows[i].good ? TLS_FAULT_NONE : TLS_FAULT_HELLO);
		if (!rows[i].good)
			continue;
		assert_int_equal(h.ticket, rows[i].type == 41);
		/* Twice. */
		hellos_extension(&b, rows[i].type, rows[i].hex);
		assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_HELLO);
		/* The pre-shared key is the last one (RFC 8446 4.2.11). */
		hellos_begin(&b, 0x0303, "1301");
		hellos_extension(&b, rows[i].type, rows[i].hex);
		hellos_extension(&b, 0x1234, "");
		assert_int_equal(hello_parse(hellos_message(&b), &h),
				 rows[i].type == 41 ? TLS_FAULT_HELLO : TLS_FAULT_NONE);
	}
}

static void test_bodies(void **state)
{
	static struct hellos b;
	struct hello h;

	(void)state;
	hellos_begin(&b, 0x0303, "1301");
	b.bytes[0] = 2; /* not a ClientHello */
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_HELLO);
	hellos_begin(&b, 0x0303, "");
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_HELLO);
	hellos_begin(&b, 0x0303, "130113");
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_HELLO);
	hellos_begin(&b, 0x0303, "1301");
	hellos_put(&b, "", 1); /* behind the extensions */
	b.bytes[3]++;
	assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_HELLO);
}

static void test_offers(void **state)
{
	static const struct {
		uint16_t version;
		const char *suites, *versions, *groups, *signatures;
		bool tls_1_2, tls_1_3, ecdsa;
	} rows[] = {
		{ 0x0303, "1301", "020304", "00020017", "00020403", false, true, true },
		{ 0x0303, "1301", "020304", "0002001d", "00020403", false, true, true },
		{ 0x0303, "1301", "020304", NULL, "00020804", false, true, false },
		{ 0x0303, "1301", "020304", NULL, "00020503", false, true, false },
		{ 0x0303, "1301", "020304", NULL, NULL, false, true, false },
		{ 0x0303, "1301c02b", "0403040303", NULL, "00020403", true, true, true },
		{ 0x0303, "c02b", NULL, NULL, NULL, true, false, true },
		{ 0x0303, "c02b", NULL, "00020017", "00020503", true, false, true },
		{ 0x0303, "c02c", NULL, "00020017", "000404010403", true, false, true },
		{ 0x0303, "cca9", NULL, "0002001d", "00020403", true, false, false },
		{ 0x0303, "cca9", NULL, NULL, "00020401", true, false, false },
		{ 0x0303, "c02f", NULL, NULL, "00020403", true, false, false },
		{ 0x0303, "c02b", "020302", NULL, "00020403", false, false, true },
		{ 0x0302, "c02b", NULL, NULL, NULL, false, false, true },
		{ 0x0304, "c02b", NULL, NULL, NULL, true, false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static struct hellos b;
		struct hello h;

		hellos_begin(&b, rows[i].version, rows[i].suites);
		if (rows[i].versions)
			hellos_extension(&b, 43, rows[i].versions);
		if (rows[i].groups)
			hellos_extension(&b, 10, rows[i].groups);
		if (rows[i].signatures)
			hellos_extension(&b, 13, rows[i].signatures);
		assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_NONE);
		assert_int_equal(h.tls_1_2, rows[i].tls_1_2);
		assert_int_equal(h.tls_1_3, rows[i].tls_1_3);
		assert_int_equal(h.ecdsa, rows[i].ecdsa);
	}
}

/* ---- records ------------------------------------------------------------------------ */

/* The bytes arrive one by one, in two parts of a vector; each is asked for once. */
static void check_arrival(const struct hellos *b, size_t fragment)
{
	static char stream[HELLO_STREAM_MAX + 100], out[HELLO_BYTES_MAX];
	size_t bytes = hellos_records(b, fragment, stream);
	struct hello_scan s = { 0 };
	struct slice in_place;

	memcpy(stream + bytes, "behind", 6);
	for (size_t n = 0; n <= bytes; n++) {
		char *first = guard_copy(stream, n / 2);
		char *second = guard_copy(stream + n / 2, n - n / 2);
		struct iovec iov[] = { { first, n / 2 }, { second, n - n / 2 } };

		assert_int_equal(hello_scan(&s, iov, 2),
				 n < bytes ? VERDICT_MORE : VERDICT_OK);
		if (n == bytes) {
			assert_int_equal(s.length, b->n);
			hello_gather(&s, iov, 2, out);
			assert_memory_equal(out, b->bytes, b->n);
			assert_int_equal(hello_in_place(&s, iov, 2).len, 0);
			iov[0] = (struct iovec){ stream, bytes + 6 };
			in_place = hello_in_place(&s, iov, 1);
			assert_int_equal(in_place.len, fragment >= b->n ? b->n : 0);
		}
		guard_free(first);
		guard_free(second);
	}
	/* At once, with more behind it. */
	s = (struct hello_scan){ 0 };
	assert_int_equal(hello_scan(&s, &(struct iovec){ stream, bytes + 6 }, 1),
			 VERDICT_OK);
	assert_int_equal(s.at, bytes);
}

static void test_arrival(void **state)
{
	static struct hellos b;

	(void)state;
	b.n = 0;
	hellos_put_hex(&b, rfc8448);
	for (size_t fragment = b.n / HELLO_RECORDS_MAX + 1; fragment <= b.n; fragment++)
		check_arrival(&b, fragment);
	hellos_begin(&b, 0x0303, "1301");
	for (size_t fragment = 1; fragment < 6; fragment++)
		check_arrival(&b, fragment);
}

static void test_scan_faults(void **state)
{
	static const struct {
		const char *stream;
		size_t decided; /* after so many bytes */
		enum tls_fault fault;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n", 4, TLS_FAULT_PLAIN_HTTP },
		{ "POST / HTTP/1.1\r\n", 5, TLS_FAULT_PLAIN_HTTP },
		{ "PROPPATCH / HTTP/1.1\r\n", 10, TLS_FAULT_PLAIN_HTTP },
		{ "PRI * HTTP/2.0\r\n", 4, TLS_FAULT_PLAIN_HTTP },
		{ "G / HTTP/1.1\r\n", 2, TLS_FAULT_NOT_TLS },
		{ "get / HTTP/1.1\r\n", 1, TLS_FAULT_NOT_TLS },
		{ "SSH-2.0-OpenSSH_9.2", 4, TLS_FAULT_NOT_TLS },
		{ "ABCDEFGHIJKLMNOPQ ", 17, TLS_FAULT_NOT_TLS },
		{ "PROXY TCP4 192.0.2.1", 6, TLS_FAULT_PLAIN_HTTP },
		{ "\r\nGET / HTTP/1.1\r\n", 1, TLS_FAULT_NOT_TLS },
		{ "\x80\x2e\x01\x03\x01", 1, TLS_FAULT_NOT_TLS }, /* SSLv2 */
		{ "\x13\x03\x03", 1, TLS_FAULT_NOT_TLS },
		{ "\x14\x03\x03", 1, TLS_FAULT_MESSAGE },
		{ "\x17\x03\x03", 1, TLS_FAULT_MESSAGE },
		{ "\x18\x03\x03", 1, TLS_FAULT_MESSAGE },
		{ "\x19\x03\x03", 1, TLS_FAULT_NOT_TLS },
		{ "\x15\x03\x01", 1, TLS_FAULT_MESSAGE },
		{ "\x16\x02\x01", 2, TLS_FAULT_NOT_TLS },
		{ "\x16\x03\x01\x40\x01", 5, TLS_FAULT_RECORD_LARGE },
		{ "\x16\x03\x01\x01\x01\x02", 6, TLS_FAULT_MESSAGE }, /* ServerHello */
		{ "\x16\x03\x01\x01\x01\x01\x01", 0, TLS_FAULT_NONE },
		{ "\x16\x03\x01\x01\x01\x01\x01\x01\x01", 9, TLS_FAULT_HELLO_LARGE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct hello_scan s = { 0 };
		size_t bytes = rows[i].decided ? rows[i].decided : strlen(rows[i].stream);

		for (size_t n = 0; n <= bytes; n++) {
			char *stream = guard_copy(rows[i].stream, n);
			bool last = n == rows[i].decided && n > 0;
			struct iovec iov = { stream, n };

			assert_int_equal(hello_scan(&s, &iov, 1),
					 last ? VERDICT_BAD : VERDICT_MORE);
			assert_int_equal(s.fault, last ? rows[i].fault : TLS_FAULT_NONE);
			if (last) /* It stays so. */
				assert_int_equal(hello_scan(&s, &iov, 1), VERDICT_BAD);
			guard_free(stream);
		}
	}
}

/* An empty record, another type in the middle, and one record too many. */
static void test_record_faults(void **state)
{
	static char stream[20000], empty[] = { 22, 3, 1, 0, 0 };
	static struct hellos b;
	struct hello_scan s = { 0 };
	size_t bytes;

	(void)state;
	assert_int_equal(hello_scan(&s, &(struct iovec){ empty, sizeof(empty) }, 1),
			 VERDICT_BAD);
	assert_int_equal(s.fault, TLS_FAULT_MESSAGE);
	b.n = 0;
	hellos_put_hex(&b, rfc8448);
	bytes = hellos_records(&b, 50, stream);
	stream[55] = 23;
	s = (struct hello_scan){ 0 };
	assert_int_equal(hello_scan(&s, &(struct iovec){ stream, bytes }, 1),
			 VERDICT_BAD);
	assert_int_equal(s.fault, TLS_FAULT_MESSAGE);
	hellos_begin(&b, 0x0303, "1301");
	hellos_extension(&b, 21, "");
	memset(b.bytes + b.n, 0, 3000);
	b.n += 3000;
	hellos_end(&b);
	bytes = hellos_records(&b, 1, stream);
	s = (struct hello_scan){ 0 };
	assert_int_equal(hello_scan(&s, &(struct iovec){ stream, bytes }, 1),
			 VERDICT_BAD);
	assert_int_equal(s.fault, TLS_FAULT_HELLO_LARGE);
	assert_int_equal(s.at, HELLO_RECORDS_MAX * 6);
}

/* The largest hello, and one byte more. */
static void test_largest(void **state)
{
	static char stream[HELLO_STREAM_MAX + 10];
	static struct hellos b;
	struct hello h;

	(void)state;
	for (size_t more = 0; more < 2; more++) {
		struct hello_scan s = { 0 };
		size_t left, bytes;

		hellos_begin(&b, 0x0303, "1301");
		hellos_extension(&b, 21, "");
		left = HELLO_BYTES_MAX - b.n + more;
		b.bytes[b.n - 2] = (uint8_t)(left >> 8);
		b.bytes[b.n - 1] = (uint8_t)left;
		memset(b.bytes + b.n, 0, left);
		b.n += left;
		hellos_end(&b);
		bytes = hellos_records(&b, 16384, stream);
		assert_int_equal(hello_scan(&s, &(struct iovec){ stream, bytes }, 1),
				 more ? VERDICT_BAD : VERDICT_OK);
		assert_int_equal(s.fault, more ? TLS_FAULT_HELLO_LARGE : TLS_FAULT_NONE);
		assert_int_equal(hello_parse(hellos_message(&b), &h), TLS_FAULT_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),       cmocka_unit_test(test_cut_message),
		cmocka_unit_test(test_protocols),     cmocka_unit_test(test_names),
		cmocka_unit_test(test_name_with_nul), cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_bodies),        cmocka_unit_test(test_offers),
		cmocka_unit_test(test_arrival),       cmocka_unit_test(test_scan_faults),
		cmocka_unit_test(test_record_faults), cmocka_unit_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
