/* Lines of the error log: levels, escaping, the stream for the reader of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/errorlog.h"

static FILE *before;
static char *written;
static size_t written_n;

static void capture(void)
{
	before = stderr;
	stderr = open_memstream(&written, &written_n);
}

static void assert_captured(const char *expected)
{
	fclose(stderr);
	stderr = before;
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
	errorlog_set_level(LEVEL_INFO);
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
		bool same = read(begin[0], &byte, 1) == 1 && errorlog_level() == LEVEL_ERROR;

		errorlog_set_level(LEVEL_NOTICE);
		_exit(!same);
	}
	errorlog_set_level(LEVEL_ERROR);
	assert_int_equal(write(begin[1], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(errorlog_level(), LEVEL_NOTICE);
	errorlog_set_level(LEVEL_INFO);
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
		{ "\xed\xa0\x80 \xf4\x90\x80\x80", "\\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80" },
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
	static char text[2 * ERRORLOG_LINE_MAX];

	(void)state;
	memset(text, 1, sizeof(text) - 1);
	capture();
	errorlog_put(EVENT_READY, "%s", text);
	fclose(stderr);
	stderr = before;
	assert_int_equal(written_n, strlen("fairlead: \n") + 4 * (ERRORLOG_LINE_MAX - 1));
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
	errorlog_set_level(LEVEL_INFO);
	fprintf(errorlog_stream(EVENT_NO_EFFECT), "f: 'y' stays as it was\n");
	assert_captured("f:1:1: bad; mend it\n"
			"f:2:1: warning: odd\n"
			"f:3:1: bad; mend it\n"
			"f: 'y' stays as it was\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_level),	 cmocka_unit_test(test_words),
		cmocka_unit_test(test_escaping), cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_stream),	 cmocka_unit_test(test_level_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
