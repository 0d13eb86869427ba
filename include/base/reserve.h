/* A per-thread reserve of memory with which requests in progress can be completed.
 *
 * It hands out chunks of RESERVE_CHUNK_BYTES, aligned to their size, of which slabs are
 * made. Chunks come from the system as long as it has memory. When the system refuses,
 * only callers that complete what has been started (outboxes, blocks for heads) get
 * chunks of the reserve; until the reserve is whole again, no new work should be started.
 * Freed chunks refill the reserve first.
 *
 * Owner: the thread. A thread that has not called reserve_init() has a reserve of 0
 * chunks, which is whole as long as the system has not refused. The reserve costs address
 * space; it costs memory only while its chunks are in use. */
#ifndef BASE_RESERVE_H
#define BASE_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

#define RESERVE_CHUNK_BYTES ((size_t)65536)
#define RESERVE_CHUNKS_MAX 16

/* Sets aside `chunks` chunks for this thread, at most RESERVE_CHUNKS_MAX. 0 or
 * -ENOMEM. */
int reserve_init(unsigned chunks);

/* Unmaps the reserve of this thread. */
void reserve_done(void);

/* A zeroed chunk, or NULL. use_reserve: take it out of the reserve if the system
 * refuses. */
void *reserve_map(bool use_reserve);

/* Takes back a chunk of reserve_map(): the reserve keeps it if it is not full. While the
 * reserve is not whole, an unused chunk should be given back at once. */
void reserve_unmap(void *chunk);

/* True: the reserve has all its chunks, and the system has memory as far as is known.
 * After a refusal this is false until a chunk has been given back or reserve_refill() has
 * found that the system has memory again. */
bool reserve_whole(void);

/* Maps the missing chunks, as far as the system has memory. Called about once a
 * second. */
void reserve_refill(void);

/* For tests: after `chunks` more, the system refuses chunks to this thread; -1: no
 * limit. */
void reserve_fail_after(int chunks);

#endif
