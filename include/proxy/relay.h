/* Moves bytes between a client and what its response is read from: the request's body to a fetch,
 * the response's heads and body from a source, and both directions of a tunnel.
 *
 *   REQUESTING ─┬─▶ RELAYING ─┬─▶ COMPLETE
 *     │         ├─▶ TUNNEL ───┤
 *     │         └─────────────┴─▶ FAILED, BROKEN   (`ending` says why)
 *     └─▶ HEAD ─▶ RELAYING, TUNNEL, FAILED         (`stops_at_head`)
 *
 *   REQUESTING the request's body is sent; no final head yet
 *   HEAD       the final head was read, and not sent yet: the exchange looks at it, and goes on
 *              with relay_go_on() in the same step, or drops the source
 *   RELAYING   the final head was queued for the client; the body follows
 *   TUNNEL     after a 101: bytes in both directions
 *   COMPLETE   all of the response was queued; or a tunnel has ended
 *   FAILED     the response ends; a reply may take its place if none of it has left
 *   BROKEN     a tunnel ends before all of its bytes were sent
 *
 * Each step moves as much as was received and as there is space for on the other side. When more
 * bytes or more space are available, the exchange's task is run, which steps it again.
 *
 * A response of our own is sent at once (relay_whole()), also without space, as a response that
 * has failed must be replaced even if the client reads nothing.
 *
 * Owner: the exchange, which reads the state after each step: a relay ends nothing. */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "proxy/fetch.h"
#include "proxy/logrecord.h"
#include "proxy/pace.h"
#include "proxy/requesttimes.h"
#include "proxy/source.h"
#include "proxy/tap.h"

enum relay_state {
	RELAY_REQUESTING,
	RELAY_HEAD,
	RELAY_RELAYING,
	RELAY_TUNNEL,
	RELAY_COMPLETE,
	RELAY_FAILED,
	RELAY_BROKEN,
};

struct relay {
	struct proxy *proxy;
	struct stream *down;   /* the client's request and our response */
	struct source *source; /* of the response; NULL: none yet */
	struct fetch *fetch;   /* the same, if it takes the request's body; NULL: none does */
	struct log_record *record; /* of the exchange; NULL: nobody asks for it */
	struct request_times times;
	const struct config_rules *rules; /* of the route, for trailers; NULL: none */
	struct body_tap *tap;  /* of the request's body; NULL: none */
	const char *server;    /* whose response was queued; NULL: none, or it was generated here */
	uint64_t body_bytes;   /* of the request, read */
	uint64_t body_max;     /* see config_body_max() */
	struct pace pace;      /* of the client, with its body */
	uint64_t sent_bytes;   /* of the response's body: queued; in the end what the kernel took */
	uint64_t head_at, body_at; /* positions of the response's head and body in the bytes pushed
				      to the client: see stream_position() */
	int status;            /* of the response that was queued; 0: none yet */
	uint8_t state;         /* enum relay_state */
	uint8_t ending;        /* enum ending, of RELAY_FAILED and RELAY_BROKEN */
	uint8_t method;        /* enum method */
	bool http_1_0;         /* the request's version */
	bool upgrade;          /* requested */
	bool expects_continue; /* the client holds its body back until a 100 */
	bool stops_at_head;    /* of final heads: RELAY_HEAD */
	bool keep_alive;       /* the response's head lets the connection stay open */
	bool tunnel;           /* RELAY_TUNNEL was reached: it counts as one until the end */
};

/* Begins with a source, which the relay owns from now on. `fetch`: it takes the request's body. */
void relay_begin(struct relay *r, struct source *s, struct fetch *fetch);

/* True: a request body of that many bytes is larger than the route takes. */
static inline bool relay_refuses_body(const struct relay *r, uint64_t bytes)
{
	return r->body_max > 0 && bytes > r->body_max;
}

/* So many bytes of the request's body were read. False: it is larger than the route takes. */
bool relay_count_body(struct relay *r, uint32_t bytes) MUST_USE;

/* Handles the events recorded since the last step. The result is in r->state. */
void relay_step(struct relay *r);

/* RELAY_HEAD: sends the head, which is in proxy->response, with these changes (NULL: none), and
 * relays what follows. The result is in r->state. */
void relay_go_on(struct relay *r, const struct field_changes *changes);

/* Asserts what holds in each state before the end. */
void relay_check(const struct relay *r);

/* The tap, if there is one, gets no more of the body. */
void relay_drop_tap(struct relay *r);

/* Frees the source, if there is one. */
void relay_drop_source(struct relay *r);

/* Sends the response of a source that has all of it in memory (reply.h), in one call: the state is
 * then RELAY_COMPLETE, or RELAY_FAILED for lack of memory. The request's body is discarded as far
 * as it was received; if there is more of it, the connection closes after the response. `changes`
 * are those of the head; NULL: none. */
void relay_whole(struct relay *r, struct source *s, const struct field_changes *changes);

/* Sends a 503 in static memory, which needs no more than an outbox entry; the connection closes
 * after it. False: there is none either, and nothing was sent. */
bool relay_out_of_memory(struct relay *r) MUST_USE;

/* Removes a response of which nothing was given to the kernel, so that another one can take its
 * place. False: too late, or the client would not get that either. */
bool relay_take_back(struct relay *r);

/* The connection ends before all queued bytes were sent: corrects status, sent_bytes and the
 * counters to what the kernel took. */
void relay_correct_sent(struct relay *r);

#endif
