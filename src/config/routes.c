#include "reader.h"

#include "http/path.h"
#include "reach.h"
#include "value.h"

static void path_read(struct config_reader *r, const struct node *n,
		      struct config_route *route)
{
	struct slice normal;
	const char *fault;
	char *buffer;

	if (!scalar_check(r, n, route->prefix ? "'prefix: /'" : "'path: /'") ||
	    !suspect_text(r, n,
			  route->prefix ? KEY_OF(route, prefix) : KEY_OF(route, path)))
		return;
	fault = value_text_fault(KIND_PATH, n->key->text, n->text, &r->scratch);
	if (fault) {
		report_error(&r->report, n->at, "%s", fault);
		return;
	}
	buffer = arena_alloc(r->memory, n->text.len);
	normal = (struct slice){ buffer, path_normalize(buffer, n->text) };
	if (!slice_equal(normal, n->text))
		report_error(
			&r->report, n->at,
			"'%s' is not normalized, but paths are normalized before they are "
			"matched; write '%.*s'",
			node_name(n), REPORT_ARG(normal));
	else
		route->path = normal;
}

uint64_t config_body_max(const struct config *c, const struct config_route *route)
{
	if (route->body_max == 0)
		return c->limits.request_body;
	return route->body_max > CONFIG_BODY_MAX ? 0 : route->body_max;
}

static uint32_t or_limit(uint32_t value, uint32_t limit)
{
	return value > 0 ? value : limit;
}

uint32_t config_send_timeout_ms(const struct config *c, const struct config_route *route)
{
	return or_limit(route ? route->send_timeout_ms : 0, c->limits.send_timeout_ms);
}

uint32_t config_receive_timeout_ms(const struct config *c, const struct config_route *route)
{
	return or_limit(route ? route->receive_timeout_ms : 0, c->limits.receive_timeout_ms);
}

/* Of a route: above the maximum is `none`. */
static uint32_t rate_or_limit(uint32_t rate, uint32_t limit)
{
	return rate > CONFIG_RATE_MAX ? 0 : or_limit(rate, limit);
}

uint32_t config_min_send_rate(const struct config *c, const struct config_route *route)
{
	return rate_or_limit(route ? route->min_send_rate : 0, c->limits.min_send_rate);
}

uint32_t config_min_receive_rate(const struct config *c, const struct config_route *route)
{
	return rate_or_limit(route ? route->min_receive_rate : 0, c->limits.min_receive_rate);
}

/* A route has exactly one of path and prefix. */
static void match_read(struct config_reader *r, const struct node *map,
		       const struct section_values *values, struct config_route *route)
{
	const struct node *path = values->of[KEY_route_path];
	const struct node *prefix = values->of[KEY_route_prefix];

	route->prefix = prefix;
	if (path && prefix)
		report_error(
			&r->report,
			path->key->at.line > prefix->key->at.line ? path->key->at
								  : prefix->key->at,
			"a route has either 'path' or 'prefix'; remove one of the two");
	else if (path || prefix)
		path_read(r, path ? path : prefix, route);
	else
		report_error(
			&r->report, map->at,
			"this route has no 'path' and no 'prefix'; write 'path: /PATH' or "
			"'prefix: /'");
}

/* A route has exactly one action. */
static void actions_read(struct config_reader *r, const struct node *map,
			 const struct section_values *values, struct config_route *route)
{
	const struct node *first = NULL;

	for (size_t i = 0; config_actions[i]; i++) {
		const struct config_action *action = config_actions[i];
		const struct node *n = values->of[section_route.row_n + i];

		if (!n)
			continue;
		if (first) {
			report_error(
				&r->report, n->key->at,
				"a route has only one action, and this one already has '%s'; move "
				"'%s' to another route",
				node_name(first), node_name(n));
			continue;
		}
		first = n;
		route->action = action;
		if (action->study && !r->config->study)
			report_error(
				&r->report, n->key->at,
				"'%s' requires 'study: true'; add that at the top level of the "
				"file, or remove the route",
				node_name(n));
		action->read(r, n, route);
	}
	if (!first)
		report_error(
			&r->report, map->at,
			"this route has no action; write 'proxy: { upstream: NAME }', "
			"'memcached: { upstream: NAME, key: TEXT }' or 'redirect: https'");
}

/* These keys have no effect without `proxy`; report them. */
static void policy_check(struct config_reader *r, const struct section_values *values,
			 const struct config_route *route)
{
	static const enum key_id of_proxy[] = {
		KEY_route_request_body, KEY_route_response_timeout, KEY_route_idle_timeout,
		KEY_route_deadline,	KEY_route_retry,	    KEY_route_hedge,
		KEY_route_receive_timeout, KEY_route_min_receive_rate,
	};

	for (size_t i = 0; i < COUNT(of_proxy); i++) {
		const struct node *n = values->of[of_proxy[i]];

		if (n && !n->inherited && !(route->action && route->action->has_policy))
			report_error(&r->report, n->key->at,
				     "'%s' has no effect without 'proxy'; remove it",
				     node_name(n));
	}
}

static void route_read(struct config_reader *r, const struct node *n,
		       struct config_route *route)
{
	struct section_values values;

	route->line = n->at.line;
	route->file = n->at.file > 0 ? report_file_name(&r->report, n->at.file) : NULL;
	if (!section_read(r, n, &section_route, route, &values))
		return;
	match_read(r, n, &values, route);
	if (values.of[KEY_route_host] && !hosts_read(r, values.of[KEY_route_host], route))
		route->path.len = 0; /* invalid: reach_add() ignores it */
	if (values.of[KEY_route_match])
		conditions_of_route_read(r, values.of[KEY_route_match], route);
	actions_read(r, n, &values, route);
	policy_check(r, &values, route);
	route_logs_read(r, values.of[KEY_route_access_log], route);
	if (values.of[KEY_route_retry])
		retry_read(r, values.of[KEY_route_retry], route);
	if (values.of[KEY_route_hedge])
		hedge_read(r, values.of[KEY_route_hedge], route);
	if (route->action)
		rules_read(r, &values, route);
}

static bool matches_same(const struct config_route *a, const struct config_route *b)
{
	bool same = a->prefix == b->prefix && slice_equal(a->path, b->path) &&
		    a->host_n == b->host_n && !b->match;

	for (unsigned i = 0; same && i < a->host_n; i++)
		same = slice_equal(a->hosts[i], b->hosts[i]);
	return same;
}

/* "line 7" of the route, or "line 7 of FILE". */
static const char *route_line(struct config_reader *r, const struct config_route *route,
			      const struct node *from)
{
	const struct source_pos at = { route->line, 1,
				       route->file ? report_file(&r->report, route->file) : 0 };

	return report_line(&r->report, at, from->at);
}

static void reach_check(struct config_reader *r, struct reach *reach,
			const struct config_route *route, const struct node *n)
{
	const struct config_route *before = reach_add(reach, route);

	if (!before)
		return;
	if (matches_same(before, route))
		report_error(
			&r->report, n->at,
			"never reached: the route on %s matches the same requests; "
			"remove one of the two",
			route_line(r, before, n));
	else if (route->host_n > 1)
		report_error(
			&r->report, n->at,
			"never reached: earlier routes match first for each of its hosts, "
			"that on %s before others; move this one above them, or remove it",
			route_line(r, before, n));
	else
		report_error(
			&r->report, n->at,
			"never reached: the route on %s matches first; move this one "
			"above it, or remove it",
			route_line(r, before, n));
}

/* What the index is made of is limited, because each host of a route has its path again. */
static void index_check(struct config_reader *r, const struct node *list)
{
	const struct config *c = r->config;
	size_t keys, bytes = route_index_bytes(c->routes, c->route_n, &keys);

	if (keys > ROUTE_INDEX_KEYS_MAX)
		report_error(&r->report, node_pos(list),
			     "the routes have %zu hosts in all; write at most %d", keys,
			     ROUTE_INDEX_KEYS_MAX);
	else if (bytes > ROUTE_INDEX_BYTES_MAX)
		report_error(
			&r->report, node_pos(list),
			"the paths of the routes, once for each of their hosts, have "
			"more than 1 GiB; shorten them, or write fewer hosts");
}

void routes_read(struct config_reader *r, const struct node *list)
{
	struct config *c = r->config;
	struct reach reach = { .memory = &r->scratch };

	if (r->routes_refused)
		return;
	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, CONFIG_ROUTES_MAX,
			    "'routes: [{ prefix: /, proxy: { upstream: NAME } }]'"))
		return;
	c->routes = arena_alloc(r->memory, list->child_n * sizeof(c->routes[0]));
	for (const struct node *n = list->children; n; n = n->next) {
		struct config_route *route = &c->routes[c->route_n++];

		route_read(r, n, route);
		reach_check(r, &reach, route, n);
	}
	reach_done(&reach);
	index_check(r, list);
	if (r->report.n == 0)
		route_index_build(&c->route_index, c->routes, c->route_n, r->memory);
}
