/* Whether and when a request is sent again, on a route with `retry`, `deadline` or `hedge`. A
 * fetch of any other route has no struct retry.
 *
 *   ┌▶ attempt ─▶ failed, or status to retry ─▶ (backoff) ─┐
 *   │     └▶ response: used        └▶ no more: reported    │
 *   └──────────────────────────────────────────────────────┘
 *
 * No further attempt is made if the budget is spent; if it would begin after the deadline; if the
 * body was not kept whole; or if the method is not idempotent, unless nothing was sent to a server
 * (RFC 9110 9.2.2) or the route allows all methods.
 *
 * Owner: the fetch, until the head of a final response was taken. It is told of attempts and asked
 * what to do; it begins and ends none. Its timer only runs the waiter. The deadlines start anew
 * while the attempt waits for the client, until the request was sent whole once; after that, while
 * its response is not read. */
#ifndef PROXY_RETRY_H
#define PROXY_RETRY_H

#include "proxy/attempt.h"

/* What is due, by the time. */
enum retry_due {
	RETRY_NOTHING,
	RETRY_DEADLINE, /* of the route: the fetch fails */
	RETRY_LATE,     /* per_try_timeout: the attempt fails */
	RETRY_HEDGE,    /* a hedge should begin */
	RETRY_RESUME,   /* the pause is over: the next attempt should begin */
};

struct retry {
	struct slab_reap reap;
	const struct attempt_request *request; /* of the fetch */
	const struct config_route *route;
	struct latency *latency;   /* of the route; NULL: this request is not hedged */
	struct timer timer;
	uint64_t deadline_base_ms; /* start of the route's deadline */
	uint64_t attempt_began_ms; /* start of per_try_timeout */
	uint64_t hedge_began_ms;   /* the same for the hedge */
	uint64_t resume_ms;        /* when the next attempt begins, while pausing */
	uint64_t hedge_due_ms;     /* when to start a hedge; 0: never, or already done */
	uint64_t began_us;
	uint8_t attempts_started;  /* without hedges and stale resends */
	uint8_t backoffs;          /* drawn so far */
	bool pausing;              /* until the next attempt begins */
	bool queued;               /* waits for a connection: queue_timeout applies */
	bool timer_fired;
	bool request_complete;     /* the end of the request was sent once */
	struct tried tried;        /* servers */
};

/* True: the route has retries, a hedge or a deadline. */
static inline bool retry_wanted(const struct config_route *route)
{
	return route->retry || route->hedge || route->deadline_ms > 0;
}

/* For the first attempt. q and route must outlive it. NULL: no memory. */
struct retry *retry_new(const struct config_route *route, const struct attempt_request *q);

/* An attempt begins. */
void retry_attempt_began(struct retry *r);

/* True: the request is still being sent, or its response is not read: the deadlines of the route do
 * not run. The timeouts of receiving and sending (limits) do. a: NULL while pausing. */
bool retry_waits_for_client(const struct attempt *a);

/* What is due now, with the attempt as it is after its step. `waited`: retry_waits_for_client()
 * before the step. */
enum retry_due retry_due(struct retry *r, const struct attempt *a, bool waited);

/* The attempt has failed, or brought a response whose status meets `condition`. `kept`: all that
 * was sent of the body can be sent again. True: another attempt follows, after a pause that may
 * be 0. */
bool retry_schedule(struct retry *r, const struct attempt *a, uint32_t condition, bool kept);

/* The bit of config_retry.on for this status, or for a failed attempt; 0: none. */
uint32_t retry_condition(int status);
uint32_t retry_condition_of_failure(const struct attempt *a);

/* True: a later attempt may send the body again. */
bool retry_may_resend(const struct retry *r);

/* Adds the servers that the attempt was given to the tried ones. */
void retry_mark_tried(struct retry *r, const struct attempt *a);

/* The hedge is the attempt in use from now on. */
void retry_hedge_promoted(struct retry *r);

/* The end of the request was sent: deadlines start now. */
void retry_request_complete(struct retry *r);

/* The head of the final response was taken: records its latency. */
void retry_succeeded(struct retry *r, int status);

/* *slot may be NULL, and is NULL afterwards. */
void retry_free(struct retry **slot);

#endif
