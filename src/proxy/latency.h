/* How long the answers of a route take, lately: when so many percent of them are there.
 *
 * A histogram with eight buckets for each doubling, so that what is told is at most an eighth
 * too much. When it holds LATENCY_MOST all counts are halved: the latest weigh most. Told are
 * percentiles of which there are enough samples to know them.
 *
 * Owner: the retry_state. */
#ifndef PROXY_LATENCY_H
#define PROXY_LATENCY_H

#include <stdint.h>

#define LATENCY_DOUBLINGS 22 /* from 64 us to 268 s */
#define LATENCY_BUCKETS (8 * LATENCY_DOUBLINGS)
#define LATENCY_LEAST 20
#define LATENCY_MOST 2000

struct latency {
	uint32_t percentile;
	uint32_t n;
	uint32_t age;      /* samples since `bound_us` was looked for */
	uint64_t bound_us; /* 0: not known yet */
	uint32_t counts[LATENCY_BUCKETS];
};

/* percentile: below 100. */
void latency_init(struct latency *l, uint32_t percentile);

void latency_add(struct latency *l, uint64_t us);

/* So many percent took at most this; 0: there are too few to tell. */
static inline uint64_t latency_bound_us(const struct latency *l)
{
	return l->bound_us;
}

#endif
