/* Recent response times of a route: the time within which `percentile` percent of the responses
 * began.
 *
 * A histogram with eight buckets per power of two, so the result is at most an eighth too high.
 * At LATENCY_MOST samples all counts are halved, so recent ones weigh most. No result until there
 * are enough samples for the percentile.
 *
 * Owner: the retry_state. */
#ifndef PROXY_LATENCY_H
#define PROXY_LATENCY_H

#include <stdint.h>

#define LATENCY_DOUBLINGS 22 /* from 64 us to 268 s */
#define LATENCY_BUCKETS (8 * LATENCY_DOUBLINGS)
#define LATENCY_LEAST 20 /* samples for any result */
#define LATENCY_MOST 2000

struct latency {
	uint32_t percentile;
	uint32_t n;        /* sum of `counts` */
	uint32_t age;      /* samples since `bound_us` was computed */
	uint64_t bound_us; /* 0: not known yet */
	uint32_t counts[LATENCY_BUCKETS];
};

/* percentile: below 100. */
void latency_init(struct latency *l, uint32_t percentile);

void latency_add(struct latency *l, uint64_t us);

/* Upper bound of the percentile; 0: too few samples. Computed anew every few samples. */
static inline uint64_t latency_bound_us(const struct latency *l)
{
	return l->bound_us;
}

#endif
