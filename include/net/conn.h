/* One connection: receives into an inbox, sends from an outbox, dies in two
 * stages. Knows no protocol.
 *
 *            conn_open                conn_close              last done is in
 *   (zeroed) ─────────▶ CONN_OPEN ───────────────▶ CONN_CLOSING ─────────▶ CONN_DEAD
 *                                                                │ reap: events->dead
 *
 *   CONN_OPEN     receives while the inbox has room, sends what is pushed
 *   CONN_CLOSING  nothing new starts; sends what is left if asked to, reads and
 *                 drops if it lingers, then the socket is closed
 *   CONN_DEAD     no op in flight, no socket, no buffer; freed by its owner at
 *                 the end of the tick
 *
 * Embedded in its owner (client, origin, cache link). Facts are only recorded:
 * events->changed is called when there are new ones, and is expected to do no
 * more than tick_run() the owner's task.
 *
 * Memory: the inbox holds at most `window` bytes of room (buffers are charged
 * whole, as the kernel does), the outbox likewise: conn_request_space() tells how much may
 * be pushed. An idle connection owns no buffer. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/tick.h"

struct conn;

struct conn_events {
	/* Bytes, the end, an error, room, or FIN was sent: look at the conn. */
	void (*changed)(struct conn *c);
	/* It is dead and may be freed now. Called at the end of a tick. */
	void (*dead)(struct conn *c);
	/* What it receives sets others free: answers. It may use the last buffers for it. */
	bool may_use_reserve;
};

enum conn_state { CONN_OPEN, CONN_CLOSING, CONN_DEAD };

enum conn_end {
	CONN_NOW,    /* what was not sent is lost; an orderly FIN if all was read */
	CONN_FLUSH,  /* after what was pushed has been sent */
	CONN_LINGER, /* likewise, then FIN, then reads and drops for a while, so that
			the peer sees the answer and not a reset (RFC 9112 9.6,
			kernel-notes/09-close-with-unread-bytes) */
	CONN_BREAK,  /* after what was pushed has been sent and has arrived, visibly broken: for
			bytes that only the end of the connection ends, whose FIN would say that
			they are whole */
	CONN_RESET,  /* at once, and visibly broken */
};

/* Most entries of one vectored send. */
#define OUTBOX_MAX 32

/* What is to be sent. Taken when something is pushed, given back when all is
 * gone: an idle connection has none. */
struct outbox {
	struct io_send send;   /* its owner is the conn */
	struct list writable;  /* node on tick->writable */
	uint16_t first;    /* entries before it have been sent */
	uint16_t flying;   /* entries first … flying are with the kernel */
	uint16_t n;        /* entries first … n are in use; all sent: back to 0 */
	uint32_t held;     /* bytes charged against the window */
	uint64_t bytes;    /* to be sent, those with the kernel included */
	struct iovec iov[OUTBOX_MAX]; /* the engine may change those with the kernel */
	uint32_t len[OUTBOX_MAX];
	uint32_t charge[OUTBOX_MAX];   /* against the window: once for a run in one buffer */
	struct buf *owner[OUTBOX_MAX]; /* a reference each; NULL: none to give back */
	char small[OUTBOX_MAX][24];    /* bytes of our own: ends and lines of chunks */
};

struct conn {
	struct tick *tick;
	const struct conn_events *events;
	int fd;              /* -1: none */
	int16_t error;       /* 0, or the negative errno that ended receiving */
	int16_t send_error;  /* likewise sending; what the peer said before may still come */
	uint8_t state;       /* enum conn_state */
	uint8_t end;         /* enum conn_end, once closing */
	bool eof : 1;        /* the peer will send no more (it may still read) */
	bool wants_space : 1; /* its owner waits for room in the outbox */
	bool shut : 1;       /* we have said that no more will be sent */
	bool shut_wanted : 1; /* … and will, when the outbox is empty */
	bool inbox_limited : 1; /* the inbox holds at most one buffer: conn_limit_inbox() */
	uint32_t window;     /* bytes, each way */
	uint32_t send_ms;    /* how long a gentle end waits for the peer to take a byte, set by
				its owner; 0: as long as it lingers */
	uint32_t end_ms;     /* how long it lingers */
	uint32_t inbox_held; /* room of the buffers in the inbox */
	uint32_t inbox_bytes;
	struct buf *inbox, *inbox_last;
	struct io_recv recv;
	struct outbox *outbox;
	struct reap reap;
	struct timer timer;     /* its owner's while CONN_OPEN, then bounds the end */
	uint64_t received, sent; /* bytes, ever */
	uint64_t received_ms;   /* when bytes last came */
	uint64_t sent_ms;       /* when the peer last took bytes, or a send began */
	uint64_t delivered;     /* mark of io_delivered() */
};

/* Takes over a connected socket and starts to receive. */
void conn_open(struct conn *c, struct tick *tick, const struct conn_events *events,
	       int fd, uint32_t window);

/* ---- inbox ---------------------------------------------------------------- */

/* The first contiguous bytes; empty if there are none. */
struct slice conn_peek(const struct conn *c);

/* Makes the first bytes contiguous, up to `max`, by copying: for heads that
 * straddle buffers, never for bodies. False: out of memory. */
bool conn_linearize(struct conn *c, uint32_t max);

/* Puts the bytes of a block in the place of the first n; takes over its reference. */
void conn_replace(struct conn *c, uint32_t n, struct buf *block);

/* What is in the inbox will wait for others, or for more of it: it moves from receive buffers to
 * a block of its size, so that who waits does not use up the pool. For what no other part of
 * this connection is pulling, never for bodies on their way. */
void conn_compact(struct conn *c);

/* Drops the first n bytes. */
void conn_consume(struct conn *c, uint32_t n);

/* Moves n bytes, which conn_peek() showed, into a piece (one more reference). */
struct piece conn_take(struct conn *c, uint32_t n);

/* What comes now is not wanted soon (requests behind the one being answered): the inbox takes
 * one buffer and not a window, so that who pipelines cannot use up the pool. */
void conn_limit_inbox(struct conn *c, bool inbox_limited);

/* There is room for more: FIN or a reset behind what has come would be told. */
bool conn_can_receive(const struct conn *c);

/* ---- outbox --------------------------------------------------------------- */

/* Bytes that may be pushed now; 0: wait for `changed` (this asks for it). The
 * last push may go over it. */
uint32_t conn_request_space(struct conn *c);

/* Queues bytes; takes over the piece's reference and empties it. False: out of
 * memory or entries; the piece is unchanged. Always true after conn_request_space() > 0
 * has been seen and fewer than OUTBOX_SPARE pushes were made since. */
bool conn_push(struct conn *c, struct piece *p);
#define OUTBOX_SPARE 4

/* Queues up to 24 bytes by copy. Takes an entry only if what was pushed last was not small, or
 * has no room left. */
bool conn_push_small(struct conn *c, struct slice bytes);

/* Bytes pushed and not yet taken by the kernel. */
uint64_t conn_unsent(const struct conn *c);

/* Bytes ever pushed: the position of the next one in all that is sent. */
static inline uint64_t conn_position(const struct conn *c)
{
	return c->sent + conn_unsent(c);
}

/* The position behind the last byte that was handed to the kernel. */
uint64_t conn_submitted(const struct conn *c);

/* Takes back what was pushed from this position on. False: it is too late, as the kernel was
 * handed some of it. */
bool conn_take_back(struct conn *c, uint64_t position);

/* Sends FIN when the outbox is empty; receiving goes on. */
void conn_shut(struct conn *c);

/* A deadline for sending has rung: did the peer take bytes after all? Moves sent_ms. */
bool conn_poll_delivery(struct conn *c);

/* ---- death ---------------------------------------------------------------- */

/* Starts the end. May be called again with a harsher end. c->send_ms bounds how long
 * CONN_FLUSH, CONN_LINGER and CONN_BREAK send without the peer taking a byte: then it is a
 * reset, since what is cut off must not look whole. `linger_ms` bounds the wait for its end. */
void conn_close(struct conn *c, enum conn_end end, uint32_t linger_ms);

/* One vectored send for each conn on tick->writable; called by the tick. */
void conn_flush_all(struct tick *tick);

/* Asserts what holds in each state. */
void conn_check(const struct conn *c);

#endif
