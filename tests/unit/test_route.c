#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/guard.h"
#include "route/route.h"

static const char text[] = "listen: [unix:/l]\n"
			   "upstreams: { a: { servers: [unix:/a] }, "
			   "m: { protocol: memcached, servers: [unix:/m] } }\n"
			   "routes:\n"
			   "  - path: /cache\n" /* 0 */
			   "    memcached: { upstream: m, key: foo, miss: next }\n"
			   "  - path: /cache\n" /* 1 */
			   "    proxy: { upstream: a }\n"
			   "  - prefix: /sessions/\n" /* 2 */
			   "    proxy: { upstream: a }\n"
			   "  - prefix: /api\n" /* 3 */
			   "    proxy: { upstream: a }\n"
			   "  - path: /%2Fx\n" /* 4 */
			   "    proxy: { upstream: a }\n"
			   "  - prefix: /h\n" /* 5 */
			   "    host: Example.org\n"
			   "    proxy: { upstream: a }\n"
			   "  - prefix: /h\n" /* 6 */
			   "    host: \"[0::0001]\"\n"
			   "    proxy: { upstream: a }\n"
			   "  - prefix: /\n" /* 7 */
			   "    host: All.test.\n"
			   "    proxy: { upstream: a }\n";

static const struct row {
	const char *path, *authority;
	unsigned from;
	int route; /* -1: none */
} rows[] = {
	{ "/cache", "", 0, 0 },
	{ "/cache", "", 1, 1 },
	{ "/cache", "", 2, -1 },
	{ "/cache/", "", 0, -1 },
	{ "/cach", "", 0, -1 },
	{ "/Cache", "", 0, -1 },
	{ "/%63ache", "", 0, 0 },
	{ "/x/../cache", "", 0, 0 },
	{ "/./cache", "", 0, 0 },
	{ "/cache/.", "", 0, -1 }, /* "/cache/" */
	{ "/sessions/x", "", 0, 2 },
	{ "/sessions/", "", 0, 2 },
	{ "/sessions", "", 0, -1 },
	{ "/sessions/x/../..", "", 0, -1 },
	{ "/api", "", 0, 3 },
	{ "/api/", "", 0, 3 },
	{ "/api/x", "", 0, 3 },
	{ "/apix", "", 0, -1 },
	{ "/api%2Fx", "", 0, -1 },
	{ "/%2fx", "", 0, 4 },
	{ "/h", "example.org", 0, 5 },
	{ "/h/x", "EXAMPLE.ORG:8080", 0, 5 },
	{ "/h", "example.org:", 0, 5 },
	{ "/h", "example.org.test", 0, -1 },
	{ "/h", "[::1]", 0, 6 },
	{ "/h", "[::1]:80", 0, 6 },
	{ "/h", "[0:0:0:0:0:0:0:1]:8080", 0, 6 },
	{ "/h", "example.org.", 0, 5 },
	{ "/h", "EXAMPLE.org.:80", 0, 5 },
	{ "/h", "%65xample%2Eorg", 0, 5 },
	{ "/h", "example.org..", 0, -1 },
	{ "/h", "[::2]", 0, -1 },
	{ "/h", "", 0, -1 },
	{ "/", "all.test", 0, 7 },
	{ "/anything", "All.Test:1", 0, 7 },
	{ "/api", "all.test", 4, 7 },
};

static struct config *config;

static int setup(void **state)
{
	(void)state;
	config = config_read_text("routes.yaml", SLICE(text), stderr);
	return config ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	config_free(config);
	return 0;
}

static int match(const struct head *h, unsigned from)
{
	size_t scratch_bytes = h->path.len + h->authority.len + HOST_GROWTH;
	char *zeros = calloc(1, scratch_bytes + 1),
	     *scratch = guard_copy(zeros, scratch_bytes);
	struct request_view v;
	const struct config_route *r;

	request_view_init(&v, h, SLICE("192.0.2.1"), scratch);
	r = route_match(config, &v, from);
	guard_free(scratch);
	free(zeros);
	return r ? (int)(r - config->routes) : -1;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct head h = { .path = slice_of(rows[i].path),
				  .authority = slice_of(rows[i].authority) };

		if (match(&h, rows[i].from) != rows[i].route)
			fail_msg("row %zu: %s gave %d", i, rows[i].path,
				 match(&h, rows[i].from));
	}
}

/* OPTIONS * is about the server as a whole: only the prefix "/" matches. */
static void test_asterisk(void **state)
{
	struct head h = { .path = SLICE("*"), .target_form = TARGET_ASTERISK };

	(void)state;
	assert_int_equal(match(&h, 0), -1);
	h.authority = SLICE("all.test");
	assert_int_equal(match(&h, 0), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_asterisk),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
