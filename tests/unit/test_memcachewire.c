#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "back/memcachewire.h"
#include "lib/guard.h"

static void key_validity(void **state)
{
	static const struct {
		struct slice key;
		bool valid;
	} rows[] = {
		{ SLICE("a"), true },           { SLICE("session:42"), true },
		{ SLICE("\xc3\xa4"), true },    { SLICE("!~"), true },
		{ SLICE(""), false },           { SLICE("a b"), false },
		{ SLICE("a\r\nget b"), false }, { SLICE("a\0b"), false },
		{ SLICE("a\x7f"), false },      { SLICE("\t"), false },
	};
	char longest[MEMCACHE_KEY_MAX + 1];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *p = guard_copy(rows[i].key.ptr, rows[i].key.len);

		if (memcache_key_valid((struct slice){ p, rows[i].key.len }) !=
		    rows[i].valid)
			fail_msg("row %zu", i);
		guard_free(p);
	}
	memset(longest, 'k', sizeof(longest));
	assert_true(memcache_key_valid((struct slice){ longest, MEMCACHE_KEY_MAX }));
	assert_false(memcache_key_valid((struct slice){ longest, MEMCACHE_KEY_MAX + 1 }));
}

static void assert_emits(enum memcache_command command, struct slice key,
			 struct slice expected)
{
	char *out = guard_copy(expected.ptr, expected.len);

	memset(out, 0, expected.len);
	assert_int_equal(memcache_emit(out, command, key, 7210), expected.len);
	assert_memory_equal(out, expected.ptr, expected.len);
	guard_free(out);
}

static void requests(void **state)
{
	char key[MEMCACHE_KEY_MAX], expected[MEMCACHE_REQUEST_MAX];
	int len;

	(void)state;
	assert_emits(MEMCACHE_GET, SLICE("foo"), SLICE("get foo\r\n"));
	assert_emits(MEMCACHE_MG, SLICE("foo"), SLICE("mg foo v\r\n"));
	assert_emits(MEMCACHE_COUNT, SLICE("foo"), SLICE("ma foo N7210 J1 v\r\n"));
	assert_emits(MEMCACHE_UNCOUNT, SLICE("foo"), SLICE("ma foo MD v\r\n"));
	memset(key, 'k', sizeof(key));
	len = snprintf(expected, sizeof(expected), "mg %.*s v\r\n", (int)sizeof(key),
		       key);
	assert_true(len > 0 && (size_t)len < sizeof(expected));
	assert_emits(MEMCACHE_MG, (struct slice){ key, sizeof(key) },
		     (struct slice){ expected, (size_t)len });
}

#define GET MEMCACHE_GET
#define MG MEMCACHE_MG
#define CNT MEMCACHE_COUNT
#define UNCOUNT MEMCACHE_UNCOUNT
#define OK VERDICT_OK
#define BAD VERDICT_BAD
#define HIT MEMCACHE_HIT
#define MISS MEMCACHE_MISS
#define ERR MEMCACHE_ERROR

/* Replies to a request for foo. */
static const struct row {
	enum memcache_command command;
	struct slice bytes;
	enum verdict verdict;
	enum memcache_reply_kind kind;
	uint64_t length;
	size_t tail;
	const char *text;
} replies[] = {
	{ GET, SLICE("VALUE foo 0 3\r\n"), OK, HIT, 3, 7, NULL },
	{ GET, SLICE("VALUE foo 4294967295 0\r\n"), OK, HIT, 0, 7, NULL },
	{ GET, SLICE("VALUE foo 0 4294967295\r\n"), OK, HIT, 4294967295, 7, NULL },
	{ GET, SLICE("END\r\n"), OK, MISS, 0, 0, NULL },
	{ GET, SLICE("ERROR\r\n"), OK, ERR, 0, 0, "ERROR" },
	{ GET, SLICE("ERROR why\r\n"), OK, ERR, 0, 0, "ERROR why" },
	{ GET, SLICE("CLIENT_ERROR no\r\n"), OK, ERR, 0, 0, "CLIENT_ERROR no" },
	{ GET, SLICE("SERVER_ERROR out of memory\r\n"), OK, ERR, 0, 0,
	  "SERVER_ERROR out of memory" },
	{ MG, SLICE("VA 3\r\n"), OK, HIT, 3, 2, NULL },
	{ MG, SLICE("VA 3 f0 t-1 Oabc W\r\n"), OK, HIT, 3, 2, NULL },
	{ MG, SLICE("EN\r\n"), OK, MISS, 0, 0, NULL },
	{ MG, SLICE("SERVER_ERROR x\r\n"), OK, ERR, 0, 0, "SERVER_ERROR x" },
	{ CNT, SLICE("VA 2\r\n"), OK, HIT, 2, 2, NULL },
	{ CNT, SLICE("NF\r\n"), OK, MISS, 0, 0, NULL },
	{ CNT, SLICE("NS\r\n"), OK, MISS, 0, 0, NULL },
	{ CNT, SLICE("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"), OK, ERR,
	  0, 0, "CLIENT_ERROR cannot increment or decrement non-numeric value" },
	{ UNCOUNT, SLICE("VA 1\r\n"), OK, HIT, 1, 2, NULL },
	{ UNCOUNT, SLICE("NF\r\n"), OK, MISS, 0, 0, NULL },

	/* The reply to another request. */
	{ GET, SLICE("VALUE fop 0 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE fo 0 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE fooo 0 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VA 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("EN\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("STORED\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VALUE foo 0 3\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3 f\xd6\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3 f\x7f\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("END\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("HD\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("NF\r\n"), BAD, 0, 0, 0, NULL },
	{ CNT, SLICE("EN\r\n"), BAD, 0, 0, 0, NULL },
	{ CNT, SLICE("HD\r\n"), BAD, 0, 0, 0, NULL },
	{ CNT, SLICE("NFx\r\n"), BAD, 0, 0, 0, NULL },
	{ CNT, SLICE("2\r\n"), BAD, 0, 0, 0, NULL },
	{ UNCOUNT, SLICE("END\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("HTTP/1.1 400 Bad Request\r\n"), BAD, 0, 0, 0, NULL },

	/* Malformed. */
	{ GET, SLICE("VALUE foo 0 4294967296\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 99999999999999999999999\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 4294967296 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 -3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 +3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 0x3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 \r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo  0 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 3 \r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 3 1\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 3\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("VALUE foo 0 3\r\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("value foo 0 3\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE(" END\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("END \r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("END\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("ERRORS\r\n"), BAD, 0, 0, 0, NULL },
	{ GET, SLICE("SERVER_ERROR a\rb\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA \r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3x\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3 \r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3 f0  t1\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3 9\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 3 f0\0\r\n"), BAD, 0, 0, 0, NULL },
	{ MG, SLICE("VA 4294967296\r\n"), BAD, 0, 0, 0, NULL },
};

static void check_row(size_t i, const char *bytes, size_t n, enum verdict expected)
{
	const struct row *row = &replies[i];
	struct memcache_reply r;

	if (memcache_parse_reply(&r, row->command, SLICE("foo"), bytes, n) != expected)
		fail_msg("row %zu, %zu bytes", i, n);
	if (expected != OK)
		return;
	assert_int_equal(r.kind, row->kind);
	assert_int_equal(r.line, row->bytes.len);
	assert_int_equal(r.length, row->length);
	assert_int_equal(r.tail, row->tail);
	assert_true(slice_equal(r.text, slice_of(row->text)));
}

static void every_reply_cut_at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(replies); i++) {
		for (size_t n = 0; n <= replies[i].bytes.len; n++) {
			char *p = guard_copy(replies[i].bytes.ptr, n);

			check_row(i, p, n,
				  n < replies[i].bytes.len ? VERDICT_MORE
							   : replies[i].verdict);
			guard_free(p);
		}
	}
}

/* Bytes after the first line are not read. */
static void line_is_all_that_is_read(void **state)
{
	char bytes[128];

	(void)state;
	for (size_t i = 0; i < COUNT(replies); i++) {
		struct slice s = replies[i].bytes;

		memcpy(bytes, s.ptr, s.len);
		memcpy(bytes + s.len, "\r\nEND\r\n", 7);
		check_row(i, bytes, s.len + 7, replies[i].verdict);
	}
}

static void line_without_end(void **state)
{
	char bytes[MEMCACHE_LINE_MAX + 2];
	struct memcache_reply r;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "SERVER_ERROR ", 13);
	assert_int_equal(
		memcache_parse_reply(&r, GET, SLICE("foo"), bytes, MEMCACHE_LINE_MAX - 1),
		VERDICT_MORE);
	assert_int_equal(
		memcache_parse_reply(&r, GET, SLICE("foo"), bytes, MEMCACHE_LINE_MAX),
		BAD);
	memcpy(bytes + MEMCACHE_LINE_MAX - 2, "\r\n", 2);
	assert_int_equal(
		memcache_parse_reply(&r, GET, SLICE("foo"), bytes, MEMCACHE_LINE_MAX),
		OK);
	assert_int_equal(r.line, MEMCACHE_LINE_MAX);
	memset(bytes + MEMCACHE_LINE_MAX - 2, 'x', 2);
	memcpy(bytes + MEMCACHE_LINE_MAX, "\r\n", 2);
	assert_int_equal(
		memcache_parse_reply(&r, GET, SLICE("foo"), bytes, MEMCACHE_LINE_MAX + 2),
		BAD);
}

static void longest_key(void **state)
{
	char key[MEMCACHE_KEY_MAX], line[MEMCACHE_LINE_MAX];
	struct memcache_reply r;
	int len;

	(void)state;
	memset(key, 'k', sizeof(key));
	len = snprintf(line, sizeof(line), "VALUE %.*s 4294967295 1048576\r\n",
		       (int)sizeof(key), key);
	assert_int_equal(memcache_parse_reply(&r, GET, (struct slice){ key, sizeof(key) },
					      line, (size_t)len),
			 OK);
	assert_int_equal(r.length, 1048576);
}

static void tails(void **state)
{
	static const struct {
		enum memcache_command command;
		struct slice tail;
		bool valid;
	} rows[] = {
		{ GET, SLICE("\r\nEND\r\n"), true },
		{ GET, SLICE("\r\nEND\r\r"), false },
		{ GET, SLICE("\r\nVALUE"), false },
		{ GET, SLICE("x\r\nEND\r"), false },
		{ GET, SLICE("\n\nEND\r\n"), false },
		{ MG, SLICE("\r\n"), true },
		{ MG, SLICE("\n\n"), false },
		{ MG, SLICE("xy"), false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct memcache_reply r = { .kind = HIT, .tail = rows[i].tail.len };
		char *p = guard_copy(rows[i].tail.ptr, rows[i].tail.len);

		if (memcache_tail_valid(&r, rows[i].command, p) != rows[i].valid)
			fail_msg("row %zu", i);
		guard_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_validity),
		cmocka_unit_test(requests),
		cmocka_unit_test(every_reply_cut_at_every_byte),
		cmocka_unit_test(line_is_all_that_is_read),
		cmocka_unit_test(line_without_end),
		cmocka_unit_test(longest_key),
		cmocka_unit_test(tails),
	};

	return cmocka_run_group_tests_name("memcachewire", tests, NULL, NULL);
}
