#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/traceparent.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define ZEROS "00000000000000000000000000000000"

static void test_good(void **state)
{
	static const struct {
		const char *text, *written;
		uint8_t flags;
	} rows[] = {
		{ "00-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-01", 1 },
		{ "00-" TRACE "-" SPAN "-00", "00-" TRACE "-" SPAN "-00", 0 },
		{ "00-" TRACE "-" SPAN "-af", "00-" TRACE "-" SPAN "-af", 0xaf },
		{ "01-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-01", 1 },
		{ "cc-" TRACE "-" SPAN "-01-what the future has", "00-" TRACE "-" SPAN "-01", 1 },
		{ "cc-" TRACE "-" SPAN "-01-", "00-" TRACE "-" SPAN "-01", 1 },
	};
	struct traceparent t;
	char text[TRACEPARENT_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_true(traceparent_parse(&t, slice_of(rows[i].text)));
		assert_int_equal(t.flags, rows[i].flags);
		assert_memory_equal(t.trace_id, TRACE, TRACE_ID_TEXT);
		assert_memory_equal(t.span_id, SPAN, SPAN_ID_TEXT);
		traceparent_text(&t, text);
		assert_memory_equal(text, rows[i].written, TRACEPARENT_TEXT);
	}
}

static void test_bad(void **state)
{
	static const char *const rows[] = {
		"",
		"00",
		"00-" TRACE "-" SPAN "-0",
		"00-" TRACE "-" SPAN "-01-",
		"00-" TRACE "-" SPAN "-011",
		"01-" TRACE "-" SPAN "-011",
		"ff-" TRACE "-" SPAN "-01",
		"0G-" TRACE "-" SPAN "-01",
		"0A-" TRACE "-" SPAN "-01",
		"00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
		"00-" TRACE "-B7AD6B7169203331-01",
		"00-" TRACE "-" SPAN "-0x",
		"00-" ZEROS "-" SPAN "-01",
		"00-" TRACE "-0000000000000000-01",
		"00_" TRACE "-" SPAN "-01",
		"00-" TRACE "_" SPAN "-01",
		"00-" TRACE "-" SPAN "_01",
		" 00-" TRACE "-" SPAN "-01",
	};
	struct traceparent t;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (traceparent_parse(&t, slice_of(rows[i])))
			fail_msg("%s", rows[i]);
}

/* Any octet in any place: no crash, and only hexadecimal digits are taken over. */
static void test_octets(void **state)
{
	char text[TRACEPARENT_TEXT + 1] = "00-" TRACE "-" SPAN "-01";
	struct traceparent t;

	(void)state;
	for (size_t at = 0; at < TRACEPARENT_TEXT; at++)
		for (int c = 0; c < 256; c++) {
			char was = text[at];

			text[at] = (char)c;
			if (traceparent_parse(&t, (struct slice){ text, TRACEPARENT_TEXT }))
				for (size_t i = 0; i < TRACE_ID_TEXT; i++)
					assert_non_null(memchr("0123456789abcdef", t.trace_id[i], 16));
			text[at] = was;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
