/* Anchors, aliases and "<<" of YAML.
 *
 * An alias shares what its anchor has, so that it costs no memory however large that is; what
 * all of them stand for together is bounded by ALIAS_NODES_MAX. An anchor can be named when it is
 * complete: there are no cycles. */
#ifndef SRC_CONFIG_ALIAS_H
#define SRC_CONFIG_ALIAS_H

#include "node.h"

#define ALIAS_NODES_MAX 100000
#define ANCHORS_MAX 1000

struct anchor {
	struct anchor *before;
	struct slice name;
	const struct node *node;
};

struct aliases {
	struct arena *memory;
	struct report *report;
	struct anchor *last;
	unsigned anchor_n;
	size_t node_n; /* that aliases stand for */
};

/* `n` is complete. A later anchor of the same name counts. False: too many, and told. */
bool alias_anchor(struct aliases *a, struct slice name, const struct node *n);

/* What `name` stands for, at `at`, which is `depth` deep. NULL: told. */
struct node *alias_node(struct aliases *a, struct slice name, struct source_pos at,
			unsigned depth);

/* Puts what the value of a "<<" has into the map, but for keys that it has. False: told. */
bool alias_merge(struct aliases *a, struct node *map, const struct node *value);

#endif
