#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "http/date.h"

/* Days of some centuries, compared with the C library. */
static void dates(void **state)
{
	char ours[DATE_TEXT_MAX], theirs[64];

	(void)state;
	date_text(ours, 784111777000ull + 999);
	assert_string_equal(ours, "Sun, 06 Nov 1994 08:49:37 GMT");
	for (uint64_t day = 0; day < 200000; day += 1 + day / 60000) {
		time_t seconds = (time_t)(day * 86400 + day % 86400);
		struct tm tm;

		gmtime_r(&seconds, &tm);
		strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		date_text(ours, (uint64_t)seconds * 1000);
		assert_string_equal(ours, theirs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates),
	};

	return cmocka_run_group_tests_name("date", tests, NULL, NULL);
}
