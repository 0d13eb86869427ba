#include "reader.h"

static void check_read(struct config_reader *r, const struct node *n,
		       struct config_join *j)
{
	struct section_values values;

	j->check = arena_alloc(r->memory, sizeof(*j->check));
	j->check->name = "check";
	j->check->is_memcached = true;
	if (section_read(r, n, SECTION_check, j, &values) &&
	    values.of[KEY_check_memcached])
		memcached_read(r, values.of[KEY_check_memcached], &j->check->memcached,
			       true);
}

static void part_read(struct config_reader *r, const struct node *n,
		      struct config_part *part)
{
	struct section_values values;
	const struct node *memcached, *proxy;

	part->name = arena_text(r->memory, n->key->text);
	if (!section_read(r, n, SECTION_part, part, &values))
		return;
	memcached = values.of[KEY_part_memcached];
	proxy = values.of[KEY_part_proxy];
	part->is_memcached = memcached;
	if (!memcached == !proxy)
		report_error(
			&r->report, node_pos(n),
			"a part needs exactly one upstream; write either 'memcached: {…}' "
			"or 'proxy: {…}'");
	if (memcached)
		memcached_read(r, memcached, &part->memcached, true);
	else if (proxy)
		proxy_read(r, proxy, &part->proxy);
}

static void parts_read(struct config_reader *r, const struct node *map,
		       struct config_join *j)
{
	struct names all = { 0 };

	if (!children_check(r, map, NODE_MAP, CONFIG_PARTS_MAX,
			    "'parts: { NAME: { proxy: {…} } }'"))
		return;
	j->parts = arena_alloc(r->memory, map->child_n * sizeof(j->parts[0]));
	for (const struct node *n = map->children; n; n = n->next)
		if (name_define(r, &all, n))
			part_read(r, n, &j->parts[j->part_n++]);
	names_done(&all);
}

void join_read(struct config_reader *r, const struct node *n, struct config_join *j)
{
	struct section_values values;

	if (!section_read(r, n, SECTION_join, j, &values))
		return;
	if (values.of[KEY_join_check])
		check_read(r, values.of[KEY_join_check], j);
	if (values.of[KEY_join_parts])
		parts_read(r, values.of[KEY_join_parts], j);
}
