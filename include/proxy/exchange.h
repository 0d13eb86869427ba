/* One request and its response, as the client sees them.
 *
 *   ROUTING ─▶ RELAYING ─▶ (ended)
 *     │ ▲ ▲      │  └──▶ REPLYING  any failure, if the head had not left yet
 *     │ │ └──────┘  a miss
 *     ├─┴─ CHECKING ─▶ REPLYING, RELAYING
 *     ├─▶ WORKING ──▶ REPLYING
 *     └─▶ REPLYING ─▶ (ended)
 *
 *   any state ─▶ (ended): the client has gone, a shutdown, or a failure after the head has left
 *
 *   ROUTING    the route is looked up, its rules are asked (rule.h) and its action started
 *   CHECKING   a rule has to wait before it can decide, as for another server; then ROUTING again,
 *              for the rules behind it, or RELAYING that server's response
 *   RELAYING   the response is read from a source: relay.h has the states of this. A failure
 *              before a byte of the response was given to the kernel takes it back and replies
 *              instead. After a cache miss the exchange may go back to ROUTING (`miss: next`)
 *   WORKING    the action has work of its own (action.h), such as several sources
 *   REPLYING   a response of our own (respond.c) takes the place of any source; it is sent whole,
 *              and the exchange ends in the same call
 *
 * Owner: itself, from request_received() to its end; the user of one stream of a client.
 *
 * Functions that end an exchange only mark it: `ended`, with the ending and what becomes of the
 * stream. At the end of the step exchange_settle() (exchange.c) logs an ended exchange, releases
 * what it holds and ends its stream. If the connection was closed first (shutdown),
 * stream_closed() releases the exchange. Its memory stays valid until the end of the tick. An
 * exchange ends once: code that may run after an ending tests `ended`. */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include "io/sock.h"
#include "proxy/relay.h"
#include "route/route.h"

enum exchange_state {
	EXCHANGE_ROUTING,
	EXCHANGE_CHECKING,
	EXCHANGE_RELAYING,
	EXCHANGE_WORKING,
	EXCHANGE_REPLYING
};

/* What becomes of the client's connection when the exchange has ended. */
enum exchange_close {
	EXCHANGE_FINISH,  /* the response is complete: the next request follows, if it may */
	EXCHANGE_ABORT,   /* the response is incomplete, and must look so */
	EXCHANGE_ABANDON, /* the client has left: closed without a response */
};

struct exchange {
	struct slab_reap reap;
	struct proxy *proxy;
	struct generation *generation; /* under which it began */
	struct task task;      /* run on events of its streams, attempts and timers */
	struct stream *down;   /* the client's request and our response */
	struct client *client; /* its connection: address, trust, held origins */
	const struct config_route *route;
	struct relay relay;    /* its source and how much of the response was queued; also of a
				  response that is generated here */
	void *work;            /* of the action, from EXCHANGE_WORKING on: see action.h */
	struct rules_at_work *rules; /* what rules of the route hold; NULL: nothing */
	struct buf *kept_head; /* a struct kept_head; NULL: nothing needs it */
	struct peer client_addr; /* the peer, or the client that a trusted peer names */
	uint64_t started_us;
	uint8_t state;         /* enum exchange_state */
	uint8_t hedge;         /* enum hedge_outcome, of a source that was dropped */
	uint8_t attempts_n;    /* of sources that were dropped: see source_attempts() */
	bool ended;            /* nothing more is done for it: see exchange_settle() */
	uint8_t ending;        /* enum ending, once it has ended */
	uint8_t close;         /* enum exchange_close, once it has ended */
};

extern const struct client_events exchange_client_events;

/* Changes the state, and asserts that the diagram above allows it. */
void exchange_set_state(struct exchange *x, enum exchange_state state);

/* Asserts what holds between two steps in each state of an exchange that has not ended. */
void exchange_check(const struct exchange *x);

struct exchange_response {
	int status;
	enum ending ending;              /* of the exchange; for Proxy-Status */
	struct slice content_type, body; /* the body is copied */
};

/* Send a response of our own and end the exchange: this one; 200 with a copy of this body; a
 * redirect with this status, which ends the exchange as `ending` says; 401 with this value of
 * WWW-Authenticate. */
void exchange_respond(struct exchange *x, const struct exchange_response *response);
void exchange_reply(struct exchange *x, struct slice content_type, struct slice body);
void exchange_challenge(struct exchange *x, struct slice challenge);
void exchange_redirect(struct exchange *x, int status, struct slice location,
		       enum ending ending);

/* Replies to an OPTIONS or TRACE with `Max-Forwards: 0` as its final recipient (RFC 9110 7.6.2)
 * and ends the exchange. OPTIONS: the methods that the route allows. TRACE: 405; the
 * request is not reflected, since it may show fields meant for servers only. */
void exchange_max_forwards_reached(struct exchange *x);

/* Relays the response of a source, which the exchange owns from now on. `fetch`: takes the
 * request's body; NULL: it is discarded. No source: there was no memory for it, and the exchange
 * fails. */
void exchange_relay(struct exchange *x, struct source *s, struct fetch *fetch);

/* Frees the source, if there is one, and adds its attempts to those of the exchange. */
void exchange_drop_source(struct exchange *x);

/* The whole response was queued: the exchange has ended successfully, or as `ending` says. */
void exchange_finish(struct exchange *x, enum ending ending);

/* Ends the exchange without completing its response: the connection is aborted after the bytes
 * that were queued, so that the client sees a truncated response. */
void exchange_abort(struct exchange *x, enum ending ending);

/* Keeps what is needed of the request's head after the step that received it (http/kepthead.h;
 * view.c).
 * False: no memory. */
bool exchange_keep_head(struct exchange *x, const struct head *h, uint64_t which) MUST_USE;

/* True: the client has closed its side, no response has begun, and the route does not allow
 * half-closed clients (`half_close`): no request should be sent for it. */
bool exchange_unwanted(const struct exchange *x);

/* Ends an unwanted exchange. */
void exchange_abandon(struct exchange *x);

struct rule_page; /* proxy/rule.h */

/* RELAY_HEAD: sends a page in place of the response whose head was read, and ends the exchange. */
void exchange_replace(struct exchange *x, const struct rule_page *page);

/* Replies as the ending says and ends the exchange. If a response has begun, it is
 * taken back if none of it was given to the kernel; else the connection is aborted. */
void exchange_fail(struct exchange *x, enum ending ending);

#endif
