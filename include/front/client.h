/* A client connection: hands out a stream for each request, on HTTP/1 one at a time and in order.
 *
 *            bytes           head read           response complete, kept alive
 *   IDLE ──────────▶ HEAD ─────────────▶ BUSY ───────────────────────────────▶ IDLE
 *     │ idle_timeout  │ header_timeout    │ response complete, not kept alive
 *     ▼               ▼ 408               ▼
 *   ENDING          ENDING              ENDING ─▶ dead
 *
 *   BUSY     has a stream that is open
 *   ENDING   the connection closes: at once, after the queued bytes, or lingering
 *            (RFC 9112 9.6); no more requests are read
 *
 * Independent of routes and servers: the owner of the client's requests (the proxy, the
 * admin page, the test servers of src/lab) gets each request as a stream (message/stream.h),
 * whose body it reads at its own pace. Pipelined requests wait in the inbox.
 *
 * The user of a stream decides what a FIN from the client means (stream_wait()): either the
 * client has left, and the work for it is aborted; or it has only finished sending and still
 * wants its response (half-close).
 *
 * Owner: struct front, one for each worker. Limits: `window` bytes of inbox and of
 * outbox; timeouts; the quota of connections. Errors: those of the stream. */
#ifndef FRONT_CLIENT_H
#define FRONT_CLIENT_H

#include "base/quota.h"
#include "base/stats.h"
#include "io/sock.h"
#include "message/http1.h"

struct client;

struct client_events {
	/* A request's head was read. The callee calls stream_begin_body(), then either takes
	 * the stream by stream_use(), or ends it. The slices of h are valid until it returns. */
	void (*head_received)(struct client *c, struct stream *s, struct head *h);
	/* The head is invalid (its fault), or was not received in time (FAULT_NONE: 408).
	 * The callee may send a response; then the connection lingers and closes. */
	void (*head_refused)(struct client *c, struct stream *s, enum fault fault);
	/* The connection was closed under a stream that has a user (shutdown), which ends and
	 * calls stream_release(). */
	void (*stream_closed)(struct stream *s);
	/* The connection is dead. May be NULL. */
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
	struct http1 http1;  /* its stream; the deadline is that of all states */
	struct task task;    /* run on events while the stream has no user */
	struct list node;    /* on front->all */
	struct list idle_node; /* on front->idle or front->unused */
	struct front *front;
	struct list held; /* origins held for this client only: back/upstream.h */
	struct peer peer;
	uint8_t state;            /* enum client_state */
	bool close_requested : 1; /* by the client: Connection: close, or HTTP/1.0 */
	bool paths_strict : 1; /* accepted where `paths: strict` is configured */
	bool trusted : 1;      /* forwarding fields of this peer are believed */
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

/* Asserts what holds between two steps in each state. */
void client_check(const struct client *c);

/* Closes the connection at once. Requires that no request or response is in progress. */
void client_evict(struct client *c);

#endif
