#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "proxy/access.h"

#define FD 55

static struct simrig rig;
static struct worker_stats stats;
static struct access access_;
static const struct peer peer = { .family = AF_INET, .addr = { 192, 0, 2, 7 } };

static void access_open(enum config_log format)
{
	setenv("TZ", "UTC", 1);
	memset(&stats, 0, sizeof(stats));
	simrig_open(&rig, 1, 8);
	assert_int_equal(access_init(&access_, &rig.tick, &stats, format, FD), 0);
}

static void access_close(void)
{
	access_flush(&access_);
	SIMRIG_UNTIL(&rig, access_idle(&access_), 1000);
	access_done(&access_);
	simrig_close(&rig);
}

static struct slice written(void)
{
	struct slice s;

	SIMRIG_UNTIL(&rig, access_idle(&access_), ACCESS_FLUSH_MS + 100);
	s.ptr = sim_written(rig.tick.loop, FD, &s.len);
	return s;
}

static struct access_entry entry(void)
{
	return (struct access_entry){ .peer = &peer, .request_line = SLICE("GET / HTTP/1.1"),
				      .host = SLICE("app"), .user_agent = SLICE("wget"),
				      .status = 200, .sent_bytes = 12, .took_us = 3456,
				      .server = "b", .ending = "complete" };
}

static void assert_written(const char *text)
{
	struct slice s = written();

	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.ptr, text, s.len);
}

static void test_combined(void **state)
{
	struct access_entry e = entry();

	(void)state;
	access_open(CONFIG_LOG_COMBINED);
	access_log(&access_, &e);
	e.request_line = SLICE("");
	e.status = 400;
	access_log(&access_, &e);
	assert_written("192.0.2.7 - - [01/Jan/2020:00:00:01 +0000] \"GET / HTTP/1.1\" 200 12 "
		       "\"-\" \"wget\"\n"
		       "192.0.2.7 - - [01/Jan/2020:00:00:01 +0000] \"-\" 400 12 \"-\" \"wget\"\n");
	assert_int_equal(stats.log_lines, 2);
	access_close();
}

/* A client can forge no line, send no control sequence to a terminal, and break no JSON. */
static void test_escaped(void **state)
{
	struct access_entry e = entry();

	(void)state;
	e.referer = SLICE("a\"b\\c\n\x1b[31m\xc3\xa4\x7f");
	access_open(CONFIG_LOG_COMBINED);
	access_log(&access_, &e);
	assert_written("192.0.2.7 - - [01/Jan/2020:00:00:01 +0000] \"GET / HTTP/1.1\" 200 12 "
		       "\"a\\x22b\\x5cc\\x0a\\x1b[31m\\xc3\\xa4\\x7f\" \"wget\"\n");
	access_close();
	access_open(CONFIG_LOG_JSON);
	e.server = NULL;
	access_log(&access_, &e);
	assert_written("{\"time\":\"2020-01-01T00:00:01.000Z\",\"client\":\"192.0.2.7\","
		       "\"request\":\"GET / HTTP/1.1\",\"host\":\"app\",\"status\":200,"
		       "\"sent_bytes\":12,\"took_us\":3456,\"server\":\"\",\"tries\":0,"
		       "\"ending\":\"complete\","
		       "\"referer\":\"a\\u0022b\\u005cc\\u000a\\u001b[31m\\u00c3\\u00a4\\u007f\","
		       "\"user_agent\":\"wget\"}\n");
	access_close();
}

/* Lines are written together, at most ACCESS_FLUSH_MS late. */
static void test_flush(void **state)
{
	struct access_entry e = entry();
	size_t n;

	(void)state;
	access_open(CONFIG_LOG_COMBINED);
	for (unsigned i = 0; i < 3; i++) {
		access_log(&access_, &e);
		simrig_run(&rig, ACCESS_FLUSH_MS / 5);
		sim_written(rig.tick.loop, FD, &n);
		assert_int_equal(n, 0);
	}
	simrig_run(&rig, ACCESS_FLUSH_MS);
	sim_written(rig.tick.loop, FD, &n);
	assert_true(n > 0);
	assert_true(access_idle(&access_));
	simrig_run(&rig, 500);
	access_log(&access_, &e);
	simrig_run(&rig, ACCESS_FLUSH_MS + 50);
	assert_true(access_idle(&access_));
	access_close();
}

/* While one buffer is written, the other is filled. If both are full, lines are dropped and counted;
 * all others are written whole and once. */
static void test_full(void **state)
{
	struct access_entry e = entry();
	struct slice s;
	size_t lines = 0;
	unsigned all = 3000;

	(void)state;
	access_open(CONFIG_LOG_COMBINED);
	for (unsigned i = 0; i < all; i++)
		access_log(&access_, &e); /* the loop does not run: nothing is written */
	assert_true(stats.log_lines_dropped > 0);
	s = written();
	assert_int_equal(stats.log_lines_dropped + stats.log_lines, all);
	for (size_t i = 0; i < s.len; i++)
		lines += s.ptr[i] == '\n';
	assert_int_equal(lines, stats.log_lines);
	access_log(&access_, &e); /* it continues to work */
	assert_int_equal(written().len, s.len / lines * (lines + 1));
	access_close();
}

/* A line that is too long is dropped, not cut. */
static void test_long(void **state)
{
	struct access_entry e = entry();
	char *text = malloc(20000);

	(void)state;
	assert_non_null(text);
	memset(text, 1, 20000); /* four bytes each */
	e.referer = (struct slice){ text, 20000 };
	access_open(CONFIG_LOG_COMBINED);
	access_log(&access_, &e);
	assert_int_equal(stats.log_lines_dropped, 1);
	e.referer.len = 5000;
	access_log(&access_, &e);
	assert_true(written().len > 20000);
	assert_int_equal(stats.log_lines, 1);
	access_close();
	free(text);
}

/* To a file that others write to as well: each write is whole lines of at most PIPE_BUF bytes, or
 * one line that is longer. */
static void test_shared(void **state)
{
	struct access_entry e = entry();
	char text[PIPE_BUF + 10];
	size_t n, before = 0;
	unsigned all = 201, writes = 0;

	(void)state;
	memset(text, 'x', sizeof(text));
	access_open(CONFIG_LOG_COMBINED);
	access_limit_writes(&access_);
	for (unsigned i = 0; i < all; i++) {
		e.referer = (struct slice){ text, i == 100 ? sizeof(text) : 30 };
		access_log(&access_, &e);
	}
	for (access_flush(&access_); !access_idle(&access_); before = n) {
		tick_once(&rig.tick);
		const char *s = sim_written(rig.tick.loop, FD, &n);

		if (n == before)
			continue;
		writes++;
		assert_true(s[n - 1] == '\n' && (before == 0 || s[before - 1] == '\n'));
		assert_true(n - before <= PIPE_BUF || !memchr(s + before, '\n', n - before - 1));
	}
	assert_true(writes > 4);
	assert_int_equal(stats.log_lines, all);
	assert_int_equal(stats.log_lines_dropped, 0);
	access_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_combined), cmocka_unit_test(test_escaped),
		cmocka_unit_test(test_flush),	 cmocka_unit_test(test_full),
		cmocka_unit_test(test_long),	 cmocka_unit_test(test_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
