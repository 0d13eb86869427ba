/* One value of a memcached upstream, as the source of a response.
 *
 *   ASKED ─▶ READY ─▶ ENDED
 *     └▶ FAILED   a miss too: `ending` of the source says why
 *
 *   READY   the value is complete in memory; then its head can be read
 *
 * Owner: the relay or join that has the source, until source_free(). Events run the waiter. */
#ifndef PROXY_VALUE_H
#define PROXY_VALUE_H

#include "proxy/proxy.h"
#include "proxy/source.h"

enum value_state { VALUE_ASKED, VALUE_READY, VALUE_ENDED, VALUE_FAILED };

struct value {
	struct slab_reap reap;
	struct source source;
	struct generation *generation;
	const struct config_memcached *config; /* of the generation */
	struct task *waiter;
	struct memcache_call *call; /* VALUE_ENDED: NULL */
	uint8_t state;              /* enum value_state */
};

/* Asks for the value of a valid key. NULL: out of memory. */
struct source *value_get(struct generation *g, const struct config_memcached *config,
			 struct slice key, struct task *waiter);

/* The owner of the call is the value: runs its waiter. */
void value_call_completed(struct memcache_call *call);

#endif
