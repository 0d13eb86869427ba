#include "retrystate.h"

#include <stdlib.h>

struct retry_state *retry_state_new(const struct config *config, struct slab *budgets,
				    struct slab *latencies, uint64_t seed)
{
	struct retry_state *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->random = seed | 1;
	d->budgets = budgets;
	d->all_latencies = latencies;
	d->upstream_n = config->upstream_n;
	d->hedge_n = config->hedge_n;
	d->retries = calloc(config->upstream_n + 1, sizeof(d->retries[0]));
	d->hedges = calloc(config->upstream_n + 1, sizeof(d->hedges[0]));
	d->latencies = calloc(config->hedge_n + 1, sizeof(d->latencies[0]));
	if (d->latencies && d->retries && d->hedges)
		return d;
	retry_state_free(d);
	return NULL;
}

static void put_budgets(struct retry_state *d, struct budget **all)
{
	for (unsigned i = 0; all && i < d->upstream_n; i++)
		if (all[i])
			slab_put(d->budgets, all[i]);
	free(all);
}

void retry_state_free(struct retry_state *d)
{
	if (!d)
		return;
	put_budgets(d, d->retries);
	put_budgets(d, d->hedges);
	for (unsigned i = 0; d->latencies && i < d->hedge_n; i++)
		if (d->latencies[i])
			slab_put(d->all_latencies, d->latencies[i]);
	free(d->latencies);
	free(d);
}

struct budget *retry_state_budget(struct retry_state *d, unsigned upstream)
{
	if (!d->retries[upstream])
		d->retries[upstream] = slab_take(d->budgets);
	return d->retries[upstream];
}

struct budget *retry_state_hedge_budget(struct retry_state *d, unsigned upstream)
{
	if (!d->hedges[upstream])
		d->hedges[upstream] = slab_take(d->budgets);
	return d->hedges[upstream];
}

struct latency *retry_state_latency(struct retry_state *d,
				    const struct config_hedge *hedge)
{
	struct latency **latency = &d->latencies[hedge->index];

	if (*latency)
		return *latency;
	*latency = slab_take_raw(d->all_latencies);
	if (*latency)
		latency_init(*latency, hedge->percentile);
	return *latency;
}

/* xorshift64 */
uint32_t retry_state_random(struct retry_state *d, uint32_t n)
{
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return (uint32_t)((d->random >> 11) % ((uint64_t)n + 1));
}
