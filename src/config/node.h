/* YAML text to a tree of nodes that know their source_pos.
 *
 * Bounded: NODE_DEPTH_MAX levels, NODE_CHILDREN_MAX entries in one list or map, NODES_MAX
 * nodes. One document; tags are refused. Aliases are in alias.h. */
#ifndef CONFIG_NODE_H
#define CONFIG_NODE_H

#include "report.h"

#define NODE_DEPTH_MAX 16
#define NODE_CHILDREN_MAX 131072
#define NODES_MAX 4000000 /* in all */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	struct source_pos at;
	struct source_pos end;  /* of a scalar: just behind it */
	bool plain;             /* a scalar without quotes */
	bool quoted;            /* a scalar in quotes; neither: a block scalar */
	struct slice text;      /* of a scalar */
	const struct node *key; /* of a value in a map; else NULL */
	unsigned child_n;       /* items, or values of a map */
	unsigned weight, height; /* nodes, itself and keys included, and levels of it */
	struct node *children, *last;
	struct node *next; /* behind it in its list or map */
};

/* NULL: there was an error, which has been reported, or the text is empty. */
struct node *node_read(struct slice text, struct arena *memory, struct report *report);

/* At the end of a list or map. */
void node_append(struct node *parent, struct node *child);

/* Nothing was written: "key:", "~" or "null". */
bool node_is_null(const struct node *n);

/* Where to point for what is wrong with the node as a whole: at its key. */
struct source_pos node_pos(const struct node *n);

/* The source_pos of the byte at `offset` of a scalar's text, where that can be told. */
struct source_pos node_text_pos(const struct node *n, size_t offset);

#endif
