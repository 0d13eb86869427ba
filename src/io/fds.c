#include "fds.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/reserve.h"

/* Initial length of `chunks`: enough for 65,536 descriptors. */
#define CHUNKS_MIN 64u

void fds_init(struct fds *t, size_t size)
{
	ASSERT(size * FDS_CHUNK <= RESERVE_CHUNK_BYTES);
	*t = (struct fds){ .size = size };
}

void fds_done(struct fds *t)
{
	for (unsigned i = 0; i < t->chunk_n; i++)
		if (t->chunks[i])
			reserve_unmap(t->chunks[i]);
	free(t->chunks);
}

static void widen(struct fds *t, unsigned chunk_n)
{
	char **wider = realloc(t->chunks, chunk_n * sizeof(*wider));

	ASSERT(wider);
	memset(wider + t->chunk_n, 0, (chunk_n - t->chunk_n) * sizeof(*wider));
	t->chunks = wider;
	t->chunk_n = chunk_n;
}

void *fds_grow(struct fds *t, unsigned fd)
{
	unsigned i = fd / FDS_CHUNK;
	char *chunk;

	ASSERT(fd <= INT_MAX);
	if (i >= t->chunk_n)
		widen(t, i < CHUNKS_MIN ? CHUNKS_MIN : (i + 1) * 2);
	chunk = t->chunks[i];
	if (!chunk)
		chunk = reserve_map(true);
	ASSERT(chunk);
	t->chunks[i] = chunk;
	return chunk + fd % FDS_CHUNK * t->size;
}
