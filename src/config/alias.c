#include "alias.h"

#include "base/check.h"

bool alias_anchor(struct aliases *a, struct slice name, const struct node *n)
{
	struct anchor *anchor;

	if (a->anchor_n++ == ANCHORS_MAX) {
		report_error(a->report, n->at,
			     "more than %d anchors; remove some of them", ANCHORS_MAX);
		return false;
	}
	anchor = arena_alloc(a->memory, sizeof(*anchor));
	*anchor =
		(struct anchor){ a->last, { arena_text(a->memory, name), name.len }, n };
	a->last = anchor;
	return true;
}

static struct node *copy_of(struct aliases *a, const struct node *n, struct source_pos at)
{
	struct node *copy;

	a->node_n += n->weight;
	if (a->node_n > ALIAS_NODES_MAX) {
		report_error(
			a->report, at,
			"aliases expand to more than %d keys and values; use fewer aliases",
			ALIAS_NODES_MAX);
		return NULL;
	}
	copy = arena_alloc(a->memory, sizeof(*copy));
	*copy = *n;
	copy->next = NULL;
	return copy;
}

struct node *alias_node(struct aliases *a, struct slice name, struct source_pos at,
			unsigned depth)
{
	const struct anchor *anchor = a->last;
	struct node *copy;

	while (anchor && !slice_equal(anchor->name, name))
		anchor = anchor->previous;
	if (!anchor) {
		report_error(
			a->report, at,
			"alias '*%.*s' has no anchor; write '&%.*s' before the value that "
			"it refers to, further up in the file",
			REPORT_ARG(name), REPORT_ARG(name));
		return NULL;
	}
	if (depth + anchor->node->height > NODE_DEPTH_MAX) {
		report_error(
			a->report, at,
			"nested more than %d levels deep; use fewer levels in the value "
			"that '*%.*s' refers to",
			NODE_DEPTH_MAX, REPORT_ARG(name));
		return NULL;
	}
	copy = copy_of(a, anchor->node, at);
	if (!copy)
		return NULL;
	copy->key = NULL;
	copy->at = at;
	if (copy->kind == NODE_SCALAR)
		copy->end = at;
	return copy;
}

static bool has_key(const struct node *map, const struct node *key)
{
	for (const struct node *n = map->children; n; n = n->next)
		if (n->key->kind == NODE_SCALAR && slice_equal(n->key->text, key->text))
			return true;
	return false;
}

static bool merge_map(struct aliases *a, struct node *map, const struct node *from,
		      struct source_pos at)
{
	/* The search below is quadratic. */
	if ((uint64_t)map->child_n * from->child_n > 10 * ALIAS_NODES_MAX) {
		report_error(
			a->report, at,
			"this map is too large to be merged with '<<'; write its keys "
			"without '<<'");
		return false;
	}
	for (const struct node *n = from->children; n; n = n->next) {
		struct node *copy;

		if (n->key->kind != NODE_SCALAR || has_key(map, n->key))
			continue;
		copy = copy_of(a, n, at);
		if (!copy)
			return false;
		node_append(map, copy);
	}
	return true;
}

bool alias_merge(struct aliases *a, struct node *map, const struct node *value)
{
	const struct node *n = value->kind == NODE_LIST ? value->children : value;
	bool list = value->kind == NODE_LIST;

	for (; n; n = list ? n->next : NULL) {
		if (n->kind != NODE_MAP) {
			report_error(
				a->report, n->at,
				"'<<' takes a map, or a list of maps; write '<<: *NAME'");
			return false;
		}
		if (!merge_map(a, map, n, n->at))
			return false;
	}
	return true;
}
