/* A client connection: requests in, responses out, one at a time and in order.
 *
 *            bytes           head read           response complete, kept alive
 *   IDLE ──────────▶ HEAD ─────────────▶ BUSY ───────────────────────────────▶ IDLE
 *     │ idle_timeout  │ header_timeout    │ response complete, not kept alive
 *     ▼               ▼ 408               ▼
 *   ENDING          ENDING              ENDING ─▶ dead
 *
 *   ENDING   the connection closes: at once, after the queued bytes, or lingering
 *            (RFC 9112 9.6); no more requests are read
 *
 * Independent of routes and servers: the owner of the client's requests (the proxy, the
 * admin page, the test servers of src/lab) gets its events through client_events, and reads
 * the head and the body at its own pace. Pipelined requests wait in the inbox.
 *
 * That owner decides what a FIN from the client means (abort_on_fin): either the client has
 * left, and the work for it is aborted; or it has only finished sending and still wants its
 * response (half-close).
 *
 * Owner: struct front, one for each worker. Limits: `window` bytes of inbox and of
 * outbox; timeouts; the quota of connections. Errors: conn.error, timed_out; see
 * client_lost(). */
#ifndef FRONT_CLIENT_H
#define FRONT_CLIENT_H

#include "base/quota.h"
#include "base/stats.h"
#include "io/sock.h"
#include "message/reader.h"
#include "message/writer.h"
#include "net/deadline.h"

struct client;

struct client_events {
	/* A request's head was read. The callee must call client_begin_body(). The slices
	 * of h are valid until then, or as long as the callee has a reference to
	 * conn.inbox that was taken before. The callee may set client->exchange, which it
	 * allocates and frees; it stays set until the response ends
	 * (client_finish_response(), _abort_response(), _close_without_response()). */
	void (*head_received)(struct client *c, struct head *h);
	/* The head is invalid (its fault), or was not received in time (FAULT_NONE: 408).
	 * The callee may send a response; then the connection lingers and closes. */
	void (*head_refused)(struct client *c, enum fault fault);
	/* While client->exchange is set: bytes or FIN were received, the outbox has
	 * space, the connection failed, or a deadline has passed (client->timed_out). */
	void (*step)(struct client *c);
	/* The connection is dead. If client->exchange is still set, end it and set it to
	 * NULL. */
	void (*closed)(struct client *c);
};

struct client_timeouts {
	uint32_t header_ms, idle_ms, send_ms, receive_ms;
};

/* What the clients of one worker share. */
struct front {
	struct tick *tick;
	const struct client_events *events;
	void *owner;             /* of the requests: for use by the callees of `events` */
	struct head_limits limits;
	struct client_timeouts timeouts;
	uint32_t window;         /* bytes, inbox and outbox each */
	uint32_t linger_ms;
	struct quota *quota;     /* of connections; NULL: none */
	struct worker_stats *stats;
	struct slab clients;
	struct list all;         /* every client that is not dead */
	struct list idle;        /* clients between two requests, longest idle first */
	struct list unused;      /* clients before their first request, oldest first */
	struct head *scratch;    /* for the head or trailers of the current step */
	bool draining;           /* every response has Connection: close */
};

enum client_state { CLIENT_IDLE, CLIENT_HEAD, CLIENT_BUSY, CLIENT_ENDING };

struct client {
	struct conn conn;
	struct deadline deadline;
	struct task task;
	struct list node;    /* on front->all */
	struct list idle_node; /* on front->idle or front->unused */
	struct front *front;
	void *exchange;      /* from head_received until the response ends */
	struct list held;    /* origins held for this client only: back/upstream.h */
	struct reader reader;
	struct writer writer;
	struct peer peer;
	uint8_t state;       /* enum client_state */
	bool timed_out : 1;  /* a deadline has passed */
	bool close_requested : 1; /* by the client: Connection: close, or HTTP/1.0 */
	bool body_awaited : 1; /* bytes of the request's body are awaited from the client */
	bool body_flowing : 1; /* the body is read; else the inbox is compacted and limited */
	bool tunnel : 1;       /* the connection carries no more requests */
	bool paths_strict : 1; /* accepted where `paths: strict` is configured */
	bool trusted : 1;      /* forwarding fields of this peer are believed */
	bool abort_on_fin : 1; /* set by the callee of `events`: FIN aborts the exchange. The
				  client is stepped even if unread bytes hide the FIN */
	bool fin_seen : 1;     /* such a hidden FIN was seen */
	uint32_t trusted_by; /* number of the generation that set `trusted`; 0: not set */
	uint32_t requests;   /* read on this connection */
	uint64_t since_ms;   /* when the state began */
};

/* Sets up slab and lists; the caller sets the other fields (quota, stats, events …). */
void front_init(struct front *f);

/* Requires that every client is dead. */
void front_done(struct front *f);

/* Immediate drain: closes idle connections now; each other one closes after the current
 * response, which has Connection: close. */
void front_drain(struct front *f);

/* Graceful drain: every response has Connection: close, and idle connections stay open
 * for one more request, so that no client has its request cut off by a close. */
void front_drain_gracefully(struct front *f);

/* Closes one connection to make room for another: the longest idle one that has taken all
 * that was sent to it; else one that has sent nothing for a second since it was accepted.
 * False: there is none. */
bool front_evict_idle(struct front *f);

/* Closes every connection at once; an unfinished response is reset. */
void front_close(struct front *f);

/* No client is left. */
static inline bool front_empty(const struct front *f)
{
	return list_empty(&f->all);
}

/* Takes over an accepted socket, and its unit of the quota. Out of memory: closes it,
 * returns the unit, and returns NULL. */
struct client *client_open(struct front *f, int fd, const struct peer *peer);

/* ---- the request ---------------------------------------------------------- */

/* Consumes the head; the slices of h are invalid from now on. */
void client_begin_body(struct client *c, const struct head *h);

/* From now on the connection carries bytes in both directions, until it ends. */
void client_begin_tunnel(struct client *c);

/* reader_body(), with a deadline: at BODY_MORE the client has receive_ms to send more.
 * From the first call on the body is flowing. */
enum body_event client_body(struct client *c, struct head *trailers, struct piece *p);

/* The receiver of the body is not ready: stops the flow until the next client_body(), so
 * that the inbox is compacted and limited, and no receive deadline runs. */
void client_pause_body(struct client *c);

/* Discards what was received of the rest of the request's body, unless this connection
 * cannot be kept alive anyway. True: that was all of it, and nothing prevents another
 * request. */
bool client_discard_body(struct client *c);

/* ---- the response --------------------------------------------------------- */

/* The response was queued completely. `keep`: the connection goes on with the next
 * request, unless the client is lost; else it closes, lingering if the client may still
 * send. */
void client_finish_response(struct client *c, bool keep);

/* The response ends early. What was queued is still sent; then the connection closes:
 * with a reset if the framing (close-delimited, tunnel) cannot show that the response is
 * incomplete, or if the client is not responsive. */
void client_abort_response(struct client *c);

/* The client has left before anything of this response was queued: closes the connection
 * after the previous responses. */
void client_close_without_response(struct client *c);

/* Asserts what holds between two steps in each state. */
void client_check(const struct client *c);

/* Closes the connection at once. Requires that no request or response is in progress. */
void client_evict(struct client *c);

/* ---- the state of the connection -------------------------------------------- */

/* The connection failed: nothing that is written reaches the client. */
static inline bool client_lost(const struct client *c)
{
	return c->conn.error || c->conn.send_error;
}

/* The client sent FIN. It may still read the response. */
static inline bool client_half_closed(const struct client *c)
{
	return c->conn.eof || c->fin_seen;
}

/* Neither lost nor timed out: the client takes what is sent to it. */
static inline bool client_responsive(const struct client *c)
{
	return !client_lost(c) && !c->timed_out;
}

/* Nothing prevents another request on this connection, as far as is known before the body
 * of the current one was read (client_discard_body()). */
static inline bool client_may_keep_alive(const struct client *c)
{
	return !c->close_requested && !c->front->draining && !c->timed_out;
}

#endif
