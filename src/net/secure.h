/* What a conn has besides if it is secured: its TLS session, and the sealed bytes that are with the
 * kernel. Private to net.
 *
 *   socket ─▶ tls_receive() ─▶ [task: tls_step(), tls_read()] ─▶ inbox ─▶ owner
 *   owner ─▶ outbox ─▶ [flush: tls_take(), tls_seal()] ─▶ flight ─▶ socket
 *
 * Received bytes that are not opened yet are charged to the window, as if they were in the inbox.
 * The outbox has plaintext, and exists as long as anything has to be sent, also if that is the
 * session's own (handshake, alerts): then it has no entry. Bytes are sealed when a send begins,
 * and there is one send at a time, so the order of records is that of their numbers. What was
 * sealed is with the kernel, or the connection is broken.
 *
 * Two files implement it: what is sent is in seal.c, all else in secure.c.
 *
 * Owner: the conn; from the slab of the tick. Limits: those of the conn; a flight for each send.
 * Errors: the conn's: see conn_secure(). */
#ifndef NET_SECURE_H
#define NET_SECURE_H

#include "net/conn.h"

struct secure {
	/* Runnable, or on a list of struct handshakes. Steps the handshake, opens records. */
	struct task task;
	struct conn *conn;
	struct tls *tls;
	struct tls_flight *flight; /* NULL: no send is in flight */
	uint32_t flight_plain;     /* bytes of the outbox that it has */
	uint32_t began_us;         /* the handshake, by the clock of the loop, low bits */
	struct list partial;       /* node on tick->partial */
	uint32_t charged;          /* of conn->inbox_held: received, not opened yet */
	bool hungry : 1;           /* what was received is no whole record */
	bool full : 1;    /* there may be more to read once the inbox has space */
	bool shaking : 1; /* counted in tls_stats.shaking */
	bool counted : 1; /* has a unit of the quota of handshakes */
	bool granted : 1; /* has a heavy step of this tick */
	bool shut_wanted : 1; /* close_notify follows when the outbox is sealed */
	bool preamble : 1; /* the outbox has what was pushed before conn_secure(): in clear */
};

/* A buffer was received; takes over its reference. */
void secure_receive(struct conn *c, struct buf *b);

/* FIN was received. */
void secure_receive_end(struct conn *c);

/* The inbox may have space again. */
void secure_continue(struct conn *c);

/* Copies what cannot be opened yet into a block of its size. */
void secure_compact(struct conn *c);

/* Once a second: the same for each conn that has kept a part of a record for so long. */
void secure_trim(struct tick *t);

/* The session has something of its own to send, now or behind the outbox. */
static inline bool secure_has_output(const struct conn *c)
{
	return c->secure && (c->secure->shut_wanted || tls_has_output(c->secure->tls));
}

/* What is sent now is sealed: a preamble has been sent. */
static inline bool secure_begun(const struct conn *c)
{
	return !c->secure->preamble;
}

/* The part of inbox_held that is not in the inbox. */
static inline uint32_t secure_charged(const struct conn *c)
{
	return c->secure ? c->secure->charged : 0;
}

/* The session has something to send: the outbox is the object that sends. False: no memory. */
bool secure_send_own(struct conn *c);

/* No send is in flight: seals what waits, and sends it. False: there is nothing to send, or it
 * cannot be: then send_error is set. */
bool secure_send(struct conn *c, unsigned flags);

/* The send has ended; so many bytes were taken. Returns how many bytes of plaintext that is, and
 * releases what was sent. */
uint64_t secure_sent(struct conn *c, uint64_t sealed_bytes);

/* Nothing more will be pushed: sends close_notify behind the outbox. */
void secure_shut(struct conn *c);

/* conn_close() was called: the handshake ends, and nothing is opened any more. `gentle`: the outbox
 * is to be sent. Returns whether it closes gently: also with an alert that was not sent yet, which
 * may change *end. */
bool secure_close(struct conn *c, enum conn_end *end, bool gentle);

/* The session is not needed any more: the conn is plain. No send is in flight. If it is plain
 * already: nothing. */
void secure_end(struct conn *c);

void secure_check(const struct conn *c);

#endif
