/* The simulation's ops in flight: a slot for each, and the queues that name them.
 *
 * A slot is named by tickets, which world.c hands back. Its generation tells a
 * ticket of an op that has ended from one of the slot's next op. */
#ifndef IO_SIMSLOTS_H
#define IO_SIMSLOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "world.h"

enum why { WHY_STEP, WHY_CANCEL };

enum slot_state {
	SLOT_FREE,
	SLOT_STARTED,
	SLOT_SILENT, /* over, and told with the next thing that happens */
	SLOT_OVER,   /* over, and about to be told */
};

enum { END_RECV, END_SEND }; /* of struct end's ops[] */

struct slot {
	struct io_op *op;
	struct buf *held; /* bytes taken before a close, told before the end */
	uint32_t gen;
	uint32_t link; /* connections and their ops */
	unsigned side;
	enum slot_state state;
	bool detached; /* its socket was closed under it */
	uint32_t next; /* in the free list */
};

/* What was written to a number. */
struct written {
	char *bytes;
	size_t len, room;
	int fd;
};

/* Slots by index, in the order they came. */
struct queue {
	struct ticket *at;
	size_t n, room;
};

struct sim {
	struct io_loop loop;
	struct world world;
	struct slot *slots;
	uint32_t slots_n, slots_free; /* free: index + 1, or 0 */
	struct queue ready;           /* are to be called in this wait */
	struct queue silent;          /* silent sends that are over */
	struct queue starved;         /* receives that found no buffer */
	struct written *written;
	unsigned written_n;
	uint32_t accept_faults, connect_faults; /* one in so many */
	int connect_error;
	atomic_bool woken;
};

static inline struct sim *sim_of(struct io_loop *loop)
{
	return CONTAINER(loop, struct sim, loop);
}

/* ---- slots and queues ------------------------------------------------------- */

static inline void queue_push(struct queue *q, struct ticket t)
{
	if (q->n == q->room) {
		q->room = q->room ? 2 * q->room : 64;
		q->at = realloc(q->at, q->room * sizeof(*q->at));
		ASSERT(q->at);
	}
	q->at[q->n++] = t;
}

static inline struct slot *slot_of(struct sim *s, const struct io_op *op)
{
	ASSERT(op->engine < s->slots_n && s->slots[op->engine].op == op);
	return &s->slots[op->engine];
}

static inline struct ticket ticket_of(struct sim *s, const struct slot *slot,
				      enum why why)
{
	return (struct ticket){ (uint32_t)(slot - s->slots), slot->gen, (uint8_t)why };
}

/* NULL: the op has ended, and the ticket is an old one. */
static inline struct slot *ticket_slot(struct sim *s, struct ticket t)
{
	struct slot *slot = &s->slots[t.slot];

	return slot->state != SLOT_FREE && slot->gen == t.gen ? slot : NULL;
}

static inline void slots_grow(struct sim *s)
{
	uint32_t n = s->slots_n ? 2 * s->slots_n : 64;

	s->slots = realloc(s->slots, n * sizeof(*s->slots));
	ASSERT(s->slots);
	memset(s->slots + s->slots_n, 0, (n - s->slots_n) * sizeof(*s->slots));
	for (; s->slots_n < n; s->slots_n++) {
		s->slots[s->slots_n].next = s->slots_free;
		s->slots_free = s->slots_n + 1;
	}
}

static inline struct slot *slot_take(struct sim *s, struct io_op *op)
{
	struct slot *slot;

	if (s->slots_free == 0)
		slots_grow(s);
	slot = &s->slots[s->slots_free - 1];
	op->engine = s->slots_free - 1;
	s->slots_free = slot->next;
	*slot = (struct slot){ .op = op, .gen = slot->gen + 1, .state = SLOT_STARTED };
	stat_add(&s->loop.stats.submissions, 1);
	return slot;
}

static inline struct end *slot_end(struct sim *s, const struct slot *slot)
{
	return &world_link(&s->world, slot->link)->end[slot->side];
}

/* Before the last done: the op may be started anew from inside it. */
static inline struct io_op *slot_put(struct sim *s, struct slot *slot)
{
	struct io_op *op = slot->op;

	if (!slot->detached && op->kind == IO_RECV)
		slot_end(s, slot)->ops[END_RECV] = 0;
	if (!slot->detached && op->kind == IO_SEND)
		slot_end(s, slot)->ops[END_SEND] = 0;
	slot->state = SLOT_FREE;
	slot->op = NULL;
	slot->next = s->slots_free;
	s->slots_free = (uint32_t)(slot - s->slots) + 1;
	return op;
}

#endif
