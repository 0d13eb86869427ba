#include "retrystate.h"

#include <stdlib.h>

struct retry_state *retry_state_new(const struct config *config, struct slab *budgets,
				    struct slab *latencies, uint64_t seed)
{
	struct retry_state *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	random_init(&s->random, seed);
	s->budgets = budgets;
	s->all_latencies = latencies;
	s->upstream_n = config->upstream_n;
	s->hedge_n = config->hedge_n;
	s->retries = calloc(config->upstream_n + 1, sizeof(s->retries[0]));
	s->hedges = calloc(config->upstream_n + 1, sizeof(s->hedges[0]));
	s->latencies = calloc(config->hedge_n + 1, sizeof(s->latencies[0]));
	if (s->latencies && s->retries && s->hedges)
		return s;
	retry_state_free(s);
	return NULL;
}

static void put_budgets(struct retry_state *s, struct budget **all)
{
	for (unsigned i = 0; all && i < s->upstream_n; i++)
		if (all[i])
			slab_put(s->budgets, all[i]);
	free(all);
}

void retry_state_free(struct retry_state *s)
{
	if (!s)
		return;
	put_budgets(s, s->retries);
	put_budgets(s, s->hedges);
	for (unsigned i = 0; s->latencies && i < s->hedge_n; i++)
		if (s->latencies[i])
			slab_put(s->all_latencies, s->latencies[i]);
	free(s->latencies);
	free(s);
}

struct budget *retry_state_budget(struct retry_state *s, unsigned upstream)
{
	if (!s->retries[upstream])
		s->retries[upstream] = slab_take(s->budgets);
	return s->retries[upstream];
}

struct budget *retry_state_hedge_budget(struct retry_state *s, unsigned upstream)
{
	if (!s->hedges[upstream])
		s->hedges[upstream] = slab_take(s->budgets);
	return s->hedges[upstream];
}

struct latency *retry_state_latency(struct retry_state *s,
				    const struct config_hedge *hedge)
{
	struct latency **latency = &s->latencies[hedge->index];

	if (*latency)
		return *latency;
	*latency = slab_take_raw(s->all_latencies);
	if (*latency)
		latency_init(*latency, hedge->percentile);
	return *latency;
}
