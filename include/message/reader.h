/* Reads one HTTP/1 message from a connection's inbox: head, body, trailers.
 *
 * The same for requests from a client and responses from a server. Pull interface:
 * nothing is read unless the caller asks for it, so the caller sets the pace.
 *
 * Owner: the client or origin it is embedded in. Limits: struct head_limits, and
 * READER_IGNORED_MAX. Errors: a verdict or a body event, with a fault that says why.
 * Source: RFC 9112 2.2, 6, 7.1. */
#ifndef MESSAGE_READER_H
#define MESSAGE_READER_H

#include "http/body.h"
#include "http/head.h"
#include "net/conn.h"

struct reader {
	struct body body;
	uint32_t scanned;    /* of the current head or trailer section, see head.h */
	uint32_t head_bytes; /* size of a parsed head that was not consumed yet */
};

/* Empty lines before one request that are ignored, in bytes; further ones are part of its
 * head and count against its limit. */
#define READER_IGNORED_MAX 8192u

/* Prepares for the next message. */
void reader_init(struct reader *r);

/* Between two requests: drops the empty lines received (RFC 9112 2.2), up to
 * READER_IGNORED_MAX bytes. True: further bytes were received, so a request has begun; a
 * CR alone may still be half an empty line. */
bool reader_skip_empty_lines(struct reader *r, struct conn *c);

/* Parses a head, if all of it was received. VERDICT_OK: the slices of h point into the
 * inbox until reader_begin_body(). VERDICT_BAD: h->fault says why; FAULT_NO_MEMORY if
 * memory is out. Deviations of a response (or its trailers) that l->lenient allows are
 * corrected in the inbox before it is parsed. */
enum verdict reader_request(struct reader *r, struct conn *c, const struct head_limits *l,
			    struct head *h) MUST_USE;
enum verdict reader_response(struct reader *r, struct conn *c, const struct head_limits *l,
			     struct head *h) MUST_USE;

/* Consumes the head. A body with this framing follows; `length` in bytes, for
 * FRAMING_LENGTH. */
void reader_begin_body(struct reader *r, struct conn *c, enum framing framing,
		       uint64_t length);

/* Consumes the head of an interim response: the head of another one follows. */
void reader_skip_head(struct reader *r, struct conn *c);

/* After a 101: all bytes up to the end of the connection are a body. */
void reader_begin_tunnel(struct reader *r);

/* Reads the next part of the body.
 *   BODY_DATA      *p is a piece, owned by the caller
 *   BODY_TRAILERS  `trailers` is filled and points into the inbox until reader_end_trailers()
 *   BODY_MORE      nothing more was received
 *   BODY_END       the body is complete
 *   BODY_BAD       r->body.fault says why
 * When the connection has ended, the framing decides between BODY_END and BODY_BAD. */
enum body_event reader_body(struct reader *r, struct conn *c, const struct head_limits *l,
			    struct head *trailers, struct piece *p);
void reader_end_trailers(struct reader *r, struct conn *c);

/* Reads and discards what was received of the body. True: that was all of it. `scratch`
 * is for its trailers. */
bool reader_discard_body(struct reader *r, struct conn *c, const struct head_limits *l,
			 struct head *scratch);

/* The whole body was read. */
static inline bool reader_ended(const struct reader *r)
{
	return body_ended(&r->body);
}

#endif
