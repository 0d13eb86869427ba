/* A limit of the whole process that its threads share: an atomic count, touched when a
 * connection opens or closes, never per request. Shared and not divided among workers,
 * so that an uneven spread of connections (kernel-notes/11-reuseport-spread) does not shed
 * early. */
#ifndef BASE_QUOTA_H
#define BASE_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct quota {
	_Atomic uint32_t used;
	_Atomic uint32_t wanted; /* units that somebody waits for: who has idle ones gives */
	_Atomic uint32_t limit;
};

static inline void quota_init(struct quota *q, uint32_t limit)
{
	atomic_init(&q->used, 0);
	atomic_init(&q->wanted, 0);
	atomic_init(&q->limit, limit);
}

/* From now on. What is taken stays taken. */
static inline void quota_set_limit(struct quota *q, uint32_t limit)
{
	atomic_store_explicit(&q->limit, limit, memory_order_relaxed);
}

static inline bool quota_take(struct quota *q)
{
	if (atomic_fetch_add_explicit(&q->used, 1, memory_order_relaxed) <
	    atomic_load_explicit(&q->limit, memory_order_relaxed))
		return true;
	atomic_fetch_sub_explicit(&q->used, 1, memory_order_relaxed);
	return false;
}

/* For who counts first and sheds what is too much: see quota_exceeded(). */
static inline void quota_add(struct quota *q, int32_t n)
{
	atomic_fetch_add_explicit(&q->used, (uint32_t)n, memory_order_relaxed);
}

static inline bool quota_exceeded(struct quota *q)
{
	return atomic_load_explicit(&q->used, memory_order_relaxed) >
	       atomic_load_explicit(&q->limit, memory_order_relaxed);
}

static inline void quota_put(struct quota *q)
{
	uint32_t was = atomic_fetch_sub_explicit(&q->used, 1, memory_order_relaxed);

	ASSERT(was > 0);
}

#endif
