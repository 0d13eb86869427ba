/* What the tries of one worker under one configuration share: how much more than they were
 * asked for its upstreams may get, and how long its routes take.
 *
 * Each is taken from a slab when it is first wanted. Without memory for a budget nothing is
 * asked again, without memory for a latency nothing is hedged: the first try goes on.
 *
 * Owner: the generation. */
#ifndef PROXY_RETRYSTATE_H
#define PROXY_RETRYSTATE_H

#include "base/slab.h"
#include "budget.h"
#include "latency.h"

struct retry_state {
	uint64_t random;
	struct slab *budgets, *all_latencies;
	struct budget **retries, **hedges; /* by upstream; NULL: not wanted yet */
	struct latency **latencies;        /* by config_hedge.index; likewise */
	unsigned upstream_n, hedge_n;
};

/* `seed` need not be good, but another one for each worker; slabs of struct budget and struct
 * latency, which outlive the retry_state. NULL: no memory. */
struct retry_state *retry_state_new(const struct config *config, struct slab *budgets,
				    struct slab *latencies, uint64_t seed);

/* NULL is allowed. */
void retry_state_free(struct retry_state *d);

/* The budget of an upstream, and how long a route takes. NULL: no memory. */
struct budget *retry_state_budget(struct retry_state *d, unsigned upstream);
struct budget *retry_state_hedge_budget(struct retry_state *d, unsigned upstream);
struct latency *retry_state_latency(struct retry_state *d,
				    const struct config_hedge *hedge);

/* A number from 0 to n, any of them. */
uint32_t retry_state_random(struct retry_state *d, uint32_t n);

#endif
