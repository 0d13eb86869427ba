/* A few threads for work that would block a worker: the action `cpu` with `on: pool`.
 *
 * A job goes to a thread through that thread's mailbox and comes back through its worker's.
 *
 * Owner: cpu.c, for the process; all workers share it. Limits: none on the jobs waiting for a
 * thread. */
#ifndef STUDY_POOL_H
#define STUDY_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "net/mailbox.h"

struct pool;
struct slab;

struct job {
	struct mail message;       /* to the thread, then back; `deliver` is set by pool_submit() */
	struct mailbox *reply_to;
	void (*done)(struct job *j); /* called on the worker */
	void *owner;               /* the exchange that waits; NULL: it has ended */
	struct slab *slab;         /* the worker's, where the job is returned to */
	bool returned;             /* set by `done`; only the worker uses it */
	uint32_t ms;               /* of CPU to burn */
	uint64_t rounds;           /* result, as proof of work */
};

/* NULL: no memory or threads. */
struct pool *pool_new(unsigned n);

/* All jobs must have come back. */
void pool_free(struct pool *p);

/* Callable from any worker. The job belongs to the pool until `done` is called. */
void pool_submit(struct pool *p, struct job *j);

/* Uses CPU time of the calling thread for `ms`; returns the number of rounds computed. */
uint64_t pool_burn(uint32_t ms);

#endif
