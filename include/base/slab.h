/* A pool of objects of one size, for one thread.
 *
 * It grows by one chunk (base/reserve.h) at a time, up to its limit. slab_trim(), called
 * about once a second, frees the chunks that were not needed since the last call: memory
 * follows use, but a burst that comes every tick makes no system call. A full slab
 * returns NULL: an ordinary case, in which the caller sheds load or waits. */
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
	size_t limit;       /* most objects in use at once; 0: no limit */
	size_t taken;       /* objects in use */
	struct list partial; /* chunks with free objects; the fuller ones come first */
	struct list full;    /* chunks without free objects */
	uint32_t empty;      /* chunks with no object in use; last in `partial` */
	uint32_t empty_min;  /* minimum of `empty` since the last trim */
	bool uses_reserve;   /* of the thread: see base/reserve.h */
};

/* size: of an object in bytes, less than a chunk. limit: most objects; 0: no limit. */
void slab_init(struct slab *s, const char *name, size_t size, size_t limit);

/* Lets the slab use the thread's reserve. Only for objects with which work in progress is
 * completed, and which soon come back. */
void slab_use_reserve(struct slab *s);

/* Asserts that no object is in use, and frees the chunks. */
void slab_done(struct slab *s);

/* A zeroed object, 16-byte aligned, or NULL: the limit is reached or the
 * system has no memory. */
void *slab_take(struct slab *s);

/* The same, but not zeroed. */
void *slab_take_raw(struct slab *s);

/* p was taken from this slab and is not NULL. */
void slab_put(struct slab *s, void *p);

/* Frees the chunks that were empty ever since the last call. */
void slab_trim(struct slab *s);

/* For tests: of the takes of this thread from now on, counted over all slabs, only the
 * n-th fails (1 is the next); 0 switches this off. */
void slab_fail_at(unsigned n);

#endif
