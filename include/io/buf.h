/* Reference-counted buffers for received bytes and serialised heads.
 *
 * One struct, three kinds:
 *   receive buffer  BUF_BYTES bytes, from the loop's pool, which has a limit. On io_uring
 *                   the kernel picks one from its buffer ring when bytes arrive; on epoll
 *                   one is taken when the socket is readable. Free ones are reused last
 *                   in, first out, because the last one used is still in the cache.
 *   block           a size of the caller's choice, for heads and other bytes that
 *                   fairlead itself writes. Blocks come from slabs, large ones from
 *                   malloc(); their number has no limit.
 *   view            bytes of another buffer, to which it has a reference: a TLS record
 *                   that was opened in the buffer it was received in.
 *
 * A few receive buffers are a reserve for receives whose bytes let other requests finish
 * and free their buffers: responses (io_recv.may_use_reserve). Without it, requests could
 * hold all buffers while they wait for responses that no buffer is left to receive.
 *
 * Ownership: a buffer belongs to the holders of its references, and returns to the pool
 * with the last of them. References are not atomic: a pool, its buffers and their holders
 * belong to one thread. Other threads may read the counters of the pool. */
#ifndef IO_BUF_H
#define IO_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "base/slice.h"

/* Size of a receive buffer. Measured: 16 KiB is 2-3 times cheaper than 4 KiB for bodies
 * of 100 KB, and small enough for thousands of buffers. */
#define BUF_BYTES 16384u

/* Size classes of blocks: 256 B << class, up to 8 KiB; larger blocks come from
 * malloc(). */
#define BUF_CLASSES 6

/* Values of buf.class_ that are no size class. */
enum { BUF_VIEW = 253, BUF_RECEIVE = 254, BUF_HEAP = 255 };

struct buf_pool;

struct buf {
	struct buf *next; /* free: in the pool's list; in use: the holder's */
	char *data;       /* `size` bytes */
	uint32_t size;
	uint32_t begin, end; /* data[begin..end) holds the bytes not yet consumed */
	uint32_t refs;       /* 0: free */
	uint16_t id;         /* receive buffer: index in the pool */
	uint8_t class_;    /* size class of a block, or BUF_VIEW, BUF_RECEIVE, BUF_HEAP */
	bool trimmed;      /* free receive buffer: its memory was given back */
	uint16_t ring_pos; /* receive buffer: its position in the kernel's ring */
	struct buf_pool *pool;
};

struct buf_pool {
	struct buf **all;   /* receive buffers by id */
	struct buf *free;   /* free receive buffers; last in, first out */
	uint32_t count;     /* receive buffers that exist */
	uint32_t free_n;    /* length of the list `free` */
	uint32_t limit;     /* maximum of count */
	uint32_t reserve;   /* of limit; only receives with may_use_reserve get these */
	uint32_t published; /* in the kernel's buffer ring; neither free nor in use */
	uint32_t free_min;  /* minimum of free_n since the last trim */
	struct slab blocks[BUF_CLASSES];
	struct slab views;
	size_t block_bytes; /* sum of the sizes of all blocks in use */
};

/* Some bytes of a buffer, and one reference to it. buf == NULL: static bytes, which need
 * no reference. */
struct piece {
	struct buf *buf;
	const char *ptr;
	uint32_t len;
};

/* limit: most receive buffers, 1 … 65,535. The first 64 are allocated at once. 0 or
 * -ENOMEM. */
int buf_pool_init(struct buf_pool *pool, uint32_t limit);

/* Asserts that no buffer is in use, and frees all memory. */
void buf_pool_done(struct buf_pool *pool);

/* Gives the memory of receive buffers that were free ever since the last call back to the
 * system (MADV_DONTNEED: they stay mapped), and trims the slabs. Called about once a
 * second. */
void buf_pool_trim(struct buf_pool *pool);

/* Receive buffers that may still be taken, with or without the right to use the reserve.
 * Published buffers do not count. */
static inline uint32_t buf_available(const struct buf_pool *pool, bool may_use_reserve)
{
	uint32_t n = pool->free_n + (pool->limit - pool->count);

	if (may_use_reserve)
		return n;
	return n > pool->reserve ? n - pool->reserve : 0;
}

/* True: few receive buffers are left. A holder that would keep one for long should copy
 * the bytes into a block and release it. */
static inline bool buf_scarce(const struct buf_pool *pool)
{
	return pool->published + buf_available(pool, true) <= 2 * pool->reserve;
}

/* An empty receive buffer with one reference; NULL: none is left. Ignores the reserve:
 * the caller checks buf_available(). */
struct buf *buf_take(struct buf_pool *pool);

/* An empty block of at least `size` bytes, with one reference; NULL: no memory. Its
 * `size` is that of its class. */
struct buf *buf_new(struct buf_pool *pool, size_t size);

/* A buffer whose bytes are [begin, end) of those of `parent`, end > begin; it has a reference of
 * its own to the parent. Its `size` is the number of these bytes, so there is no space to append
 * to, and a window is charged for them only. They belong to the holders of the view: nobody reads
 * or writes them through the parent or another view. NULL: no memory. */
struct buf *buf_view(struct buf_pool *pool, struct buf *parent, uint32_t begin,
		     uint32_t end);

static inline struct buf *buf_ref(struct buf *b)
{
	b->refs++;
	return b;
}

/* Drops one reference; does nothing if b is NULL. */
void buf_put(struct buf *b);

/* The bytes not yet consumed. Valid as long as the caller's reference. */
static inline struct slice buf_bytes(const struct buf *b)
{
	return (struct slice){ b->data + b->begin, b->end - b->begin };
}

/* Drops the piece's reference and empties the piece. */
static inline void piece_put(struct piece *p)
{
	struct buf *b = p->buf;

	p->buf = NULL;
	p->len = 0;
	buf_put(b);
}

#endif
