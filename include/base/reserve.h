/* Memory that a thread sets aside for what it has begun.
 *
 * Chunks of RESERVE_CHUNK_BYTES, aligned to their size: what slabs are made of. All come
 * from the system while it has any. When it refuses, those who bring to an end what was
 * begun (outboxes, blocks for heads) get chunks of the reserve, and nobody else; until it is
 * whole again, nothing new should be begun. Chunks that become free fill it first.
 *
 * Owner: the thread; one that has never called reserve_init() has none, and its reserve is
 * whole as long as the system refuses nothing. Costs address space, and memory only while
 * it is used. */
#ifndef BASE_RESERVE_H
#define BASE_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

#define RESERVE_CHUNK_BYTES ((size_t)65536)
#define RESERVE_CHUNKS_MAX 16

/* Returns 0 or -ENOMEM. */
int reserve_init(unsigned chunks);

void reserve_done(void);

/* A chunk of zeros, or NULL. `dip`: out of the reserve, if the system refuses. */
void *reserve_map(bool dip);

void reserve_unmap(void *chunk);

/* False: the system has refused memory, and neither has anything come back since then nor
 * has reserve_refill() found that it gives again. */
bool reserve_whole(void);

/* Asks the system for what is missing. Called about once a second. */
void reserve_refill(void);

/* For scarcity tests: the system gives this thread so many more chunks; -1: as it likes. */
void reserve_fail_after(int chunks);

#endif
