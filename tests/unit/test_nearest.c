#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/nearest.h"
#include "base/check.h"

#define LONG "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 65 */

static const struct row {
	const char *word, *candidates[3], *best;
} rows[] = {
	{ "workrs", { "workers", "limits", "study" }, "workers" },
	{ "wrokers", { "workers" }, "workers" },
	{ "owkrers", { "workers" }, "workers" },
	{ "wokrs", { "workers" }, "workers" },
	{ "wkrs", { "workers" }, "" },
	{ "listens", { "limits", "listen" }, "listen" },
	{ "time", { "timeout", "pipeline" }, "timeout" },
	{ "timeouts_of_it", { "timeout" }, "timeout" },
	{ "t", { "timeout" }, "" },
	{ "ap", { "zz", "app" }, "app" },
	{ "abc", { "xyc" }, "" },
	{ "", { "a" }, "" },
	{ "a", { "" }, "" },
	{ "queue_timeot", { "queue", "queue_timeout" }, "queue_timeout" },
	{ LONG, { LONG }, "" },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct nearest near = { .word = slice_of(rows[i].word) };

		for (size_t j = 0; j < 3 && rows[i].candidates[j]; j++)
			nearest_offer(&near, slice_of(rows[i].candidates[j]));
		if (!slice_equal(near.best, slice_of(rows[i].best)))
			fail_msg("%s: %.*s", rows[i].word, SLICE_ARG(near.best));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
