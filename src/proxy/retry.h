/* The tries of one fetch_request to an upstream, on a route that says how often it is asked and how
 * long that may take (`retry`, `deadline`, `hedge`). Without these an exchange has none of this.
 *
 * A try is a fetch. When one fails, or brings an answer that the route names, before anything
 * of it was relayed, it is let go and another one begins: on a server that was not asked yet at
 * once, else after a pause. What was sent is kept for that: the head, and as much of a
 * body as the route allows (replay.h).
 *
 *   ┌▶ a fetch ─▶ failed, or refused ─▶ (a pause) ─┐
 *   │     └▶ answer: over      └▶ no more: over    │
 *   └──────────────────────────────────────────────┘
 *
 * Not sent again is: what the budget has nothing left for; what would begin behind the
 * deadline; a body that was not kept whole; an unsafe method, but where nothing has reached
 * an origin (RFC 9110 9.2.2).
 *
 * A hedge is a second fetch beside the first try when that takes longer than most of the route's
 * did lately. The first good head of an answer counts, of whichever it is, and the other fetch is
 * let go; if one fails, the other goes on.
 *
 * Owner: the exchange while EXCHANGE_REQUESTING. Decides in the exchange's steps only: its timer
 * is a fact. Times count from the end of the request where its body is waited for. */
#ifndef PROXY_TRIES_H
#define PROXY_TRIES_H

#include "exchange.h"

struct retry {
	struct exchange *exchange;
	struct retry_state *retry_state;
	const struct config_route *route;
	struct upstream *upstream;
	struct buf *request;  /* the head */
	struct fetch *hedge; /* the hedge; NULL: none now */
	struct latency
		*latency; /* of the route; NULL: it is not hedged, or this one is not */
	struct timer timer;
	uint64_t deadline_base_ms; /* what the deadline counts from */
	uint64_t attempt_began_ms;    /* what the timeout of a try counts from */
	uint64_t hedge_began_ms; /* likewise, of the hedge */
	uint64_t resume_ms; /* without a fetch: when the next one begins */
	uint64_t hedge_due_ms;  /* when it is slow; 0: not known, or too late to ask */
	uint64_t began_us;
	uint64_t key;    /* of the upstream's hash */
	uint64_t length; /* of the body */
	uint8_t method;  /* enum method */
	uint8_t framing; /* enum framing */
	uint8_t attempts_n; /* tries begun */
	uint8_t backoffs;
	bool queued; /* waits for a connection, which has a timeout of its own */
	bool timer_fired;
	bool holds;         /* see struct fetch_request */
	bool request_complete;     /* the request's end was sent */
	struct tried tried; /* servers */
};

/* The route says something of tries. */
static inline bool retry_wanted(const struct config_route *route)
{
	return route->retry || route->hedge || route->deadline_ms > 0;
}

/* Sets x->retry, and x->fetch to the first; no memory: neither, or not the latter. `request`
 * is taken over. */
void retry_begin(struct exchange *x, struct buf *request, uint64_t key,
		 const struct head *h);

/* Time and pauses. False: there is no fetch now, or the exchange has ended. */
bool retry_step(struct exchange *x);

/* x->fetch has failed. True: it goes on with another one, before long. */
bool retry_handle_failure(struct exchange *x);

/* x->fetch has brought this final answer. True: it is not to be relayed, another one is
 * asked for. */
bool retry_handle_response(struct exchange *x, const struct head *h);

/* Its body may be sent once more, for one that this try may be followed by. */
bool retry_may_resend(const struct retry *t);

/* All of the request's body was sent. */
void retry_request_complete(struct retry *t);

/* The answer's head was taken: they are over. */
void retry_end(struct exchange *x);

void retry_free(struct retry **slot);

/* ---- for hedge.c ---------------------------------------------------------- */

/* Asks once more; the servers that were asked are avoided. NULL: no memory. */
struct fetch *retry_start(struct retry *t);

/* The answer whose final head fetch_head() has read is not wanted: reads off what is there of
 * it, so that its connection may stay if that is all. */
void retry_discard_response(struct fetch *f, const struct head *h);

/* Adds the servers that the fetch was given to those that were asked. */
void retry_mark_tried(struct retry *t, const struct fetch *f);

/* Sets the timer to what is due next. */
void retry_arm_timer(struct retry *t);

/* The request has not ended yet, or its client takes nothing: no time of the upstream's. What
 * an origin takes to read a body has limits of its own. */
bool retry_waits_for_client(const struct exchange *x);

/* The bit of config_retry.on that the status is; 0: none. */
uint32_t retry_condition(int status);

#endif
