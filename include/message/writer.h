/* Writes one HTTP/1 message to a connection's outbox: a head, then a body in a framing of
 * its own.
 *
 * The same for requests to a server and responses to a client. Pieces are queued by
 * reference: no byte of a body is copied. Each call queues complete elements of the
 * message (a head, a chunk with its CRLF, the last chunk with the trailers): once the
 * outbox has been sent, the receiver can use everything that was written so far.
 *
 * Owner: the client or origin it is embedded in. Errors: false, when memory is out or the
 * body does not fit the declared length. Source: RFC 9112 6, 7.1. */
#ifndef MESSAGE_WRITER_H
#define MESSAGE_WRITER_H

#include "http/head.h"
#include "net/conn.h"

struct writer {
	uint8_t framing; /* enum framing */
	bool ended;      /* the message is complete */
	uint64_t left;   /* FRAMING_LENGTH: bytes of the body still to be written */
};

/* Starts a message: queues the head, whose reference is taken over, and sets the framing
 * of its body. False: out of memory; the reference was released. */
bool writer_begin(struct writer *w, struct conn *c, struct buf *head, enum framing framing,
		  uint64_t length);

/* Queues a complete message in static memory. False: out of memory. */
bool writer_static(struct writer *w, struct conn *c, struct slice message);

/* After a 101: the bytes of a tunnel follow, until writer_end(). */
void writer_begin_tunnel(struct writer *w);

/* Queues a part of the body; takes over the piece. conn_push_space() has returned more
 * than 0 before. False: out of memory, or more bytes than declared; the piece was
 * released. */
bool writer_piece(struct writer *w, struct conn *c, struct piece *p);

/* Ends the body. `trailers` (may be NULL) is a block with the trailer section and its
 * empty line, whose reference is taken over; dropped unless the body is chunked. False:
 * out of memory, or fewer bytes than declared. */
bool writer_end(struct writer *w, struct conn *c, struct buf *trailers);

#endif
