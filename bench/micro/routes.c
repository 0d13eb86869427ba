/* Matching a request to its route, and expanding templates. */
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "micro.h"
#include "route/route.h"
#include "route/variable.h"

static const char text[] = "listen: [unix:/l]\n"
			   "upstreams: { a: { servers: [unix:/a] } }\n"
			   "routes:\n"
			   "  - { path: /status, proxy: { upstream: a } }\n"
			   "  - { path: /health, proxy: { upstream: a } }\n"
			   "  - { prefix: /static/, proxy: { upstream: a } }\n"
			   "  - { prefix: /images/, proxy: { upstream: a } }\n"
			   "  - { prefix: /account/, proxy: { upstream: a } }\n"
			   "  - { prefix: /api/v1/, proxy: { upstream: a } }\n"
			   "  - { prefix: /api/v2/, proxy: { upstream: a } }\n"
			   "  - { prefix: /h, host: other.org, proxy: { upstream: a } }\n"
			   "  - { prefix: /shop/, proxy: { upstream: a } }\n"
			   "  - { prefix: /, proxy: { upstream: a } }\n";

static const char first[] = "GET /status HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
static const char last[] = "GET /elsewhere/and/further/index.html?a=1 HTTP/1.1\r\n"
			   "Host: www.example.org:8080\r\n\r\n";
static const char escaped[] = "GET /shop/./%7euser/../%7Euser/basket HTTP/1.1\r\n"
			      "Host: www.Example.org\r\n"
			      "Cookie: theme=dark; session=0123456789abcdef\r\n\r\n";

static struct config *config;
static struct head first_head, last_head, escaped_head;
static struct template literal, cookie, rest;
static struct request_view view;
static char scratch[1024], space[1024];

static void find(struct head *h, unsigned expected)
{
	request_view_init(&view, h, SLICE("192.0.2.17"), scratch);
	view.route = route_match(config, &view, 0);
	micro_must(view.route == &config->routes[expected], "a route");
}

static void route_first(unsigned n)
{
	while (n-- > 0)
		find(&first_head, 0);
}

static void route_last(unsigned n)
{
	while (n-- > 0)
		find(&last_head, 9);
}

static void route_escaped(unsigned n)
{
	while (n-- > 0)
		find(&escaped_head, 8);
}

static void expand(const struct template *t)
{
	micro_must(variable_expand(t, &view, space, sizeof(space)) > 0, "a value");
	micro_keep(space);
}

static void expand_literal(unsigned n)
{
	while (n-- > 0)
		expand(&literal);
}

static void expand_cookie(unsigned n)
{
	while (n-- > 0)
		expand(&cookie);
}

static void expand_rest(unsigned n)
{
	while (n-- > 0)
		expand(&rest);
}

static void parse(struct head *h, const char *bytes, size_t n)
{
	const struct head_limits limits = { .bytes = 16384, .fields = 100 };
	uint32_t scanned = 0;

	micro_must(head_parse_request(h, bytes, n, &limits, &scanned) == VERDICT_OK,
		   "a request");
}

static void compile(struct template *t, struct slice s)
{
	struct template_part *parts = calloc(TEMPLATE_PARTS_MAX,
					     sizeof(*parts)); /* never freed */
	const char *why;
	size_t column;

	micro_must(parts && template_compile(t, parts, s, &column, &why) == 0,
		   "a template");
}

static void prepare_routes(void)
{
	config = config_read_text("micro.yaml", SLICE(text), stderr);
	micro_must(config != NULL, "a configuration");
	parse(&first_head, first, sizeof(first) - 1);
	parse(&last_head, last, sizeof(last) - 1);
	parse(&escaped_head, escaped, sizeof(escaped) - 1);
	compile(&literal, SLICE("foo"));
	compile(&cookie, SLICE("session:${cookie.session}"));
	compile(&rest, SLICE("page:${path.rest}"));
	find(&escaped_head, 8);
}

static const struct micro routes[] = {
	{ "route-first", "match the first of ten routes", route_first },
	{ "route-last", "match the last of ten routes", route_last },
	{ "route-escaped", "match a path with escapes and dot segments", route_escaped },
	{ "template-literal", "expand a key without variables", expand_literal },
	{ "template-cookie", "expand a key with a cookie", expand_cookie },
	{ "template-rest", "expand a key with the rest of the path", expand_rest },
};

const struct micro_set micro_routes = { routes, sizeof(routes) / sizeof(routes[0]),
					prepare_routes, NULL };
