#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "lib/simrig.h"
#include "proxy/access.h"
#include "proxy/logrecord.h"
#include "proxy/requesttimes.h"

#define FD 55
#define SLICE_OF_TEXT(text) text, sizeof(text) - 1

static struct simrig rig;
static struct worker_stats stats;
static struct access access_;
static const struct peer peer = { .family = AF_INET, .addr = { 192, 0, 2, 7 } };

static struct config_access_log config;
static struct random numbers;

static void access_open(enum config_log format)
{
	config = (struct config_access_log){ .path = "log", .format = format,
					     .sample = CONFIG_SAMPLE_ALL, .tag = "fairlead",
					     .facility = 16, .all_routes = true };
	setenv("TZ", "UTC", 1);
	memset(&stats, 0, sizeof(stats));
	simrig_open(&rig, 1, 8);
	assert_int_equal(access_init(&access_, &rig.tick, &stats, &config, &numbers, FD), 0);
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

static void test_times(void **state)
{
	struct log_record record = { .upstream = "up" };
	struct request_times times = { .received_us = 1020, .head_us = 1900,
				       .lease = { .asked = 1030, .placed = 1100,
						  .connected = 1300, .ready = 1700 } };
	const struct slice host = SLICE("h");
	const struct config_route route = { .path = SLICE("/a/"), .hosts = &host,
					    .host_n = 1, .prefix = true };
	struct access_entry e = entry();
	struct slice s;

	(void)state;
	e.started_us = 1000;
	e.record = &record;
	e.times = &times;
	e.route = &route;
	e.received_bytes = 7;
	access_open(CONFIG_LOG_JSON);
	access_log(&access_, &e);
	s = written();
	assert_non_null(memmem(s.ptr, s.len,
			       SLICE_OF_TEXT("\"received_bytes\":7,\"took_us\":3456,\"times_us\":"
					     "{\"receive\":20,\"queue\":70,\"connect\":200,"
					     "\"tls\":400,\"response\":200,\"first_byte\":900},"
					     "\"route\":\"h/a/*\",\"upstream\":\"up\",")));
	/* Without TLS; a hedge's response; none. */
	times.lease.connected = 0;
	access_log(&access_, &e);
	times.lease = (struct lease_times){ 0 };
	access_log(&access_, &e);
	times.head_us = times.received_us = 0;
	access_log(&access_, &e);
	s = written();
	assert_non_null(memmem(s.ptr, s.len,
			       SLICE_OF_TEXT("\"queue\":70,\"connect\":600,\"response\":200,")));
	assert_non_null(memmem(s.ptr, s.len,
			       SLICE_OF_TEXT("{\"receive\":20,\"first_byte\":900},")));
	assert_non_null(memmem(s.ptr, s.len,
			       SLICE_OF_TEXT("\"took_us\":3456,\"route\":\"h/a/*\"")));
	access_close();
}

/* What is not known is "-"; what was received cannot end the line. */
static void test_template(void **state)
{
	static const struct template_part parts[] = {
		{ (enum variable)LOG_VARIABLE_TIME, SLICE("") },
		{ VARIABLE_NONE, SLICE(" ") },
		{ VARIABLE_CLIENT_ADDRESS, SLICE("") },
		{ VARIABLE_NONE, SLICE("|\"") },
		{ (enum variable)LOG_VARIABLE_REQUEST_LINE, SLICE("") },
		{ VARIABLE_NONE, SLICE("\"|") },
		{ VARIABLE_PATH, SLICE("") },
		{ (enum variable)LOG_VARIABLE_QUEUE_US, SLICE("") },
		{ (enum variable)LOG_VARIABLE_TOOK_US, SLICE("") },
	};
	struct access_entry e = entry();

	(void)state;
	access_open(CONFIG_LOG_TEMPLATE);
	config.template = (struct template){ COUNT(parts), parts };
	e.request_line = SLICE("GET /\"\n HTTP/1.1");
	access_log(&access_, &e);
	assert_written("2020-01-01T00:00:01.000Z 192.0.2.7|\"GET /\\x22\\x0a HTTP/1.1\"|--3456\n");
	access_close();
}

static unsigned logged_of(unsigned n, const struct access_entry *e)
{
	uint64_t before = stats.log_lines;

	for (unsigned i = 0; i < n; i++) {
		access_log(&access_, e);
		if (i % 100 == 0)
			written();
	}
	written();
	return (unsigned)(stats.log_lines - before);
}

static void test_conditions(void **state)
{
	struct access_entry e = entry(), failed = entry();

	(void)state;
	failed.failed = true;
	access_open(CONFIG_LOG_COMBINED);
	config.sample = CONFIG_SAMPLE_ALL / 10;
	assert_in_range(logged_of(4000, &e), 300, 500);
	assert_int_equal(logged_of(100, &failed), 100);
	config.sample = 0;
	assert_int_equal(logged_of(100, &e), 0);
	assert_int_equal(logged_of(100, &failed), 100);
	config.sample = CONFIG_SAMPLE_ALL;
	config.slower_than_ms = 4;
	assert_int_equal(logged_of(1, &e), 0);
	assert_int_equal(logged_of(1, &failed), 1);
	e.took_us = 4000;
	assert_int_equal(logged_of(1, &e), 1);
	config.errors_only = true;
	assert_int_equal(logged_of(1, &e), 0);
	assert_int_equal(logged_of(1, &failed), 1);
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
		cmocka_unit_test(test_times),	 cmocka_unit_test(test_template),
		cmocka_unit_test(test_conditions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
