/* One request to an HTTP server or to a cache: its lease or call, the request as sent, and the
 * response as it arrives.
 *
 *   WAITING ─▶ SENDING ─▶ AWAITING_HEAD ─▶ RELAYING ─▶ ENDED
 *     ▲ │        │ │             │           ▲  │
 *     │ │        │ └─────────────┼───────────┘  │   the response begins early
 *     └─┼────────┴───────────────┤              │   stale connection: the request is sent again
 *       └────────┴───────────────┴──────────────┴─▶ FAILED   (`ending` says why)
 *
 *   WAITING ─▶ RELAYING   a cache's value
 *
 *   WAITING        waits for a lease of an origin connection; for a cache: for its response
 *   SENDING        the head was queued in the outbox, the body follows; a response may begin
 *   AWAITING_HEAD  the whole request was queued
 *   RELAYING       the head of the final response was taken; or a tunnel
 *
 * Owner: the exchange, join or retry that has the pointer, until fetch_free(); the memory comes
 * from the worker's slab. Its waiter is the task of the client: events of the fetch run that
 * task, and its step reads from the fetch.
 *
 * Stale connections: a fetch by itself sends its request a second time, at most once, if the
 * server closed a reused connection before any byte of a response, the method is idempotent
 * (RFC 9110 9.2.2, RFC 9112 9.3.1), and its exchange has kept all that was sent of the body
 * (replay.h). It is then in FETCH_WAITING again, and the body is sent again from its start. All
 * further retries are other fetches (retry.h). The upstream's `reuse` says which requests are
 * never sent on a reused connection. */
#ifndef PROXY_FETCH_H
#define PROXY_FETCH_H

#include "proxy/proxy.h"

enum fetch_state {
	FETCH_WAITING,
	FETCH_SENDING,
	FETCH_AWAITING_HEAD,
	FETCH_RELAYING,
	FETCH_ENDED,
	FETCH_FAILED,
};

/* Most interim (1xx) responses to one request; more are treated as an attack. */
#define FETCH_INTERIM_MAX 32

struct fetch {
	struct slab_reap reap;
	struct proxy *proxy;
	struct generation *generation; /* of the exchange it is for */
	struct task *waiter;
	uint8_t state;        /* enum fetch_state */
	uint8_t ending;       /* enum ending, of FETCH_FAILED */
	uint8_t method;       /* enum method */
	uint8_t framing;      /* of the request's body */
	uint8_t interim_n;
	uint16_t status;      /* of the final response whose head was taken */
	bool retried;         /* sent again after a stale connection */
	bool body_not_replayable; /* part of the sent body was not kept: no second send */
	bool timed_out;       /* a deadline of the server has passed */
	bool stalled;         /* its exchange takes no more bytes for now: the server is not late */
	bool reusable;        /* the connection, after this response */
	bool tunnel;
	uint64_t length;      /* of the request's body; of the value, for a cache */
	uint64_t sent_us;     /* when the head was queued for a server; 0: not yet */
	uint64_t since_ms;    /* start of the state, or when the server's time was last restarted */
	struct buf *request;  /* its serialised head, until a response rules out a second send */
	struct upstream *upstream;
	const struct tried *avoid; /* servers to be used only if no other has capacity: see
				      upstream_lease() */
	const struct config_upstream *config; /* of the generation */
	struct lease lease;
	struct memcache_call *call; /* not NULL: this is a request to a cache */
};

/* A request to a server. */
struct fetch_request {
	unsigned upstream;     /* index in the configuration */
	struct buf *request;   /* the serialised head, whose reference is taken over */
	enum method method;
	enum framing framing;  /* of the body */
	uint64_t length;
	uint64_t hash;         /* see action_hash(); 0: none */
	const struct tried *avoid; /* must outlive the fetch; may be NULL */
	bool first;            /* it is the first request on its client's connection */
	struct list *held_list; /* of the client: its held origins; NULL: keeps none */
	bool hold_on_return;   /* it authenticates the connection it is sent on: identity.h */
};

/* Starts a request to a server. NULL: out of memory. */
struct fetch *fetch_origin(struct generation *g, const struct fetch_request *q,
			   struct task *waiter);

/* Starts a request to a cache. The key must be valid. NULL: out of memory. */
struct fetch *fetch_memcached(struct generation *g, unsigned upstream,
			      enum memcache_command command, struct slice key,
			      struct task *waiter);

/* Handles the events recorded since the last step. The result is in f->state. */
void fetch_step(struct fetch *f);

/* Asserts what holds in each state: who has a lease, a call, a status. */
void fetch_check(const struct fetch *f);

/* Bytes of request body that may be queued now. 0: the waiter is run when there is space. */
uint32_t fetch_send_space(struct fetch *f);

/* True: if the connection turns out to be stale, the request is sent again on another one,
 * provided that its body can be. */
bool fetch_may_resend(const struct fetch *f);

/* Send a piece of the body, or its end with trailers (may be NULL). `kept`: the caller has kept it
 * and can send it again. False: the fetch has failed, see f->ending. */
bool fetch_send(struct fetch *f, struct piece *p, bool kept);
bool fetch_send_end(struct fetch *f, struct buf *trailers, bool kept);

/* Reads the head of the next response, interim ones (1xx) included. Its slices are valid until
 * fetch_take_head(). Only for requests to a server. VERDICT_BAD: the fetch has failed.
 * VERDICT_MORE: none yet; the fetch may be in FETCH_WAITING again (stale connection). */
enum verdict fetch_head(struct fetch *f, struct head *h) MUST_USE;

/* Consumes the head read by fetch_head(). `framing`: of the response's body. */
void fetch_take_head(struct fetch *f, const struct head *h, enum framing framing);

/* A deadline of the route has passed (retry.h): if no final head was taken, the fetch fails with
 * the timeout of its current state, as if a deadline of its own had passed. */
void fetch_time_out(struct fetch *f);

/* `stalled`: the exchange takes no more bytes for now, so the server is not late meanwhile. */
void fetch_set_stalled(struct fetch *f, bool stalled);

/* The next piece of the response's body. BODY_END: the lease was returned.
 * BODY_BAD: the fetch has failed. */
enum body_event fetch_body(struct fetch *f, struct head *trailers, struct piece *p);

/* Consumes the trailers of BODY_TRAILERS. */
void fetch_end_trailers(struct fetch *f);

/* After a 101: the origin connection carries bytes in both directions from now on. Returns it. */
struct conn *fetch_tunnel(struct fetch *f);

/* Returns the lease or drops the call in any state, and ends the fetch. Its memory stays valid
 * until the end of the tick. Sets *slot to NULL. */
void fetch_free(struct fetch **slot);

#endif
