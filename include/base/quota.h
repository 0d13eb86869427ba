/* A limit of the whole process, shared by its threads: an atomic count, changed when a
 * connection opens or closes, never per request.
 *
 * It is shared and not divided among the workers, because connections are spread unevenly
 * (kernel-notes/11-reuseport-spread): a worker with more than its share would refuse
 * connections before the process has reached its limit. Any thread may call. */
#ifndef BASE_QUOTA_H
#define BASE_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct quota {
	_Atomic uint32_t used;
	_Atomic uint32_t wanted; /* units that threads wait for; others free idle ones */
	_Atomic uint32_t limit;
};

static inline void quota_init(struct quota *q, uint32_t limit)
{
	atomic_init(&q->used, 0);
	atomic_init(&q->wanted, 0);
	atomic_init(&q->limit, limit);
}

/* Changes the limit. Units already taken are not revoked. */
static inline void quota_set_limit(struct quota *q, uint32_t limit)
{
	atomic_store_explicit(&q->limit, limit, memory_order_relaxed);
}

/* False: the limit is reached. */
static inline bool quota_take(struct quota *q)
{
	if (atomic_fetch_add_explicit(&q->used, 1, memory_order_relaxed) <
	    atomic_load_explicit(&q->limit, memory_order_relaxed))
		return true;
	atomic_fetch_sub_explicit(&q->used, 1, memory_order_relaxed);
	return false;
}

/* Adds n units (or gives back -n) without regard to the limit, for callers that count
 * first and then shed what quota_exceeded() reports as too much. */
static inline void quota_add(struct quota *q, int32_t n)
{
	atomic_fetch_add_explicit(&q->used, (uint32_t)n, memory_order_relaxed);
}

static inline bool quota_exceeded(struct quota *q)
{
	return atomic_load_explicit(&q->used, memory_order_relaxed) >
	       atomic_load_explicit(&q->limit, memory_order_relaxed);
}

/* Gives back one unit. */
static inline void quota_put(struct quota *q)
{
	uint32_t was = atomic_fetch_sub_explicit(&q->used, 1, memory_order_relaxed);

	ASSERT(was > 0);
}

#endif
