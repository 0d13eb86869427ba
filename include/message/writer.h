/* A message as it goes: head, then a body framed anew, into a connection's outbox.
 *
 * The same for a request to an origin and for an answer to a client. Pieces go by
 * reference: a body byte is never copied. Each call queues whole elements of the message (a
 * head, a chunk with its CRLF, the last chunk with its trailers): when the outbox has been
 * sent, no part of what was written is held back. */
#ifndef MESSAGE_WRITER_H
#define MESSAGE_WRITER_H

#include "http/head.h"
#include "net/conn.h"

struct writer {
	uint8_t framing; /* enum framing */
	bool ended;
	uint64_t left;   /* FRAMING_LENGTH: bytes still promised */
};

/* Queues a head (one reference to its buffer is taken over) and says how its body will
 * be framed. False: out of memory; the reference is let go. */
bool writer_begin(struct writer *w, struct conn *c, struct buf *head, enum framing framing,
		  uint64_t length);

/* Queues a whole message whose bytes live for ever. False: out of memory. */
bool writer_static(struct writer *w, struct conn *c, struct slice message);

/* Queues a run of body; takes over the piece. conn_request_space() > 0 was seen. False: out of
 * memory, or more than was promised; the piece is let go. */
bool writer_piece(struct writer *w, struct conn *c, struct piece *p);

/* The body is complete. `trailers` (may be NULL) is a block that holds the trailer
 * section with its empty line; its reference is taken over. False: out of memory, or
 * less than was promised. */
bool writer_end(struct writer *w, struct conn *c, struct buf *trailers);

#endif
