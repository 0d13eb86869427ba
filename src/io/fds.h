/* A table indexed by file descriptor. Entries start as zeros, never move, and are
 * made 1,024 at a time: memory follows the highest descriptor in use. A descriptor that
 * is there has to have its entry, so the thread's reserve may be used. */
#ifndef IO_FDS_H
#define IO_FDS_H

#include <stddef.h>

struct fds {
	size_t size; /* of one entry, in bytes */
	char **chunks;
	unsigned chunk_n; /* length of chunks */
};

#define FDS_CHUNK 1024u

/* size: at most RESERVE_CHUNK_BYTES / FDS_CHUNK. */
void fds_init(struct fds *t, size_t size);
void fds_done(struct fds *t);

/* The entry of fd, which is >= 0. Only the first use of a descriptor that is much
 * higher than all before allocates. */
void *fds_grow(struct fds *t, unsigned fd);

static inline void *fds_at(struct fds *t, int fd)
{
	unsigned n = (unsigned)fd;

	if (n / FDS_CHUNK >= t->chunk_n || !t->chunks[n / FDS_CHUNK])
		return fds_grow(t, n);
	return t->chunks[n / FDS_CHUNK] + n % FDS_CHUNK * t->size;
}

#endif
