#include "reader.h"

static void check_read(struct reader *r, const struct node *n, struct config_join *j)
{
	struct found found;

	j->check = arena_take(r->memory, sizeof(*j->check));
	j->check->name = "check";
	j->check->is_memcached = true;
	if (section_read(r, n, SECTION_check, j, &found) &&
	    found.nodes[KEY_check_memcached])
		memcached_read(r, found.nodes[KEY_check_memcached], &j->check->memcached,
			       true);
}

static void part_read(struct reader *r, const struct node *n, struct config_part *part)
{
	struct found found;
	const struct node *memcached, *proxy;

	part->name = arena_text(r->memory, n->key->text);
	if (!section_read(r, n, SECTION_part, part, &found))
		return;
	memcached = found.nodes[KEY_part_memcached];
	proxy = found.nodes[KEY_part_proxy];
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

static void parts_read(struct reader *r, const struct node *map, struct config_join *j)
{
	struct names all = { 0 };

	if (!children_check(r, map, NODE_MAP, CONFIG_PARTS_MAX,
			    "'parts: { NAME: { proxy: {…} } }'"))
		return;
	j->parts = arena_take(r->memory, map->child_n * sizeof(j->parts[0]));
	for (const struct node *n = map->children; n; n = n->next)
		if (name_take(r, &all, n))
			part_read(r, n, &j->parts[j->part_n++]);
	names_done(&all);
}

void join_read(struct reader *r, const struct node *n, struct config_join *j)
{
	struct found found;

	if (!section_read(r, n, SECTION_join, j, &found))
		return;
	if (found.nodes[KEY_join_check])
		check_read(r, found.nodes[KEY_join_check], j);
	if (found.nodes[KEY_join_parts])
		parts_read(r, found.nodes[KEY_join_parts], j);
}
