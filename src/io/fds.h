/* A table indexed by file descriptor, in chunks of 1,024 entries.
 *
 * Entries start as zeros and never move. Chunks are allocated when first used and kept:
 * memory follows the highest descriptor ever in use. An open descriptor must have an
 * entry, so chunks may come from the thread's reserve (base/reserve.h); if even that is
 * used up, an assertion fails. Owner: one thread. */
#ifndef IO_FDS_H
#define IO_FDS_H

#include <stddef.h>

struct fds {
	size_t size; /* of one entry, in bytes */
	char **chunks;
	unsigned chunk_n; /* length of `chunks`; an entry may be NULL */
};

#define FDS_CHUNK 1024u

/* size: bytes of an entry, at most RESERVE_CHUNK_BYTES / FDS_CHUNK. */
void fds_init(struct fds *t, size_t size);
void fds_done(struct fds *t);

/* Allocates the chunk of fd and returns the entry. For fds_at(). */
void *fds_grow(struct fds *t, unsigned fd);

/* The entry of fd, which is >= 0. Allocates if fd is the first in its chunk. */
static inline void *fds_at(struct fds *t, int fd)
{
	unsigned n = (unsigned)fd;

	if (n / FDS_CHUNK >= t->chunk_n || !t->chunks[n / FDS_CHUNK])
		return fds_grow(t, n);
	return t->chunks[n / FDS_CHUNK] + n % FDS_CHUNK * t->size;
}

#endif
