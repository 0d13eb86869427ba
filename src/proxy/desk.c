#include "desk.h"

#include <stdlib.h>

struct desk *desk_new(const struct config *config, uint64_t seed)
{
	struct desk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->random = seed | 1;
	d->retries = calloc(config->upstream_n + 1, sizeof(d->retries[0]));
	if (d->retries)
		return d;
	desk_free(d);
	return NULL;
}

void desk_free(struct desk *d)
{
	if (!d)
		return;
	free(d->retries);
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
