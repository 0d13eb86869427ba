/* Further conditions of a route: read, printed, and tested. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "route/match.h"

#define TOP                                                \
	"listen: [127.0.0.1:8080]\n"                       \
	"upstreams: { app: { servers: [127.0.0.1:1] } }\n" \
	"routes:\n"

/* The request of all rows. */
static const char request[] = "POST /p?a=1&b=x%20y&a=2&c&bad=%zz&d=1+1 HTTP/1.1\r\n"
			      "Host: example.org\r\n"
			      "X-Kind: one\r\n"
			      "X-Kind: Two\r\n"
			      "Accept: text/html;q=0.9\r\n"
			      "X-Empty:\r\n"
			      "Cookie: s=abc; t=1; s=def\r\n"
			      "Cookie: u=v\r\n\r\n";

static const struct {
	const char *match;
	enum match_result expected;
} rows[] = {
	{ "{ method: POST }", MATCH_HOLDS },
	{ "{ method: [GET, POST] }", MATCH_HOLDS },
	{ "{ method: [GET, HEAD] }", MATCH_FAILS },
	{ "{ header: { x-kind: one } }", MATCH_HOLDS },
	{ "{ header: { X-KIND: Two } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: two } }", MATCH_FAILS },
	{ "{ header: { X-Kind: \"T*\" } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: \"Two*\" } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: { exact: \"T*\" } } }", MATCH_FAILS },
	{ "{ header: { X-Kind: { prefix: T } } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: \"*\" } }", MATCH_HOLDS },
	{ "{ header: { X-None: \"*\" } }", MATCH_FAILS },
	{ "{ header: { X-Empty: \"*\" } }", MATCH_HOLDS },
	{ "{ header: { X-Empty: \"\" } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: \"\" } }", MATCH_FAILS },
	{ "{ header: { Accept: \"~text/(html|plain)\" } }", MATCH_HOLDS },
	{ "{ header: { Accept: \"~^html\" } }", MATCH_FAILS },
	{ "{ header: { Accept: { pattern: \"q=0[.]9$\" } } }", MATCH_HOLDS },
	{ "{ header: { Accept: [a, b, \"~9\"] } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: one, Accept: \"text*\" } }", MATCH_HOLDS },
	{ "{ header: { X-Kind: one, Accept: \"html*\" } }", MATCH_FAILS },
	{ "{ query: { a: 1 } }", MATCH_HOLDS },
	{ "{ query: { a: 2 } }", MATCH_HOLDS },
	{ "{ query: { a: 3 } }", MATCH_FAILS },
	{ "{ query: { A: 1 } }", MATCH_FAILS },
	{ "{ query: { b: x y } }", MATCH_HOLDS },
	{ "{ query: { c: \"\" } }", MATCH_HOLDS },
	{ "{ query: { d: 1 1 } }", MATCH_HOLDS },
	{ "{ query: { bad: \"*\" } }", MATCH_HOLDS },
	{ "{ query: { bad: \"%zz\" } }", MATCH_HOLDS },
	{ "{ query: { e: \"*\" } }", MATCH_FAILS },
	{ "{ cookie: { s: abc } }", MATCH_HOLDS },
	{ "{ cookie: { s: def } }", MATCH_HOLDS },
	{ "{ cookie: { u: v, t: \"~^[0-9]+$\" } }", MATCH_HOLDS },
	{ "{ cookie: { v: \"*\" } }", MATCH_FAILS },
	{ "{ client: 192.0.2.0/24 }", MATCH_HOLDS },
	{ "{ client: [10.0.0.0/8, \"2001:db8::/32\"] }", MATCH_FAILS },
	{ "{ client: unix }", MATCH_FAILS },
	{ "{ tls: on }", MATCH_HOLDS },
	{ "{ tls: off }", MATCH_FAILS },
	{ "{ tls: { version: TLSv1.3, sni: \"*\" } }", MATCH_HOLDS },
	{ "{ tls: { version: TLSv1.2 } }", MATCH_FAILS },
	{ "{ tls: { client.subject: \"~(^|,)CN=a($|,)\" } }", MATCH_HOLDS },
	{ "{ tls: { client.serial: \"*\" } }", MATCH_FAILS },
	{ "{ not: { method: GET } }", MATCH_HOLDS },
	{ "{ not: { method: POST } }", MATCH_FAILS },
	{ "{ not: { method: POST, tls: off } }", MATCH_HOLDS },
	{ "{ not: { method: POST, tls: on } }", MATCH_FAILS },
	{ "{ not: [{ method: GET }, { tls: off }] }", MATCH_HOLDS },
	{ "{ not: [{ method: GET }, { tls: on }] }", MATCH_FAILS },
	{ "{ method: POST, not: { header: { X-None: \"*\" } } }", MATCH_HOLDS },
	/* Nobody knows, so neither holds. */
	{ "{ query: { long: \"~(a+)+[PQ]\" } }", MATCH_UNDECIDED },
	{ "{ not: { query: { long: \"~(a+)+[PQ]\" } } }", MATCH_UNDECIDED },
	{ "{ method: GET, query: { long: \"~(a+)+[PQ]\" } }", MATCH_FAILS },
};

static const struct client_tls client_tls = {
	.version = { "TLSv1.3", 7 },
	.sni = { "example.org", 11 },
	.subject = { "O=x,CN=a", 8 },
};

static void head_read(struct head *h, char *text, size_t size)
{
	const struct head_limits limits = { .bytes = 65536, .fields = 100 };
	uint32_t scanned = 0;
	const char *question = strchr(request, '?');
	int before = (int)(question + 1 - request);

	snprintf(text, size, "%.*slong=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab&%s",
		 before, request, question + 1);
	assert_int_equal(head_parse_request(h, text, strlen(text), &limits, &scanned),
			 VERDICT_OK);
}

static struct config *config_of(const char *match)
{
	char text[1024];
	struct config *c;

	snprintf(text, sizeof(text),
		 TOP "  - { prefix: /, match: %s, proxy: { upstream: app } }\n", match);
	c = config_read_text("match.yaml", slice_of(text), stderr);
	assert_non_null(c);
	return c;
}

/* The same configuration, as it is printed. */
static struct config *printed(const struct config *c)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct config *again;

	config_print(c, out);
	fclose(out);
	again = config_read_text("printed.yaml", (struct slice){ text, size }, stderr);
	assert_non_null(again);
	free(text);
	return again;
}

static void test_rows(void **state)
{
	static struct head h;
	char text[1024], scratch[256];
	struct request_view v;

	(void)state;
	head_read(&h, text, sizeof(text));
	request_view_init(&v, &h, SLICE("192.0.2.1"), scratch);
	v.tls = &client_tls;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config *c = config_of(rows[i].match), *again = printed(c);
		enum match_result got = match_test(c->routes[0].match, &v);

		if (got != rows[i].expected ||
		    match_test(again->routes[0].match, &v) != rows[i].expected)
			fail_msg("%s: %d", rows[i].match, (int)got);
		assert_int_equal(match_failed(c->routes[0].match, &v) == NULL,
				 got == MATCH_HOLDS);
		config_free(c);
		config_free(again);
	}
}

static void test_unix_client(void **state)
{
	struct config *c = config_of("{ client: [10.0.0.1, unix] }");
	struct head h = { .path = SLICE("/") };
	char scratch[256];
	struct request_view v;

	(void)state;
	request_view_init(&v, &h, SLICE("unix:"), scratch);
	assert_int_equal(match_test(c->routes[0].match, &v), MATCH_HOLDS);
	assert_null(v.tls);
	config_free(c);
	c = config_of("{ tls: { version: \"*\" } }");
	assert_int_equal(match_test(c->routes[0].match, &v), MATCH_FAILS);
	config_free(c);
}

/* A condition that fails leaves the request to the next route; one that cannot be decided to none. */
static void test_next_route(void **state)
{
	static struct head h;
	struct config *c = config_read_text(
		"match.yaml",
		SLICE(TOP
		      "  - { prefix: /, match: { method: GET }, proxy: { upstream: app } }\n"
		      "  - { path: /p, host: a.org, proxy: { upstream: app } }\n"
		      "  - { path: /p, match: { cookie: { u: v } }, proxy: { upstream: app } }\n"
		      "  - { path: /p, match: { query: { long: \"~(a+)+[PQ]\" } }, proxy: { upstream: app } }\n"
		      "  - { prefix: /, proxy: { upstream: app } }\n"),
		stderr);
	char text[1024], scratch[256];
	struct request_view v;

	(void)state;
	assert_non_null(c);
	head_read(&h, text, sizeof(text));
	request_view_init(&v, &h, SLICE("192.0.2.1"), scratch);
	assert_ptr_equal(route_match(c, &v, 0), &c->routes[2]);
	assert_false(v.undecided);
	assert_null(route_match(c, &v, 3));
	assert_true(v.undecided);
	v.undecided = false;
	assert_ptr_equal(route_match(c, &v, 4), &c->routes[4]);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_unix_client),
		cmocka_unit_test(test_next_route),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
