/* Opens a connection to an address within a time: from the address to an open conn, secured if that
 * is wanted, or to the reason why there is none.
 *
 *                connected, plain
 *        ┌──────────────────────────────────────┐
 *        │       connected            Finished  ▼      dial_finish
 *   CONNECTING ────────────▶ SECURING ───────▶ OPENED ─────────────▶ ENDED
 *    │  ▲   │ refused         │  │  │ fault                            ▲
 *    │  │   ▼                 │  │  ▼                                  │
 *    │  └─ FAILED ◀───────────│──│─ CLOSING                            │
 *    │  dial_again ▲ │        │  │      │                              │
 *    │             │ └────────│──│──────│──────────────────────────────┤
 *    │ deadline    │ deadline │  │      │             dial_cancel      │
 *    ├─────────▶ EXPIRED ◀────┘  │      │                              │
 *    │             ▼             ▼      ▼                              │
 *    └────────▶ ABANDONED ◀── dial_cancel ─────────────────────────────┘
 *
 *   CONNECTING  the op is in flight, or its result is looked at in this tick; the timer is set
 *   SECURING    the conn is open, and the dial's: its TLS handshake goes on; the timer is set
 *   CLOSING     the handshake has failed; an alert is sent, and the conn closes
 *   EXPIRED     the deadline has passed; the op is being cancelled, or the conn closes
 *   OPENED      the conn is open, and its owner's task runs
 *   FAILED      `failure`, `error` and `fault` say why, and the owner's task runs; no socket
 *   ABANDONED   its owner wants no conn any more; the op is being cancelled, or the conn closes
 *   ENDED       freed at the end of the tick
 *
 * The conn is a member of its owner's struct. From a dial_start() that has returned a dial, the
 * owner must not free it before conn_events.dead(), which is called exactly once, whether the
 * conn was ever open or not: this is the one place where the owner is freed. The result of a
 * dial is decided once: a socket that connects after the deadline or after dial_cancel() is
 * closed.
 *
 * While it is secured, the events of the conn are the dial's: its owner has nothing to do with it
 * before OPENED. One deadline is that of connect and handshake.
 *
 * Owner: the pointer that dial_start() returned, until dial_finish() or dial_cancel() has made
 * it NULL. The memory is the tick's: an idle connection has no dial. Limits: none of its own;
 * descriptors are counted by the owner. Errors: see enum dial_failure. dial_check() asserts
 * what holds in each state.
 *
 * Rests on kernel-notes/18-cancel-race. */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "net/conn.h"

enum dial_state {
	DIAL_CONNECTING,
	DIAL_SECURING,
	DIAL_CLOSING,
	DIAL_EXPIRED,
	DIAL_OPENED,
	DIAL_FAILED,
	DIAL_ABANDONED,
	DIAL_ENDED,
};

enum dial_failure {
	DIAL_REFUSED,    /* the address did not accept the connection */
	DIAL_FORBIDDEN,  /* EACCES, EPERM: nearly always the rights of a unix socket */
	DIAL_UNROUTABLE, /* there is no route to it */
	DIAL_NO_SOCKET,  /* we lacked a descriptor, a port or memory for a socket */
	DIAL_TIMEOUT,    /* the deadline passed; `fault`: TIMEOUT if in the handshake */
	DIAL_TLS,        /* the handshake failed: `fault` */
};

/* Longer names are no host names (RFC 1035 2.3.4). */
#define DIAL_NAME_MAX 255

struct dial_options {
	struct conn *conn; /* to be opened; its owner's */
	const struct conn_events *events;
	uint32_t window;                /* bytes: see conn_open() */
	const struct sockaddr *address; /* is copied */
	socklen_t address_len;
	uint64_t deadline_ms; /* in the time of tick->now_ms */
	struct task *task;    /* the owner's: run once for each result */
	/* Sent first, in clear (a PROXY header): must live until the result; NULL: nothing. Each
	 * connection of the dial has a reference. */
	struct buf *preamble;
	/* TLS; NULL: plain. The dial has a reference of its own, and copies of the names; `saved`
	 * must live until tls_forget(). See conn_secure_connect(). */
	struct tls_context *context;
	struct slice name, sni;
	struct tls_saved *saved;
};

/* The owner reads state, failure and error, and changes nothing. */
struct dial {
	struct slab_reap reap;
	uint8_t state;   /* enum dial_state */
	uint8_t failure; /* enum dial_failure, if FAILED */
	uint8_t fault;   /* enum tls_fault, if FAILED by the handshake */
	int error;  /* the negative errno, if FAILED; -ETIMEDOUT if the deadline passed; -EPROTO if
		       the handshake failed */
	int result; /* of the op: a socket or a negative errno */
	uint64_t connected_us; /* when the TLS handshake began; 0: not yet */
	bool securing; /* the conn is open, or closes, and not its owner's yet */
	struct tick *tick;
	struct dial_options options;
	struct task task; /* looks at the result of the op, and at the handshake */
	struct conn_events events; /* of the conn, until it is OPENED */
	struct timer timer;
	struct io_connect connect;
	struct sockaddr_storage address;
	char names[2][DIAL_NAME_MAX]; /* to be verified, and SNI */
};

/* Starts to connect. The owner's task runs when the state is OPENED or FAILED, never before
 * this function has returned. NULL: no memory; the conn is as before. */
struct dial *dial_start(struct tick *tick, const struct dial_options *options);

/* Of a dial that is FAILED, but not by its deadline: connects to another address, with the same
 * deadline. */
void dial_again(struct dial *d, const struct sockaddr *address, socklen_t len);

/* Of a dial that is OPENED: the conn is from now on its owner's alone. Frees the dial and sets
 * *dial to NULL. */
void dial_finish(struct dial **dial);

/* In any state: the conn ends, open or not, and the owner's task is not run for this dial any
 * more. Frees the dial as soon as no op is in flight, and sets *dial to NULL. */
void dial_cancel(struct dial **dial);

/* Asserts what holds in each state. */
void dial_check(const struct dial *d);

#endif
