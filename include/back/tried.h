/* A small set of servers: those that a request tried, or should avoid.
 *
 * Limits: TRIED_MAX servers. The set stays small so that the cost of a request does not
 * grow with the servers of its upstream. Servers are identified by `id` of struct server,
 * which is not reused. */
#ifndef BACK_TRIED_H
#define BACK_TRIED_H

#include <stdbool.h>
#include <stdint.h>

#define TRIED_MAX 15

/* All zero: none. */
struct tried {
	uint32_t n;
	uint32_t ids[TRIED_MAX]; /* ascending */
};

static inline bool tried_has(const struct tried *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->ids[i] == id)
			return true;
	return false;
}

/* If the set is full, the lowest id is dropped. */
static inline void tried_add(struct tried *t, uint32_t id)
{
	uint32_t at;

	if (tried_has(t, id))
		return;
	if (t->n == TRIED_MAX) {
		for (uint32_t i = 1; i < t->n; i++)
			t->ids[i - 1] = t->ids[i];
		t->n--;
	}
	for (at = t->n++; at > 0 && t->ids[at - 1] > id; at--)
		t->ids[at] = t->ids[at - 1];
	t->ids[at] = id;
}

static inline void tried_add_all(struct tried *t, const struct tried *others)
{
	for (uint32_t i = 0; i < others->n; i++)
		tried_add(t, others->ids[i]);
}

#endif
