/* What happened to a request, from lines of the json access log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/explain/logline.h"
#include "base/check.h"
#include "explain/why.h"

static const char line[] =
	"{\"time\":\"t\",\"request\":\"GET /\\\"id\\u0041 HTTP/1.1\",\"status\":502,"
	"\"times_us\":{\"queue\":1,\"request_id\":\"inner\"},\"tls\":{\"version\":\"a}\\\"b\"},"
	"\"request_id\":\"x-7\"}\n";

static void assert_member(const char *name, const char *expected)
{
	struct slice value;
	bool found = logline_member(slice_of(line), name, &value);

	assert_int_equal(found, expected != NULL);
	if (found && !slice_equal(value, slice_of(expected)))
		fail_msg("%s: %.*s", name, SLICE_ARG(value));
}

static void test_members(void **state)
{
	char text[64];

	(void)state;
	assert_member("time", "t");
	assert_member("request", "GET /\\\"id\\u0041 HTTP/1.1");
	assert_member("status", "502");
	assert_member("times_us", "{\"queue\":1,\"request_id\":\"inner\"}");
	assert_member("tls", "{\"version\":\"a}\\\"b\"}");
	assert_member("request_id", "x-7");
	assert_member("queue", NULL);
	assert_member("client", NULL);
	logline_text(SLICE("GET /\\\"id\\u0041 \\\\"), text, sizeof(text));
	assert_string_equal(text, "GET /\"idA \\");
	logline_text(SLICE("abcdef"), text, 4);
	assert_string_equal(text, "abc");
	logline_text(SLICE("a\\"), text, sizeof(text));
	assert_string_equal(text, "a\\");
}

/* No text ends the reader: each beginning of a line, at an unreadable place. */
static void test_cut(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof(line) - 1; n++) {
		char *copy = malloc(n > 0 ? n : 1), text[64];
		struct slice value;

		memcpy(copy, line, n);
		if (logline_member((struct slice){ copy, n }, "request_id", &value))
			logline_text(value, text, sizeof(text));
		free(copy);
	}
}

static const char log_text[] =
	"{\"time\":\"1\",\"client\":\"192.0.2.1\",\"request\":\"GET /a?b HTTP/1.1\",\"host\":\"h\","
	"\"status\":200,\"tries\":2,\"ending\":\"complete\",\"request_id\":\"one\","
	"\"user_agent\":\"curl\\u0022\"}\n"
	"no line of ours\n"
	"{\"time\":\"2\",\"client\":\"192.0.2.2\",\"request\":\"GET /a?b HTTP/1.1\",\"host\":\"other\","
	"\"status\":404,\"ending\":\"no route\",\"request_id\":\"two\"}\n"
	"{\"time\":\"3\",\"client\":\"192.0.2.3\",\"request\":\"\",\"host\":\"\",\"status\":400,"
	"\"ending\":\"malformed request\",\"request_id\":\"three\"}\n";

static const struct {
	const char *what;
	unsigned n;
	const char *expected[3];
} rows[] = {
	{ "one",
	  1,
	  { "GET /a?b HTTP/1.1\n", "  tries          2\n",
	    "line 4: prefix /a of h: no, it needs: header User-Agent is 'x' (it is 'curl\"')" } },
	{ "http://h/a?b", 1, { "request_id     one\n", "line 5: prefix /: taken" } },
	{ "/a?b", 2, { "request_id     one\n", "request_id     two\n" } },
	{ "three", 1, { "malformed request\n" } },
	{ "four", 0, { NULL } },
	{ "http://h/a", 0, { NULL } },
};

static void test_found(void **state)
{
	char name[] = "/tmp/fairlead-test-why-XXXXXX";
	int fd = mkstemp(name);
	struct config *c = config_read_text(
		"w.yaml",
		SLICE("listen: [127.0.0.1:1]\nupstreams: { app: { servers: [127.0.0.1:1] } }\nroutes:\n"
		      "  - { prefix: /a, host: h, match: { header: { User-Agent: x } }, proxy: { upstream: app } }\n"
		      "  - { prefix: /, proxy: { upstream: app } }\n"),
		stderr);

	(void)state;
	assert_non_null(c);
	assert_int_equal(write(fd, log_text, sizeof(log_text) - 1), sizeof(log_text) - 1);
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *text;
		const char *at;
		size_t size;
		FILE *out = open_memstream(&text, &size);

		assert_int_equal(why(c, rows[i].what, name, out, stderr), rows[i].n);
		fclose(out);
		at = text;
		for (unsigned k = 0; k < COUNT(rows[i].expected) && rows[i].expected[k];
		     k++) {
			at = strstr(at, rows[i].expected[k]);
			if (!at)
				fail_msg("no '%s' in\n%s", rows[i].expected[k], text);
		}
		free(text);
	}
	close(fd);
	unlink(name);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_found),
	};

	return cmocka_run_group_tests_name("why", tests, NULL, NULL);
}
