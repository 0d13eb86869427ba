/* The lines of the error log when a worker ejects a server and uses it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "run/worker/serverevents.h"

static void assert_written(struct registry *r, const char *expected)
{
	char *text = NULL;
	size_t n;
	FILE *before = stderr;

	stderr = open_memstream(&text, &n);
	server_events_changed(&r->changed);
	fclose(stderr);
	stderr = before;
	assert_string_equal(text, expected);
	free(text);
}

static void eject(struct registry *r, struct registry_record *record,
		  enum ejection_reason reason, unsigned n)
{
	stat_set(&record->reason, reason);
	stat_set(&record->failures_n, n);
	stat_set(&record->eject_ms, 2500);
	registry_set_status(r, record, SERVER_STATUS_EJECTED);
}

static void test_lines(void **state)
{
	struct registry *r = registry_new("app", 2, NULL, NULL);
	struct registry_entry *a = registry_enter(r, 0, "a.example:80", "192.0.2.1:80");
	struct registry_entry *b = registry_enter(r, 1, "192.0.2.2:80", "192.0.2.2:80");

	(void)state;
	assert_written(r, "");
	eject(r, registry_record(r, a, 0), REASON_CONSECUTIVE, 5);
	eject(r, registry_record(r, b, 1), REASON_RATE, 60);
	assert_written(
		r,
		"fairlead: upstream app: server a.example:80 (192.0.2.1:80) is ejected "
		"for 2.5 s: 5 consecutive failures, worker 0\n"
		"fairlead: upstream app: server 192.0.2.2:80 is ejected for 2.5 s: 60% of "
		"its responses were failures, worker 1\n");
	assert_written(r, "");
	registry_set_status(r, registry_record(r, a, 0), SERVER_STATUS_UP);
	registry_set_status(r, registry_record(r, b, 1),
			    SERVER_STATUS_DOWN); /* logged by the monitor */
	assert_written(
		r, "fairlead: upstream app: server a.example:80 (192.0.2.1:80) is used "
		   "again, worker 0\n");
	/* A memcached server has no single address. */
	eject(r, registry_record(r, registry_enter(r, 1, "m1", ""), 1), REASON_UNREACHED,
	      0);
	assert_written(
		r,
		"fairlead: upstream app: server m1 cannot be connected to: its keys are "
		"misses, worker 1\n");
	/* An ejection that ended before it was logged is not logged, nor one of a removed
	 * server. */
	eject(r, registry_record(r, a, 0), REASON_CONSECUTIVE, 1);
	registry_set_status(r, registry_record(r, a, 0), SERVER_STATUS_UP);
	registry_withdraw(r, b, 1, 0, 0);
	registry_set_status(r, registry_record(r, b, 1), SERVER_STATUS_UP);
	assert_written(r, "");
	registry_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
