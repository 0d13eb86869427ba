/* Intrusive, circular, doubly linked list.
 *
 * The node is a member of the linked object (LIST_ITEM() gets from node to object). A
 * node that is on no list points at itself, so list_remove() may be called on it. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/check.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

/* For a head: the list has no nodes. For a node: it is on no list. */
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert(struct list *node, struct list *before)
{
	ASSERT(list_empty(node));
	node->prev = before->prev;
	node->next = before;
	before->prev->next = node;
	before->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
	list_insert(node, head);
}

static inline void list_prepend(struct list *head, struct list *node)
{
	list_insert(node, head->next);
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Removes and returns the first node; NULL: the list is empty. */
static inline struct list *list_pop(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_remove(node);
	return node;
}

/* Moves all nodes of `from` to the end of `to`. */
static inline void list_move(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define LIST_ITEM(node, type, member) CONTAINER(node, type, member)

/* The loop body may remove the current node, but not the next one. */
#define LIST_EACH(head, node)                                                  \
	for (struct list *node = (head)->next, *node##_next = node->next;      \
	     node != (head); node = node##_next, node##_next = node->next)

#endif
