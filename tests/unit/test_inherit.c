/* `defaults` and `hosts`: a file that uses them is the same configuration as one that is written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/config.h"

#define LISTEN "listen: [127.0.0.1:8080]\n"
#define APP "upstreams: { app: { servers: [127.0.0.1:1] } }\n"
#define PROXY "proxy: { upstream: app }"

static const struct row {
	const char *text, *written_out;
} rows[] = {
	/* A key that is there takes precedence; maps are merged, lists are not. */
	{ LISTEN
	  "defaults:\n"
	  "  upstream: { connect_timeout: 2s, lenient: [lf, folding], health_check: { path: "
	  "/ok, rise: 4 } }\n"
	  "upstreams:\n"
	  "  a: { servers: [127.0.0.1:1] }\n"
	  "  b: { servers: [127.0.0.1:1], connect_timeout: 3s, lenient: [chunk_padding], "
	  "health_check: { rise: 5 } }\n"
	  "  c: { servers: [127.0.0.1:1], health_check: off }\n"
	  "routes:\n"
	  "  - { path: /a, proxy: { upstream: a } }\n"
	  "  - { path: /b, proxy: { upstream: b } }\n"
	  "  - { path: /c, proxy: { upstream: c } }\n",
	  LISTEN
	  "upstreams:\n"
	  "  a: { servers: [127.0.0.1:1], connect_timeout: 2s, lenient: [lf, folding], "
	  "health_check: { path: /ok, rise: 4 } }\n"
	  "  b: { servers: [127.0.0.1:1], connect_timeout: 3s, lenient: [chunk_padding], "
	  "health_check: { path: /ok, rise: 5 } }\n"
	  "  c: { servers: [127.0.0.1:1], connect_timeout: 2s, lenient: [lf, folding] }\n"
	  "routes:\n"
	  "  - { path: /a, proxy: { upstream: a } }\n"
	  "  - { path: /b, proxy: { upstream: b } }\n"
	  "  - { path: /c, proxy: { upstream: c } }\n" },
	/* What has no effect is passed over: of another protocol, method of balancing or action. */
	{ LISTEN
	  "defaults:\n"
	  "  upstream: { hash: \"${path}\", hash_balance_factor: 200, via: x, pipeline: 7, "
	  "lenient: lf, health_check: { path: /ok, fall: 9 } }\n"
	  "  route: { deadline: 3s, methods: [GET] }\n"
	  "upstreams:\n"
	  "  a: { servers: [127.0.0.1:1] }\n"
	  "  b: { servers: [127.0.0.1:1], balance: hash }\n"
	  "  m: { protocol: memcached, servers: [127.0.0.1:1] }\n"
	  "routes:\n"
	  "  - { path: /a, proxy: { upstream: a } }\n"
	  "  - { path: /b, proxy: { upstream: b }, deadline: 4s }\n"
	  "  - { path: /m, memcached: { upstream: m, key: k } }\n",
	  LISTEN
	  "upstreams:\n"
	  "  a: { servers: [127.0.0.1:1], via: x, lenient: lf, health_check: { path: /ok, fall: "
	  "9 } }\n"
	  "  b: { servers: [127.0.0.1:1], balance: hash, hash: \"${path}\", "
	  "hash_balance_factor: 200, via: x, lenient: lf, health_check: { path: /ok, fall: 9 } "
	  "}\n"
	  "  m: { protocol: memcached, servers: [127.0.0.1:1], pipeline: 7, health_check: { "
	  "fall: 9 } }\n"
	  "routes:\n"
	  "  - { path: /a, proxy: { upstream: a }, deadline: 3s, methods: [GET] }\n"
	  "  - { path: /b, proxy: { upstream: b }, deadline: 4s, methods: [GET] }\n"
	  "  - { path: /m, memcached: { upstream: m, key: k }, methods: [GET] }\n" },
	/* Hosts come first; each route has the keys of its host, then the defaults. */
	{ LISTEN APP "defaults: { route: { deadline: 3s, half_close: allow } }\n"
		     "routes:\n"
		     "  - { path: /x, " PROXY " }\n"
		     "hosts:\n"
		     "  \"*\": { " PROXY ", prefix: /any }\n"
		     "  [a.test, b.test]:\n"
		     "    deadline: 4s\n"
		     "    routes:\n"
		     "      - { path: /1, " PROXY " }\n"
		     "      - { path: /2, deadline: 5s, " PROXY " }\n"
		     "  c.test: { " PROXY " }\n",
	  LISTEN APP
	  "routes:\n"
	  "  - { path: /1, host: a.test, " PROXY ", deadline: 4s, half_close: allow }\n"
	  "  - { path: /2, host: a.test, " PROXY ", deadline: 5s, half_close: allow }\n"
	  "  - { path: /1, host: b.test, " PROXY ", deadline: 4s, half_close: allow }\n"
	  "  - { path: /2, host: b.test, " PROXY ", deadline: 5s, half_close: allow }\n"
	  "  - { prefix: /, host: c.test, " PROXY ", deadline: 3s, half_close: allow }\n"
	  "  - { prefix: /any, " PROXY ", deadline: 3s, half_close: allow }\n"
	  "  - { path: /x, " PROXY ", deadline: 3s, half_close: allow }\n" },
	/* Aliases share nodes: what inherits is a copy. */
	{ LISTEN APP "x-r: &r { path: /1, " PROXY " }\n"
		     "hosts:\n"
		     "  a.test: { routes: [*r], deadline: 1s }\n"
		     "  b.test: { routes: [*r], deadline: 2s }\n"
		     "routes: [*r]\n",
	  LISTEN APP "routes:\n"
		     "  - { path: /1, host: a.test, " PROXY ", deadline: 1s }\n"
		     "  - { path: /1, host: b.test, " PROXY ", deadline: 2s }\n"
		     "  - { path: /1, " PROXY " }\n" },
	/* Nothing to inherit. */
	{ LISTEN APP "defaults: { upstream: , route: {} }\n"
		     "hosts: { a.test: { " PROXY " } }\n",
	  LISTEN APP "routes: [{ prefix: /, host: a.test, " PROXY " }]\n" },
};

static char *printed(const char *text)
{
	struct config *c = config_read_text("some.yaml", slice_of(text), stderr);
	char *out = NULL;
	size_t size;
	FILE *to = open_memstream(&out, &size);

	if (!c)
		fail_msg("refused:\n%s", text);
	config_print(c, to);
	fclose(to);
	config_free(c);
	return out;
}

static void test_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *a = printed(rows[i].text), *b = printed(rows[i].written_out);

		assert_string_equal(a, b);
		free(a);
		free(b);
	}
}

/* Many routes inherit; none of it takes long. */
static void test_many(void **state)
{
	size_t size;
	char *text, *errors;
	FILE *out = open_memstream(&text, &size);
	struct config *c;

	(void)state;
	fputs(LISTEN APP "defaults: { route: { deadline: 3s, retry: { tries: 2 } } }\n"
			 "hosts:\n",
	      out);
	for (unsigned i = 0; i < 1000; i++) {
		fprintf(out, "  h%u.test:\n    half_close: allow\n    routes:\n", i);
		for (unsigned k = 0; k < 100; k++)
			fprintf(out, "      - { path: /%u, " PROXY " }\n", k);
	}
	fclose(out);
	c = config_read_text("some.yaml", (struct slice){ text, size }, stderr);
	assert_non_null(c);
	assert_int_equal(c->route_n, CONFIG_ROUTES_MAX);
	assert_int_equal(c->routes[CONFIG_ROUTES_MAX - 1].deadline_ms, 3000);
	config_free(c);
	memcpy(strstr(text, "h7.test:"), "[a, b]: ", strlen("h7.test:"));
	out = open_memstream(&errors, &size);
	assert_null(config_read_text("some.yaml", slice_of(text), out));
	fclose(out);
	assert_string_equal(
		errors,
		"some.yaml:4:1: 'routes' has 100001 entries; write at most 100000\n");
	free(errors);
	free(text);
}

static void test_many_keys(void **state)
{
	size_t size;
	char *text, *errors;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fputs(LISTEN APP "defaults: { route: {", out);
	for (unsigned i = 0; i < 101; i++)
		fprintf(out, " k%u: 1,", i);
	fputs(" } }\nroutes: [{ path: /a, " PROXY " }, { path: /b, " PROXY " }]\n", out);
	fclose(out);
	out = open_memstream(&errors, &size);
	assert_null(config_read_text("some.yaml", slice_of(text), out));
	fclose(out);
	assert_string_equal(errors,
			    "some.yaml:3:13: more than 100 keys are inherited from this "
			    "map; remove some of them\n");
	free(errors);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_many_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
