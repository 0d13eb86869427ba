/* Anchors, aliases and merge keys ("<<") of YAML 1.1.
 *
 * An alias shares the children of its anchor's node, so it needs the memory of one node only.
 * Limits: ANCHORS_MAX anchors; ALIAS_NODES_MAX keys and values that all aliases expand to. An
 * alias can refer to complete nodes only, so there are no cycles.
 * Errors: each function reports its own and then returns false or NULL. */
#ifndef CONFIG_ALIAS_H
#define CONFIG_ALIAS_H

#include "config/node.h"

#define ALIAS_NODES_MAX 100000
#define ANCHORS_MAX 1000

struct anchor {
	struct anchor *previous;
	struct slice name;
	const struct node *node;
};

struct aliases {
	struct arena *memory;
	struct report *report;
	struct anchor *last;
	unsigned anchor_n;
	size_t node_n; /* keys and values that aliases expand to */
};

/* Defines an anchor for `n`, which is complete. Replaces an anchor with the same name. */
bool alias_anchor(struct aliases *a, struct slice name, const struct node *n);

/* A copy of the node that `name` refers to, for an alias at `at`, `depth` levels deep. */
struct node *alias_node(struct aliases *a, struct slice name, struct source_pos at,
			unsigned depth);

/* Adds the keys of a "<<" value to the map, except keys that the map has already. */
bool alias_merge(struct aliases *a, struct node *map, const struct node *value);

#endif
