/* Bytes of a TLS connection that are ready to be sent: a chain of blocks. What handshakes, alerts
 * and key updates have to say waits here until the next flush. Private to tls.
 *
 * Owner: struct tls_endpoint. Limits: a handshake's flights, which end when the peer
 * does not reply. */
#ifndef TLS_OUTPUT_H
#define TLS_OUTPUT_H

#include "io/buf.h"
#include "tls/session.h"

struct output {
	struct buf *first, *last;
};

/* A place for n more bytes, which are in one piece; the caller writes them all. NULL: no
 * memory. */
char *output_reserve(struct output *o, struct buf_pool *bufs, uint32_t n);

/* Appends a copy. False: no memory. */
bool output_append(struct output *o, struct buf_pool *bufs, const void *bytes, size_t n);

/* Moves as many blocks to the flight as have entries there. */
void output_take(struct output *o, struct tls_flight *f);

/* Gives back the last n bytes that output_reserve() has returned. */
void output_cancel(struct output *o, uint32_t n);

void output_drop(struct output *o);

/* Adds an entry; takes over the reference. The flight has space. */
void flight_add(struct tls_flight *f, const void *ptr, size_t len, struct buf *owner);

/* An entry of up to 24 bytes in the flight itself. Where to write them. */
char *flight_edge(struct tls_flight *f, uint32_t len);

static inline unsigned flight_space(const struct tls_flight *f)
{
	return TLS_FLIGHT_MAX - f->n;
}

#endif
