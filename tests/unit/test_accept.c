#include "http/accept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct head_limits limits = { 16384, HEAD_FIELDS_MAX, 0 };

static const struct {
	const char *fields, *type;
	unsigned weight;
} rows[] = {
	{ "", "text/html", 1000 },
	{ "Accept: text/html\r\n", "text/html", 1000 },
	{ "Accept: text/html\r\n", "text/html; charset=utf-8", 1000 },
	{ "Accept: TEXT/html\r\n", "text/HTML", 1000 },
	{ "Accept: text/html\r\n", "application/json", 0 },
	{ "Accept: */*\r\n", "application/json", 1000 },
	{ "Accept: */*;q=0.1\r\n", "application/json", 100 },
	{ "Accept: text/*;q=0.25, */*;q=0.1\r\n", "text/html", 250 },
	{ "Accept: */*;q=0.1, text/*;q=0.25\r\n", "text/html", 250 },
	{ "Accept: text/html;q=0.3 , text/*;q=0.9\r\n", "text/html", 300 },
	{ "Accept: text/html;level=1;q=0.4\r\n", "text/html", 400 },
	{ "Accept: text/html; Q=0.123\r\n", "text/html", 123 },
	{ "Accept: text/html;q=0\r\n", "text/html", 0 },
	{ "Accept: text/html;q=1.000\r\n", "text/html", 1000 },
	{ "Accept: a/b\r\nAccept: text/html;q=0.5\r\n", "text/html", 500 },
	/* Malformed weights: the range is passed over. */
	{ "Accept: text/html;q=2, */*;q=0.2\r\n", "text/html", 200 },
	{ "Accept: text/html;q=1.5, */*;q=0.2\r\n", "text/html", 200 },
	{ "Accept: text/html;q=0.1234, */*;q=0.2\r\n", "text/html", 200 },
	{ "Accept: text/html;q=0,5, */*;q=0.2\r\n", "text/html", 0 },
	{ "Accept: text/html;q=.5\r\n", "text/html", 0 },
	{ "Accept: text\r\n", "text/html", 0 },
	{ "Accept: ,,;q=1,/\r\n", "text/html", 0 },
	{ "Accept: *\r\n", "text/html", 0 },
};

static void test_rows(void **state)
{
	static struct head head;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[256];
		int n = snprintf(text, sizeof(text),
				 "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", rows[i].fields);
		uint32_t scanned = 0;
		unsigned weight;

		assert_int_equal(
			head_parse_request(&head, text, (size_t)n, &limits, &scanned),
			VERDICT_OK);
		weight = accept_weight(&head, slice_of(rows[i].type));
		if (weight != rows[i].weight)
			fail_msg("%s: %s: %u", rows[i].fields, rows[i].type, weight);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
