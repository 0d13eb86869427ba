#include "../../src/run/worker/pulse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS 2

static struct worker *workers;
static struct pulse *pulse;
static uint64_t now_ms;
static FILE *said;
static int stderr_fd;

static int setup(void **state)
{
	(void)state;
	workers = calloc(WORKERS, sizeof(workers[0]));
	for (unsigned i = 0; i < WORKERS; i++)
		workers[i].index = i;
	pulse = pulse_new(workers, WORKERS);
	now_ms = 100000;
	said = tmpfile();
	stderr_fd = dup(STDERR_FILENO);
	dup2(fileno(said), STDERR_FILENO);
	return pulse && said ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	fclose(said);
	free(pulse);
	free(workers);
	return 0;
}

/* Seconds in which the workers of the mask run. Returns what the last check says. */
static bool run(unsigned n, unsigned mask)
{
	bool all = true;

	for (; n > 0; n--) {
		now_ms += 1000;
		for (unsigned i = 0; i < WORKERS; i++)
			if (mask & 1u << i)
				stat_add(&workers[i].stats.ticks, 1);
		all = pulse_check(pulse, now_ms);
	}
	return all;
}

static void expect_said(const char *text)
{
	char all[512] = "";
	ssize_t n;

	fflush(stderr);
	n = pread(fileno(said), all, sizeof(all) - 1, 0);
	assert_true(n >= 0);
	assert_string_equal(all, text);
}

static void test_a_worker_is_stuck(void **state)
{
	(void)state;
	assert_true(run(10, 3));
	assert_true(run(4, 1));
	expect_said("");
	assert_false(run(1, 1));
	expect_said("fairlead: worker 1 is stuck: its loop has not run for 5.0 s\n");
	/* Said once; it goes on until the loop runs. */
	assert_false(run(3, 1));
	expect_said("fairlead: worker 1 is stuck: its loop has not run for 5.0 s\n");
	assert_true(run(1, 3));
	expect_said("fairlead: worker 1 is stuck: its loop has not run for 5.0 s\n"
		    "fairlead: worker 1 runs again after 9.0 s\n");
	assert_false(run(5, 2));
}

/* When the whole process was stopped, no worker is to blame. */
static void test_all_are_stopped(void **state)
{
	(void)state;
	assert_true(run(3, 3));
	now_ms += 60000;
	assert_true(run(1, 0));
	assert_true(run(4, 0));
	expect_said("");
	assert_false(run(1, 0));
}

/* A pause does not hide a worker that was stuck before. */
static void test_stuck_before_a_pause(void **state)
{
	(void)state;
	run(2, 3);
	assert_false(run(6, 1));
	now_ms += 60000;
	assert_false(run(1, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_worker_is_stuck, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_are_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck_before_a_pause, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
