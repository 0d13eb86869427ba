#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/arena.h"
#include "config/config.h"

#define TABLES 100000
#define REQUESTS 8
#define TABLE_ROUTES 24
#define LARGE 100000
#define TEXT_BYTES 40
#define HOSTS 3

/* ---- the linear search: the meaning of a table of routes ---------------------- */

static bool linear_path_matches(const struct config_route *r, struct slice path)
{
	if (slice_equal(path, SLICE("*")))
		return r->prefix && slice_equal(r->path, SLICE("/"));
	if (!r->prefix)
		return slice_equal(r->path, path);
	return slice_starts(path, r->path) &&
	       (path.len == r->path.len || r->path.ptr[r->path.len - 1] == '/' ||
		path.ptr[r->path.len] == '/');
}

/* "*.example.org" is ".example.org": one or more labels before it. */
static bool linear_host_matches(const struct config_route *r, struct slice host)
{
	for (unsigned i = 0; i < r->host_n; i++) {
		struct slice h = r->hosts[i];

		if (h.ptr[0] != '.'
			    ? slice_equal(h, host)
			    : host.len > h.len &&
				      slice_equal(slice_after(host, host.len - h.len), h))
			return true;
	}
	return r->host_n == 0;
}

static uint32_t linear_find(const struct config_route *routes, unsigned n,
			    struct slice host, struct slice path, unsigned from)
{
	for (unsigned i = from; i < n; i++)
		if (linear_host_matches(&routes[i], host) &&
		    linear_path_matches(&routes[i], path))
			return i;
	return ROUTE_INDEX_NONE;
}

/* ---- random tables and requests ------------------------------------------------ */

static uint64_t random_state = 1;

static unsigned below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % n);
}

static struct slice path_draw(char *out)
{
	static const char *const segments[] = { "/",   "/a",   "/a",   "/b",
						"/ab", "/abc", "/a%2F" };
	size_t n = 0;

	for (unsigned i = below(4) + 1; i > 0; i--) {
		unsigned kind = below(COUNT(segments) + 1);

		if (kind < COUNT(segments))
			n = (size_t)(stpcpy(out + n, segments[kind]) - out);
		else /* any byte: many children of a node, in the order of unsigned bytes */
			n += (size_t)sprintf(out + n, "/%c", (char)(below(255) + 1));
	}
	return (struct slice){ out, n };
}

static struct slice host_draw(void)
{
	static const char *const hosts[] = { "a",     "ab",  "a.b",  "b",    "[::1]",
					     "abc",   "c",   ".b",   ".a.b", ".c.a.b",
					     "c.a.b", ".ab", "x.y.b" };

	return slice_of(hosts[below(COUNT(hosts))]);
}

/* Of a route: none, or some that are not the same. */
static unsigned hosts_draw(struct slice *hosts)
{
	unsigned n = 0;

	for (unsigned i = below(HOSTS + 1); i > 0; i--) {
		unsigned before = 0;

		hosts[n] = host_draw();
		while (before < n && !slice_equal(hosts[before], hosts[n]))
			before++;
		n += before == n;
	}
	return n;
}

/* A path that no route can have; normally one that some have. */
static struct slice request_path_draw(char *out)
{
	static const char *const odd[] = { "", "*", "a", "a/a", "ab/", "**", "*/" };

	return below(16) == 0 ? slice_of(odd[below(COUNT(odd))]) : path_draw(out);
}

static struct slice request_host_draw(void)
{
	static const char *const odd[] = { "a/", "a/a", "b/a/", "d",       "a/ab",
					   "",   "d.b", "..b",  "d.c.a.b", "d.d.a.b",
					   ".",  "*.b", "ac.b", "b/.b",    "a/.a.b" };

	return below(4) == 0 ? slice_of(odd[below(COUNT(odd))]) : host_draw();
}

struct random_table {
	struct config_route routes[TABLE_ROUTES];
	struct slice hosts[TABLE_ROUTES][HOSTS];
	char texts[TABLE_ROUTES][TEXT_BYTES];
	unsigned n;
};

static void table_draw(struct random_table *t)
{
	t->n = below(8) == 0 ? below(TABLE_ROUTES + 1) : below(6);
	for (unsigned i = 0; i < t->n; i++)
		t->routes[i] = (struct config_route){ .path = path_draw(t->texts[i]),
						      .hosts = t->hosts[i],
						      .host_n = hosts_draw(t->hosts[i]),
						      .prefix = below(2) };
}

static void check_request(const struct random_table *t, const struct route_index *x)
{
	char text[TEXT_BYTES];
	struct slice host = request_host_draw(), path = request_path_draw(text);
	unsigned from = below(2) == 0 ? 0 : below(t->n + 2);
	uint32_t expected = linear_find(t->routes, t->n, host, path, from),
		 found = route_index_find(x, host, path, from);

	if (found == expected)
		return;
	for (unsigned i = 0; i < t->n; i++)
		print_message("%u: %s '%.*s' of %u hosts, '%.*s'\n", i,
			      t->routes[i].prefix ? "prefix" : "path",
			      SLICE_ARG(t->routes[i].path), t->routes[i].host_n,
			      SLICE_ARG(t->hosts[i][0]));
	fail_msg("'%.*s' '%.*s' from %u: %d instead of %d", SLICE_ARG(host),
		 SLICE_ARG(path), from, (int)found, (int)expected);
}

static void test_same_as_linear(void **state)
{
	static struct random_table t;

	(void)state;
	for (unsigned i = 0; i < TABLES; i++) {
		struct arena memory = { 0 };
		struct route_index x;

		table_draw(&t);
		route_index_build(&x, t.routes, t.n, &memory);
		for (unsigned k = 0; k < REQUESTS; k++)
			check_request(&t, &x);
		arena_free(&memory);
	}
}

/* ---- large tables -------------------------------------------------------------- */

static struct config_route *routes;
static struct route_index index_of_routes;
static struct arena arena;

static void large_build(unsigned n)
{
	route_index_build(&index_of_routes, routes, n, &arena);
}

static int large_setup(void **state)
{
	(void)state;
	routes = calloc(LARGE, sizeof(*routes));
	return routes ? 0 : -1;
}

static int large_teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LARGE; i++)
		free((void *)(uintptr_t)routes[i].path.ptr);
	free(routes);
	arena_free(&arena);
	return 0;
}

static struct slice text_new(const char *format, unsigned i)
{
	char text[64];

	snprintf(text, sizeof(text), format, i);
	return slice_of(strdup(text));
}

static void test_many_paths(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LARGE; i++)
		routes[i] = (struct config_route){
			.path = text_new("/service/%u/items", i), .prefix = i % 2
		};
	large_build(LARGE);
	for (unsigned i = 0; i < LARGE; i++)
		assert_int_equal(
			route_index_find(&index_of_routes, SLICE("h"), routes[i].path, 0),
			i);
	assert_true(arena.bytes < 40 * (size_t)LARGE);
}

/* Hosts of 100 labels, of which each rest is a wildcard: as many as a host can match. */
static void test_many_wildcards(void **state)
{
	static char text[201];
	static struct slice hosts[100];
	struct slice host = { text, 200 };

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		text[2 * i] = 'a';
		text[2 * i + 1] = '.';
	}
	text[199] = 'a';
	for (unsigned i = 0; i < 99; i++) {
		hosts[i] = slice_after(host, 2 * i + 1);
		routes[i] = (struct config_route){ .path = text_new("/%u", 1),
						   .hosts = &hosts[i],
						   .host_n = 1 };
	}
	large_build(99);
	for (unsigned i = 0; i < 99; i++)
		assert_int_equal(route_index_find(&index_of_routes, host, SLICE("/1"), i),
				 i);
	assert_int_equal(
		route_index_find(&index_of_routes, slice_after(host, 1), SLICE("/1"), 0),
		1);
}

/* A key that all routes have: `miss: next` leads from one to the next. */
static void test_many_of_one_path(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LARGE; i++)
		routes[i] = (struct config_route){ .path = text_new("/a", i),
						   .prefix = i % 3 == 0 };
	large_build(LARGE);
	for (unsigned i = 0; i < LARGE; i++)
		assert_int_equal(
			route_index_find(&index_of_routes, SLICE(""), SLICE("/a"), i), i);
	for (unsigned i = 0; i < LARGE - 3; i++)
		assert_int_equal(
			route_index_find(&index_of_routes, SLICE(""), SLICE("/a/b"), i),
			(i + 2) / 3 * 3);
}

/* Each prefix is one of all that follow it, and the request's path begins with all of them. */
static void test_many_of_one_another(void **state)
{
	static char path[8192];
	const unsigned n = sizeof(path) / 2;
	struct slice whole = { path, sizeof(path) };

	(void)state;
	for (unsigned i = 0; i < sizeof(path); i++)
		path[i] = i % 2 == 0 ? '/' : 'a';
	for (unsigned i = 0; i < n; i++)
		routes[i] = (struct config_route){ .path = { strndup(path, sizeof(path) -
										   2 * i),
							     sizeof(path) - 2 * i },
						   .prefix = true };
	large_build(n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(route_index_find(&index_of_routes, SLICE(""), whole, i),
				 i);
	assert_int_equal(route_index_find(&index_of_routes, SLICE(""), whole, n),
			 ROUTE_INDEX_NONE);
}

/* Children are sorted by unsigned bytes. */
static void test_many_children(void **state)
{
	unsigned n = 0;

	(void)state;
	for (unsigned byte = 255; byte > 0; byte--) {
		char text[3] = { '/', (char)byte, 0 };

		routes[n++] = (struct config_route){ .path = slice_of(strdup(text)) };
	}
	large_build(n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(
			route_index_find(&index_of_routes, SLICE(""), routes[i].path, 0),
			i);
}

#define LARGE_ROUTES 100000
#define LARGE_UPSTREAMS 1000
/* That remain of a route, its share of the upstreams included. */
#define ROUTE_BYTES_MAX 512

/* A configuration with very many routes and upstreams needs memory in proportion: 287 bytes
 * a route. Sanitizers replace malloc(), so that mallinfo2() tells nothing there. */
static void memory_of_many(void **state)
{
	struct config *config;
	size_t size, before;
	char *text;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	fprintf(out, "listen: [unix:/l]\nupstreams:\n");
	for (unsigned i = 0; i < LARGE_UPSTREAMS; i++)
		fprintf(out, "  u%u: { servers: [\"unix:/u%u\"] }\n", i, i);
	fprintf(out, "routes:\n");
	for (unsigned i = 0; i < LARGE_ROUTES; i++)
		fprintf(out, "  - { prefix: /service/%u/, proxy: { upstream: u%u } }\n",
			i, i % LARGE_UPSTREAMS);
	fclose(out);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	config = config_read_text("large.yaml", (struct slice){ text, size }, stderr);
	assert_non_null(config);
	assert_int_equal(config->route_n, LARGE_ROUTES);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before <
		    (size_t)LARGE_ROUTES * ROUTE_BYTES_MAX);
	config_free(config);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_linear),
		cmocka_unit_test_setup_teardown(test_many_paths, large_setup,
						large_teardown),
		cmocka_unit_test_setup_teardown(test_many_wildcards, large_setup,
						large_teardown),
		cmocka_unit_test_setup_teardown(test_many_of_one_path, large_setup,
						large_teardown),
		cmocka_unit_test_setup_teardown(test_many_children, large_setup,
						large_teardown),
		cmocka_unit_test_setup_teardown(test_many_of_one_another, large_setup,
						large_teardown),
		cmocka_unit_test(memory_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
