/* One request to an upstream, from the point of view of the object that needs the response: sent
 * as often as its route allows, until a response can be used.
 *
 *     ┌▶ PAUSING ─┐
 *     │           ▼
 *     └──────── TRYING ─▶ RELAYING ─▶ ENDED
 *                 │          │
 *     (PAUSING) ──┴──────────┴─▶ FAILED   (`ending` says why)
 *
 *   TRYING    an attempt (attempt.h) was begun, perhaps a hedge beside it; no final head was taken
 *   PAUSING   an attempt has failed, and the next one begins after a backoff
 *   RELAYING  the head of the final response was taken, from the attempt that is left; or a tunnel
 *
 * An attempt that fails, or brings a response whose status the route retries, is replaced by
 * another one before anything of it was handed out: at once if there is a server that was not
 * tried yet, else after a pause. For that the fetch keeps the request's head, and as much of its
 * body as was sent and the route allows (replay.h). retry.h decides whether and when, hedge.h
 * about a second attempt in parallel. A fetch whose route has none of that has no struct retry, and
 * its only attempt is part of it.
 *
 * Owner: the exchange or join that has the pointer, until fetch_free(). The fetch knows nothing of
 * it: events run the waiter, and fetch_step() and the functions that read and send find what has
 * happened. After an end (ENDED, FAILED) they do nothing and report it again. */
#ifndef PROXY_FETCH_H
#define PROXY_FETCH_H

#include "proxy/attempt.h"
#include "proxy/replay.h"

struct retry;

enum fetch_state {
	FETCH_TRYING,
	FETCH_PAUSING,
	FETCH_RELAYING,
	FETCH_ENDED,
	FETCH_FAILED,
};

/* NONE: no hedge was sent. LOST: one was sent, and is not the attempt in use (so far). */
enum hedge_outcome { HEDGE_NONE, HEDGE_LOST, HEDGE_WON };

struct fetch {
	struct slab_reap reap;
	struct attempt_request request;
	struct attempt *attempt; /* NULL: FETCH_PAUSING; or the last one has failed */
	struct attempt *hedge;   /* NULL: none now */
	struct retry *retry;     /* NULL: the route has no retry, hedge or deadline, or a final
				    head was taken */
	struct replay replay;    /* until a final head was taken */
	uint8_t state;           /* enum fetch_state */
	uint8_t ending;          /* enum ending, of FETCH_FAILED */
	uint8_t hedge_outcome;   /* enum hedge_outcome */
	uint8_t attempts_ended;  /* stale resends included */
	uint32_t replay_max;     /* most bytes of a body that are kept */
	struct attempt own;      /* memory of an attempt: a second one at the same time, and
				    those after it, are from the worker's slab */
};

struct fetch_options {
	struct generation *generation; /* of the exchange it is for */
	struct task *waiter;           /* run when fetch_step() should be called */
	const struct config_route *route; /* its retry, hedge and deadline apply; NULL: none */
	unsigned upstream;     /* index in the configuration */
	struct buf *head;      /* serialised; the reference is taken over */
	enum method method;
	enum framing framing;  /* of the body */
	uint64_t length;
	uint64_t hash;         /* see action_hash(); 0: none */
	struct list *held_list; /* of the client: its held origins; NULL: keeps none */
	bool first;            /* it is the first request on its client's connection */
	bool hold_on_return;   /* it authenticates the connection it is sent on: identity.h */
	bool upgrade;          /* it asks for another protocol */
};

/* Begins the first attempt. NULL: out of memory. */
struct fetch *fetch_new(const struct fetch_options *o);

/* Handles the events recorded since the last step: of the attempts, deadlines, the end of a pause.
 * The result is in f->state. */
void fetch_step(struct fetch *f);

/* Asserts what holds in each state: which attempts there are, and what is kept. */
void fetch_check(const struct fetch *f);

/* True: no server takes the request's body now, as no connection is leased. */
bool fetch_waits(const struct fetch *f);

/* Bytes of request body that may be queued now. What earlier attempts were sent need not be sent
 * again. */
uint32_t fetch_send_space(const struct fetch *f);

/* The waiter is run when there is space. */
void fetch_await_space(struct fetch *f);

/* Send a piece of the body, or its end with trailers (may be NULL); there must be space. */
void fetch_send(struct fetch *f, struct piece *p);
void fetch_send_end(struct fetch *f, struct buf *trailers);

/* True: the end of the request was queued for the server whose response is read. */
bool fetch_sent(const struct fetch *f);

/* Reads the head of the next response, interim ones (1xx) included. Its slices are valid until
 * fetch_take_head(). VERDICT_BAD: the fetch has failed. VERDICT_MORE: none yet. */
enum verdict fetch_head(struct fetch *f, struct head *h) MUST_USE;

/* The name of the server whose head fetch_head() has read. Valid while its lease is READY, and
 * until the end of the tick in which it is returned. */
const char *fetch_server(const struct fetch *f);

/* Consumes the head read by fetch_head(). `framing`: of the response's body. */
void fetch_take_head(struct fetch *f, const struct head *h, enum framing framing);

/* `stalled`: the response is not read for now, so neither the server nor the route's deadline is
 * late meanwhile. */
void fetch_set_stalled(struct fetch *f, bool stalled);

/* The next piece of the response's body. BODY_MORE: none yet, or no final head was taken.
 * BODY_BAD: the fetch has failed. */
enum body_event fetch_body(struct fetch *f, struct head *trailers, struct piece *p);

/* Consumes the trailers of BODY_TRAILERS. */
void fetch_end_trailers(struct fetch *f);

/* After a 101: the origin connection carries bytes in both directions from now on. */
void fetch_begin_tunnel(struct fetch *f);

/* The origin connection of a tunnel. */
struct conn *fetch_conn(struct fetch *f);

/* Attempts that were begun, stale resends and hedges included, also those that sent nothing. */
unsigned fetch_attempts(const struct fetch *f);

/* Ends the attempts, in any state. The memory stays valid until the end of the tick. Sets *slot
 * to NULL, which it may be before. */
void fetch_free(struct fetch **slot);

#endif
