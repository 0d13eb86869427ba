#include "desk.h"

#include <stdlib.h>

static bool open_latencies(struct desk *d, const struct config *config)
{
	d->latencies = calloc(config->route_n + 1, sizeof(d->latencies[0]));
	if (!d->latencies)
		return false;
	d->route_n = config->route_n;
	for (unsigned i = 0; i < config->route_n; i++) {
		const struct config_hedge *hedge = config->routes[i].hedge;

		if (!hedge)
			continue;
		d->latencies[i] = malloc(sizeof(*d->latencies[i]));
		if (!d->latencies[i])
			return false;
		latency_init(d->latencies[i], hedge->percentile);
	}
	return true;
}

struct desk *desk_new(const struct config *config, uint64_t seed)
{
	struct desk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->random = seed | 1;
	d->retries = calloc(config->upstream_n + 1, sizeof(d->retries[0]));
	d->hedges = calloc(config->upstream_n + 1, sizeof(d->hedges[0]));
	if (open_latencies(d, config) && d->retries && d->hedges)
		return d;
	desk_free(d);
	return NULL;
}

void desk_free(struct desk *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->route_n; i++)
		free(d->latencies[i]);
	free(d->latencies);
	free(d->retries);
	free(d->hedges);
	free(d);
}

/* xorshift64 */
uint32_t desk_draw(struct desk *d, uint32_t n)
{
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return (uint32_t)((d->random >> 11) % ((uint64_t)n + 1));
}
