/* What the operator is told of servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "run/notice.h"

static void assert_notice(struct roster *r, const char *expected)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	notice_write(r, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void eject(struct roster *r, struct roster_cell *cell, enum reason reason, unsigned n)
{
	stat_set(&cell->reason, reason);
	stat_set(&cell->failures_n, n);
	stat_set(&cell->eject_ms, 2500);
	roster_tell(r, cell, STANDING_EJECTED);
}

static void lines(void **state)
{
	struct roster *r = roster_new("app", 2, NULL, NULL);
	struct roster_row *a = roster_enter(r, 0, "a.example:80", "192.0.2.1:80");
	struct roster_row *b = roster_enter(r, 1, "192.0.2.2:80", "192.0.2.2:80");

	(void)state;
	assert_notice(r, "");
	eject(r, roster_cell(r, a, 0), REASON_IN_A_ROW, 5);
	eject(r, roster_cell(r, b, 1), REASON_RATE, 60);
	assert_notice(r, "fairlead: upstream app: server a.example:80 (192.0.2.1:80) is ejected "
			 "for 2.5 s: 5 failures in a row, worker 0\n"
			 "fairlead: upstream app: server 192.0.2.2:80 is ejected for 2.5 s: 60% of "
			 "its answers were failures, worker 1\n");
	assert_notice(r, "");
	roster_tell(r, roster_cell(r, a, 0), STANDING_UP);
	roster_tell(r, roster_cell(r, b, 1), STANDING_DOWN); /* the prober's to tell */
	assert_notice(r, "fairlead: upstream app: server a.example:80 (192.0.2.1:80) is asked "
			 "again, worker 0\n");
	/* A memcached has no one address. */
	eject(r, roster_cell(r, roster_enter(r, 1, "m1", ""), 1), REASON_UNREACHED, 0);
	assert_notice(r, "fairlead: upstream app: server m1 cannot be connected: its keys are "
			 "misses, worker 1\n");
	/* What came and went unseen is not told, nor what is no longer asked. */
	eject(r, roster_cell(r, a, 0), REASON_IN_A_ROW, 1);
	roster_tell(r, roster_cell(r, a, 0), STANDING_UP);
	roster_hide(r, b, 1, 0, 0);
	roster_tell(r, roster_cell(r, b, 1), STANDING_UP);
	assert_notice(r, "");
	roster_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
