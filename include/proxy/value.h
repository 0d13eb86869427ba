/* One value of a memcached upstream, as it is read.
 *
 *   ASKED ─▶ READY ─▶ ENDED
 *     └▶ FAILED   a miss too: `ending` says why
 *
 * Owner: the exchange or join that has the pointer, until value_free(). Events run the waiter. */
#ifndef PROXY_VALUE_H
#define PROXY_VALUE_H

#include "proxy/proxy.h"

enum value_state { VALUE_ASKED, VALUE_READY, VALUE_ENDED, VALUE_FAILED };

struct value {
	struct slab_reap reap;
	struct generation *generation;
	struct task *waiter;
	struct memcache_call *call; /* VALUE_ENDED: NULL */
	uint64_t length;            /* in bytes, once it is READY */
	uint8_t state;              /* enum value_state */
	uint8_t ending;             /* enum ending, of VALUE_FAILED */
};

/* Asks for the value of a valid key. NULL: out of memory. */
struct value *value_get(struct generation *g, unsigned upstream, enum memcache_command command,
			struct slice key, struct task *waiter);

/* The owner of the call is the value: runs its waiter. */
void value_call_completed(struct memcache_call *call);

/* Handles the events recorded since the last step. The result is in v->state. */
void value_step(struct value *v);

/* Asserts what holds in each state. */
void value_check(const struct value *v);

/* The next piece of the value. BODY_MORE: not received yet. BODY_BAD: the value has failed. */
enum body_event value_body(struct value *v, struct piece *p);

/* Forgets the call, in any state. The memory stays valid until the end of the tick. Sets *slot to
 * NULL, which it may be before. */
void value_free(struct value **slot);

#endif
