#include "base/reserve.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/check.h"

static _Thread_local struct {
	void *chunks[RESERVE_CHUNKS_MAX];
	unsigned n, wanted;
	bool refused;   /* by the system, the last time it was asked for a chunk */
	bool limited;   /* by a test */
	unsigned limit; /* limited: chunks that the system still gives */
} reserve;

void reserve_fail_after(int chunks)
{
	reserve.limited = chunks >= 0;
	reserve.limit = chunks >= 0 ? (unsigned)chunks : 0;
}

static void *system_map(void)
{
	/* Map twice the size and trim, because mmap() aligns to pages only. Fresh pages
	 * are zero and cost nothing until they are touched. */
	size_t before;
	char *p;

	if (reserve.limited && reserve.limit == 0)
		return NULL;
	p = mmap(NULL, 2 * RESERVE_CHUNK_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (reserve.limited)
		reserve.limit--;
	before = (RESERVE_CHUNK_BYTES - (uintptr_t)p % RESERVE_CHUNK_BYTES) %
		 RESERVE_CHUNK_BYTES;
	if (before > 0)
		munmap(p, before);
	munmap(p + before + RESERVE_CHUNK_BYTES, RESERVE_CHUNK_BYTES - before);
	return p + before;
}

int reserve_init(unsigned chunks)
{
	ASSERT(reserve.wanted == 0 && chunks <= RESERVE_CHUNKS_MAX);
	reserve.wanted = chunks;
	reserve_refill();
	if (reserve.n == chunks)
		return 0;
	reserve_done();
	return -ENOMEM;
}

void reserve_done(void)
{
	reserve.wanted = 0;
	reserve.refused = false;
	while (reserve.n > 0)
		munmap(reserve.chunks[--reserve.n], RESERVE_CHUNK_BYTES);
}

void *reserve_map(bool use_reserve)
{
	void *chunk = system_map();

	if (chunk)
		return chunk;
	reserve.refused = true;
	return use_reserve && reserve.n > 0 ? reserve.chunks[--reserve.n] : NULL;
}

void reserve_unmap(void *chunk)
{
	reserve.refused = false;
	if (reserve.n == reserve.wanted) {
		munmap(chunk, RESERVE_CHUNK_BYTES);
		return;
	}
	/* The pages read as zeros again, and cost no memory until they are touched. */
	madvise(chunk, RESERVE_CHUNK_BYTES, MADV_DONTNEED);
	reserve.chunks[reserve.n++] = chunk;
}

bool reserve_whole(void)
{
	return reserve.n == reserve.wanted && !reserve.refused;
}

void reserve_refill(void)
{
	void *chunk;

	while (reserve.n < reserve.wanted && (chunk = system_map()))
		reserve.chunks[reserve.n++] = chunk;
	if (reserve.refused && (chunk = system_map()))
		reserve_unmap(chunk);
}
