/* One request and its answer, as the client sees it.
 *
 *   ROUTING ─▶ ASKING ─▶ RELAYING ─▶ (ended)
 *      │         │  └──▶ TUNNEL ───▶ (ended)
 *      │         └ a cache's miss may go back to ROUTING
 *      ├─▶ JOINING ─▶ REPLYING
 *      ├─▶ BURNING ─▶ REPLYING
 *      └─▶ REPLYING ─▶ (ended)
 *
 *   ROUTING    which route, and what it does
 *   ASKING     a fetch was started; the request's body goes to it; no final head yet. It may
 *              be one of several, with pauses between them (retry.h)
 *   RELAYING   the final head was written to the client; the body follows
 *   TUNNEL     after a 101: bytes in both directions
 *   JOINING    several fetches, one answer (join.h)
 *   BURNING    a job is in the pool
 *   REPLYING   an answer of our own was written
 *
 * Owner: its client; at most one at a time on HTTP/1. It has no operation in flight of its
 * own, so it is freed as soon as it ends. */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include "fetch.h"
#include "io/sock.h"
#include "replay.h"
#include "route/route.h"

enum exchange_state {
	EXCHANGE_ROUTING,
	EXCHANGE_REQUESTING,
	EXCHANGE_RELAYING,
	EXCHANGE_TUNNEL,
	EXCHANGE_JOINING,
	EXCHANGE_BURNING,
	EXCHANGE_REPLYING
};

/* Of a second try beside the first. */
enum hedge_outcome { HEDGE_NONE, HEDGE_LOST, HEDGE_WON };

/* A part of `kept`. */
struct span {
	uint32_t at, len;
};

struct exchange {
	struct proxy *proxy;
	struct generation *generation; /* it began under */
	struct client *client;
	const struct config_route *route;
	struct fetch *fetch;
	struct retry *retry;  /* NULL: its route says nothing of them, or they are over */
	struct replay replay; /* while EXCHANGE_REQUESTING */
	struct join *join;
	struct job *job;
	struct buf *head_copy; /* the head as received: for the log, and to route again */
	struct span request_line, host, referer, user_agent;
	const char *server;   /* who answers */
	struct peer client_addr; /* the client, as it is believed */
	uint64_t started_us;
	uint64_t body_bytes;  /* of the request, read */
	uint64_t sent_bytes;  /* of the answer's body */
	uint64_t head_at, body_at; /* positions of the answer's head and body on the connection:
				      see conn_position() */
	int status;           /* answered; 0: not yet */
	uint8_t state;        /* enum exchange_state */
	uint8_t method;       /* enum method */
	uint8_t hedge;        /* enum hedge_outcome */
	uint8_t attempts_n;      /* times that its upstream was asked, by fetches that are over */
	bool http_1_0;         /* HTTP/1.0 */
	bool upgrade;         /* asked for */
	bool expects_continue; /* holds its body back until a 100 */
	bool keep_alive; /* the head of the answer let the connection go on */
};

extern const struct client_events exchange_client_events;

/* Answers with a document of our own and ends the exchange. */
void exchange_reply(struct exchange *x, int status, enum ending ending,
		    struct slice content_type, struct slice body);
void exchange_redirect(struct exchange *x, struct slice location);

/* Answers OPTIONS or TRACE as its final recipient (RFC 9110 7.6.2), since it may be forwarded no
 * further: OPTIONS by the methods that the route allows. A TRACE is not reflected: what it would
 * show is for the eyes of origins. */
void exchange_max_forwards_reached(struct exchange *x);

/* Lets go of the fetch, and counts its tries. */
void exchange_drop_fetch(struct exchange *x);

/* The answer was queued whole: logs it, frees the exchange, and lets the client go on. */
void exchange_end(struct exchange *x, enum ending ending);

/* Nothing more can be told to the client but that it is over: the connection breaks, behind
 * what was queued of the answer. */
void exchange_abort(struct exchange *x, enum ending ending);

/* A cache had no value: the routes after this one are tried. May end the exchange. */
void exchange_route_again(struct exchange *x);

/* Counts an answer by its class. */
void exchange_count(struct worker_stats *stats, int status);

/* Its client has left, no answer has begun, and its route does not say that it may: nobody is to
 * be asked for it. */
bool exchange_unwanted(const struct exchange *x);

/* Ends it for that reason. */
void exchange_abandon(struct exchange *x);

/* Answers as the ending says and ends the exchange. Where an answer has begun: if none of it
 * has left, it is taken back, else the connection breaks. */
void exchange_fail(struct exchange *x, enum ending ending);

#endif
