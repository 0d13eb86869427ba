#include "latency.h"

#include <string.h>

#include "base/check.h"

#define FIRST_BITS 6 /* the first bucket is for all below 64 us */
#define UPDATE_EACH 16

void latency_init(struct latency *l, uint32_t percentile)
{
	ASSERT(percentile < 100);
	memset(l, 0, sizeof(*l));
	l->percentile = percentile;
}

static unsigned bucket_of(uint64_t us)
{
	unsigned bits, i;

	if (us < 1u << FIRST_BITS)
		return 0;
	bits = 63u - (unsigned)__builtin_clzll(us);
	i = (bits - FIRST_BITS) * 8 + (us >> (bits - 3) & 7);
	return i < LATENCY_BUCKETS ? i : LATENCY_BUCKETS - 1;
}

/* All samples in the bucket are below this. */
static uint64_t bucket_end(unsigned bucket)
{
	return (uint64_t)(8 + bucket % 8 + 1) << (FIRST_BITS - 3 + bucket / 8);
}

static void halve(struct latency *l)
{
	l->n = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		l->n += l->counts[i] /= 2;
}

static void update_bound(struct latency *l)
{
	uint32_t enough = 100 / (100 - l->percentile);
	uint64_t wanted = ((uint64_t)l->n * l->percentile + 99) / 100, seen = 0;
	unsigned i = 0;

	l->age = 0;
	if (l->n < LATENCY_LEAST || l->n < enough)
		return;
	while ((seen += l->counts[i]) < wanted)
		i++;
	l->bound_us = bucket_end(i);
}

void latency_add(struct latency *l, uint64_t us)
{
	if (l->n == LATENCY_MOST)
		halve(l);
	l->counts[bucket_of(us)]++;
	l->n++;
	if (++l->age >= UPDATE_EACH || l->bound_us == 0)
		update_bound(l);
}
