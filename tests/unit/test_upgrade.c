/* What a program takes over from the one before it: lines that cannot be true are refused. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/run/supervisor/upgradestate.h"
#include "run/supervisor/upgrade.h"

static int channel[2], setup[2], listening, file;

static struct process processes[PROCESSES_MAX];
static struct listen_addrs addrs;
static int command_fd;
static char version[UPGRADE_VERSION_BYTES];

/* $c, $s, $l, $f: a channel, a setup channel, a listening socket, a file. */
static void write_state(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text != '$') {
			fputc(*text, out);
			continue;
		}
		text++;
		fprintf(out, "%d",
			*text == 'c'   ? channel[0]
			: *text == 's' ? setup[0]
			: *text == 'l' ? listening
				       : file);
	}
}

/* Whether the state is taken over. *said: what the error log has. */
static bool inherits(const char *text, char **said)
{
	int state = memfd_create("state", MFD_CLOEXEC);
	FILE *out = fdopen(dup(state), "w"), *before = stderr;
	char value[32];
	size_t n;
	bool good;

	write_state(out, text);
	fclose(out);
	snprintf(value, sizeof(value), "%d %d", state, file);
	setenv("FAIRLEAD_NEXT", value, 1);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		processes[i] = (struct process){ .channel = -1, .setup_channel = -1 };
	addrs = (struct listen_addrs){ 0 };
	command_fd = -1;
	strcpy(version, "unknown");
	stderr = open_memstream(said, &n);
	good = upgrade_inherit(processes, &addrs, &command_fd, version);
	fclose(stderr);
	stderr = before;
	assert_null(getenv("FAIRLEAD_NEXT"));
	return good;
}

static void test_good(void **state)
{
	char *said;

	(void)state;
	assert_true(inherits(
		"process 2 4711 $c $s 12 1\n"
		"process 3 4712 -1 -1 5 2\n"
		"process 3 4713 -1 -1 5\n" /* of a program before engines were written */
		"outlet 3 0 1 $l\n"
		"order -1\n"
		"later 1 2 3\n"
		"version 1.2.3\n",
		&said));
	assert_string_equal(said, "");
	free(said);
	assert_int_equal(processes[0].state, PROCESS_SERVING);
	assert_int_equal(processes[0].pid, 4711);
	assert_int_equal(processes[1].engine, IO_ENGINE_EPOLL);
	assert_int_equal(processes[2].engine, IO_ENGINE_AUTO);
	assert_int_equal(addrs.n, 1);
	assert_int_equal(addrs.all[0]->number, 3);
	assert_string_equal(version, "1.2.3");
	processes_check(processes);
	listen_addrs_close(&addrs, NULL, false); /* and the socket */
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"process 0 4711 $c $s 12 1\n", /* no such state */
		"process 4 4711 $c $s 12 1\n",
		"process -1 4711 $c $s 12 1\n",
		"process 2 0 $c $s 12 1\n", /* no such process */
		"process 2 -4711 $c $s 12 1\n",
		"process 2 4711 1 $s 12 1\n",      /* standard output */
		"process 2 4711 900000 $s 12 1\n", /* not open */
		"process 2 4711 $f $s 12 1\n",     /* no socket */
		"process 2 4711 $c -2 12 1\n",
		"process 2 4711 $c $s 12 3\n", /* no such engine */
		"process 2 4711 $c $s 12 -1\n",
		"process 2 4711 $c\n",
		"process 2 1 -1 -1 1 1\nprocess 2 2 -1 -1 1 1\n", /* two serve */
		"process 3 1 -1 -1 1 1\nprocess 3 1 -1 -1 1 1\n", /* one process twice */
		"process 3 1 -1 -1 1\nprocess 3 2 -1 -1 1\nprocess 3 3 -1 -1 1\n"
		"process 3 4 -1 -1 1\nprocess 3 5 -1 -1 1\nprocess 3 6 -1 -1 1\n"
		"process 3 7 -1 -1 1\nprocess 3 8 -1 -1 1\nprocess 3 9 -1 -1 1\n",
		"outlet 3 3 1 $l\n", /* no such kind */
		"outlet 3 0 0\n",
		"outlet 3 0 2 $l\n", /* fewer sockets than it says */
		"outlet 3 0 1000000000 $l\n",
		"outlet 3 0 1 $f\n",
		"outlet 3 0 1 0\n",
		"outlet x 0 1 $l\n",
		"order 900000\n",
		"order x\n",
		"version",
	};
	char *said;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (inherits(cases[i], &said) || !strstr(said, "; restart"))
			fail_msg("taken over: %s%s", cases[i], said);
		free(said);
	}
}

static void test_no_state(void **state)
{
	static const char *const values[] = { "", "1 2", "900000 900001", "-1 -1", "x" };
	char *said;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		FILE *before = stderr;
		bool good;

		setenv("FAIRLEAD_NEXT", values[i], 1);
		stderr = open_memstream(&said, &n);
		good = upgrade_inherit(processes, &addrs, &command_fd, version);
		fclose(stderr);
		stderr = before;
		assert_false(good);
		assert_non_null(strstr(said, "cannot be read; restart"));
		free(said);
	}
}

static int open_sockets(void **state)
{
	(void)state;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, setup) < 0)
		return -1;
	listening = socket(AF_INET, SOCK_STREAM, 0);
	file = memfd_create("file", 0);
	return listening < 0 || listen(listening, 1) < 0 || file < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_no_state),
		cmocka_unit_test(test_good),
	};

	return cmocka_run_group_tests(tests, open_sockets, NULL);
}
