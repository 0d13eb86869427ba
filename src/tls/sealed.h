/* The received bytes of a TLS connection, in order: a chain of buffers, from the first byte that
 * was not given away. Private to tls.
 *
 * Owner: struct tls_endpoint; it has one reference to each buffer, and other holders may have
 * references to other ranges of the same buffer (buf_view()). Limits: those of its user. */
#ifndef TLS_SEALED_H
#define TLS_SEALED_H

#include <sys/uio.h>

#include "io/buf.h"

struct sealed {
	struct buf *first, *last;
	uint32_t bytes;
	uint32_t held; /* sizes of the buffers */
};

/* Takes over the reference. */
void sealed_append(struct sealed *s, struct buf *b);

/* Copies bytes [from, from + n), which are there. */
void sealed_copy(const struct sealed *s, uint32_t from, void *to, uint32_t n);

/* The first `bytes` bytes, or all if they are fewer, as a vector of at most `max` entries. Returns
 * how many it has. */
unsigned sealed_vector(const struct sealed *s, struct iovec *iov, unsigned max,
		       uint32_t bytes);

/* Drops the first n bytes. */
void sealed_consume(struct sealed *s, uint32_t n);

/* Of the first n bytes: those in the first buffer, as a buffer of their own; the caller has the
 * reference. *tail bytes behind the n are dropped, if they lie in that buffer; *tail is what is
 * left of them. NULL: no memory, nothing is taken. */
struct buf *sealed_take(struct sealed *s, uint32_t n, uint32_t *tail);

/* Moves everything into one block, so that bytes which wait use up no receive buffers. It is at
 * most twice their size: bytes that arrive in many parts are copied a few times, not at each part.
 * No memory: it stays as it is. */
void sealed_compact(struct sealed *s, struct buf_pool *bufs);

void sealed_drop(struct sealed *s);

/* Asserts what always holds. */
void sealed_check(const struct sealed *s);

#endif
