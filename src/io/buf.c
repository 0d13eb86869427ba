#include "io/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

/* Receive buffers are allocated in chunks of 64: their bytes in one mapping, their
 * structs in the page after them. */
#define CHUNK_BUFS 64u
#define CHUNK_STRUCTS ((size_t)4096)

/* The reserve of large pools. One buffer would suffice for progress, but progress would
 * be slow. */
#define RESERVE_MAX 64u

/* Most buffers whose memory one trim gives back: each costs a system call. */
#define TRIM_MAX 256u

static const char *const block_names[BUF_CLASSES] = {
	"block 256", "block 512", "block 1024", "block 2048", "block 4096", "block 8192",
};

/* `parent` is not a view. */
struct view {
	struct buf buf;
	struct buf *parent;
};

/* One writer; the control thread reads the counters at any time, for /metrics. */
static void count_set(uint32_t *count, uint32_t n)
{
	__atomic_store_n(count, n, __ATOMIC_RELAXED);
}

static void block_bytes_set(struct buf_pool *pool, size_t n)
{
	__atomic_store_n(&pool->block_bytes, n, __ATOMIC_RELAXED);
}

static uint32_t class_bytes(unsigned class_)
{
	return 256u << class_;
}

static size_t chunk_bytes(uint32_t bufs)
{
	return (size_t)bufs * BUF_BYTES + CHUNK_STRUCTS;
}

static void free_push(struct buf_pool *pool, struct buf *b)
{
	b->begin = b->end = 0;
	b->trimmed = false;
	b->next = pool->free;
	pool->free = b;
	count_set(&pool->free_n, pool->free_n + 1);
}

/* Allocates the next chunk. False: the limit is reached or there is no memory. */
static bool pool_grow(struct buf_pool *pool, int map_flags)
{
	uint32_t n = pool->limit - pool->count;
	struct buf *bufs;
	char *bytes;

	if (n > CHUNK_BUFS)
		n = CHUNK_BUFS;
	if (n == 0)
		return false;
	bytes = mmap(NULL, chunk_bytes(n), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | map_flags, -1, 0);
	if (bytes == MAP_FAILED)
		return false;
	bufs = (struct buf *)(void *)(bytes + (size_t)n * BUF_BYTES);
	for (uint32_t i = n; i-- > 0;) {
		struct buf *b = &bufs[i];

		b->data = bytes + (size_t)i * BUF_BYTES;
		b->size = BUF_BYTES;
		b->id = (uint16_t)(pool->count + i);
		b->class_ = BUF_RECEIVE;
		b->pool = pool;
		pool->all[b->id] = b;
		free_push(pool, b);
	}
	count_set(&pool->count, pool->count + n);
	return true;
}

static uint32_t reserve_of(uint32_t limit)
{
	if (limit < 32)
		return limit > 2;
	return limit / 16 < RESERVE_MAX ? limit / 16 : RESERVE_MAX;
}

int buf_pool_init(struct buf_pool *pool, uint32_t limit)
{
	_Static_assert(CHUNK_BUFS * sizeof(struct buf) <= CHUNK_STRUCTS,
		       "the structs of a chunk fit a page");

	ASSERT(limit > 0 && limit <= UINT16_MAX);
	memset(pool, 0, sizeof(*pool));
	for (unsigned i = 0; i < BUF_CLASSES; i++) {
		slab_init(&pool->blocks[i], block_names[i],
			  sizeof(struct buf) + class_bytes(i), 0);
		slab_use_reserve(&pool->blocks[i]);
	}
	slab_init(&pool->views, "view", sizeof(struct view), 0);
	slab_use_reserve(&pool->views);
	pool->limit = limit;
	pool->reserve = reserve_of(limit);
	pool->all = calloc(limit, sizeof(struct buf *));
	/* Populate the first chunk, so that its memory counts as the cost of an idle loop
	 * and not as that of the first connections. */
	if (!pool->all || !pool_grow(pool, MAP_POPULATE)) {
		free(pool->all);
		pool->all = NULL;
		return -ENOMEM;
	}
	pool->free_min = pool->free_n;
	return 0;
}

void buf_pool_done(struct buf_pool *pool)
{
	ASSERT(pool->free_n == pool->count);
	ASSERT(pool->block_bytes == 0);
	for (uint32_t i = 0; i < pool->count; i += CHUNK_BUFS) {
		uint32_t n = pool->count - i;

		munmap(pool->all[i]->data, chunk_bytes(n < CHUNK_BUFS ? n : CHUNK_BUFS));
	}
	free(pool->all);
	for (unsigned i = 0; i < BUF_CLASSES; i++)
		slab_done(&pool->blocks[i]);
	slab_done(&pool->views);
}

/* The list is last in, first out, so its last free_min buffers were not used since the
 * last trim. Some of them keep their memory too: half as many as were in use, so that a
 * load that varies a little makes no system calls, and the first chunk, which is used
 * again at once. */
void buf_pool_trim(struct buf_pool *pool)
{
	struct buf *b = pool->free;
	uint32_t kept = pool->free_n - pool->free_min +
			(pool->count - pool->free_min) / 2;
	uint32_t trimmed = 0;

	for (uint32_t i = 0; b && i < kept; i++)
		b = b->next;
	for (; b && trimmed < TRIM_MAX; b = b->next) {
		if (b->trimmed || b->id < CHUNK_BUFS)
			continue;
		madvise(b->data, b->size, MADV_DONTNEED);
		b->trimmed = true;
		trimmed++;
	}
	pool->free_min = pool->free_n;
	for (unsigned i = 0; i < BUF_CLASSES; i++)
		slab_trim(&pool->blocks[i]);
	slab_trim(&pool->views);
}

struct buf *buf_take(struct buf_pool *pool)
{
	struct buf *b;

	if (!pool->free && !pool_grow(pool, 0))
		return NULL;
	b = pool->free;
	ASSERT(b->refs == 0);
	pool->free = b->next;
	count_set(&pool->free_n, pool->free_n - 1);
	if (pool->free_n < pool->free_min)
		pool->free_min = pool->free_n;
	b->next = NULL;
	b->begin = b->end = 0;
	b->refs = 1;
	return b;
}

struct buf *buf_new(struct buf_pool *pool, size_t size)
{
	unsigned class_ = 0;
	struct buf *b;

	if (size > UINT32_MAX - sizeof(*b))
		return NULL;
	while (class_ < BUF_CLASSES && class_bytes(class_) < size)
		class_++;
	if (class_ < BUF_CLASSES) {
		b = slab_take_raw(&pool->blocks[class_]);
		size = class_bytes(class_);
	} else {
		b = malloc(sizeof(*b) + size);
		class_ = BUF_HEAP;
	}
	if (!b)
		return NULL;
	*b = (struct buf){
		.data = (char *)(b + 1),
		.size = (uint32_t)size,
		.refs = 1,
		.class_ = (uint8_t)class_,
		.pool = pool,
	};
	block_bytes_set(pool, pool->block_bytes + size);
	return b;
}

static struct view *view_of(struct buf *b)
{
	return CONTAINER(b, struct view, buf);
}

/* A view of a view refers to the buffer behind it: there are no chains. */
struct buf *buf_view(struct buf_pool *pool, struct buf *parent, uint32_t begin,
		     uint32_t end)
{
	struct view *v;

	ASSERT(parent->refs > 0 && begin < end && end <= parent->size);
	v = slab_take_raw(&pool->views);
	if (!v)
		return NULL;
	v->buf = (struct buf){
		.data = parent->data + begin,
		.size = end - begin,
		.end = end - begin,
		.refs = 1,
		.class_ = BUF_VIEW,
		.pool = pool,
	};
	v->parent = buf_ref(parent->class_ == BUF_VIEW ? view_of(parent)->parent
						       : parent);
	return &v->buf;
}

static void view_free(struct view *v)
{
	struct buf *parent = v->parent;

	slab_put(&v->buf.pool->views, v);
	buf_put(parent);
}

void buf_put(struct buf *b)
{
	struct buf_pool *pool;

	if (!b)
		return;
	ASSERT(b->refs > 0);
	if (--b->refs > 0)
		return;
	pool = b->pool;
	if (b->class_ == BUF_RECEIVE) {
#ifdef FAIRLEAD_POISON
		memset(b->data, 0xdd, b->size);
#endif
		free_push(pool, b);
		return;
	}
	if (b->class_ == BUF_VIEW) {
		view_free(view_of(b));
		return;
	}
	block_bytes_set(pool, pool->block_bytes - b->size);
	if (b->class_ == BUF_HEAP)
		free(b);
	else
		slab_put(&pool->blocks[b->class_], b);
}
