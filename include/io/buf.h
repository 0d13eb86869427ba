/* Buffers: where received bytes and serialised heads live until the last
 * holder lets go.
 *
 * Two kinds behind one struct. A *receive buffer* has BUF_BYTES of room and
 * comes from the loop's pool, which is bounded; on io_uring the kernel picks it
 * out of a buffer ring when bytes arrive, on epoll it is taken at readiness.
 * Free ones are kept last-in-first-out, so that the hot ones are used. A *block*
 * has a size asked for, for heads and other bytes of our own.
 *
 * A few receive buffers are a *reserve* for those whose bytes set others free (answers).
 * Else requests could hold all of them while they wait for answers that nothing is
 * left to receive with.
 *
 * Owner: whoever holds a reference. One thread only. */
#ifndef IO_BUF_H
#define IO_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "base/slice.h"

/* Room of a receive buffer. 16 KiB: measured 2-3 times cheaper than 4 KiB for
 * 100 KB bodies, and small enough for thousands of them. */
#define BUF_BYTES 16384u

/* Size classes of blocks: 256 B << class; larger ones come from malloc(). */
#define BUF_CLASSES 6
enum { BUF_RECEIVE = 254, BUF_HEAP = 255 };

struct buf_pool;

struct buf {
	struct buf *next;      /* in an inbox, or in the pool's free list */
	char *data;            /* the room */
	uint32_t size;         /* of the room */
	uint32_t begin, end;   /* bytes not yet consumed: data[begin..end) */
	uint32_t refs;
	uint16_t id;           /* receive buffers: index in the pool */
	uint8_t class_;        /* blocks: size class; BUF_RECEIVE; BUF_HEAP */
	uint16_t place;        /* receive buffers: the engine's */
	struct buf_pool *pool;
};

struct buf_pool {
	struct buf **all;      /* receive buffers by id */
	struct buf *free;      /* last in, first out */
	uint32_t count;        /* receive buffers that exist */
	uint32_t free_n;       /* of which are on the free list */
	uint32_t limit;        /* most that may exist */
	uint32_t reserve;      /* of which are for the may_use_reserve only */
	uint32_t published;         /* waiting with the kernel, as good as free */
	uint32_t free_min;     /* fewest free since the last trim */
	struct slab blocks[BUF_CLASSES];
	size_t block_bytes;    /* room of all blocks out now */
};

/* A run of bytes inside a buffer; holds one reference to it, except that a
 * piece with buf == NULL refers to bytes that live for ever. */
struct piece {
	struct buf *buf;
	const char *ptr;
	uint32_t len;
};

/* limit: most receive buffers, 1 … 65,535; the first chunk is made at once.
 * Returns 0 or -ENOMEM. */
int buf_pool_init(struct buf_pool *pool, uint32_t limit);

/* Asserts that all buffers have come back. */
void buf_pool_done(struct buf_pool *pool);

/* Lets the system have the memory of buffers that stayed free since the last
 * call (they keep their addresses). Called about once a second. */
void buf_pool_trim(struct buf_pool *pool);

/* How many may still be taken, by the may_use_reserve or by others. */
static inline uint32_t buf_available(const struct buf_pool *pool, bool may_use_reserve)
{
	uint32_t left = pool->free_n + (pool->limit - pool->count);

	if (may_use_reserve)
		return left;
	return left > pool->reserve ? left - pool->reserve : 0;
}

/* So few are left that who would hold one for long had better copy. */
static inline bool buf_scarce(const struct buf_pool *pool)
{
	return pool->published + buf_available(pool, true) <= 2 * pool->reserve;
}

/* A free receive buffer, empty, with one reference; NULL: all are in use. Does not look at
 * the reserve. */
struct buf *buf_take(struct buf_pool *pool);

/* An empty block with at least `size` bytes of room and one reference; NULL:
 * no memory. */
struct buf *buf_new(struct buf_pool *pool, size_t size);

static inline struct buf *buf_ref(struct buf *b)
{
	b->refs++;
	return b;
}

/* Lets one reference go; NULL is allowed. */
void buf_put(struct buf *b);

static inline struct slice buf_bytes(const struct buf *b)
{
	return (struct slice){ b->data + b->begin, b->end - b->begin };
}

static inline void piece_put(struct piece *p)
{
	struct buf *b = p->buf;

	p->buf = NULL;
	p->len = 0;
	buf_put(b);
}

#endif
