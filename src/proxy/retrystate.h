/* State shared by the retries of one worker under one configuration: the budgets of its upstreams
 * and the latencies of its routes.
 *
 * Each is taken from a slab when first needed. Without memory for a budget there are no retries,
 * without memory for a latency no hedges; the first attempt is not affected.
 *
 * Owner: the generation. */
#ifndef PROXY_RETRYSTATE_H
#define PROXY_RETRYSTATE_H

#include "base/random.h"
#include "base/slab.h"
#include "budget.h"
#include "latency.h"

struct retry_state {
	struct random random; /* of pauses */
	struct slab *budgets, *all_latencies;
	struct budget **retries, **hedges; /* by upstream; NULL: not needed yet */
	struct latency **latencies;        /* by config_hedge.index; NULL: not needed yet */
	unsigned upstream_n, hedge_n;
};

/* `seed`: any number, but different for each worker. The slabs, of struct budget and struct
 * latency, must outlive the result. NULL: no memory. */
struct retry_state *retry_state_new(const struct config *config, struct slab *budgets,
				    struct slab *latencies, uint64_t seed);

/* s may be NULL. */
void retry_state_free(struct retry_state *s);

/* The budgets of an upstream, and the latency of a route. NULL: no memory. */
struct budget *retry_state_budget(struct retry_state *s, unsigned upstream);
struct budget *retry_state_hedge_budget(struct retry_state *s, unsigned upstream);
struct latency *retry_state_latency(struct retry_state *s,
				    const struct config_hedge *hedge);

#endif
