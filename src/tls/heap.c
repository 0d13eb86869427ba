#include "heap.h"

#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "library.h"
#include "tls/session.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS false
#else
#define KEEPS true
#endif

/* Before each block of the library. */
struct heap_block {
	size_t bytes; /* with this head */
	union {
		size_t class;
		struct heap_block *next; /* while it is kept */
	};
};

_Static_assert(sizeof(struct heap_block) == 16, "blocks have the alignment of malloc()");

/* Classes of sizes: steps of 16 bytes up to 1 KB, then four for each power of two. */
#define SMALL_STEP_BITS 4
#define SMALL_BITS 10
#define LARGE_BITS 15
#define SMALL_CLASSES (1u << (SMALL_BITS - SMALL_STEP_BITS))
#define CLASSES (SMALL_CLASSES + 4 * (LARGE_BITS - SMALL_BITS))

static size_t class_of(size_t bytes)
{
	size_t last = bytes - 1;
	unsigned bits;

	if (last < 1u << SMALL_BITS)
		return last >> SMALL_STEP_BITS;
	bits = 63 - (unsigned)__builtin_clzll(last);
	return SMALL_CLASSES + (bits - SMALL_BITS) * 4 + (last >> (bits - 2) & 3);
}

static size_t class_bytes(size_t class)
{
	size_t large = class - SMALL_CLASSES, bits;

	if (class < SMALL_CLASSES)
		return (class + 1) << SMALL_STEP_BITS;
	bits = SMALL_BITS + large / 4;
	return ((size_t)1 << bits) + ((large % 4 + 1) << (bits - 2));
}

/* ---- of a thread ------------------------------------------------------------- */

struct kept {
	struct heap_block *first;
	uint32_t n, n_min; /* n_min: since the last heap_trim() */
};

static __thread struct kept kept[CLASSES];
static __thread size_t kept_bytes;
static __thread unsigned users;

static struct heap_block *kept_take(size_t class)
{
	struct kept *k = &kept[class];
	struct heap_block *b = k->first;

	if (!b)
		return NULL;
	k->first = b->next;
	if (--k->n < k->n_min)
		k->n_min = k->n;
	kept_bytes -= class_bytes(class);
	b->class = class;
	return b;
}

/* False: it is not kept. */
static bool kept_put(struct heap_block *b)
{
	size_t class = b->class;
	struct kept *k = &kept[class];

	if (!users || class >= CLASSES || kept_bytes + class_bytes(class) > HEAP_KEPT_MAX)
		return false;
	b->next = k->first;
	k->first = b;
	k->n++;
	kept_bytes += class_bytes(class);
	return true;
}

static void kept_give_back(size_t class, uint32_t n)
{
	while (n-- > 0)
		free(kept_take(class));
}

void heap_begin(void)
{
	users++;
}

void heap_end(void)
{
	ASSERT(users > 0);
	if (--users > 0)
		return;
	for (size_t class = 0; class < CLASSES; class ++)
		kept_give_back(class, kept[class].n);
	ASSERT(kept_bytes == 0);
}

void heap_trim(void)
{
	for (size_t class = 0; class < CLASSES; class ++) {
		kept_give_back(class, kept[class].n_min);
		kept[class].n_min = kept[class].n;
	}
}

size_t heap_kept(void)
{
	return kept_bytes;
}

/* ---- how much ---------------------------------------------------------------- */

/* Bytes that the library has allocated. Each thread adds up its own changes and passes them on in
 * portions: on one shared counter the threads would wait for each other's cache line. */
#define PORTION 16384
static atomic_llong bytes_passed_on;
static __thread int64_t bytes_here;

static void account(int64_t change)
{
	bytes_here += change;
	if (bytes_here > PORTION || bytes_here < -PORTION) {
		atomic_fetch_add_explicit(&bytes_passed_on, bytes_here,
					  memory_order_relaxed);
		bytes_here = 0;
	}
}

size_t tls_library_bytes(void)
{
	long long n;

	atomic_fetch_add_explicit(&bytes_passed_on, bytes_here, memory_order_relaxed);
	bytes_here = 0;
	n = atomic_load_explicit(&bytes_passed_on, memory_order_relaxed);
	/* Another thread may have freed what this one has allocated, and not passed it on yet. */
	return n > 0 ? (size_t)n : 0;
}

/* ---- what the library calls -------------------------------------------------- */

static __thread unsigned fail_countdown;

unsigned library_fail_at(unsigned n)
{
	unsigned left = fail_countdown;

	fail_countdown = n;
	return left;
}

static bool fails_now(void)
{
	return fail_countdown > 0 && --fail_countdown == 0;
}

static void *heap_malloc(size_t n, const char *file, int line)
{
	size_t bytes = n + sizeof(struct heap_block), class = CLASSES;
	struct heap_block *b = NULL;

	(void)file;
	(void)line;
	if (fails_now() || n > SIZE_MAX / 2)
		return NULL;
	if (KEEPS && users > 0 && bytes <= 1u << LARGE_BITS) {
		class = class_of(bytes);
		bytes = class_bytes(class);
		b = kept_take(class);
	}
	if (!b)
		b = malloc(bytes);
	if (!b)
		return NULL;
	b->bytes = bytes;
	b->class = class;
	account((int64_t)bytes);
	return b + 1;
}

static void heap_free(void *p, const char *file, int line)
{
	struct heap_block *b = p;

	(void)file;
	(void)line;
	if (!p)
		return;
	b--;
	account(-(int64_t)b->bytes);
	if (!KEEPS || !kept_put(b))
		free(b);
}

static void *heap_realloc(void *p, size_t n, const char *file, int line)
{
	const struct heap_block *b = p;
	size_t space;
	void *q;

	if (!p)
		return heap_malloc(n, file, line);
	if (n == 0) {
		heap_free(p, file, line);
		return NULL;
	}
	space = (b - 1)->bytes - sizeof(*b);
	q = heap_malloc(n, file, line);
	if (!q)
		return NULL;
	memcpy(q, p, n < space ? n : space);
	heap_free(p, file, line);
	return q;
}

bool heap_init(void)
{
	return CRYPTO_set_mem_functions(heap_malloc, heap_realloc, heap_free) == 1;
}
