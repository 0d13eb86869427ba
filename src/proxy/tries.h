/* The tries of one question to an upstream, on a route that says how often it is asked and
 * how long that may take (`retry`, `deadline`). Without these an exchange has none of this.
 *
 * A try is a fetch. When one fails, or brings an answer that the route names, before anything
 * of it was relayed, it is let go and another one begins: on a server that was not asked yet at
 * once, else after a pause. What was sent is kept for that: the head, and as much of a
 * body as the route allows, as a copy, so that no receive buffer is held.
 *
 *   ┌▶ a fetch ─▶ failed, or refused ─▶ (a pause) ─┐
 *   │     └▶ answer: over      └▶ no more: over    │
 *   └──────────────────────────────────────────────┘
 *
 * Not sent again is: what the budget has nothing left for; what would begin behind the
 * deadline; a body that was not kept whole; an unsafe method, but where nothing has reached
 * an origin (RFC 9110 9.2.2).
 *
 * Owner: the exchange while EXCHANGE_ASKING. Decides in the exchange's steps only: its timer
 * is a fact. Times count from the end of the request where its body is waited for. */
#ifndef PROXY_TRIES_H
#define PROXY_TRIES_H

#include "exchange.h"

/* The route says something of tries. */
static inline bool tries_wanted(const struct config_route *route)
{
	return route->retry || route->hedge || route->deadline_ms > 0;
}

/* Sets x->tries, and x->fetch to the first; no memory: neither, or not the latter. `request`
 * is taken over. */
void tries_begin(struct exchange *x, struct upstream *u, struct buf *request,
		 const struct head *h);

/* Time and pauses. False: there is no fetch now, or the exchange has ended. */
bool tries_step(struct exchange *x);

/* x->fetch has failed. True: it goes on with another one, before long. */
bool tries_failed(struct exchange *x);

/* x->fetch has brought this final answer. True: it is not to be relayed, another one is
 * asked for. */
bool tries_refused(struct exchange *x, const struct head *h);

/* A run of the body is about to be sent. */
void tries_keep(struct tries *t, const struct piece *p);

/* Sends what earlier tries were sent of the body. False: out of memory. */
bool tries_repeat(struct exchange *x);

/* All of it was sent; `trailers` may be NULL. Returns those to be sent. */
struct buf *tries_body_ended(struct tries *t, struct buf *trailers);

void tries_free(struct tries **slot);

/* Bytes of one, for its slab. */
size_t tries_size(void);

#endif
