/* The ops in flight of the simulation: a slot for each, and queues of references to
 * slots.
 *
 * A struct sim_waiter refers to a slot by index and generation. When the op of a slot has
 * ended, the slot gets a new generation with its next op, so waiter_slot() recognises an
 * old reference and returns NULL. */
#ifndef IO_SIMSLOTS_H
#define IO_SIMSLOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "simnet.h"

/* waiter.reason: what to do with the op when the waiter is woken. */
enum wake_reason { WAKE_RUN, WAKE_CANCEL };

enum slot_state {
	SLOT_FREE,
	SLOT_STARTED,
	SLOT_SILENT_DONE, /* done; done() is called together with the next event */
	SLOT_DONE,        /* done; done() is called in this wait */
};

enum { ENDPOINT_RECV, ENDPOINT_SEND }; /* indexes of endpoint.ops[] */

struct slot {
	struct io_op *op;
	struct buf *held; /* bytes received before a close; delivered before the end */
	uint32_t gen;
	uint32_t conn; /* for connect, recv and send */
	unsigned side;
	enum slot_state state;
	bool detached; /* its socket was closed while it was in flight */
	uint32_t next; /* in the free list: index + 1 */
};

/* All bytes that io_write() has written to a file number. */
struct sim_file {
	char *bytes;
	size_t len, capacity;
	int fd;
};

/* References to slots, in order of arrival. */
struct waiter_queue {
	struct sim_waiter *at;
	size_t n, capacity;
};

struct sim {
	struct io_loop loop;
	struct simnet net;
	struct slot *slots;
	uint32_t slots_n, slots_free; /* free: index + 1, or 0 */
	struct waiter_queue ready;    /* to be run in this wait */
	struct waiter_queue silent;   /* silent sends that are done */
	struct waiter_queue buffer_waiters; /* receives that found no buffer */
	struct sim_file *files;
	unsigned files_n;
	uint32_t accept_faults, connect_faults; /* one in so many; 0: none */
	int connect_error;
	atomic_bool woken;
};

static inline struct sim *sim_of(struct io_loop *loop)
{
	return CONTAINER(loop, struct sim, loop);
}

/* ---- slots and queues ------------------------------------------------------- */

static inline void queue_push(struct waiter_queue *q, struct sim_waiter w)
{
	if (q->n == q->capacity) {
		q->capacity = q->capacity ? 2 * q->capacity : 64;
		q->at = realloc(q->at, q->capacity * sizeof(*q->at));
		ASSERT(q->at);
	}
	q->at[q->n++] = w;
}

static inline struct slot *slot_of(struct sim *s, const struct io_op *op)
{
	ASSERT(op->engine_u32 < s->slots_n && s->slots[op->engine_u32].op == op);
	return &s->slots[op->engine_u32];
}

static inline struct sim_waiter waiter_of(struct sim *s, const struct slot *slot,
					  enum wake_reason reason)
{
	return (struct sim_waiter){ (uint32_t)(slot - s->slots), slot->gen,
				    (uint8_t)reason };
}

/* NULL: the op that waited has ended. */
static inline struct slot *waiter_slot(struct sim *s, struct sim_waiter w)
{
	struct slot *slot = &s->slots[w.slot];

	return slot->state != SLOT_FREE && slot->gen == w.gen ? slot : NULL;
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
	op->engine_u32 = s->slots_free - 1;
	s->slots_free = slot->next;
	*slot = (struct slot){ .op = op, .gen = slot->gen + 1, .state = SLOT_STARTED };
	stat_add(&s->loop.stats.submissions, 1);
	return slot;
}

static inline struct endpoint *slot_endpoint(struct sim *s, const struct slot *slot)
{
	return &simnet_conn(&s->net, slot->conn)->ends[slot->side];
}

/* Frees the slot and returns its op. To be called before the last done(), which may
 * restart the op. */
static inline struct io_op *slot_put(struct sim *s, struct slot *slot)
{
	struct io_op *op = slot->op;

	if (!slot->detached && op->kind == IO_RECV)
		slot_endpoint(s, slot)->ops[ENDPOINT_RECV] = 0;
	if (!slot->detached && op->kind == IO_SEND)
		slot_endpoint(s, slot)->ops[ENDPOINT_SEND] = 0;
	slot->state = SLOT_FREE;
	slot->op = NULL;
	slot->next = s->slots_free;
	s->slots_free = (uint32_t)(slot - s->slots) + 1;
	return op;
}

/* ---- simfile.c ---------------------------------------------------------------- */

/* Appends to the bytes of a file number; sim_written() returns them. */
void sim_file_append(struct sim *s, int fd, const char *more, size_t n);

#endif
