/* A message as it comes: head, body and trailers out of a connection's inbox.
 *
 * The same for a request from a client and for an answer from an origin. Embedded
 * in client and origin; pulls only when asked, so whoever decides sets the pace. */
#ifndef MESSAGE_READER_H
#define MESSAGE_READER_H

#include "http/body.h"
#include "http/head.h"
#include "net/conn.h"

struct reader {
	struct body body;
	uint32_t scanned;    /* of the head or trailer section at hand */
	uint32_t head_bytes; /* of the head at hand, not yet consumed */
};

/* Empty lines before one request that are ignored; more of them are part of its head, and
 * count against its limit. */
#define READER_IGNORED_MAX 8192u

/* The next message begins. */
void reader_init(struct reader *r);

/* Between two requests: drops the empty lines that have come (RFC 9112 2.2), up to
 * READER_IGNORED_MAX bytes; true: there is more than that, or than what may be half of one. */
bool reader_skip_empty_lines(struct reader *r, struct conn *c);

/* Reads a head if all of it is there. On VERDICT_OK its slices point into the inbox
 * until reader_begin_body() is called. On VERDICT_BAD h->fault says why; out of
 * memory reads as FAULT_NO_MEMORY. What limits.lenient forgives a response, or its trailers, is
 * written anew in the inbox first. */
enum verdict reader_request(struct reader *r, struct conn *c, const struct head_limits *l,
			    struct head *h) MUST_USE;
enum verdict reader_response(struct reader *r, struct conn *c, const struct head_limits *l,
			     struct head *h) MUST_USE;

/* Consumes the head; what follows is its body, framed so. */
void reader_begin_body(struct reader *r, struct conn *c, enum framing framing,
		       uint64_t length);

/* The next run of the body. BODY_DATA: a piece, which the caller owns. BODY_TRAILERS:
 * `trailers` is filled, pointing into the inbox, until reader_end_trailers(). BODY_MORE:
 * nothing now. At the end of the connection the verdict of the framing. */
enum body_event reader_body(struct reader *r, struct conn *c, const struct head_limits *l,
			    struct head *trailers, struct piece *p);
void reader_end_trailers(struct reader *r, struct conn *c);

/* Reads and drops what is there; true: the body ended. */
bool reader_discard_body(struct reader *r, struct conn *c, const struct head_limits *l,
			 struct head *scratch);

static inline bool reader_ended(const struct reader *r)
{
	return body_ended(&r->body);
}

#endif
