#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/diagnostics.h"

#define LINES 3000
#define LIMIT_S 20 /* then a blocked process is killed, and the test fails */

static char received[1 << 20];

/* Reads the bytes that are there, without waiting for more. */
static size_t read_available(int fd)
{
	size_t n = 0;
	ssize_t got;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (n < sizeof(received) - 1 &&
	       (got = read(fd, received + n, sizeof(received) - 1 - n)) > 0)
		n += (size_t)got;
	received[n] = '\0';
	return n;
}

static void print_lines(void)
{
	for (unsigned i = 0; i < LINES; i++)
		fprintf(stderr, "line %u of a process that must not wait, %s\n", i,
			"whole or not");
}

/* Returns the number of printed lines among the received ones. *reported: the sum of the
 * lines that reports call lost. */
static unsigned long long count_received(unsigned long long *reported)
{
	unsigned long long n = 0, lost;
	char *save = NULL;

	*reported = 0;
	for (char *line = strtok_r(received, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		unsigned number;
		int end = 0;

		if (sscanf(line, "fairlead: %llu line", &lost) == 1) {
			assert_non_null(strstr(line, " of standard error lost: "));
			*reported += lost;
			continue;
		}
		if (sscanf(line,
			   "line %u of a process that must not wait, whole or not%n",
			   &number, &end) == 1 &&
		    line[end] == '\0')
			n++;
	}
	return n;
}

/* Runs `body` in a child process whose standard error is `fd`, and checks that it exits
 * with 0. */
static void in_child(int fd, int other, void (*body)(int other))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(LIMIT_S);
		dup2(fd, STDERR_FILENO);
		diagnostics_open();
		body(other);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Prints while nobody reads: every line is received or counted as lost, in this process
 * and in its child, and the count is reported when there is a reader. */
static void lose_and_report(int other)
{
	unsigned long long n, reported, later;
	pid_t pid;

	print_lines();
	if (diagnostics_lost() == 0 || diagnostics_lost() >= LINES)
		_exit(2);
	pid = fork();
	if (pid == 0) {
		print_lines();
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	read_available(other);
	n = count_received(&reported);
	if (reported != 0 || n + diagnostics_lost() != 2 * LINES)
		_exit(3);
	diagnostics_report();
	fputs("line 7 of a process that must not wait, whole or not\n", stderr);
	read_available(other);
	later = count_received(&reported);
	if (later != 1 || reported != diagnostics_lost())
		_exit(4);
}

static void test_pipe(void **state)
{
	int ends[2], before;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	before = fcntl(ends[1], F_GETFL);
	in_child(ends[1], ends[0], lose_and_report);
	assert_int_equal(fcntl(ends[1], F_GETFL), before); /* it is shared */
	close(ends[0]);
	close(ends[1]);
}

static void test_socket(void **state)
{
	int ends[2], before;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	before = fcntl(ends[1], F_GETFL);
	in_child(ends[1], ends[0], lose_and_report);
	assert_int_equal(fcntl(ends[1], F_GETFL), before);
	close(ends[0]);
	close(ends[1]);
}

/* A pipe that cannot be opened once more. */
static void test_pipe_of_another_user(void **state)
{
	int ends[2], status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		if (setresgid(65534, 65534, 65534) < 0 ||
		    setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		in_child(ends[1], ends[0], lose_and_report);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
	close(ends[0]);
	close(ends[1]);
}

/* A terminal that is stopped (^S) and continued (^Q). */
static void lose_on_terminal(int other)
{
	unsigned long long reported;

	if (tcflow(STDERR_FILENO, TCOOFF) < 0)
		_exit(2);
	print_lines();
	if (diagnostics_lost() == 0)
		_exit(3);
	tcflow(STDERR_FILENO, TCOON);
	for (unsigned i = 0; i < 100; i++) {
		usleep(10000);
		diagnostics_report();
		read_available(other);
		count_received(&reported);
		if (reported > 0)
			_exit(reported == diagnostics_lost() ? 0 : 4);
	}
	_exit(5);
}

static void test_terminal(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave, before;

	(void)state;
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		skip();
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	before = fcntl(slave, F_GETFL);
	in_child(slave, master, lose_on_terminal);
	assert_int_equal(fcntl(slave, F_GETFL), before);
	close(slave);
	close(master);
}

static void lose_all(int other)
{
	(void)other;
	print_lines();
	_exit(diagnostics_lost() == LINES ? 0 : 2);
}

/* Without a reader: no signal kills the writer. */
static void test_no_reader(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	in_child(ends[1], -1, lose_all);
	close(ends[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	close(ends[0]);
	in_child(ends[1], -1, lose_all);
	close(ends[1]);
}

static void test_full_disk(void **state)
{
	int fd = open("/dev/full", O_WRONLY);

	(void)state;
	if (fd < 0)
		skip();
	in_child(fd, -1, lose_all);
	close(fd);
}

/* Two writers of one file do not overwrite each other. */
static void share_offset(int other)
{
	(void)other;
	fputs("one\n", stderr);
	if (write(STDERR_FILENO, "two\n", 4) != 4)
		_exit(2);
	fputs("three\n", stderr);
}

static void test_file(void **state)
{
	char path[] = "/tmp/test_diagnostics.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, "zero\n", 5), 5);
	in_child(fd, -1, share_offset);
	assert_int_equal(write(fd, "four\n", 5), 5);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	read_available(fd);
	assert_string_equal(received, "zero\none\ntwo\nthree\nfour\n");
	close(fd);
}

/* With a wait budget no line is lost to a slow reader. */
static void print_with_budget(int other)
{
	pid_t reader = fork();

	if (reader == 0) {
		usleep(100000);
		fcntl(other, F_SETFL, 0);
		for (size_t n = 0; n < LINES * 40;) {
			ssize_t got = read(other, received, sizeof(received));

			if (got <= 0)
				_exit(1);
			n += (size_t)got;
		}
		_exit(0);
	}
	diagnostics_wait_budget(15000);
	print_lines();
	_exit(diagnostics_lost() == 0 ? 0 : 2);
}

static void test_wait_budget(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	in_child(ends[1], ends[0], print_with_budget);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_pipe_of_another_user),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_no_reader),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_wait_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
