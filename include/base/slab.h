/* A pool of objects of one size, for one thread.
 *
 * Grows a chunk at a time up to its limit. slab_trim(), called about once a
 * second, gives back the chunks that nobody needed since the last call: memory
 * follows use, but a burst that comes every tick makes no system call. A full
 * slab returns NULL: an ordinary event that the caller answers by shedding or
 * waiting. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct slab {
	const char *name;
	uint32_t size;      /* of one object in bytes, rounded up to 16 */
	uint32_t per_chunk; /* objects in a chunk */
	size_t limit;       /* most objects out at once; 0: no limit */
	size_t taken;       /* objects out now */
	struct list open;   /* chunks with room, fullest first to be used */
	struct list full;   /* chunks without room */
	uint32_t empty;     /* chunks at the end of `open` of which nothing is out */
	uint32_t empty_min; /* fewest of those since the last trim */
	bool uses_reserve;  /* into the thread's reserve; see base/reserve.h */
};

void slab_init(struct slab *s, const char *name, size_t size, size_t limit);

/* Its objects end what was begun, and soon come back: it may use the thread's reserve. */
void slab_use_reserve(struct slab *s);

/* Asserts that every object has come back, and frees the chunks. */
void slab_done(struct slab *s);

/* A zeroed object, 16-byte aligned, or NULL: the limit is reached or the
 * system has no memory. */
void *slab_take(struct slab *s);

/* The same, but what stands in it is left: for who writes before he reads. */
void *slab_take_raw(struct slab *s);

/* p came from a take of the same slab and is not NULL. */
void slab_put(struct slab *s, void *p);

/* Gives back the chunks that have stood empty since the last call. */
void slab_trim(struct slab *s);

/* For scarcity tests: of the takes of this thread from now on, in all slabs,
 * the n-th (1 is the next) and only that fails; 0 switches it off. */
void slab_fail_at(unsigned n);

#endif
