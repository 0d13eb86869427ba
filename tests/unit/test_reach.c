#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "../../src/config/reach.h"
#include "base/check.h"

/* Routes in the order of a file, and which earlier one matches all their requests. */
static const struct {
	const char *host, *path;
	bool prefix;
	int before; /* -1: none */
} cases[] = {
	{ "", "/a/b", true, -1 },
	{ "", "/a/b", true, 0 },
	{ "", "/a/b/", false, 0 },
	{ "h", "/a/b/c", true, 0 },
	{ "", "/a/bc", true, -1 },
	{ "", "/a", false, -1 },
	{ "h", "/a", false, 5 },
	{ "h", "/", true, -1 },
	{ "h", "/x/y", false, 7 },
	{ "i", "/x/y", false, -1 },
	{ "", "/a", true, -1 },
	{ "i", "/a/b/c/d", false, 0 }, /* of two, the first in the file */
	{ "", "/", true, -1 },
	{ "", "/x/y", false, 12 },
};

static void routes_found(void **state)
{
	static struct config_route routes[COUNT(cases)];
	static struct slice hosts[COUNT(cases)];
	struct arena memory = { 0 };
	struct reach reach = { .memory = &memory };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct config_route *before;

		hosts[i] = slice_of(cases[i].host);
		routes[i] = (struct config_route){ .hosts = &hosts[i],
						   .host_n = hosts[i].len > 0,
						   .path = slice_of(cases[i].path),
						   .prefix = cases[i].prefix };
		before = reach_add(&reach, &routes[i]);
		assert_int_equal(before ? before - routes : -1, cases[i].before);
	}
	reach_done(&reach);
	arena_free(&memory);
}

/* A route with several hosts is never reached if earlier routes match each of them. */
static void several_hosts(void **state)
{
	static const struct slice a = SLICE("a.x.org"), below_x = SLICE(".x.org"),
				  list[] = { SLICE("a.x.org"), SLICE("b.org") },
				  other[] = { SLICE("b.org"), SLICE(".a.x.org") };
	struct config_route routes[] = {
		{ .path = SLICE("/a"), .prefix = true, .hosts = &a, .host_n = 1 },
		{ .path = SLICE("/a/b"), .hosts = list, .host_n = 2 },
		{ .path = SLICE("/a/b"), .hosts = list, .host_n = 2 },
		{ .path = SLICE("/"), .prefix = true, .hosts = &below_x, .host_n = 1 },
		{ .path = SLICE("/a/b"), .hosts = other, .host_n = 2 },
		{ .path = SLICE("/a/c"), .hosts = other, .host_n = 2 },
		{ .path = SLICE("/a/c"), .prefix = true, .hosts = &a, .host_n = 1 },
	};
	static const int expected[] = { -1, -1, 0, -1, 1, -1, 0 };
	struct arena memory = { 0 };
	struct reach reach = { .memory = &memory };

	(void)state;
	for (size_t i = 0; i < COUNT(routes); i++) {
		const struct config_route *before = reach_add(&reach, &routes[i]);

		assert_int_equal(before ? before - routes : -1, expected[i]);
	}
	reach_done(&reach);
	arena_free(&memory);
}

#define LONG_PATH 65536
#define LONG_ROUTES 128

static double cpu_seconds(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

/* Paths of 64 KiB and 32,768 segments. To hash each beginning anew would take a second for each
 * route. */
static void long_paths(void **state)
{
	static struct config_route routes[LONG_ROUTES + 1];
	struct arena memory = { 0 };
	struct reach reach = { .memory = &memory };
	double began = cpu_seconds();

	(void)state;
	routes[0] = (struct config_route){ .path = SLICE("/b"), .prefix = true };
	assert_null(reach_add(&reach, &routes[0]));
	for (int i = 1; i <= LONG_ROUTES; i++) {
		char *path = malloc(LONG_PATH);

		for (size_t at = 0; at < LONG_PATH; at += 2)
			memcpy(path + at, "/a", 2);
		path[2 * i + 1] = 'b';
		routes[i] = (struct config_route){ .path = { path, LONG_PATH },
						   .prefix = i % 2 };
		assert_null(reach_add(&reach, &routes[i]));
		assert_ptr_equal(reach_add(&reach, &routes[i]), &routes[i]);
	}
	assert_true(cpu_seconds() - began < 10);
	for (int i = 1; i <= LONG_ROUTES; i++)
		free((char *)routes[i].path.ptr);
	reach_done(&reach);
	arena_free(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_found),
		cmocka_unit_test(several_hosts),
		cmocka_unit_test(long_paths),
	};

	return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}
