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

/* An input, the event at its end, how much of it was consumed, and its content. */
struct body_case {
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
/* All content before the fault is returned. */
#define BAD(text, data, name)                                                    \
	{                                                                        \
		FRAMING_CHUNKED, 0, INPUT(text), BODY_BAD, 0, data, FAULT_##name \
	}

static const struct body_case cases[] = {
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

/* The state of a reader. */
struct body_reader {
	struct body body;
	enum body_event event;
	size_t used, data_n;
	char data[64];
};

/* Reads input[used, to), which ends at an unreadable page. */
static void piece_read(struct body_reader *r, const struct body_case *c, size_t to)
{
	char *p = guard_copy(c->input.ptr + r->used, to - r->used);
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

static void reader_check(const struct body_reader *r, const struct body_case *c,
			 size_t split)
{
	bool fits = r->event == c->end && r->body.fault == c->fault &&
		    r->data_n == strlen(c->data) &&
		    memcmp(r->data, c->data, r->data_n) == 0;

	if (!fits || (c->end != BODY_BAD && r->used != c->used))
		fail_msg(
			"%.40s, split at %zu: event %d, fault '%s', used %zu, data '%.*s'",
			c->input.ptr, split, r->event, fault_text(r->body.fault), r->used,
			(int)r->data_n, r->data);
}

static void reader_init(struct body_reader *r, const struct body_case *c)
{
	memset(r, 0, sizeof(*r));
	body_init(&r->body, c->framing, c->length);
}

static void case_check(const struct body_case *c)
{
	struct body_reader r, bytewise;

	reader_init(&bytewise, c);
	for (size_t split = 0; split <= c->input.len; split++) {
		reader_init(&r, c);
		piece_read(&r, c, split);
		if (r.event == BODY_MORE)
			piece_read(&r, c, c->input.len);
		reader_check(&r, c, split);
		if (split == 0 || bytewise.event == BODY_MORE)
			piece_read(&bytewise, c, split);
	}
	reader_check(&bytewise, c, 0);
	/* The same event is returned again. */
	r.event = BODY_DATA;
	piece_read(&r, c, r.used);
	reader_check(&r, c, c->input.len);
}

static void bodies_split_at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		case_check(&cases[i]);
}

static int data_seen(llhttp_t *parser, const char *at, size_t n)
{
	struct body_reader *r = parser->data;

	memcpy(r->data + r->data_n, at, n);
	r->data_n += n;
	return 0;
}

/* llhttp refuses lines with several extensions, blanks or escapes. */
static bool llhttp_accepts(const struct body_case *c)
{
	unsigned extensions = 0;

	for (size_t i = 0; i < c->input.len; i++) {
		char octet = c->input.ptr[i];

		extensions = octet == '\n' ? 0 : extensions + (octet == ';');
		if (octet == ' ' || octet == '\t' || octet == '\\' || extensions > 1)
			return false;
	}
	return true;
}

/* Every chunked body that we accept, llhttp accepts, with the same content. */
static void llhttp_finds_the_same_data(void **state)
{
	static const char head[] =
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const llhttp_settings_t settings = { .on_body = data_seen };

	(void)state;
	for (const struct body_case *c = cases; c < cases + COUNT(cases); c++) {
		struct body_reader r = { .data_n = 0 };
		llhttp_t parser;

		if (c->framing != FRAMING_CHUNKED || c->end == BODY_BAD ||
		    !llhttp_accepts(c))
			continue;
		llhttp_init(&parser, HTTP_REQUEST, &settings);
		parser.data = &r;
		assert_int_equal(llhttp_execute(&parser, head, sizeof(head) - 1), HPE_OK);
		if (llhttp_execute(&parser, c->input.ptr, c->input.len) != HPE_OK ||
		    r.data_n != strlen(c->data) || memcmp(r.data, c->data, r.data_n) != 0)
			fail_msg("%.40s: %s at %.10s, '%.*s'", c->input.ptr,
				 llhttp_get_error_reason(&parser),
				 llhttp_get_error_pos(&parser), (int)r.data_n, r.data);
	}
}

/* A body has ended with its last byte, without another call. */
static void the_end_is_reported(void **state)
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

/* Blanks and zeros around chunk sizes, if allowed; never within them. */
static void padding(void **state)
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

/* The padding of a chunk line is limited. */
static void padding_is_limited(void **state)
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

/* Chunk lines that we write are parsed as the same size. */
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
		cmocka_unit_test(bodies_split_at_every_byte),
		cmocka_unit_test(llhttp_finds_the_same_data),
		cmocka_unit_test(the_end_is_reported),
		cmocka_unit_test(connection_ends),
		cmocka_unit_test(padding),
		cmocka_unit_test(padding_is_limited),
		cmocka_unit_test(chunk_lines),
	};

	return cmocka_run_group_tests_name("body", tests, NULL, NULL);
}
