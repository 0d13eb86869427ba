#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/body.h"
#include "lib/guard.h"
#include "llhttp.h"

#define A100                                                 \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A1000 A100 A100 A100 A100 A100 A100 A100 A100 A100 A100

/* What came, how it ended, how much of the input that took and what was body. */
struct row {
	enum framing framing;
	uint64_t length;
	struct slice input;
	enum body_event end;
	size_t used;
	const char *data;
	enum fault fault;
};

#define INPUT(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}
#define LENGTH(n, text, end, used, data)                                           \
	{                                                                          \
		FRAMING_LENGTH, n, INPUT(text), BODY_##end, used, data, FAULT_NONE \
	}
#define CHUNKS(text, end, used, data)                                               \
	{                                                                           \
		FRAMING_CHUNKED, 0, INPUT(text), BODY_##end, used, data, FAULT_NONE \
	}
/* All data before the fault is told. */
#define BAD(text, data, name)                                                    \
	{                                                                        \
		FRAMING_CHUNKED, 0, INPUT(text), BODY_BAD, 0, data, FAULT_##name \
	}

static const struct row rows[] = {
	{ FRAMING_NONE, 0, INPUT("GET"), BODY_END, 0, "", FAULT_NONE },
	{ FRAMING_CLOSE, 0, INPUT("abc\r\n"), BODY_MORE, 5, "abc\r\n", FAULT_NONE },
	LENGTH(0, "GET", END, 0, ""),
	LENGTH(3, "abcGET", END, 3, "abc"),
	LENGTH(3, "abc", END, 3, "abc"),
	LENGTH(4, "abc", MORE, 3, "abc"),
	LENGTH(INT64_MAX, "abc", MORE, 3, "abc"),
	CHUNKS("0\r\n\r\n", TRAILERS, 3, ""),
	CHUNKS("3\r\nabc\r\n0\r\n", TRAILERS, 11, "abc"),
	CHUNKS("3\r\nabc\r\n0\r\nA: b\r\n\r\n", TRAILERS, 11, "abc"),
	CHUNKS("3\r\nabc\r\n2\r\nde\r\n0\r\n", TRAILERS, 18, "abcde"),
	CHUNKS("a\r\n0123456789\r\nA\r\n0123456789\r\n", MORE, 30,
	       "01234567890123456789"),
	CHUNKS("1\r\n\r\r\n1\r\n\n\r\n0\r\n", TRAILERS, 15, "\r\n"),
	CHUNKS("0000000000000003\r\nabc\r\n00\r\n", TRAILERS, 27, "abc"),
	CHUNKS("7fffffffffffffff\r\nabc", MORE, 21, "abc"),
	CHUNKS("3;a\r\nabc\r\n0;b=c;d=\"e;\t\\\"\xff\"\r\n", TRAILERS, 28, "abc"),
	CHUNKS("3 \t; a = b ;c\r\nabc\r\n0;d\r\n", TRAILERS, 25, "abc"),
	CHUNKS("3;a;b;c=d \t;e=\"\";f\r\nabc\r\n0\r\n", TRAILERS, 28, "abc"),
	CHUNKS("3;a=\"\\\\\\\"\"\r\nabc\r\n0\r\n", TRAILERS, 20, "abc"),
	CHUNKS("1;a=\"" A1000 "\"\r\nx\r\n1", MORE, 1012, "x"),
	CHUNKS("1;" A1000 "\r\nx\r\n1;" A1000 "\r\ny\r\n", MORE, 2014, "xy"),
	CHUNKS("1;" A1000 "aaaaaaaaaaaaaaaaaaaaaaaa", MORE, 1026, ""),
	CHUNKS("1;0123456789abcdef\r\nx\r\n1\r\ny\r\n", MORE, 29, "xy"),
	CHUNKS("3\r\nabc\r\n0", MORE, 9, "abc"),
	BAD("\r\n", "", CHUNK_SIZE),
	BAD(" 3\r\nabc", "", CHUNK_SIZE),
	BAD("g\r\n", "", CHUNK_SIZE),
	BAD("-1\r\n", "", CHUNK_SIZE),
	BAD("+1\r\n", "", CHUNK_SIZE),
	BAD("0x3\r\nabc", "", CHUNK_SIZE),
	BAD("3,\r\nabc", "", CHUNK_SIZE),
	BAD("3\0\r\nabc", "", CHUNK_SIZE),
	BAD(";a\r\n", "", CHUNK_SIZE),
	BAD("3\r\nabc\r\n\r\n", "abc", CHUNK_SIZE),
	BAD("8000000000000000\r\n", "", CHUNK_LARGE),
	BAD("ffffffffffffffff\r\n", "", CHUNK_LARGE),
	BAD("10000000000000003\r\nabc", "", CHUNK_LARGE),
	BAD("00000000000000003\r\nabc", "", CHUNK_LARGE),
	BAD("3\nabc", "", BARE_LF),
	BAD("3;a\nabc", "", BARE_LF),
	BAD("3; \nabc", "", BARE_LF),
	BAD("3\rabc", "", BARE_CR),
	BAD("3\r\rabc", "", BARE_CR),
	BAD("3;a\rb\r\n", "", BARE_CR),
	BAD("3 \r\nabc", "", CHUNK_EXTENSION),
	BAD("3 a\r\nabc", "", CHUNK_EXTENSION),
	BAD("3 a;b\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a\0\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;\r\nabc", "", CHUNK_EXTENSION),
	BAD("3; \r\nabc", "", CHUNK_EXTENSION),
	BAD("3;;a\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a;\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a@b=c\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;=b\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a= \r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=;b\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=b=c\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a b\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=b c\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a \r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=b\t\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\"b\" \r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\"b\"c\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=b\"c\"\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;\"a\"\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\"b\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\"b\\\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\"\n\"\r\nabc", "", BARE_LF),
	BAD("3;a=\"\\\x7f\"\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;\xff\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\xff\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a,b\r\nabc", "", CHUNK_EXTENSION),
	BAD("1;a=\"" A1000 "aaaaaaaaaaaaaaaaaaaaaa\"\r\nx", "", CHUNK_EXTENSION),
	BAD("3;\x7f\r\nabc", "", CHUNK_EXTENSION),
	BAD("3;a=\"\x01\"\r\nabc", "", CHUNK_EXTENSION),
	BAD("1;" A1000 "aaaaaaaaaaaaaaaaaaaaaaaaa", "", CHUNK_EXTENSION),
	BAD("3\r\nabcd\r\n", "abc", CHUNK_END),
	BAD("3\r\nabc\n", "abc", CHUNK_END),
	BAD("3\r\nabc\rx", "abc", CHUNK_END),
	BAD("3\r\nab\r\n0\r\n\r\n", "ab\r", CHUNK_END),
};

/* What a reader has seen so far. */
struct reader {
	struct body body;
	enum body_event event;
	size_t used, data_n;
	char data[64];
};

/* Reads what body_next() takes of input[from, to), at an unreadable page. */
static void piece_read(struct reader *r, const struct row *row, size_t to)
{
	char *p = guard_copy(row->input.ptr + r->used, to - r->used);
	size_t at = 0, n = to - r->used;

	do {
		size_t used;
		struct slice data;

		r->event = body_next(&r->body, p + at, n - at, &used, &data);
		assert_true(used <= n - at);
		if (r->event == BODY_DATA) {
			assert_true(data.len > 0 && data.ptr >= p + at &&
				    data.ptr + data.len <= p + at + used);
			assert_true(r->data_n + data.len <= sizeof(r->data));
			memcpy(r->data + r->data_n, data.ptr, data.len);
			r->data_n += data.len;
		}
		at += used;
		if (r->event == BODY_MORE)
			assert_int_equal(at, n);
	} while (r->event == BODY_DATA);
	r->used += at;
	guard_free(p);
}

static void reader_check(const struct reader *r, const struct row *row, size_t cut)
{
	bool fits = r->event == row->end && r->body.fault == row->fault &&
		    r->data_n == strlen(row->data) &&
		    memcmp(r->data, row->data, r->data_n) == 0;

	if (!fits || (row->end != BODY_BAD && r->used != row->used))
		fail_msg("%.40s, cut at %zu: event %d, fault '%s', used %zu, data '%.*s'",
			 row->input.ptr, cut, r->event, fault_text(r->body.fault),
			 r->used, (int)r->data_n, r->data);
}

static void reader_init(struct reader *r, const struct row *row)
{
	memset(r, 0, sizeof(*r));
	body_init(&r->body, row->framing, row->length);
}

static void row_check(const struct row *row)
{
	struct reader r, drip;

	reader_init(&drip, row);
	for (size_t cut = 0; cut <= row->input.len; cut++) {
		reader_init(&r, row);
		piece_read(&r, row, cut);
		if (r.event == BODY_MORE)
			piece_read(&r, row, row->input.len);
		reader_check(&r, row, cut);
		if (cut == 0 || drip.event == BODY_MORE)
			piece_read(&drip, row, cut);
	}
	reader_check(&drip, row, 0);
	/* What was told stays so. */
	r.event = BODY_DATA;
	piece_read(&r, row, r.used);
	reader_check(&r, row, row->input.len);
}

static void bodies_cut_at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		row_check(&rows[i]);
}

static int data_seen(llhttp_t *parser, const char *at, size_t n)
{
	struct reader *r = parser->data;

	memcpy(r->data + r->data_n, at, n);
	r->data_n += n;
	return 0;
}

/* llhttp reads one extension in a line, no blanks and no escapes: more it refuses. */
static bool witness_knows(const struct row *row)
{
	unsigned extensions = 0;

	for (size_t i = 0; i < row->input.len; i++) {
		char c = row->input.ptr[i];

		extensions = c == '\n' ? 0 : extensions + (c == ';');
		if (c == ' ' || c == '\t' || c == '\\' || extensions > 1)
			return false;
	}
	return true;
}

/* What we take of a chunked body, the second reader takes, and finds the same data in it. */
static void the_witness_agrees(void **state)
{
	static const char head[] =
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const llhttp_settings_t settings = { .on_body = data_seen };

	(void)state;
	for (const struct row *row = rows; row < rows + COUNT(rows); row++) {
		struct reader r = { .data_n = 0 };
		llhttp_t parser;

		if (row->framing != FRAMING_CHUNKED || row->end == BODY_BAD ||
		    !witness_knows(row))
			continue;
		llhttp_init(&parser, HTTP_REQUEST, &settings);
		parser.data = &r;
		assert_int_equal(llhttp_execute(&parser, head, sizeof(head) - 1), HPE_OK);
		if (llhttp_execute(&parser, row->input.ptr, row->input.len) != HPE_OK ||
		    r.data_n != strlen(row->data) ||
		    memcmp(r.data, row->data, r.data_n) != 0)
			fail_msg("%.40s: %s at %.10s, '%.*s'", row->input.ptr,
				 llhttp_get_error_reason(&parser),
				 llhttp_get_error_pos(&parser), (int)r.data_n, r.data);
	}
}

/* A body is over as soon as its last byte is, without another call. */
static void the_end_is_known(void **state)
{
	struct body b;
	struct slice data;
	size_t used;

	(void)state;
	body_init(&b, FRAMING_LENGTH, 3);
	assert_false(body_ended(&b));
	assert_int_equal(body_next(&b, "abcd", 4, &used, &data), BODY_DATA);
	assert_true(body_ended(&b));
	body_init(&b, FRAMING_NONE, 0);
	assert_true(body_ended(&b));
	body_init(&b, FRAMING_LENGTH, 0);
	assert_true(body_ended(&b));
	body_init(&b, FRAMING_CHUNKED, 0);
	assert_int_equal(body_next(&b, "0\r\n", 3, &used, &data), BODY_TRAILERS);
	assert_false(body_ended(&b));
	body_trailers_read(&b);
	assert_true(body_ended(&b));
	assert_int_equal(body_next(&b, "x", 1, &used, &data), BODY_END);
	assert_int_equal(used, 0);
}

static void connection_ends(void **state)
{
	struct body b;
	struct slice data;
	size_t used;

	(void)state;
	body_init(&b, FRAMING_CLOSE, 0);
	assert_int_equal(body_eof(&b), BODY_END);
	assert_true(body_ended(&b));
	body_init(&b, FRAMING_NONE, 0);
	assert_int_equal(body_eof(&b), BODY_END);
	body_init(&b, FRAMING_LENGTH, 1);
	assert_int_equal(body_eof(&b), BODY_BAD);
	assert_int_equal(b.fault, FAULT_BODY_SHORT);
	assert_int_equal(body_next(&b, "x", 1, &used, &data), BODY_BAD);
	body_init(&b, FRAMING_CHUNKED, 0);
	assert_int_equal(body_next(&b, "0\r\n", 3, &used, &data), BODY_TRAILERS);
	assert_int_equal(body_eof(&b), BODY_BAD);
	body_init(&b, FRAMING_CHUNKED, 0);
	assert_int_equal(body_next(&b, "x", 1, &used, &data), BODY_BAD);
	assert_int_equal(body_eof(&b), BODY_BAD);
	assert_int_equal(b.fault, FAULT_CHUNK_SIZE);
}

/* What some origins write around sizes, if that is forgiven; never within them. */
static void padded(void **state)
{
	static const struct {
		const char *text;
		enum fault fault;
	} texts[] = {
		{ "3 \r\nabc\r\n0\r\n", FAULT_NONE },
		{ " \t 3\t \r\nabc\r\n\t0 \r\n", FAULT_NONE },
		{ "00000000000000000000000000000003\r\nabc\r\n00000000000000000000\r\n", FAULT_NONE },
		{ "3 ;a=b\r\nabc\r\n0\r\n", FAULT_NONE },
		{ "3 ;a=b \r\nabc\r\n0\r\n", FAULT_CHUNK_EXTENSION },
		{ "3 3\r\nabc\r\n", FAULT_CHUNK_EXTENSION },
		{ " \r\nabc\r\n", FAULT_CHUNK_SIZE },
		{ "3\nabc\r\n", FAULT_BARE_LF },
		{ "00000000000000008000000000000000\r\n", FAULT_CHUNK_LARGE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		const char *at = texts[i].text;
		size_t used, n = strlen(at), data_n = 0;
		enum body_event event;
		struct slice data;
		struct body b;

		body_init(&b, FRAMING_CHUNKED, 0);
		b.padding_allowed = true;
		do {
			event = body_next(&b, at, n, &used, &data);
			data_n += event == BODY_DATA ? data.len : 0;
			at += used;
			n -= used;
		} while (event == BODY_DATA);
		if (b.fault != texts[i].fault || (!b.fault && (event != BODY_TRAILERS || data_n != 3)))
			fail_msg("%s: %s", texts[i].text, fault_text(b.fault));
	}
}

/* Bounded like all else. */
static void padded_without_end(void **state)
{
	(void)state;
	for (const char *c = " 0"; *c; c++) {
		struct body b;
		struct slice data;
		size_t used, n = 0;

		body_init(&b, FRAMING_CHUNKED, 0);
		b.padding_allowed = true;
		while (body_next(&b, c, 1, &used, &data) == BODY_MORE && n < 5000)
			n++;
		assert_int_equal(b.fault, FAULT_CHUNK_LARGE);
		assert_int_equal(n, 1024);
	}
}

/* Chunk lines that we write are read as the size that was meant. */
static void chunk_lines(void **state)
{
	static const struct {
		uint64_t n;
		const char *line;
	} lines[] = {
		{ 1, "1\r\n" },
		{ 15, "f\r\n" },
		{ 16, "10\r\n" },
		{ 255, "ff\r\n" },
		{ 4096, "1000\r\n" },
		{ 0xabcdef, "abcdef\r\n" },
		{ INT64_MAX, "7fffffffffffffff\r\n" },
		{ UINT64_MAX, "ffffffffffffffff\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(lines); i++) {
		static const char zeros[BODY_CHUNK_LINE_MAX];
		char *p = guard_copy(zeros, BODY_CHUNK_LINE_MAX);
		struct body b;
		struct slice data;
		size_t used, n = body_chunk_line(p, lines[i].n);

		assert_int_equal(n, strlen(lines[i].line));
		assert_memory_equal(p, lines[i].line, n);
		body_init(&b, FRAMING_CHUNKED, 0);
		if (lines[i].n <= INT64_MAX) {
			assert_int_equal(body_next(&b, p, n, &used, &data), BODY_MORE);
			assert_true(b.left == lines[i].n);
		}
		guard_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_cut_at_every_byte),
		cmocka_unit_test(the_witness_agrees),
		cmocka_unit_test(the_end_is_known),
		cmocka_unit_test(connection_ends),
		cmocka_unit_test(padded),
		cmocka_unit_test(padded_without_end),
		cmocka_unit_test(chunk_lines),
	};

	return cmocka_run_group_tests_name("body", tests, NULL, NULL);
}
