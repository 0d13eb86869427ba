/* The attempts of one request to an upstream, on a route with `retry`, `deadline` or `hedge`.
 * An exchange on any other route has no struct retry.
 *
 * An attempt is a fetch. If it fails, or brings a response whose status the route names, before
 * anything of it was relayed, it is freed and another one begins: at once if there is a server
 * that was not tried yet, else after a backoff. For that the head is kept, and as much of the body
 * as the route allows (replay.h).
 *
 *   ┌▶ attempt ─▶ failed, or status to retry ─▶ (backoff) ─┐
 *   │     └▶ response: relayed     └▶ no more: reported    │
 *   └──────────────────────────────────────────────────────┘
 *
 * No further attempt is made if the budget is spent; if it would begin after the deadline; if the
 * body was not kept whole; or if the method is not idempotent, unless nothing was sent to an
 * server (RFC 9110 9.2.2) or the route allows all methods.
 *
 * A hedge is a second fetch in parallel to the first attempt, started when that is slower than
 * most of the route's recent requests. The first good head of a response decides which fetch is
 * used; the other one is freed. If one fails, the other continues. See hedge.h.
 *
 * Owner: the exchange while EXCHANGE_REQUESTING. It decides in the exchange's steps only; its
 * timer only runs the client's task. Deadlines start anew while retry_waits_for_client(), until
 * the request was sent whole once; after that, while the client takes no bytes. */
#ifndef PROXY_RETRY_H
#define PROXY_RETRY_H

#include "proxy/exchange.h"

struct retry {
	struct slab_reap reap;
	struct exchange *exchange;
	struct retry_state *retry_state;
	const struct config_route *route;
	struct upstream *upstream;
	struct buf *request;       /* the head */
	struct attempt *hedge;       /* NULL: none now */
	struct latency *latency;   /* of the route; NULL: this request is not hedged */
	struct timer timer;
	uint64_t deadline_base_ms; /* start of the route's deadline */
	uint64_t attempt_began_ms; /* start of per_try_timeout for exchange->fetch */
	uint64_t hedge_began_ms;   /* the same for the hedge */
	uint64_t resume_ms;        /* when the next attempt begins, if there is no fetch now */
	uint64_t hedge_due_ms;     /* when to start a hedge; 0: never, or already done */
	uint64_t began_us;
	uint64_t hash;             /* see action_hash() */
	uint64_t length;           /* of the body */
	uint8_t method;            /* enum method */
	uint8_t framing;           /* enum framing */
	uint8_t attempts_started;  /* without hedges and stale resends */
	uint8_t backoffs;          /* drawn so far */
	bool queued;               /* waits for a connection: queue_timeout applies */
	bool timer_fired;
	bool hold_on_return;       /* see struct attempt_request */
	bool request_complete;     /* the end of the request was sent once */
	struct tried tried;        /* servers */
};

/* True: the route has retries, a hedge or a deadline. */
static inline bool retry_wanted(const struct config_route *route)
{
	return route->retry || route->hedge || route->deadline_ms > 0;
}

/* Sets x->retry, and x->fetch to the first attempt. Takes over `request`. Out of memory: sets
 * x->retry only, or neither. */
void retry_begin(struct exchange *x, struct buf *request, uint64_t hash,
		 const struct head *h);

/* Checks deadlines, the hedge and the end of a backoff. May end the exchange. */
void retry_step(struct exchange *x);

/* True: there is no fetch until a backoff ends. */
bool retry_pauses(const struct exchange *x);

/* x->fetch has failed. True: another attempt follows (x->fetch may be NULL now). False: the
 * failure is final. */
bool retry_handle_failure(struct exchange *x);

/* x->fetch has brought this response head. True: it is not relayed, and another attempt follows
 * (x->fetch may be NULL now). False: it is to be relayed. */
bool retry_handle_response(struct exchange *x, const struct head *h);

/* True: a later attempt may send the body again. */
bool retry_may_resend(const struct retry *r);

/* The end of the request was sent: deadlines start now. */
void retry_request_complete(struct retry *r);

/* The response's head was taken: records its latency and frees x->retry. */
void retry_end(struct exchange *x);

/* Frees it and its hedge. *slot may be NULL, and is NULL afterwards. */
void retry_free(struct retry **slot);

/* ---- for hedge.c ---------------------------------------------------------- */

/* Sends the request once more, to a server not tried yet if possible. NULL: no memory. */
struct attempt *retry_send_request(struct retry *r);

/* The final response whose head attempt_head() has read is not used: reads its body as far as it
 * has come, so that the connection can be reused if that is all. */
void retry_discard_response(struct attempt *f, const struct head *h);

/* Adds the servers that the fetch was given to the tried ones. */
void retry_mark_tried(struct retry *r, const struct attempt *f);

/* Sets the timer to the next time that is due. */
void retry_arm_timer(struct retry *r);

/* True: the client's body is awaited, the request is still being sent to the server, or the
 * client takes no bytes. The deadlines of the route do not run meanwhile; the timeouts of
 * receiving and sending (limits) do. */
bool retry_waits_for_client(const struct exchange *x);

/* The bit of config_retry.on for this status; 0: none. */
uint32_t retry_condition(int status);

#endif
