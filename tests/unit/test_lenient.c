#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/lenient.h"
#include "lib/guard.h"

#define BIT(name) (1u << LENIENT_##name)
#define ALL (BIT(LF) | BIT(FOLDING) | BIT(DUPLICATE_TE) | BIT(DUPLICATE_LENGTH) | BIT(COLON))
#define LINE "HTTP/1.1 200 OK\r\n"

static const struct lenient_case {
	unsigned lenient;
	const char *in, *out; /* NULL: unchanged */
	enum fault fault;     /* of the output */
	bool trailers;
} cases[] = {
	/* Blanks before a colon. */
	{ BIT(COLON), LINE "A : b\r\nC \t:d\r\nE: f\r\n\r\n", LINE "A: b\r\nC:d\r\nE: f\r\n\r\n", 0, 0 },
	{ BIT(COLON), LINE "Content-Length : 5\r\n\r\n", LINE "Content-Length: 5\r\n\r\n", 0, 0 },
	{ BIT(COLON), LINE "Transfer-Encoding\t: chunked\r\n\r\n",
	  LINE "Transfer-Encoding: chunked\r\n\r\n", 0, 0 },
	{ BIT(COLON), LINE "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n",
	  LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", FAULT_LENGTH_CODING, 0 },
	{ BIT(COLON), LINE "A b : c\r\n\r\n", NULL, FAULT_FIELD_NAME, 0 },
	{ BIT(COLON), LINE "A \r\n\r\n", NULL, FAULT_FIELD_NAME, 0 },
	{ BIT(COLON), LINE " : b\r\n\r\n", NULL, FAULT_FIELD_FOLD, 0 },
	{ BIT(COLON), LINE ": b\r\n\r\n", NULL, FAULT_FIELD_NAME, 0 },
	{ BIT(COLON), "A : b\r\n\r\n", "A: b\r\n\r\n", 0, true },
	{ 0, LINE "A : b\r\n\r\n", NULL, FAULT_FIELD_COLON, 0 },
	/* Bare LF. */
	{ BIT(LF), "HTTP/1.1 200 OK\nA: b\nC: d\r\n\n", LINE "A: b\r\nC: d\r\n\r\n", 0, 0 },
	{ BIT(LF), "HTTP/1.1 200\n\n", "HTTP/1.1 200\r\n\r\n", 0, 0 },
	{ BIT(LF), "A: b\n\n", "A: b\r\n\r\n", 0, true },
	{ BIT(LF), "\n", "\r\n", 0, true },
	{ BIT(LF), "\nHTTP/1.1 200 OK\n\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", FAULT_STATUS_LINE, 0 },
	{ BIT(LF), LINE "A: b\r\r\n\r\n", NULL, FAULT_BARE_CR, 0 },
	{ BIT(LF), LINE "A: b\rC: d\n\n", LINE "A: b\rC: d\r\n\r\n", FAULT_BARE_CR, 0 },
	{ BIT(LF), LINE "A: b\n c\n\n", LINE "A: b\r\n c\r\n\r\n", FAULT_FIELD_FOLD, 0 },
	{ BIT(COLON), LINE "A : b\nC: d\r\n\r\n", LINE "A: b\nC: d\r\n\r\n", FAULT_BARE_LF, 0 },
	/* obs-fold: each becomes one space. */
	{ BIT(FOLDING), LINE "A: b \t\r\n \t c\r\n\td\r\nE: f\r\n\r\n", LINE "A: b c d\r\nE: f\r\n\r\n", 0, 0 },
	{ BIT(FOLDING), LINE "A:\r\n b\r\n\r\n", LINE "A: b\r\n\r\n", 0, 0 },
	{ BIT(FOLDING), LINE "A: b\r\n \r\n\r\n", LINE "A: b \r\n\r\n", 0, 0 },
	{ BIT(FOLDING), LINE "A:\r\n \r\n\t\r\n\r\n", LINE "A: \r\n\r\n", 0, 0 },
	{ BIT(FOLDING), LINE "Transfer-Encoding:\r\n chunked\r\n\r\n",
	  LINE "Transfer-Encoding: chunked\r\n\r\n", 0, 0 },
	{ BIT(FOLDING), LINE "Content-Length: 1\r\n 2\r\n\r\n", LINE "Content-Length: 1 2\r\n\r\n",
	  FAULT_LENGTH, 0 },
	{ BIT(FOLDING), LINE "A\r\n : b\r\n\r\n", LINE "A : b\r\n\r\n", FAULT_FIELD_COLON, 0 },
	{ BIT(FOLDING), LINE " A: b\r\n\r\n", NULL, FAULT_FIELD_FOLD, 0 },
	{ BIT(FOLDING), LINE " A: b\r\nC: d\r\n e\r\n\r\n", LINE " A: b\r\nC: d e\r\n\r\n",
	  FAULT_FIELD_FOLD, 0 },
	{ BIT(FOLDING), "A: b\r\n c\r\n\r\n", "A: b c\r\n\r\n", 0, true },
	{ BIT(FOLDING), " A: b\r\n\r\n", NULL, FAULT_TRAILER, true },
	/* Repeated values. */
	{ BIT(DUPLICATE_TE), LINE "Transfer-Encoding: chunked, Chunked,\r\n\r\n",
	  LINE "Transfer-Encoding:chunked\r\n\r\n", 0, 0 },
	{ BIT(DUPLICATE_TE), LINE "transfer-encoding: chunked\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n",
	  LINE "transfer-encoding:chunked\r\nA: b\r\n\r\n", 0, 0 },
	{ BIT(DUPLICATE_TE), LINE "Transfer-Encoding: gzip, chunked\r\n\r\n", NULL, FAULT_CODING, 0 },
	{ BIT(DUPLICATE_TE), LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
	  LINE "Transfer-Encoding:chunked\r\nTransfer-Encoding: gzip\r\n\r\n", FAULT_CODING, 0 },
	{ BIT(DUPLICATE_TE), LINE "Transfer-Encoding:\r\n\r\n", NULL, FAULT_CODING, 0 },
	{ BIT(DUPLICATE_TE), LINE "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", NULL,
	  FAULT_LENGTH_REPEATED, 0 },
	{ BIT(DUPLICATE_LENGTH), LINE "Content-Length: 5\r\nA: b\r\ncontent-length:5\r\n\r\n",
	  LINE "Content-Length:5\r\nA: b\r\n\r\n", 0, 0 },
	{ BIT(DUPLICATE_LENGTH), LINE "Content-Length: 5, 5 ,5\r\n\r\n", LINE "Content-Length:5\r\n\r\n",
	  0, 0 },
	{ BIT(DUPLICATE_LENGTH), LINE "Content-Length: 5, 6\r\n\r\n", NULL, FAULT_LENGTH, 0 },
	{ BIT(DUPLICATE_LENGTH), LINE "Content-Length: 5, 05\r\n\r\n", NULL, FAULT_LENGTH, 0 },
	{ BIT(DUPLICATE_LENGTH), LINE "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
	  LINE "Content-Length:5\r\nContent-Length: 6\r\n\r\n", FAULT_LENGTH_REPEATED, 0 },
	{ BIT(DUPLICATE_LENGTH), LINE "Content-Length: -5, -5\r\n\r\n",
	  LINE "Content-Length:-5\r\n\r\n", FAULT_LENGTH, 0 },
	{ BIT(DUPLICATE_LENGTH),
	  LINE "Content-Length: 5, 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	  LINE "Content-Length:5\r\nTransfer-Encoding: chunked\r\n\r\n", FAULT_LENGTH_CODING, 0 },
	/* All deviations at once. */
	{ ALL, "HTTP/1.1 200 OK\nA : b\n c\nTransfer-Encoding :\n chunked\nTransfer-Encoding: CHUNKED\n\n",
	  LINE "A: b c\r\nTransfer-Encoding:chunked\r\n\r\n", 0, 0 },
	/* Control characters stay. */
	{ ALL, "HTTP/1.1 200 OK\nA: \x01\n\n", LINE "A: \x01\r\n\r\n", FAULT_CONTROL, 0 },
};

static void case_check(const struct lenient_case *c)
{
	static const struct head_limits limits = { 4096, 20, 0 };
	static const char zeros[1024];
	static struct head h;
	size_t n = strlen(c->in), written;
	const char *wanted = c->out ? c->out : c->in;
	char *in = guard_copy(c->in, n), *out = guard_copy(zeros, LENIENT_BYTES_MAX(n));
	uint32_t scanned = 0;
	enum verdict v;

	assert_int_equal(lenient_span((struct slice){ in, n }, c->trailers, c->lenient), n);
	written = lenient_write(out, (struct slice){ in, n }, c->trailers, c->lenient);
	if (written != strlen(wanted) || memcmp(out, wanted, written) != 0)
		fail_msg("%s was written as %.*s, not %s", c->in, (int)written, out, wanted);
	v = c->trailers ? head_parse_trailers(&h, out, written, &limits, &scanned) :
			    head_parse_response(&h, out, written, &limits, &scanned);
	if (h.fault != (c->trailers && c->fault ? FAULT_TRAILER : c->fault))
		fail_msg("%s: %s", wanted, fault_text(h.fault));
	assert_int_equal(v, c->fault ? VERDICT_BAD : VERDICT_OK);
	guard_free(in);
	guard_free(out);
}

static void test_rewritten(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		case_check(&cases[i]);
}

/* Every proper prefix is incomplete, and is not read past its end. */
static void test_incomplete(void **state)
{
	(void)state;
	for (const struct lenient_case *c = cases; c < cases + COUNT(cases); c++)
		for (size_t n = 0; n < strlen(c->in); n++) {
			char *in = guard_copy(c->in, n);

			assert_int_equal(lenient_span((struct slice){ in, n }, c->trailers,
						      c->lenient), 0);
			guard_free(in);
		}
}

/* Bytes after the empty line are not part of the head. */
static void test_body_after(void **state)
{
	struct slice s = SLICE("HTTP/1.1 200 OK\n\nA : b\n\n");

	(void)state;
	assert_int_equal(lenient_span(s, false, BIT(LF)), 17);
	assert_int_equal(lenient_span(s, false, 0), 0);
}

static void test_may_help(void **state)
{
	(void)state;
	assert_true(lenient_may_help(FAULT_FIELD_COLON, BIT(COLON)));
	assert_false(lenient_may_help(FAULT_FIELD_COLON, 0));
	assert_true(lenient_may_help(FAULT_BARE_LF, BIT(LF)));
	assert_false(lenient_may_help(FAULT_BARE_LF, ALL & ~BIT(LF)));
	assert_false(lenient_may_help(FAULT_BARE_CR, ALL));
	assert_false(lenient_may_help(FAULT_LENGTH_CODING, ALL));
	assert_false(lenient_may_help(FAULT_NONE, ALL));
	assert_false(lenient_may_help(FAULT_TRAILER, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rewritten),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_body_after),
		cmocka_unit_test(test_may_help),
	};

	return cmocka_run_group_tests_name("lenient", tests, NULL, NULL);
}
