/* Times of requests by phase, as histograms: of a route, an upstream or a server.
 *
 * A table has space for a number of *slots*, and in each slot for the histograms of every worker:
 * one writer each, as of all counters (base/stats.h). An object takes a slot when it is configured,
 * not when it is used. When all slots are taken it gets PHASE_SLOT_OTHER, which all further objects
 * share: so the number of series is bounded, whatever is configured.
 *
 * Memory: the table is mapped at once and costs pages only where a slot was used. Taking and giving
 * back a slot locks; nothing on the way of a request does.
 *
 * Owner: the process. Errors: phase_table_init() fails for lack of memory. */
#ifndef BASE_PHASES_H
#define BASE_PHASES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/stats.h"

/* As `times_us` of the access log (docs/observability.md). TOTAL: of a route, from the head of the
 * request to the end of the response; of an upstream or server, from the beginning of the attempt
 * to the end of the response. */
enum phase {
	PHASE_RECEIVE,
	PHASE_QUEUE,
	PHASE_CONNECT,
	PHASE_TLS,
	PHASE_RESPONSE,
	PHASE_FIRST_BYTE,
	PHASE_TOTAL,
	PHASES
};

const char *phase_name(enum phase phase);

struct phases {
	struct histogram of[PHASES];
};

static inline void phases_add(struct phases *p, enum phase phase, uint64_t us)
{
	histogram_add(&p->of[phase], us);
}

#define PHASE_SLOT_OTHER 0u

struct phase_table {
	struct phases *all; /* by worker, then by slot */
	uint32_t slots;     /* that can be taken: 1 to `slots` */
	uint32_t workers;
	atomic_flag lock;
	uint32_t next;      /* slots from this one on were never taken */
	uint32_t *given_back;
	uint32_t given_back_n;
	_Atomic uint32_t sharing; /* objects that have PHASE_SLOT_OTHER */
};

/* False: no memory. */
bool phase_table_init(struct phase_table *t, uint32_t workers, uint32_t slots);
void phase_table_done(struct phase_table *t);

/* Any thread; locks. */
uint32_t phase_table_take(struct phase_table *t);

/* Likewise. No worker uses the slot any more. */
void phase_table_put(struct phase_table *t, uint32_t slot);

static inline struct phases *phase_table_at(const struct phase_table *t, uint32_t worker,
					    uint32_t slot)
{
	return &t->all[(size_t)worker * (t->slots + 1) + slot];
}

#endif
