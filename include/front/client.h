/* A client connection: hands out a stream for each request; on HTTP/1 one at a time and in order.
 *
 *            header read
 *   PROXIED ─────────────▶ SECURING, or IDLE
 *     │ header_timeout
 *     ▼                     Finished
 *   ENDING   SECURING ───────────────▶ IDLE
 *              │ fault, handshake_timeout
 *              ▼
 *            ENDING
 *   ALPN, preface
 *   IDLE ─────────▶ MULTIPLEXED ─▶ ENDING    HTTP/2
 *            bytes           head read           response complete, kept alive
 *   IDLE ──────────▶ HEAD ─────────────▶ BUSY ───────────────────────────────▶ IDLE
 *     │ idle_timeout  │ header_timeout    │ response complete, not kept alive
 *     ▼               ▼ 408               ▼
 *   ENDING          ENDING              ENDING ─▶ dead
 *
 *   PROXIED  begins with a header of the PROXY protocol (net/proxyheader.h), which says who the
 *            client is. An invalid header ends the connection without a response
 *   SECURING the TLS handshake goes on. Plain HTTP instead of it gets a 400, in clear
 *   BUSY     has a stream that is open
 *   MULTIPLEXED  speaks HTTP/2: has any number of streams (message/http2.h). It is idle, and may
 *            be evicted, while it has none
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
 * Owner: struct front (front/front.h). Limits: `window` bytes of inbox and of outbox; timeouts;
 * the quota of connections. Errors: those of the stream. */
#ifndef FRONT_CLIENT_H
#define FRONT_CLIENT_H

#include "front/front.h"
#include "io/sock.h"
#include "message/http1.h"
#include "message/http2.h"
#include "net/proxyheader.h"

enum client_state {
	CLIENT_IDLE,
	CLIENT_PROXIED,
	CLIENT_SECURING,
	CLIENT_HEAD,
	CLIENT_BUSY,
	CLIENT_MULTIPLEXED,
	CLIENT_ENDING
};

struct client {
	struct conn conn;
	union {
		struct http1 http1; /* its stream; the deadline is that of all states */
		struct {
			struct stream stream; /* the same, without a request: the deadline */
			struct http2 *http2;
		} multiplexed; /* MULTIPLEXED, and ENDING after it */
	};
	struct task task;    /* run on events while the stream has no user */
	struct list node;    /* on front->all */
	struct list idle_node; /* on front->idle or front->unused */
	struct front *front;
	struct list held; /* origins held for this client only: back/upstream.h */
	struct peer peer; /* the peer of the connection, or the source that it has stated */
	uint8_t state;            /* enum client_state */
	bool close_requested : 1; /* by the client: Connection: close, or HTTP/1.0 */
	bool paths_strict : 1; /* accepted where `paths: strict` is configured */
	bool trust_known : 1;  /* `trusted` is that of the present configuration */
	bool trusted : 1;      /* forwarding fields of this peer are believed */
	bool is_multiplexed : 1; /* it has `multiplexed` */
	bool http2_allowed : 1; /* without TLS: it may begin with the preface of HTTP/2 */
	bool context_waits : 1; /* PROXIED: a handshake follows, with `context` */
	union {
		struct buf *proxy_header;    /* client_proxy_header(); NULL: none */
		struct tls_context *context; /* a reference; if context_waits */
	};
};

/* Takes over an accepted socket, and its unit of the quota. Out of memory: closes it,
 * returns the unit, and returns NULL. */
struct client *client_open(struct front *f, int fd, const struct peer *peer);

/* Right after client_open(): the peer, which is trusted, begins with a header of the PROXY
 * protocol. */
void client_await_proxy_header(struct client *c);

/* Right after client_open() or client_await_proxy_header(): the client begins, or goes on, with a
 * TLS handshake. The connection takes a reference to the context. */
void client_secure(struct client *c, struct tls_context *context);

/* The header that the connection began with; NULL: none, or it has stated no addresses. */
const struct proxy_header *client_proxy_header(const struct client *c);

/* HTTP/1, from the present request on: the time without progress in which the client may take what
 * is sent to it, and the bytes/s that it takes at least (0: any number), in place of those of the
 * front. */
static inline void client_set_sending(struct client *c, uint32_t send_ms, uint32_t send_rate)
{
	if (c->is_multiplexed)
		return; /* its streams share the connection */
	c->conn.send_ms = send_ms;
	c->conn.send_rate = send_rate;
}

/* The task of the user of its stream; NULL: none. HTTP/2: of the oldest of its streams. */
const struct task *client_oldest_user(const struct client *c);

/* How many requests it has made. */
uint32_t client_requests(const struct client *c);

/* Asserts what holds between two steps in each state. */
void client_check(const struct client *c);

/* Closes the connection at once, in any state. An unfinished response is reset, and its user's
 * stream_closed() follows. */
void client_kill(struct client *c);

/* Closes the connection at once. Requires that no request or response is in progress. */
void client_evict(struct client *c);

#endif
