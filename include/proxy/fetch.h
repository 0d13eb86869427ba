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
 * The response is read through its source (source.h), the request's body is sent by the functions
 * here.
 *
 * Owner: the relay or join that has the source, until source_free(). The fetch knows nothing of
 * it: events run the waiter, and source_step() and the functions that read and send find what has
 * happened. After an end (ENDED, FAILED) they do nothing and report it again. */
#ifndef PROXY_FETCH_H
#define PROXY_FETCH_H

#include "proxy/attempt.h"
#include "proxy/cookie.h"
#include "proxy/replay.h"
#include "proxy/source.h"

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
	struct source source; /* its `ending`: of FETCH_FAILED */
	struct attempt_request request;
	struct attempt *attempt; /* NULL: FETCH_PAUSING; or the last one has failed */
	struct attempt *hedge;   /* NULL: none now */
	struct retry *retry;     /* NULL: the route has no retry, hedge or deadline, or a final
				    head was taken */
	struct replay replay;    /* until a final head was taken */
	uint8_t state;           /* enum fetch_state */
	uint8_t hedge_outcome;   /* enum hedge_outcome */
	uint8_t attempts_ended;  /* stale resends included */
	bool secure;             /* the client uses HTTPS */
	struct place_cookie place; /* to be set with the response */
	uint32_t replay_max;     /* most bytes of a body that are kept */
	struct attempt own;      /* memory of an attempt: a second one at the same time, and
				    those after it, are from the worker's slab */
};

struct fetch_options {
	struct generation *generation; /* of the exchange it is for */
	struct task *waiter;           /* run when source_step() should be called */
	const struct config_route *route; /* its retry, hedge, deadline and timeouts apply;
					     NULL: none */
	unsigned upstream;     /* index in the configuration */
	struct buf *head; /* see upstream_begin_block(); the reference is taken over */
	enum method method;
	enum framing framing;  /* of the body */
	uint64_t length;
	uint64_t hash;         /* see struct lease; 0: none */
	struct list *held_list; /* of the client: its held origins; NULL: keeps none */
	/* See struct lease; the reference is taken over, and the connection is held. NULL: none */
	struct buf *preamble;
	struct lease_times *times; /* is filled while there is a fetch; all 0: a hedge's response
				      is used. NULL: nobody asks */
	/* Of its exchange: its attempts are spans, if these are exported. NULL: they are not. */
	const struct log_record *record;
	bool first;            /* it is the first request on its client's connection */
	bool hold_on_return;   /* it authenticates the connection it is sent on: identity.h */
	bool upgrade;          /* it asks for another protocol */
	bool secure;           /* the client uses HTTPS */
	struct place_cookie place; /* to be set with the response; no name: none */
};

/* Begins the first attempt. NULL: out of memory. */
struct fetch *fetch_new(const struct fetch_options *o);

/* True: no server takes the request's body now, as no connection is leased. */
bool fetch_waits(const struct fetch *f);

/* Bytes of request body that may be queued now. What earlier attempts were sent need not be sent
 * again. */
uint32_t fetch_send_space(const struct fetch *f);

/* The waiter is run when there is space. */
void fetch_await_space(struct fetch *f);

/* Send a piece of the body, or its end with trailers (may be NULL); there must be space. */
void fetch_send(struct fetch *f, struct piece *p);
void fetch_send_end(struct fetch *f, const struct head *trailers);

/* The values of the Set-Cookie fields of `split_cookie` and `sticky` that belong to the final head
 * with this status, which was read and not taken yet. They are written to `texts`; empty: none. */
void fetch_cookies(const struct fetch *f, int status, char texts[2][COOKIE_TEXT_MAX],
		   struct slice values[2]);

/* True: the end of the request was queued for the server whose response is read. */
bool fetch_sent(const struct fetch *f);

/* After a 101: the server's stream carries bytes in both directions from now on. */
void fetch_begin_tunnel(struct fetch *f);

/* The server's stream of a tunnel. */
struct stream *fetch_stream(struct fetch *f);

#endif
