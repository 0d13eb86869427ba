/* struct tls with what only this folder knows of it.
 *
 * Who seals and opens records: this folder (inbound.c, outbound.c), with the ciphers of the library
 * or the null cipher of the simulation; or the library's object, if e->shake (shake.h) is still
 * there when the connection is open.
 *
 * Owner: as struct tls, of which it is the whole. */
#ifndef TLS_ENDPOINT_H
#define TLS_ENDPOINT_H

#include "base/slab.h"
#include "base/stats.h"
#include "contextparts.h"
#include "hello.h"
#include "output.h"
#include "record.h"
#include "sealed.h"
#include "tls/session.h"

struct shake;

struct tls_thread {
	struct buf_pool *bufs;
	struct crypt *crypt;
	struct slab endpoints;
	struct slab shakes;
	struct tls_counts counts;
	uint32_t null_handshakes; /* so far: the sizes of their messages follow from it */
};

/* How far a handshake without cryptography is; see nullshake.c. */
enum null_phase { NULL_BEGIN, NULL_SERVER_HELLO, NULL_FINISHED };

struct tls_endpoint {
	struct tls tls;
	struct shake *shake; /* NULL: the library has no part in it, any more or yet */
	struct tls_saved *saved; /* client; NULL: none */
	uint64_t identity;       /* client: of a session that `saved` may have */
	struct sealed in;
	struct output out;
	bool in_ended : 1;           /* FIN was received */
	bool alert_waiting : 1;      /* for tls_take() */
	bool key_update_waiting : 1; /* likewise */
	bool renegotiated : 1;       /* TLS 1.2: the peer has tried to */
	bool hello_whole : 1;        /* HELLO: the next step can begin the handshake */
	uint8_t alert_level, alert_description; /* if alert_waiting */
	uint8_t null_phase;
	bool null_resumes; /* the client's hello offers a session */

	/* ---- inbound.c, from OPEN on */
	uint8_t message_n;       /* how much of `message` is there */
	uint8_t message[5];      /* the beginning of a handshake message */
	uint8_t idle_records;    /* in a row, that brought nothing */
	uint8_t key_updates;     /* received since key_updates_ms */
	uint32_t message_left;   /* of a message that is skipped */
	uint16_t plain;          /* so many bytes of `in` are plaintext, and verified */
	uint16_t tail;           /* bytes behind those, which have no use any more */
	uint32_t key_updates_ms; /* low bits, as sealed_ms */

	/* ---- outbound.c, from OPEN on */
	/* Bytes sealed since the last silence, BURST_SMALL at most. */
	uint16_t burst;
	uint32_t sealed_ms; /* when something was sealed last */
	uint64_t null_seed; /* nullshake.c */
	union {
		struct hello_scan scan; /* HELLO */
		struct {
			struct record_keys in_keys, out_keys; /* suite NULL: none yet */
		};
	};
};

static inline struct tls_endpoint *endpoint_of(struct tls *t)
{
	return CONTAINER(t, struct tls_endpoint, tls);
}

/* Index of struct tls_counts. */
enum { TLS_IN, TLS_OUT };

/* The only place where the state changes. */
void endpoint_set_state(struct tls_endpoint *e, enum tls_state state);

/* FAILED. The alert that RFC 8446 6.2 has for this fault is made for tls_take(), unless our
 * close_notify was. */
void endpoint_fail(struct tls_endpoint *e, enum tls_fault fault);

/* The same with another alert; ALERT_NONE: none. */
void endpoint_fail_with(struct tls_endpoint *e, enum tls_fault fault, uint8_t alert);

/* Keeps the name, for as long as the connection. False: no memory. */
bool endpoint_keep_name(struct tls_endpoint *e, struct slice name);

/* The same for name and fingerprint of a ClientHello. */
struct hello;
bool endpoint_keep_hello(struct tls_endpoint *e, const struct hello *h);

/* What every call from outside ends with. */
void endpoint_settle(struct tls_endpoint *e);

static inline bool endpoint_is_shaking(const struct tls_endpoint *e)
{
	return e->tls.state == TLS_HELLO || e->tls.state == TLS_SHAKING;
}

/* ---- handshake.c */

/* Looks at what was received, if a step is due. */
void handshake_look(struct tls_endpoint *e);

/* ---- nullshake.c */

extern char null_session;

/* A server's first step; `bytes`: of the records of the hello. */
void null_begin(struct tls_endpoint *e, const struct hello *hello, uint32_t bytes);
void null_step(struct tls_endpoint *e);
bool null_is_heavy(const struct tls_endpoint *e);

/* ---- inbound.c */

/* Opens the next record where it lies. OK: its bytes are still in e->in. BAD: FAILED. */
MUST_USE enum verdict inbound_open(struct tls_endpoint *e, struct record_plain *r);

/* Counts a key update of the peer. False: there were too many in this second. */
bool key_update_allowed(struct tls_endpoint *e, uint64_t now_ms);

enum tls_read inbound_read(struct tls_endpoint *e, struct buf **plain, uint64_t now_ms);

/* ---- outbound.c */

int64_t outbound_seal(struct tls_endpoint *e, const struct tls_plain *entries, unsigned n,
		      struct tls_flight *f, uint64_t now_ms);

/* Seals bytes of another type than data, which follow what waits; in clear as long as there are no
 * keys. False: no memory, or the library failed. */
MUST_USE bool outbound_message(struct tls_endpoint *e, enum record_type type,
			       const void *bytes, uint32_t n);

/* Seals a waiting key update and alert. */
MUST_USE bool outbound_waiting(struct tls_endpoint *e);

#endif
