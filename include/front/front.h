/* All client connections of a worker: what they share, which of them gives way to a new one, and
 * how they end when the worker does.
 *
 * A client is on the list `all` from client_open() until it is dead. While it waits for a request
 * it is on `idle` as well, or before its first request on `unused`. Both lists begin with the
 * oldest client, which gives way first; a bounded number of them is examined.
 *
 * Owner: the worker (through its proxy), the admin page, or a test server of src/lab. Limits: the
 * quota of connections. Errors: none of its own. */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H

#include "base/list.h"
#include "base/quota.h"
#include "base/slab.h"
#include "base/stats.h"
#include "h2/session.h"
#include "http/head.h"
#include "message/stream.h"
#include "net/tick.h"

struct client;
struct http2_thread;

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
	/* The TLS handshake has failed, or took too long; the connection closes. conn_tls() may
	 * tell more. May be NULL. */
	void (*handshake_failed)(struct client *c, enum tls_fault fault);
	/* Until when more has to arrive of the body that the user of the stream awaits; if it
	 * awaits none now, the least that it would be. NULL: timeouts.receive_ms after the last
	 * bytes, and after it began to wait. */
	uint64_t (*body_due_ms)(const struct stream *s);
};

struct client_timeouts {
	uint32_t header_ms, idle_ms, send_ms, receive_ms;
	uint32_t send_rate; /* bytes/s: see struct conn; 0: none */
};

/* A walk over all clients, the oldest first, with other work in between: clients may come and go
 * meanwhile, and those that come are met as well. */
struct front_walk {
	struct list node;  /* on front->walks */
	struct list *next; /* in front->all: the client that is met next; front->all itself: none */
};

/* What the clients of one worker share. */
struct front {
	struct tick *tick;
	const struct client_events *events;
	void *owner;             /* of the requests: for use by the callees of `events` */
	struct head_limits limits;
	struct client_timeouts timeouts;
	uint32_t handshake_ms;   /* longest time from accept to the end of the TLS handshake */
	uint32_t window;         /* bytes, inbox and outbox each */
	uint32_t linger_ms;
	struct quota *quota;     /* of connections; NULL: none */
	struct worker_stats *stats;
	struct http2_thread *http2;   /* NULL: only HTTP/1 is served */
	struct h2_limits http2_limits;
	struct slab clients;
	struct list all;         /* every client that is not dead */
	struct list idle;        /* clients between two requests, longest idle first */
	struct list walks;       /* of struct front_walk */
	struct list unused;      /* clients before their first request, also those that are not
				    secured yet, oldest first */
	struct head *scratch;    /* for the head or trailers of the current step */
	bool draining;           /* every response has Connection: close */
	bool closing;            /* front_close() was called */
};

/* Sets up slab and lists; the caller sets the other fields (quota, stats, events …). */
void front_init(struct front *f);

/* Requires that every client is dead. */
void front_done(struct front *f);

/* Immediate drain: closes idle connections now; each other one closes after the current
 * response, which has Connection: close. A TLS handshake that has begun is completed, and one
 * request served. */
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

/* A walk begins. It ends by front_walk_end(), also after its last client. */
void front_walk_begin(struct front *f, struct front_walk *w);
void front_walk_end(struct front_walk *w);

/* The next client; NULL: there is none, at present. */
struct client *front_walk_next(struct front *f, struct front_walk *w);

/* A client leaves front->all: no walk may meet it. */
void front_forget(struct front *f, struct client *c);

/* No client is left. */
static inline bool front_empty(const struct front *f)
{
	return list_empty(&f->all);
}

#endif
