/* A downstream connection: requests in, answers out, one at a time and in order.
 *
 *            bytes           head read           answer ended, kept alive
 *   IDLE ──────────▶ HEAD ─────────────▶ BUSY ─────────────────────────▶ IDLE
 *     │ idle_timeout  │ header_timeout    │ answer ended, not kept alive
 *     ▼               ▼ 408               ▼
 *   closed          closed              closed (lingering, RFC 9112 9.6)
 *
 * Knows no routes and no origins: whoever answers (the proxy, the admin page, the lab)
 * is told by events and pulls the head and the body out, at its own pace. Pipelined
 * requests wait in the inbox, at most a window of them.
 *
 * What a FIN means is for the asker to say (abort_on_fin): that the client has left, and what is
 * done for it ends; or that it only says no more, and is still owed its answers. */
#ifndef FRONT_CLIENT_H
#define FRONT_CLIENT_H

#include "base/quota.h"
#include "base/stats.h"
#include "io/sock.h"
#include "message/reader.h"
#include "message/writer.h"

struct client;

struct client_events {
	/* A request's head was read. Its slices live until client_begin_body(), which this
	 * must call. The asker then owns client->exchange until client_finish_response(). */
	void (*head_received)(struct client *c, struct head *h);
	/* The head makes no sense (its fault; or FAULT_NONE: it was too slow, 408): answer,
	 * then client_close(). */
	void (*head_refused)(struct client *c, enum fault fault);
	/* A fact while exchange is set: bytes, room, the end or a failure of the peer,
	 * too slow (client->timed_out). */
	void (*step)(struct client *c);
	/* The connection is dead; exchange is NULL by now or is to be let go. */
	void (*closed)(struct client *c);
};

struct client_timeouts {
	uint32_t header_ms, idle_ms, send_ms, receive_ms;
};

/* What the clients of one worker share. */
struct front {
	struct tick *tick;
	const struct client_events *events;
	void *owner;
	struct head_limits limits;
	struct client_timeouts timeouts;
	uint32_t window;         /* bytes, inbox and outbox each */
	uint32_t linger_ms;
	struct quota *quota;     /* NULL: not counted */
	struct worker_stats *stats;
	struct slab clients;
	struct list all;         /* every client that is not dead */
	struct list idle;        /* between two requests, the longest first */
	struct list fresh;       /* before the first one, likewise */
	struct head *scratch;    /* for heads and trailers of the step at hand */
	bool draining;           /* answers end with Connection: close */
};

enum client_state { CLIENT_IDLE, CLIENT_HEAD, CLIENT_BUSY, CLIENT_ENDING };

struct client {
	struct conn conn;
	struct task task;
	struct list node;    /* in front->all */
	struct list idle_node; /* in front->idle or front->fresh */
	struct front *front;
	void *exchange;      /* whoever answers; set between head_received and ended */
	struct list held;    /* the asker's: what serves this client only, until it is gone */
	struct reader reader;
	struct writer writer;
	struct peer peer;
	uint8_t state;       /* enum client_state */
	bool timed_out : 1;  /* it let a deadline pass */
	bool close_requested : 1; /* it asked for the connection to end */
	bool body_awaited : 1;    /* the exchange waits for its body */
	bool body_flowing : 1; /* it is pulled; else what comes waits, whatever it is */
	bool tunnel : 1;       /* what comes is no request any more */
	bool paths_strict : 1; /* for who answers: it came where `paths: strict` was written */
	bool trusted : 1;      /* its word on who asks is taken, */
	bool abort_on_fin : 1; /* the asker's: it lets go of a client that has left, and is stepped
				  for that even where the FIN waits behind unread bytes */
	bool fin_seen : 1;   /* such a FIN was seen */
	uint32_t trusted_by; /* as the generation of this number has it; 0: not looked up */
	uint32_t requests;   /* that were read, ever */
	uint64_t since_ms;   /* when the state began */
};

/* quota, stats, events … are set by the caller; this makes the slab and the list. */
void front_init(struct front *f);
void front_done(struct front *f);

/* No more requests after those in hand; idle connections are closed at once. */
void front_drain(struct front *f);

/* Every answer is its connection's last; who is idle may ask once more. */
void front_drain_gracefully(struct front *f);

/* Others want to be let in: who is idle longest and has taken all it was sent gives way, or else
 * who has been silent for a second since it came. False: there is nobody. */
bool front_evict_idle(struct front *f);

/* Ends every connection at once. */
void front_close(struct front *f);

static inline bool front_empty(const struct front *f)
{
	return list_empty(&f->all);
}

/* Takes over an accepted socket. Out of memory: closes it, and returns NULL. */
struct client *client_open(struct front *f, int fd, const struct peer *peer);

/* The head was understood: its body begins. */
void client_begin_body(struct client *c, const struct head *h);

/* From now on the connection carries bytes, both ways, until it ends. */
void client_begin_tunnel(struct client *c);

/* As reader_body(); remembers that the body is waited for. From the first call on it flows. */
enum body_event client_body(struct client *c, struct head *trailers, struct piece *p);

/* Whom the body is for is not there yet: it does not flow. */
void client_hold_body(struct client *c);

/* The answer was queued whole. `keep`: the connection goes on with the next request, as
 * far as its peer and the body of this request allow; else it is closed with care. */
void client_finish_response(struct client *c, bool keep);

/* The peer is gone: nothing that is written reaches it. */
static inline bool client_lost(const struct client *c)
{
	return c->conn.error || c->conn.send_error;
}

/* The peer has said its last; what it was sent it may still read. */
static inline bool client_half_closed(const struct client *c)
{
	return c->conn.eof || c->fin_seen;
}

/* Nothing speaks against a further request on the connection, as far as is known while the
 * body of this one is still under way. */
static inline bool client_may_keep_alive(const struct client *c)
{
	return !c->close_requested && !c->front->draining && !c->timed_out;
}

/* Would the connection go on after this answer? Skips the rest of the request's body; false
 * if that is not all at hand. */
bool client_discard_body(struct client *c);

/* The client has left, and nothing of an answer to this request was queued: the connection ends,
 * behind the answers before it. */
void client_close_without_response(struct client *c);

/* The peer is there, and takes what is sent to it. */
static inline bool client_responsive(const struct client *c)
{
	return !client_lost(c) && !c->timed_out;
}

/* The answer is broken off: behind what was queued of it, its peer must see that it is not
 * whole. */
void client_abort_response(struct client *c);

/* Nothing is being answered: the connection makes room for another, at once. */
void client_evict(struct client *c);

#endif
