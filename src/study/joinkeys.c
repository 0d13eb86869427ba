/* The keys of the action `join`: read and printed. */
#include "join.h"

enum { KEY_JOIN_CHECK, KEY_JOIN_PARTS };
enum { KEY_CHECK_MEMCACHED, KEY_CHECK_LOGIN };
enum { KEY_PART_MEMCACHED, KEY_PART_PROXY };

static const struct key join_keys[] = {
	[KEY_JOIN_CHECK] = NODE_ROW(
		check, "{ memcached: {…}, login: URL }", "none",
		"request that is made first; the parts are requested only if it finds a value"),
	[KEY_JOIN_PARTS] = NODE_ROW(
		parts, "{ NAME: {…}, … }", "required",
		"1 to 8 requests that are made concurrently; their names are the member names of "
		"the JSON response"),
};

static const struct key check_keys[] = {
	[KEY_CHECK_MEMCACHED] = NODE_ROW(memcached, "{ upstream: NAME, key: TEXT }",
					 "required", "see `routes[].memcached`"),
	[KEY_CHECK_LOGIN] = KEY_ROW(
		struct config_join, login, URI, login, NULL, 0, 0, NULL, ANY,
		"redirect target (302) of clients for which the check finds no value"),
};

static const struct key part_keys[] = {
	[KEY_PART_MEMCACHED] = NODE_ROW(memcached, "{ upstream: NAME, key: TEXT }",
					"this or proxy", "see `routes[].memcached`"),
	[KEY_PART_PROXY] = NODE_ROW(proxy, "{ upstream: NAME, … }", "this or memcached",
				    "see `routes[].proxy`"),
};

static const struct section join_section = { "routes[].join.", join_keys,
					     COUNT(join_keys) };
static const struct section check_section = { "routes[].join.check.", check_keys,
					      COUNT(check_keys) };
static const struct section part_section = { "routes[].join.parts.NAME.", part_keys,
					     COUNT(part_keys) };
const struct section *const join_sections[] = { &join_section, &check_section,
						&part_section, NULL };

static void check_read(struct config_reader *r, const struct node *n,
		       struct config_join *j)
{
	struct section_values values;

	j->check = arena_alloc(reader_memory(r), sizeof(*j->check));
	j->check->name = "check";
	j->check->is_memcached = true;
	if (section_read(r, n, &check_section, j, &values) &&
	    values.of[KEY_CHECK_MEMCACHED])
		memcached_read(r, values.of[KEY_CHECK_MEMCACHED], &j->check->memcached,
			       true);
}

static void part_read(struct config_reader *r, const struct node *n,
		      struct config_part *part)
{
	struct section_values values;
	const struct node *memcached, *proxy;

	part->name = arena_text(reader_memory(r), n->key->text);
	if (!section_read(r, n, &part_section, part, &values))
		return;
	memcached = values.of[KEY_PART_MEMCACHED];
	proxy = values.of[KEY_PART_PROXY];
	part->is_memcached = memcached;
	if (!memcached == !proxy)
		report_error(
			reader_report(r), node_pos(n),
			"a part needs exactly one upstream; write either 'memcached: {…}' "
			"or 'proxy: {…}'");
	if (memcached)
		memcached_read(r, memcached, &part->memcached, true);
	else if (proxy)
		proxy_read(r, proxy, &part->proxy);
	if (part->proxy.split)
		report_error(reader_report(r), node_pos(proxy),
			     "'split' has no effect in a join; write 'upstream: NAME'");
}

static void parts_read(struct config_reader *r, const struct node *map,
		       struct config_join *j)
{
	struct names all = { 0 };

	if (!children_check(r, map, NODE_MAP, JOIN_PARTS_MAX,
			    "'parts: { NAME: { proxy: {…} } }'"))
		return;
	j->parts = arena_alloc(reader_memory(r), map->child_n * sizeof(j->parts[0]));
	for (const struct node *n = map->children; n; n = n->next)
		if (name_define(r, &all, n))
			part_read(r, n, &j->parts[j->part_n++]);
	names_done(&all);
}

void join_read(struct config_reader *r, const struct node *n, struct config_route *route)
{
	struct config_join *j = arena_alloc(reader_memory(r), sizeof(*j));
	struct section_values values;

	route->options = j;
	if (!section_read(r, n, &join_section, j, &values))
		return;
	if (values.of[KEY_JOIN_CHECK])
		check_read(r, values.of[KEY_JOIN_CHECK], j);
	if (values.of[KEY_JOIN_PARTS])
		parts_read(r, values.of[KEY_JOIN_PARTS], j);
}

static void part_print(FILE *out, const struct config *c, const struct config_part *part,
		       unsigned depth)
{
	if (part->is_memcached)
		print_memcached(out, c, &part->memcached, depth, true);
	else
		print_proxy(out, c, &part->proxy, depth);
}

void join_print(FILE *out, const struct config *c, const struct config_route *route)
{
	const struct config_join *j = route->options;
	unsigned depth = ACTION_DEPTH;

	print_indent(out, depth++);
	fputs("join:\n", out);
	if (j->check) {
		print_indent(out, depth);
		fputs("check:\n", out);
		part_print(out, c, j->check, depth + 1);
		print_section(out, &check_section, j, depth + 1, PROTOCOL_ANY);
	}
	print_indent(out, depth++);
	fputs("parts:\n", out);
	for (unsigned i = 0; i < j->part_n; i++) {
		print_indent(out, depth);
		fprintf(out, "%s:\n", j->parts[i].name);
		part_print(out, c, &j->parts[i], depth + 1);
	}
}
