/* Pseudo-random numbers: splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom
 * Number Generators", 2014). For jitter, balancing and the simulation; never for secrets,
 * because one number reveals all that follow.
 *
 * Always holds: the same seed gives the same numbers. Every seed is good, also 0. The period
 * is 2^64.
 *
 * Owner: one thread; the struct is a member of its owner's struct. No errors. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"

struct random {
	uint64_t state;
};

static inline void random_init(struct random *r, uint64_t seed)
{
	r->state = seed;
}

/* 64 random bits. */
static inline uint64_t random_next(struct random *r)
{
	return hash_mix(r->state += 0x9e3779b97f4a7c15u);
}

/* A number below n; n > 0. The smaller numbers are more likely by less than n / 2^64. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
	ASSERT(n > 0);
	return random_next(r) % n;
}

#endif
