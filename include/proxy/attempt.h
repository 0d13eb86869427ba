/* One request to one server, and its response as it arrives.
 *
 *   WAITING ─▶ SENDING ─▶ AWAITING_HEAD ─▶ RELAYING ─▶ ENDED
 *     ▲ │        │ │             │           ▲  │
 *     │ │        │ └─────────────┼───────────┘  │   the response begins early
 *     └─┼────────┴───────────────┤              │   stale connection: the request is sent again
 *       └────────┴───────────────┴──────────────┴─▶ FAILED   (`ending` says why)
 *
 *   WAITING        waits for a lease of an origin connection
 *   SENDING        the head was queued in the outbox, the body follows; a response may begin
 *   AWAITING_HEAD  the whole request was queued
 *   RELAYING       the head of the final response was taken; or a tunnel
 *
 * Owner: its fetch (fetch.h), which holds the request too. Events of the attempt run the waiter of
 * the request, and attempt_step() and the functions that read find what has happened. An attempt
 * only ends by attempt_end(): FAILED and ENDED are marks for the fetch.
 *
 * Stale connections: an attempt by itself sends its request a second time, at most once, if the
 * server closed a reused connection before any byte of a response, the method is idempotent
 * (RFC 9110 9.2.2, RFC 9112 9.3.1), and its fetch has kept all that was sent of the body
 * (replay.h). It is then in ATTEMPT_WAITING again, and the body is sent again from its start. All
 * further retries are other attempts. The upstream's `reuse` says which requests are never sent on
 * a reused connection. */
#ifndef PROXY_ATTEMPT_H
#define PROXY_ATTEMPT_H

#include "http/traceparent.h"
#include "proxy/proxy.h"

enum attempt_state {
	ATTEMPT_WAITING,
	ATTEMPT_SENDING,
	ATTEMPT_AWAITING_HEAD,
	ATTEMPT_RELAYING,
	ATTEMPT_ENDED,
	ATTEMPT_FAILED,
};

/* Most interim (1xx) responses to one request; more are treated as an attack. */
#define ATTEMPT_INTERIM_MAX 32

struct log_record;

/* A request to an upstream, as each of its attempts sends it. The fetch owns it. */
struct attempt_request {
	struct tick *tick;
	struct generation *generation;
	struct upstream *upstream;
	const struct config_upstream *config; /* of the generation */
	struct task *waiter;    /* run on events of the attempts */
	/* What upstream_begin_block() has begun; NULL: it will not be sent again. One block is
	 * written for all attempts and no byte is copied again, as all servers of an upstream read
	 * the same version. An HTTP/2 server whose header compression has a state for each
	 * connection (RFC 7541 2.2) can use such a block only if it was written without that
	 * state; else the head is to be kept as a struct kept_head, and to be written when there is
	 * a lease. */
	struct buf *head;
	struct buf *preamble;   /* see struct lease; NULL: none */
	struct list *held_list; /* of the client: its held origins; NULL: keeps none */
	struct lease_times *times; /* of the last attempt that is no hedge; NULL: nobody asks */
	/* Its attempts are spans of this trace; NULL: they are not exported. span_id: that in the
	 * head. */
	const struct log_record *record;
	char span_id[SPAN_ID_TEXT];
	const struct tried *avoid; /* servers to be used only if no other has capacity; NULL:
				      none. See upstream_lease() */
	uint64_t length;        /* of the body */
	uint64_t hash;          /* see struct lease; 0: none */
	uint8_t method;         /* enum method */
	uint8_t framing;        /* enum framing, of the body */
	bool first;             /* it is the first request on its client's connection */
	bool hold_on_return;    /* it authenticates the connection it is sent on: identity.h */
	uint32_t response_timeout_ms; /* of the route, else of the upstream */
	uint32_t idle_timeout_ms;     /* of a tunnel; both may be CONFIG_TIMEOUT_NONE */
	uint32_t send_timeout_ms;     /* of the route, else of the limits */
	struct head_limits limits; /* of the heads and trailers of its responses */
};

struct attempt {
	struct slab_reap reap;
	const struct attempt_request *request;
	uint8_t state;        /* enum attempt_state */
	uint8_t ending;       /* enum ending, of ATTEMPT_FAILED */
	uint8_t interim_n;
	uint16_t status;      /* of the final response whose head was taken */
	bool retried;         /* sent again after a stale connection */
	bool body_not_replayable; /* part of the sent body was not kept: no second send */
	bool timed_out;       /* a deadline of the server has passed */
	bool stalled;         /* the response is not read for now: the server is not late */
	bool reusable;        /* the connection, after this response */
	bool tunnel;
	uint64_t sent_us;     /* when the head was queued for a server; 0: not yet */
	uint64_t since_ms;    /* start of the state, or when the server's time was last restarted */
	/* Of its span, if the request has a record: src/proxy/spans.h. */
	struct buf *span_head;      /* the head that was sent; NULL: none yet */
	char span_id[SPAN_ID_TEXT];
	uint8_t span_number;        /* attempts of the request before this one */
	bool span_open;             /* it was not written yet */
	struct lease_times times; /* of an attempt that is given none to fill */
	struct lease lease;
};

/* Begins an attempt, which must be zeroed: leases a connection. The request must stay valid, and
 * keep its head until that of a response was taken; so must `times`, which is filled, or NULL:
 * nobody asks. */
void attempt_begin(struct attempt *a, const struct attempt_request *q,
		   struct lease_times *times);

/* Handles the events recorded since the last step. The result is in a->state. */
void attempt_step(struct attempt *a);

/* Asserts what holds in each state: whether there is a lease, a status. */
void attempt_check(const struct attempt *a);

/* Bytes of request body that may be queued now. 0: the outbox is full, or the attempt takes no
 * body in its state. */
uint32_t attempt_send_space(const struct attempt *a);

/* There is no space: the waiter is run when there is some, if the attempt still takes a body. */
void attempt_await_space(struct attempt *a);

/* True: if the connection turns out to be stale, the request is sent again on another one,
 * provided that its body can be. */
bool attempt_may_resend(const struct attempt *a);

/* Send a piece of the body, or its end with trailers (may be NULL). `kept`: the fetch has kept it
 * and can send it again. Out of memory: the attempt has failed. */
void attempt_send(struct attempt *a, struct piece *p, bool kept);
void attempt_send_end(struct attempt *a, struct buf *trailers, bool kept);

/* Reads the head of the next response, interim ones (1xx) included. Its slices are valid until
 * attempt_take_head(). VERDICT_BAD: the attempt has failed. VERDICT_MORE: none yet; the attempt
 * may be in ATTEMPT_WAITING again (stale connection). */
enum verdict attempt_head(struct attempt *a, struct head *h) MUST_USE;

/* Consumes the head read by attempt_head(). `framing`: of the response's body. */
void attempt_take_head(struct attempt *a, const struct head *h, enum framing framing);

/* A deadline of the route has passed: if no final head was taken, the attempt fails with the
 * timeout of its current state, as if a deadline of its own had passed. */
void attempt_time_out(struct attempt *a);

/* `stalled`: the response is not read for now, so the server is not late meanwhile. */
void attempt_set_stalled(struct attempt *a, bool stalled);

/* ATTEMPT_RELAYING: the next piece of the response's body. BODY_END: the lease was returned.
 * BODY_BAD: the attempt has failed. */
enum body_event attempt_body(struct attempt *a, struct head *trailers, struct piece *p);

/* Consumes the trailers of BODY_TRAILERS. */
void attempt_end_trailers(struct attempt *a);

/* After a 101: the stream carries bytes in both directions from now on. */
void attempt_begin_tunnel(struct attempt *a);

/* Returns the lease, in any state. Nothing refers to the attempt's memory afterwards. */
void attempt_end(struct attempt *a);

#endif
