/* What was sent of a request's body, kept so that it can be sent again: on another connection
 * where an idle one turned out to have ended (fetch.h), or to another server (retry.h).
 *
 * It is a copy, which holds no receive buffer. It is made of a body that may be sent again,
 * up to a limit, and of no other: a larger one is not kept at all where its length says so, and
 * let go where it turns out so.
 *
 * Owner: the exchange, until the head of a response makes a repeat impossible. */
#ifndef PROXY_REPLAY_H
#define PROXY_REPLAY_H

#include "io/buf.h"

/* Most bytes that are kept where the route says nothing of it. */
#define REPLAY_BYTES 16384

struct replay {
	struct buf *body;     /* as far as it was sent to any; NULL: nothing yet, or lost */
	struct buf *trailers;
	uint32_t replayed;    /* bytes of `body` that the fetch at hand was sent */
	bool disabled;        /* not all that was sent is kept */
};

/* A run of the body is about to be sent. `length`: of the body, 0: not known; `max`: most bytes
 * that are kept of it. */
void replay_keep(struct replay *r, struct buf_pool *pool, const struct piece *p, uint64_t length,
		 uint32_t max);

/* A run that was sent is not kept. */
void replay_disable(struct replay *r);

/* The trailers (may be NULL) are about to be sent: they are kept, or those that are kept are
 * sent. Returns them, with a reference. */
struct buf *replay_trailers(struct replay *r, struct buf *trailers);

/* What is kept and is to be sent before all that is still to come. False: there is nothing. */
bool replay_next(struct replay *r, struct piece *p);

/* Nothing was sent, as far as the next fetch or connection is concerned. */
static inline void replay_rewind(struct replay *r)
{
	r->replayed = 0;
}

/* It will not be sent again. */
void replay_free(struct replay *r);

#endif
