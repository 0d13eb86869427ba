/* Lines of the error log: levels, escaping, the stream for the reader of the configuration. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/errorlog.h"

static FILE *captured_from;
static char *written;
static size_t written_n;

static void capture(void)
{
	captured_from = stderr;
	stderr = open_memstream(&written, &written_n);
}

static void assert_captured(const char *expected)
{
	fclose(stderr);
	stderr = captured_from;
	assert_string_equal(written, expected);
	free(written);
}

static void test_level(void **state)
{
	(void)state;
	capture();
	assert_int_equal(errorlog_level(), LEVEL_INFO);
	errorlog_put(EVENT_READY, "ready workers=%d", 2);
	errorlog_set_level(LEVEL_WARNING);
	errorlog_put(EVENT_READY, "ready workers=%d", 3);
	errorlog_put(EVENT_SERVER_UP, "up");
	errorlog_put(EVENT_SERVER_DOWN, "down");
	errorlog_put(EVENT_LISTEN_FAILED, "cannot");
	errorlog_reset_level();
	errorlog_put(EVENT_SERVER_UP, "up");
	assert_captured("fairlead: ready workers=2\n"
			"fairlead: down\n"
			"fairlead: cannot\n"
			"fairlead: up\n");
}

static void test_words(void **state)
{
	enum errorlog_level level;

	(void)state;
	for (int i = LEVEL_CRITICAL; i <= LEVEL_INFO; i++) {
		const char *word = errorlog_level_word((enum errorlog_level)i);

		assert_true(errorlog_level_by_word(slice_of(word), &level));
		assert_int_equal(level, i);
	}
	assert_false(errorlog_level_by_word(SLICE("warn"), &level));
	assert_false(errorlog_level_by_word(SLICE(""), &level));
}

/* A process that was forked before sees the level of its parent, and the other way round. */
static void test_level_is_shared(void **state)
{
	int begin[2], status;
	char byte;
	pid_t pid;

	(void)state;
	errorlog_open();
	assert_int_equal(pipe(begin), 0);
	pid = fork();
	if (pid == 0) {
		bool same = read(begin[0], &byte, 1) == 1 &&
			    errorlog_level() == LEVEL_ERROR;

		errorlog_set_level(LEVEL_NOTICE);
		_exit(!same);
	}
	errorlog_set_level(LEVEL_ERROR);
	assert_int_equal(write(begin[1], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(errorlog_level(), LEVEL_NOTICE);
	errorlog_reset_level();
	close(begin[0]);
	close(begin[1]);
}

static void test_escaping(void **state)
{
	static const struct {
		const char *text, *line;
	} cases[] = {
		{ "a\nb\r\x1b[31m\x7f", "a\\x0ab\\x0d\\x1b[31m\\x7f" },
		{ "{ path: … } ü 𝄞", "{ path: … } ü 𝄞" },
		{ "\xc2\x9b C1", "\\xc2\\x9b C1" },
		{ "\xc0\xaf \xe0\x80\xaf", "\\xc0\\xaf \\xe0\\x80\\xaf" },
		{ "\xed\xa0\x80 \xf4\x90\x80\x80",
		  "\\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80" },
		{ "cut \xe2\x80", "cut \\xe2\\x80" },
		{ "\xff", "\\xff" },
	};
	char expected[128];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		capture();
		errorlog_put(EVENT_READY, "%s", cases[i].text);
		snprintf(expected, sizeof(expected), "fairlead: %s\n", cases[i].line);
		assert_captured(expected);
	}
}

/* Each byte of the longest line is escaped. */
static void test_longest_line(void **state)
{
	static char text[2 * ERRORLOG_TEXT_MAX];

	(void)state;
	memset(text, 1, sizeof(text) - 1);
	capture();
	errorlog_put(EVENT_READY, "%s", text);
	fclose(stderr);
	stderr = captured_from;
	assert_int_equal(written_n, strlen("fairlead: \n") + 4 * (ERRORLOG_TEXT_MAX - 1));
	free(written);
}

static void test_stream(void **state)
{
	(void)state;
	capture();
	fprintf(errorlog_stream(EVENT_CONFIG_FAULT), "f:1:1: bad; mend it\n"
						     "f:2:1: warning: odd\n");
	errorlog_set_level(LEVEL_ERROR);
	fprintf(errorlog_stream(EVENT_CONFIG_FAULT), "f:3:1: bad; mend it\n"
						     "f:4:1: warning: odd\n");
	fprintf(errorlog_stream(EVENT_NO_EFFECT), "f: 'x' stays as it was\n");
	errorlog_reset_level();
	fprintf(errorlog_stream(EVENT_NO_EFFECT), "f: 'y' stays as it was\n");
	assert_captured("f:1:1: bad; mend it\n"
			"f:2:1: warning: odd\n"
			"f:3:1: bad; mend it\n"
			"f: 'y' stays as it was\n");
}

static struct errorlog_output output(enum errorlog_target target,
				     enum errorlog_format format, int fd)
{
	return (struct errorlog_output){ .target = target,
					 .format = format,
					 .level = LEVEL_INFO,
					 .facility = 17,
					 .tag = "edge",
					 .name = "/log",
					 .fd = fd };
}

/* What a pipe or socket has; "": nothing. */
static const char *taken(int fd)
{
	static char text[65536];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* The text behind a time stamp that begins at `from`. */
static void assert_timed(const char *text, const char *before, const char *after)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";

	assert_memory_equal(text, before, strlen(before));
	text += strlen(before);
	for (const char *f = form; *f; f++, text++)
		assert_true(*f == 'd' ? *text >= '0' && *text <= '9' : *text == *f);
	assert_string_equal(text, after);
}

/* Sockets of a pair: [0] is the output's, [1] is read. */
static void open_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void restore(void)
{
	struct errorlog_output stderr_only = output(ERRORLOG_STDERR, ERRORLOG_TEXT, -1);

	errorlog_configure(&stderr_only, 1);
}

static void test_formats(void **state)
{
	static const struct {
		enum errorlog_target target;
		enum errorlog_format format;
		const char *before, *after; /* %d: the process, %s: the host */
	} cases[] = {
		{ ERRORLOG_FILE, ERRORLOG_TEXT, "",
		  " warning server_down[%d]: a \"b\"\\x0a\\c\n" },
		{ ERRORLOG_FILE, ERRORLOG_JSON, "{\"time\":\"",
		  "\",\"level\":\"warning\",\"event\":\"server_down\",\"pid\":%d,\"message\":"
		  "\"a \\u0022b\\u0022\\u000a\\u005cc\"}\n" },
		{ ERRORLOG_SYSLOG, ERRORLOG_TEXT, "<140>1 ",
		  " - edge %d server_down - a \"b\"\\x0a\\c" },
	};
	char expected[256];
	int pair[2];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct errorlog_output o;

		open_pair(pair);
		o = output(cases[i].target, cases[i].format, pair[0]);
		errorlog_configure(&o, 1);
		errorlog_started();
		errorlog_put(EVENT_SERVER_DOWN, "%s", "a \"b\"\n\\c");
		snprintf(expected, sizeof(expected), cases[i].after, (int)getpid());
		assert_timed(taken(pair[1]), cases[i].before, expected);
		restore();
		close(pair[1]);
	}
	open_pair(pair);
	errorlog_configure(&(struct errorlog_output[]){ output(
				   ERRORLOG_JOURNALD, ERRORLOG_TEXT, pair[0]) }[0],
			   1);
	errorlog_put(EVENT_READY, "a\nb");
	assert_string_equal(taken(pair[1]),
			    "PRIORITY=6\nSYSLOG_FACILITY=17\nSYSLOG_IDENTIFIER=edge\n"
			    "FAIRLEAD_EVENT=ready\nMESSAGE=a\\x0ab\n");
	restore();
	close(pair[1]);
}

/* Of each kind `rate` lines; then their number, at the latest when the output is replaced. What is
 * said of a configuration is not counted. */
static void test_rate(void **state)
{
	struct errorlog_output o[2];
	int pair[2], other[2];

	(void)state;
	open_pair(pair);
	open_pair(other);
	o[0] = output(ERRORLOG_SYSLOG, ERRORLOG_TEXT, pair[0]);
	o[1] = output(ERRORLOG_JOURNALD, ERRORLOG_TEXT, other[0]);
	o[0].rate = 2;
	o[1].level = LEVEL_ERROR;
	errorlog_configure(o, 2);
	for (unsigned i = 0; i < 5; i++) {
		errorlog_put(EVENT_SERVER_DOWN, "server %u", i);
		assert_string_equal(i < 2 ? strstr(taken(pair[1]), "server ")
					  : taken(pair[1]),
				    i == 0   ? "server 0"
				    : i == 1 ? "server 1"
					     : "");
	}
	errorlog_put(EVENT_SERVER_UP, "another kind");
	assert_non_null(strstr(taken(pair[1]), "another kind"));
	for (unsigned i = 0; i < 5; i++) {
		fprintf(errorlog_stream(EVENT_CONFIG_FAULT), "f:%u:1: bad; mend it\n", i);
		assert_non_null(strstr(taken(pair[1]), "bad"));
		assert_non_null(strstr(taken(other[1]), "bad"));
	}
	assert_in_range(errorlog_report(), 1, ERRORLOG_WINDOW_MS);
	assert_string_equal(taken(pair[1]), "");
	restore();
	assert_non_null(
		strstr(taken(pair[1]), "server_down - 3 more like this: server_down"));
	assert_int_equal(errorlog_report(), -1);
	assert_string_equal(taken(other[1]), "");
	close(pair[1]);
	close(other[1]);
}

/* A full pipe loses lines; when it is read, it gets their number and whole lines again. */
static void test_lost(void **state)
{
	static char bytes[1 << 20];
	struct errorlog_output o;
	uint64_t before = errorlog_lost();
	unsigned n = 0;
	int ends[2];
	ssize_t got;
	char *report;

	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	o = output(ERRORLOG_FILE, ERRORLOG_JSON, ends[1]);
	errorlog_configure(&o, 1);
	while (errorlog_lost() < before + 3 && n++ < 100000)
		errorlog_put(EVENT_READY, "line %u", n);
	assert_int_equal(errorlog_lost(), before + 3);
	got = read(ends[0], bytes, sizeof(bytes) - 1);
	assert_true(got > 0 && bytes[got - 1] == '\n');
	errorlog_report();
	got = read(ends[0], bytes, sizeof(bytes) - 1);
	assert_true(got > 0);
	bytes[got] = '\0';
	report = strstr(bytes,
			"3 lines of the error log /log lost: its reader is too slow");
	assert_non_null(report);
	assert_non_null(strstr(bytes, "\"event\":\"lines_lost\""));
	restore();
	close(ends[0]);
}

static void test_daemon_gone(void **state)
{
	struct errorlog_output o;
	uint64_t before = errorlog_lost();
	int pair[2];

	(void)state;
	open_pair(pair);
	o = output(ERRORLOG_SYSLOG, ERRORLOG_TEXT, pair[0]);
	errorlog_configure(&o, 1);
	errorlog_put(EVENT_READY, "a");
	assert_false(errorlog_daemon_gone());
	close(pair[1]);
	errorlog_put(EVENT_READY, "b");
	assert_true(errorlog_daemon_gone());
	errorlog_report();
	assert_int_equal(errorlog_lost(), before + 1); /* without the report */
	restore();
	assert_false(errorlog_daemon_gone());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_escaping),
		cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_daemon_gone),
		cmocka_unit_test(test_level_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
