/* One connection (a stream socket): receives into an inbox, sends from an outbox, closes in two
 * steps. Protocol-independent. It may be secured (TLS): inbox and outbox have plaintext then.
 *
 *            conn_open                conn_close            last op completed
 *   (zeroed) ─────────▶ CONN_OPEN ───────────────▶ CONN_CLOSING ─────────▶ CONN_DEAD
 *      │           conn_end_unopened                                       ▲  │ reap:
 *      └───────────────────────────────────────────────────────────────────┘  ▼ events->dead
 *
 *   CONN_OPEN     receives while the inbox has space, sends what is pushed
 *   CONN_CLOSING  starts nothing new: sends the outbox (FLUSH, LINGER, FLUSH_RESET), reads
 *                 and discards (LINGER), then closes the socket
 *   CONN_DEAD     no op in flight, no socket, no buffer; its owner frees it at the end
 *                 of the tick
 *
 * Owner: the struct it is embedded in (client, origin, cache link). Callbacks only report
 * that something happened: events->changed must do no more than tick_run() the owner's
 * task.
 *
 * Limits: the buffers of the inbox have at most `window` bytes (each buffer is charged in
 * full, as the kernel charges sk_buffs), and so have those of the outbox:
 * conn_push_space() returns how much may be pushed. An idle connection holds no
 * buffer.
 *
 * Errors: `error` and `send_error` hold the negative errno that ended receiving or
 * sending. If TLS has failed, `error` is -EPROTO, or -ECONNRESET if the peer has closed
 * without close_notify, or -ENOMEM; conn_tls(c)->fault is the reason. conn_check() asserts what
 * holds in each state. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/tick.h"

struct conn;

struct conn_events {
	/* Bytes or the end of the stream were received, an error occurred, the outbox has
	 * space again, or FIN was sent. Which of these: see the fields of the conn. */
	void (*changed)(struct conn *c);
	/* conn.timer has fired while the conn was open: see net/deadline.h. NULL: the owner
	 * does not set it. */
	void (*timer_fired)(struct conn *c);
	/* The conn is dead and may be freed now. Called at the end of a tick. */
	void (*dead)(struct conn *c);
	/* Receives of this connection may use the buffer reserve: responses let other
	 * requests finish and free their buffers. */
	bool may_use_reserve;
};

enum conn_state { CONN_OPEN, CONN_CLOSING, CONN_DEAD };

enum conn_end {
	/* At once: unsent bytes are lost. FIN, or a reset by the kernel if received bytes
	 * were not read. */
	CONN_NOW,
	/* After the outbox has been sent. */
	CONN_FLUSH,
	/* After the outbox has been sent: FIN, then reads and discards for a while, so
	 * that the peer sees the response and not a reset (RFC 9112 9.6,
	 * kernel-notes/09-close-with-unread-bytes). */
	CONN_LINGER,
	/* A reset, once the outbox has been sent and the peer's kernel has acknowledged
	 * it: for a close-delimited body, which would look complete after a FIN. */
	CONN_FLUSH_RESET,
	/* A reset at once: unsent bytes are lost. */
	CONN_RESET,
};

/* Most entries of one vectored send. */
#define OUTBOX_MAX 32

/* Bytes to send, as a vector of buffer references. Allocated by the first push, freed
 * when everything has been sent: an idle connection has none. */
struct outbox {
	struct io_send send;   /* send.owner is the conn */
	struct list writable;  /* node on tick->writable */
	uint16_t first;     /* entries before this one have been sent */
	uint16_t submitted; /* entries [first, submitted) are with the kernel */
	uint16_t n;         /* entries [first, n) are in use; all sent: all three are 0 */
	uint32_t part;      /* of the entry `submitted`: bytes that are with the kernel, sealed */
	uint32_t charged;   /* bytes charged against the window */
	uint64_t bytes;     /* unsent, including those with the kernel */
	struct iovec iov[OUTBOX_MAX]; /* the engine may change the submitted ones */
	uint32_t len[OUTBOX_MAX];
	uint32_t charge[OUTBOX_MAX];   /* against the window; once for consecutive entries that
					  refer to one buffer */
	struct buf *owner[OUTBOX_MAX]; /* a counted reference each; NULL: none */
	char small[OUTBOX_MAX][24];    /* copied bytes: chunk-size lines, CRLFs */
};

struct conn {
	struct tick *tick;
	const struct conn_events *events;
	int fd;              /* -1: none */
	int16_t error;       /* 0, or the negative errno that ended receiving */
	int16_t send_error;  /* 0, or the negative errno that ended sending; what the peer sent
				before that may still be received */
	uint8_t state;       /* enum conn_state */
	uint8_t end;         /* enum conn_end, once CONN_CLOSING */
	bool eof : 1;        /* the peer sends no more (it may still read): FIN was received;
				secured: close_notify */
	bool receive_ended : 1; /* nothing more is received; secured: some of it may not be opened
				   yet */
	bool space_awaited : 1; /* conn_await_space(): `changed` is called at the next space */
	bool fin_sent : 1;   /* shutdown(SHUT_WR) was called */
	bool fin_wanted : 1; /* … is to be called when the outbox is empty */
	bool inbox_limited : 1; /* the inbox takes one buffer at most: conn_limit_inbox() */
	bool sent_lags : 1;  /* between two sends: sent_ms is how many ms the peer lags behind */
	uint32_t window;     /* bytes, for inbox and outbox each */
	uint32_t send_ms;    /* CONN_CLOSING: longest time in which the peer takes no byte of the
				outbox; set by the owner; 0: end_ms */
	union {
		/* CONN_OPEN: bytes/s that the peer takes at least while some wait for it; set by
		 * the owner; 0: any number. */
		uint32_t send_rate;
		/* CONN_CLOSING: how long it lingers; if send_ms is 0, also the longest time
		 * without progress. */
		uint32_t end_ms;
	};
	uint32_t inbox_held; /* size of the buffers in the inbox, bytes */
	uint32_t inbox_bytes;
	struct buf *inbox, *inbox_last;
	struct io_recv recv;
	struct outbox *outbox;
	struct secure *secure; /* NULL: plain */
	union {
		/* While CONN_OPEN its events->timer_fired() is called; then it bounds the
		 * closing. */
		struct timer timer;
		struct reap reap; /* CONN_DEAD */
	};
	/* Bytes since conn_open(). received: of the socket. sent: of the outbox, in sends that
	 * have ended. */
	uint64_t received, sent;
	union {
		uint64_t received_ms; /* CONN_OPEN: when bytes were last received */
		uint64_t flush_by_ms; /* CONN_CLOSING: when the peer has to have taken all */
	};
	/* When the peer last took pushed bytes, or their send began: conn_sent_ms(). With send_rate
	 * it lags behind that by as much as the peer was too slow; sent_lags: it is that number. */
	uint64_t sent_ms;
	/* To notice progress of the peer: the mark of io_delivered(); once CONN_FLUSH_RESET
	 * has sent the outbox, the last value of io_outstanding(). */
	uint64_t progress_mark;
};

/* Takes over a connected socket and starts to receive. `window`: bytes, for inbox and
 * outbox each. */
void conn_open(struct conn *c, struct tick *tick, const struct conn_events *events,
	       int fd, uint32_t window);

/* ---- TLS ------------------------------------------------------------------ */

/* Secures a conn that is open, as a server or as a client; the tick has tick_use_tls(). What is in
 * the inbox is the beginning of the session. What is in the outbox is sent first, in clear (a
 * PROXY header). Nothing may be pushed before the handshake is complete (conn_shaking()), when
 * events->changed is called. `name`, `sni`, `saved`: see tls_connect(). False: no memory; the conn
 * is plain. */
bool conn_secure(struct conn *c, struct tls_context *context);
bool conn_secure_connect(struct conn *c, struct tls_context *context, struct slice name,
			 struct slice sni, struct tls_saved *saved);

/* The session, to read what was agreed on, or why it has failed. NULL: the conn is plain; or it
 * closes, and has no use for the session any more. */
struct tls *conn_tls(const struct conn *c);

/* The handshake is neither complete nor has it failed. */
bool conn_shaking(const struct conn *c);

/* Of a conn whose session has failed: ends the session, drops what was received, and makes the
 * conn plain, for a message to a peer that does not use TLS. False: something was sent, so the
 * peer would not understand it; nothing is changed. */
bool conn_unsecure(struct conn *c);

/* ---- inbox ---------------------------------------------------------------- */

/* The first contiguous bytes of the inbox; empty if it is empty. */
struct slice conn_peek(const struct conn *c);

/* Makes the first bytes of the inbox contiguous, `max` at most, by copying: for a head
 * that spans several buffers, never for a body. False: out of memory. */
bool conn_linearize(struct conn *c, uint32_t max);

/* Replaces the first n bytes of the inbox by those of a block; takes over its
 * reference. */
void conn_replace(struct conn *c, uint32_t n, struct buf *block);

/* Copies the inbox from receive buffers into a block of its size, so that bytes which
 * have to wait do not use up the buffer pool. For bytes that nothing consumes at present
 * (a partial head, pipelined requests), never for a body that is being relayed. Also what a
 * secured conn has received and cannot open yet. Out of memory: the inbox stays as it is. */
void conn_compact(struct conn *c);

/* Drops the first n bytes of the inbox. */
void conn_consume(struct conn *c, uint32_t n);

/* Removes the first n bytes of the inbox, which conn_peek() returned, as a piece: the
 * caller owns its reference to the buffer. */
struct piece conn_take(struct conn *c, uint32_t n);

/* Limits the inbox to one buffer instead of a window, or lifts that limit. For bytes that
 * are not needed soon: pipelined requests must not use up the buffer pool. */
void conn_limit_inbox(struct conn *c, bool inbox_limited);

/* True: the inbox has space, so that FIN or a reset after received bytes can be
 * noticed. */
bool conn_can_receive(const struct conn *c);

/* ---- outbox --------------------------------------------------------------- */

/* Space of the outbox: how many bytes may be pushed now; the last push may exceed that.
 * 0: the outbox is full, or the connection takes nothing more. */
uint32_t conn_push_space(const struct conn *c);

/* The caller has bytes to push and found no space: `changed` is called once, when the
 * outbox has space again. Not if the connection takes nothing more. */
void conn_await_space(struct conn *c);

/* Queues bytes; takes over the piece's reference and empties the piece. False: out of
 * memory or of entries; the piece is unchanged. After conn_push_space() has returned
 * more than 0, OUTBOX_SPARE pushes cannot run out of entries. */
bool conn_push(struct conn *c, struct piece *p);
#define OUTBOX_SPARE 4

/* Queues up to 24 bytes by copy. Appends to the last entry if that is a small one, is not
 * with the kernel, and has space; else takes a new entry. False: as conn_push(). */
bool conn_push_small(struct conn *c, struct slice bytes);

/* Bytes pushed that the kernel has not taken yet. */
uint64_t conn_unsent(const struct conn *c);

/* Bytes pushed since conn_open(): the stream position of the next byte. */
static inline uint64_t conn_position(const struct conn *c)
{
	return c->sent + conn_unsent(c);
}

/* The stream position after the last byte that was submitted to the kernel. */
uint64_t conn_submitted(const struct conn *c);

/* When the peer last took pushed bytes, or their send began; earlier, if it is slower than
 * send_rate. */
static inline uint64_t conn_sent_ms(const struct conn *c)
{
	return c->sent_lags ? c->tick->now_ms - c->sent_ms : c->sent_ms;
}

/* Removes everything pushed from this stream position on. False: too late, some of it was
 * submitted to the kernel; nothing is removed. */
bool conn_take_back(struct conn *c, uint64_t position);

/* Sends FIN when the outbox is empty; receiving goes on. Secured: close_notify, then FIN. */
void conn_send_fin(struct conn *c);

/* Asks the kernel whether the peer has taken bytes since the last call; if so, sets
 * sent_ms to now and returns true; with send_rate, sent_ms advances by no more than the time
 * that so many bytes may take. For a send deadline that has expired: a send in progress reports
 * nothing until it completes. */
bool conn_poll_delivery(struct conn *c);

/* ---- closing -------------------------------------------------------------- */

/* Starts to close; events->dead is called when that is done. May be called again with a
 * harsher end (CONN_NOW, CONN_RESET); a gentle one is then ignored. FLUSH, LINGER
 * and FLUSH_RESET turn into CONN_RESET when the peer takes no byte for c->send_ms, or all
 * of them more slowly than c->send_rate, since a truncated message must not look complete.
 * `linger_ms` bounds the wait for the peer's
 * FIN (CONN_LINGER).
 *
 * Secured: FLUSH and LINGER send close_notify before FIN (RFC 8446 6.1). If the session has
 * failed, its alert is sent unless the end is CONN_RESET. */
void conn_close(struct conn *c, enum conn_end end, uint32_t linger_ms);

/* Ends a conn that was never open, in any state of its memory: events->dead is called at the
 * end of the tick, as for one that was. */
void conn_end_unopened(struct conn *c, struct tick *tick,
		       const struct conn_events *events);

/* Starts one vectored send for each conn on tick->writable; called by the tick. */
void conn_flush_all(struct tick *tick);

/* Asserts what holds in each state. */
void conn_check(const struct conn *c);

#endif
