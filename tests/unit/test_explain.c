/* What a configuration does with a request, in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "explain/explain.h"

static const char file[] =
	"listen: [127.0.0.1:8080]\n"
	"trusted_proxies: [10.0.0.0/8]\n"
	"upstreams:\n"
	"  app: { servers: [127.0.0.1:1], sticky: { cookie: srv } }\n"
	"  users: { servers: [127.0.0.1:2], balance: hash, hash: \"u-${cookie.user}\" }\n"
	"  cache: { servers: [127.0.0.1:3], protocol: memcached }\n"
	"routes:\n"
	"  - { prefix: /, host: [a.example, \"*.b.example\"], proxy: { upstream: users } }\n"
	"  - { prefix: /secure/, redirect: https }\n"
	"  - { path: /one, proxy: { upstream: app } }\n"
	"  - { prefix: /c/, match: { header: { X-K: [\"1\", \"2*\"] } }, proxy: { upstream: app } }\n"
	"  - { prefix: /c/, match: { client: 192.0.2.0/24, query: { q: \"~^a\" } }, proxy: { upstream: app } }\n"
	"  - { prefix: /c/, match: { not: { method: GET, tls: on } }, proxy: { upstream: app } }\n"
	"  - { prefix: /v/, memcached: { upstream: cache, key: \"${path.rest}\", miss: next } }\n"
	"  - { prefix: /p/, match: { query: { q: \"~(a+)+[PQ]\" } }, proxy: { upstream: app } }\n"
	"  - { prefix: /s/, proxy: { split: [{ upstream: app, weight: 3 }, { upstream: users }], split_cookie: side } }\n"
	"  - { prefix: /v/, methods: [GET], proxy: { upstream: app } }\n";

static struct config *config;

static int setup(void **state)
{
	(void)state;
	config = config_read_text("e.yaml", SLICE(file), stderr);
	return config ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	config_free(config);
	return 0;
}

static const struct {
	const char *method, *url, *client, *field;
	const char *expected[4]; /* texts that it has, in this order */
} rows[] = {
	{ "GET",
	  "http://x.b.example/y",
	  "192.0.2.1",
	  NULL,
	  { "client 192.0.2.1, host x.b.example, path /y\n",
	    "line 8: prefix / of a.example, *.b.example: taken\n",
	    "server of 'users': by hash: ", "a variable has no value" } },
	{ "GET",
	  "http://a.example?z",
	  "unix",
	  "Cookie: user=7",
	  { "client unix, host a.example, path /\n", "by hash: the value is 'u-7'\n" } },
	{ "GET",
	  "http://h/secure/x",
	  "192.0.2.1",
	  NULL,
	  { "line 8: prefix / of a.example, *.b.example: no, another host\n",
	    "line 9: prefix /secure/: taken\n", "redirect:\n", "to: https" } },
	{ "GET",
	  "https://h/secure/x",
	  "192.0.2.1",
	  NULL,
	  { "line 9: prefix /secure/: passed on, since the request came by https\n",
	    "line 10: path /one: no, another path\n", "response: 404, no route\n" } },
	{ "POST",
	  "https://h/c/",
	  "10.0.0.1",
	  "X-Forwarded-For: 192.0.2.9",
	  { "client 192.0.2.9, ",
	    "line 11: prefix /c/: no, it needs: header X-K is '1' or begins with '2' (the request "
	    "has none)\n",
	    "line 12: prefix /c/: no, it needs: query q matches '^a' (the request has none)\n",
	    "line 13: prefix /c/: taken\n" } },
	{ "GET",
	  "https://h/c/?q=b",
	  "198.51.100.1",
	  "x-k: 3",
	  { "header X-K is '1' or begins with '2' (it is '3')\n",
	    "no, it needs: client 198.51.100.1 is in 192.0.2.0/24\n",
	    "no, it needs: not: method is 'GET' and the client uses TLS\n",
	    "response: 404" } },
	{ "GET",
	  "http://h/v/k",
	  "192.0.2.1",
	  NULL,
	  { "line 14: prefix /v/: taken\n", "if there is no value, further routes:\n",
	    "line 17: prefix /v/: taken\nrules, in this order:\n    methods: [GET",
	    "server of 'app': the next one in turn, by weight; then the cookie is set\n" } },
	{ "GET",
	  "http://h/p/?q=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
	  "192.0.2.1",
	  NULL,
	  { "line 15: prefix /p/: undecided, a regular expression gave up: query q matches",
	    "response: 400\n" } },
	{ "GET",
	  "http://h/s/",
	  "192.0.2.1",
	  "Cookie: side=00000000; srv=1",
	  { "upstream: one of app (75.0 %), users (25.0 %), by the cookie side, which the request "
	    "has\n",
	    "the one that the cookie srv names, if it is available; else the next" } },
	{ "GET",
	  "http://h/ x",
	  "192.0.2.1",
	  NULL,
	  { "refused before a route is looked for: 400, malformed request line\n" } },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct explain_request r = { rows[i].method,
						   rows[i].url,
						   rows[i].client,
						   rows[i].field != NULL,
						   { rows[i].field } };
		char *text;
		const char *at;
		size_t size;
		FILE *out = open_memstream(&text, &size);

		assert_null(explain(config, &r, out));
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
}

static void test_wrong(void **state)
{
	static char long_field[EXPLAIN_BYTES_MAX];
	static const struct explain_request wrong[] = {
		{ "GET", "www.example.org/", "127.0.0.1", 0, { NULL } },
		{ "GET", "http:///x", "127.0.0.1", 0, { NULL } },
		{ "GET", "http://h/", "localhost", 0, { NULL } },
		{ "GET", "http://h/", "127.0.0.1", 1, { long_field } },
	};

	(void)state;
	memset(long_field, 'a', sizeof(long_field) - 1);
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_non_null(explain(config, &wrong[i], stderr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests_name("explain", tests, setup, teardown);
}
