/* What the tries of one worker under one configuration share: how much more than they were
 * asked for its upstreams may get, and how long its routes take.
 *
 * Owner: the generation. */
#ifndef PROXY_DESK_H
#define PROXY_DESK_H

#include "budget.h"
#include "latency.h"

struct desk {
	uint64_t random;
	struct budget *retries, *hedges; /* by upstream */
	struct latency **latencies;      /* by route; NULL for one without hedge */
	unsigned route_n;
};

/* `seed` need not be good, but another one for each worker. NULL: no memory. */
struct desk *desk_new(const struct config *config, uint64_t seed);

/* NULL is allowed. */
void desk_free(struct desk *d);

/* A number from 0 to n, any of them. */
uint32_t desk_draw(struct desk *d, uint32_t n);

#endif
