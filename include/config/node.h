/* Parses YAML text into a tree of nodes with source positions.
 *
 * Limits: NODE_DEPTH_MAX levels, NODE_CHILDREN_MAX entries in one list or map, NODES_MAX nodes.
 * One document; tags are refused. Aliases are expanded: see alias.h.
 * Owner: the arena. */
#ifndef CONFIG_NODE_H
#define CONFIG_NODE_H

#include "config/report.h"

#define NODE_DEPTH_MAX 16
#define NODE_CHILDREN_MAX 131072
#define NODES_MAX 4000000 /* of one file */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

/* A part of a text that comes from outside of the file: see substitute.c. */
struct node_reference {
	struct node_reference *next;
	size_t at, len; /* in the text of the node */
	struct slice written;
};

struct node {
	enum node_kind kind;
	struct source_pos at;
	struct source_pos end;  /* of a scalar: the position behind it */
	bool plain;             /* a scalar without quotes */
	bool quoted;            /* a scalar in quotes; neither flag: a block scalar */
	bool refused;   /* a scalar: see substitute.c; reported */
	bool inherited; /* of a value in a map: see inherit.c */
	const struct node *names; /* of a value in a route below `hosts`: its hosts; or NULL */
	struct slice text;      /* of a scalar */
	const struct node_reference *references; /* in their order; NULL: none */
	const struct node *key; /* of a value in a map; otherwise NULL */
	unsigned child_n;       /* entries of a list or map */
	unsigned weight; /* number of nodes of the subtree, including this node and keys */
	unsigned height; /* levels below this node */
	struct node *children, *last;
	struct node *next; /* the next entry of the same list or map */
};

/* Parses the `text` of a file (report_file(); 0: the configuration file). NULL: an error was
 * reported, or the text is empty. */
struct node *node_read(struct slice text, unsigned file, struct arena *memory,
		       struct report *report);

/* Appends an entry to a list or map. */
void node_append(struct node *parent, struct node *child);

/* True: the value is missing ("key:"), "~" or "null". */
bool node_is_null(const struct node *n);

/* The position for errors about the node as a whole: its key, if it has one. */
struct source_pos node_pos(const struct node *n);

/* The position of the byte at `offset` in the text of a scalar; the start of the scalar if
 * escapes or line breaks make text and file differ. */
struct source_pos node_text_pos(const struct node *n, size_t offset);

#endif
