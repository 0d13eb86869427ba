/* Tables of 1 to 100,000 routes: how the cost of finding a route depends on their number. */
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "micro.h"
#include "route/route.h"

#define PATH_BYTES 8192

static struct config *table;
static struct head head;
static struct request_view request;
static const struct config_route *expected;

static void find_expected(unsigned n)
{
	while (n-- > 0)
		micro_must(route_match(table, &request, 0) == expected, "a route");
}

/* The table is `routes`, as YAML; the request is expected to match its last route. */
static void table_read(const char *routes, const char *host, const char *path)
{
	static const char top[] = "listen: [unix:/l]\n"
				  "upstreams: { a: { servers: [unix:/a] } }\n"
				  "routes:\n";
	static char scratch[2 * PATH_BYTES];
	char *text = malloc(sizeof(top) + strlen(routes));

	micro_must(text != NULL, "memory");
	strcpy(stpcpy(text, top), routes);
	table = config_read_text("micro.yaml", slice_of(text), stderr);
	micro_must(table != NULL, "a configuration");
	free(text);
	head = (struct head){ .path = slice_of(path), .authority = slice_of(host) };
	request_view_init(&request, &head, SLICE("192.0.2.17"), scratch);
	expected = &table->routes[table->route_n - 1];
}

/* n routes: three of four are prefixes, as in a file of many small services. */
static void paths(unsigned n, bool miss)
{
	char *routes, path[64];
	size_t bytes;
	FILE *out = open_memstream(&routes, &bytes);

	micro_must(out != NULL, "memory");
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "  - { %s: /service/%u/items, proxy: { upstream: a } }\n",
			i % 4 == 3 ? "path" : "prefix", i);
	fclose(out);
	snprintf(path, sizeof(path), "/service/%u/items%s", n - 1, miss ? "x" : "");
	table_read(routes, "www.example.org", path);
	if (miss)
		expected = NULL;
	free(routes);
}

static void hosts(unsigned n)
{
	char *routes, host[64];
	size_t bytes;
	FILE *out = open_memstream(&routes, &bytes);

	micro_must(out != NULL, "memory");
	for (unsigned i = 0; i < n; i++)
		fprintf(out,
			"  - { prefix: /, host: shop%u.example.org, "
			"proxy: { upstream: a } }\n",
			i);
	fclose(out);
	snprintf(host, sizeof(host), "shop%u.example.org", n - 1);
	table_read(routes, host, "/basket/items");
	free(routes);
}

/* Prefixes of one another, the longest first; only the last route has the request's path. */
static void nested(unsigned n)
{
	static char path[PATH_BYTES];
	char *routes;
	size_t bytes, segment = (PATH_BYTES - 16) / n;
	FILE *out = open_memstream(&routes, &bytes);

	micro_must(out != NULL, "memory");
	for (size_t i = 0; i < segment * n; i++)
		path[i] = i % segment == 0 ? '/' : 'a';
	for (unsigned i = n; i > 0; i--)
		fprintf(out,
			"  - { prefix: %.*s, host: \"%s\", proxy: { upstream: a } }\n",
			(int)(segment * i), path,
			i == 1 ? "www.example.org" : "other.org");
	fclose(out);
	table_read(routes, "www.example.org", path);
	free(routes);
}

/* n routes of one path, each with a condition on a header field; the request passes none. */
static void conditions(unsigned n)
{
	char *routes;
	size_t bytes;
	FILE *out = open_memstream(&routes, &bytes);

	micro_must(out != NULL, "memory");
	for (unsigned i = 0; i < n; i++)
		fprintf(out,
			"  - { prefix: /api/, match: { header: { X-Tenant: t%u } }, "
			"proxy: { upstream: a } }\n",
			i);
	fputs("  - { prefix: /, proxy: { upstream: a } }\n", out);
	fclose(out);
	table_read(routes, "www.example.org", "/api/items/17");
	head.field_n = 10;
	for (unsigned i = 0; i < 10; i++)
		head.fields[i] = (struct field){ SLICE("X-Something"), SLICE("value"),
						 HEADER_OTHER, false };
	head.fields[9] = (struct field){ SLICE("X-Tenant"), SLICE("none"), HEADER_OTHER,
					 false };
	free(routes);
}

static const struct micro tables[] = {
	{ "routes-1-last", "the only route", find_expected },
	{ "routes-10-last", "the last of 10 routes", find_expected },
	{ "routes-100-last", "the last of 100 routes", find_expected },
	{ "routes-1000-last", "the last of 1,000 routes", find_expected },
	{ "routes-100000-last", "the last of 100,000 routes", find_expected },
	{ "routes-1-miss", "none of 1 route", find_expected },
	{ "routes-10-miss", "none of 10 routes", find_expected },
	{ "routes-1000-miss", "none of 1,000 routes", find_expected },
	{ "routes-100000-miss", "none of 100,000 routes", find_expected },
	{ "hosts-10-last", "the last of 10 hosts", find_expected },
	{ "hosts-1000-last", "the last of 1,000 hosts", find_expected },
	{ "hosts-100000-last", "the last of 100,000 hosts", find_expected },
	{ "conditions-10-fail", "behind 10 routes of one path whose conditions fail",
	  find_expected },
	{ "conditions-10000-fail",
	  "behind 10,000 routes of one path whose conditions fail", find_expected },
	{ "nested-500-last", "the last of 500 prefixes of a path of 8 KiB",
	  find_expected },
};

static void prepare_tables(void)
{
}

static void prepare_table(size_t row)
{
	unsigned n;

	if (sscanf(tables[row].name, "routes-%u", &n) == 1)
		paths(n, strstr(tables[row].name, "miss"));
	else if (sscanf(tables[row].name, "hosts-%u", &n) == 1)
		hosts(n);
	else if (sscanf(tables[row].name, "conditions-%u", &n) == 1)
		conditions(n);
	else if (sscanf(tables[row].name, "nested-%u", &n) == 1)
		nested(n);
}

const struct micro_set micro_routetables = { tables, sizeof(tables) / sizeof(tables[0]),
					     prepare_tables, prepare_table };
