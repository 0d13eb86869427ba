/* A copy of the part of a request's body that was sent, so that it can be sent again: on another
 * connection after a stale one (attempt.h), or to another server (retry.h).
 *
 * A copy, so that it holds no receive buffer. Only bodies that may have to be sent again are kept,
 * up to a limit of bytes. A body whose Content-Length exceeds the limit is not kept at all; one
 * that turns out to be larger is freed then.
 *
 * Owner: the fetch, until the head of a response rules out another send. */
#ifndef PROXY_REPLAY_H
#define PROXY_REPLAY_H

#include "io/buf.h"

/* Most bytes kept where the route has no `retry`. */
#define REPLAY_BYTES 16384

struct replay {
	struct buf *body;     /* what was sent to any server; NULL: nothing yet, or disabled */
	struct buf *trailers;
	uint32_t sent;        /* bytes of `body` that were given to the current attempt */
	bool disabled;        /* something was sent that is not kept: no replay is possible */
};

/* Copies a piece that is about to be sent. `length`: of the whole body, 0: not known. `max`: most
 * bytes kept of a body. If it exceeds `max`, or memory is lacking, replay is disabled. */
void replay_keep(struct replay *r, struct buf_pool *pool, const struct piece *p, uint64_t length,
		 uint32_t max);

/* A piece was sent that is not kept: frees the copy. */
void replay_disable(struct replay *r);

/* The trailers to send at the end of the body: `trailers` (may be NULL), which are kept; or those
 * kept by an earlier send. Takes over the reference and returns one. */
struct buf *replay_trailers(struct replay *r, struct buf *trailers);

/* True: the current attempt was not sent all of the kept bytes yet. */
static inline bool replay_pending(const struct replay *r)
{
	return r->body && r->sent < r->body->end;
}

/* These bytes; they come before further bytes of the client. False: none. */
bool replay_next(struct replay *r, struct piece *p);

/* A new attempt or connection begins: it was sent nothing yet. */
static inline void replay_rewind(struct replay *r)
{
	r->sent = 0;
}

/* The body will not be sent again: frees the copies. */
void replay_free(struct replay *r);

#endif
