/* One TLS connection: bytes of the socket ↔ plaintext. No socket, no clock, no system call.
 *
 *            whole ClientHello           Finished             close_notify
 *   HELLO ─────────────────────▶ SHAKING ─────────▶ OPEN ───────────────────▶ ENDED
 *     │ (server only)               │                 │
 *     └──────────────▶ FAILED ◀─────┴─────────────────┘
 *
 *   HELLO    gathers the ClientHello; no object of the library exists, so that part of one costs
 *            no more than its bytes
 *   SHAKING  has an object of the library; each tls_step() that does public-key work is *heavy*
 *   OPEN     records in both directions
 *   ENDED    the peer has sent close_notify: no more plaintext comes; we may still send
 *   FAILED   `fault` says why; an alert may wait in tls_take()
 *
 * In: tls_receive() takes received buffers. tls_step() runs the handshake; tls_read() returns
 * plaintext in buffers, opened where it was received. No byte leaves before the tag of its record
 * was verified. Out: tls_seal() makes records of plaintext, tls_take() returns what the handshake,
 * alerts and key updates have to send. What tls_seal() and tls_take() returned has its sequence
 * number: it is sent in that order, or the connection is broken.
 *
 * Owner: the conn (net/conn.h); memory from the slab of the thread's struct tls_thread. Limits: a
 * ClientHello of 16 KiB; records of RFC 8446 5.2; 100 key updates a second from the peer; our own
 * key update after 2^23 records. An open connection with own records holds 400 bytes, the
 * requested name, and the texts of a client's certificate. Errors: TLS_FAILED and `fault`.
 * tls_check() asserts what holds in each state.
 *
 * Rests on RFC 8446, RFC 5246. */
#ifndef TLS_SESSION_H
#define TLS_SESSION_H

#include <sys/uio.h>

#include "io/buf.h"
#include "tls/context.h"
#include "tls/peer.h"

enum tls_state { TLS_HELLO, TLS_SHAKING, TLS_OPEN, TLS_ENDED, TLS_FAILED };

enum tls_fault {
	TLS_FAULT_NONE,
#define TLS_FAULT(name, error, text) TLS_FAULT_##name,
#include "tls/fault.def"
#undef TLS_FAULT
	TLS_FAULTS
};

const char *tls_fault_text(enum tls_fault fault);
const char *tls_fault_error(enum tls_fault fault); /* for Proxy-Status */
const char *tls_fault_name(enum tls_fault fault);  /* lower case, for metrics */

/* The name of a cipher suite in IANA's registry; empty: it is not one that we offer. */
struct slice tls_suite_name(uint16_t suite);

/* What the TLS connections of one thread share: cipher contexts, slabs. */
struct tls_thread;

struct tls_thread *tls_thread_new(struct buf_pool *bufs); /* NULL: no memory */
void tls_thread_free(struct tls_thread *t); /* no struct tls is left */
void tls_thread_trim(struct tls_thread *t); /* once a second */

/* Counters of a thread: by whether it sends; read by others with stat_read(). */
struct tls_counts {
	uint64_t records[2];     /* since the handshakes */
	uint64_t key_updates[2]; /* of TLS 1.3 */
};
const struct tls_counts *tls_thread_counts(const struct tls_thread *t);

size_t tls_library_bytes(void); /* what the library has allocated, in this process */

/* What was kept of a server's last session, to resume it. Owner: the server entry of the upstream.
 * Zeroed: none. */
struct tls_saved {
	void *session; /* the library's */
	/* A hash of the serial number of the context, of `name` and of `sni` that it was made with:
	 * it is used with the same ones only. */
	uint64_t identity;
};
void tls_saved_drop(struct tls_saved *s);

struct tls {
	struct tls_thread *thread;
	struct tls_context *context; /* a reference */
	uint8_t state;               /* enum tls_state */
	uint8_t fault;               /* enum tls_fault, FAILED */
	uint8_t version;             /* enum tls_version, from OPEN on */
	uint8_t protocol;            /* enum tls_protocol, from OPEN on */
	uint16_t suite;              /* its number, from OPEN on */
	uint16_t group;              /* of the key exchange; 0: none */
	uint8_t alert;               /* received, with TLS_FAULT_ALERT */
	uint8_t policy;              /* index, server */
	bool server : 1;
	bool resumed : 1;
	bool shut : 1;   /* our close_notify was made */
	bool has_ja4 : 1;
	bool offered : 1; /* the client has offered a session, or we have */
	bool wants_step : 1; /* tls_step() can go on without more bytes */
	uint32_t sealed_held;  /* bytes of the buffers that hold what was not opened yet */
	struct slice name;     /* SNI, lower case; empty: none. From SHAKING on, server */
	const char *reason;    /* FAILED: the library's words, for the log; static; NULL: none */
	const struct tls_peer *peer; /* the client's certificate; NULL: none. From OPEN on */
};

/* A server's, in HELLO. NULL: no memory. */
struct tls *tls_accept(struct tls_thread *t, struct tls_context *c);

/* A client's, in SHAKING. `name`: to be verified, and sent as SNI unless it is an address; `sni`:
 * sent instead, if it is not empty (the context may say that none is sent). `saved`: may be NULL;
 * is used if it is of the same identity, and filled when a ticket comes; must live until
 * tls_free() or tls_forget(). NULL: no memory. */
struct tls *tls_connect(struct tls_thread *t, struct tls_context *c, struct slice name,
			struct slice sni, struct tls_saved *saved);
void tls_forget(struct tls *t); /* `saved` is about to be freed */

/* The JA4 fingerprint of the ClientHello; empty: the context has not asked for it, or none has been
 * received. */
struct slice tls_ja4(const struct tls *t);

/* In any state. Cleanses the secrets. */
void tls_free(struct tls *t);

/* ---- in ---------------------------------------------------------------------- */

/* Appends received bytes, and takes over the reference. */
void tls_receive(struct tls *t, struct buf *b);

/* The peer's FIN was received. In HELLO and SHAKING: FAILED (CLOSED), once the steps were made that
 * received bytes allow. After close_notify: nothing. Else FAILED (TRUNCATED), once everything
 * before it was read. */
void tls_receive_end(struct tls *t);

/* True: the next tls_step() does public-key work, some 100 µs to 1 ms, and should be rationed. */
bool tls_step_is_heavy(const struct tls *t);

/* HELLO, SHAKING: goes on with the handshake as far as the received bytes allow, but at most one
 * heavy step. `now_ms`: wall clock, of the tick. Look at state, wants_step and tls_take(). */
void tls_step(struct tls *t, uint64_t now_ms);

/* Drops what was received; nothing more is received, stepped or read. It may still send. */
void tls_discard(struct tls *t);

enum tls_read {
	TLS_READ_BYTES, /* *plain is a buffer with plaintext; the caller has the reference */
	TLS_READ_MORE,  /* more bytes must be received */
	TLS_READ_END,   /* close_notify: state is ENDED */
	TLS_READ_FAILED /* state is FAILED */
};

/* OPEN: the next plaintext. `now_ms`: monotonic, of the tick. May make key updates or alerts for
 * tls_take(). */
enum tls_read tls_read(struct tls *t, struct buf **plain, uint64_t now_ms);

/* Moves what was received and cannot be opened yet into a block of its size (conn_compact()). */
void tls_compact(struct tls *t);

/* ---- out --------------------------------------------------------------------- */

/* One entry of plaintext. `exclusive`: nobody else reads these bytes, now or later, so they may be
 * sealed where they are. */
struct tls_plain {
	const char *ptr;
	uint32_t len;
	bool exclusive;
};

/* Sealed bytes on their way to the socket: the vector of one send. */
#define TLS_FLIGHT_MAX 72
struct tls_flight {
	uint16_t n;
	uint64_t bytes;
	struct iovec iov[TLS_FLIGHT_MAX];
	struct buf *owner[TLS_FLIGHT_MAX]; /* a reference each; NULL: none */
	char edge[TLS_FLIGHT_MAX][24];     /* headers and tags of records */
};

void tls_flight_init(struct tls_flight *f);
void tls_flight_release(struct tls_flight *f); /* puts the references; n = 0 */

/* What the handshake, alerts and key updates have to send: appended to the flight first, before
 * any tls_seal(). True: there was something. */
bool tls_take(struct tls *t, struct tls_flight *f);
bool tls_has_output(const struct tls *t);

/* OPEN, ENDED: seals entries of plaintext as records that are appended to the flight, as many as
 * fit; none as long as tls_take() has something, which goes first. Returns how many bytes of
 * plaintext were taken, from the start; -1: FAILED (no memory, or the library). `now_ms`:
 * monotonic; for the size of records. */
int64_t tls_seal(struct tls *t, const struct tls_plain *entries, unsigned n,
		 struct tls_flight *f, uint64_t now_ms);

/* Queues close_notify, once: no tls_seal() follows. For tls_take(). */
void tls_shut(struct tls *t);

/* Asserts what holds in each state. */
void tls_check(const struct tls *t);

#endif
