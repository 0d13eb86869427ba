/* A few threads for work that would stop a worker: the study route /cpu on pool. Work goes
 * out through a thread's mailbox and comes back through the worker's. */
#ifndef PROXY_POOL_H
#define PROXY_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "net/mailbox.h"

struct pool;
struct slab;

struct job {
	struct mail message; /* out, then back: `deliver` is set by pool_submit() */
	struct mailbox *reply_to;
	void (*done)(struct job *j); /* on the worker */
	void *owner;               /* the asker's; NULL: nobody waits any more */
	struct slab *slab;         /* where it came from; the worker's */
	bool returned;             /* set by `finished`; the worker's */
	uint32_t ms;               /* of CPU to burn */
	uint64_t rounds;           /* what was computed, as proof of work */
};

/* NULL: no memory or threads. */
struct pool *pool_new(unsigned threads);

/* All jobs have come back. */
void pool_free(struct pool *p);

/* Any worker. The job belongs to the pool until `finished`. */
void pool_submit(struct pool *p, struct job *j);

/* Keeps the calling thread's CPU busy for that long; returns the rounds it made. */
uint64_t pool_burn(uint32_t ms);

#endif
