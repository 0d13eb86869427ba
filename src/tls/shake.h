/* A handshake by the library, over a BIO of our own: it reads the received buffers and writes to
 * what tls_take() gives away, without a copy of either in between.
 *
 * Afterwards the object of the library goes, and its keys are used by inbound.c and outbound.c; a
 * client keeps it until a ticket or the first data has come. It stays for good where the context
 * says so (TLS_RECORDS_OPENSSL), or the cipher suite is not one of crypt.h.
 *
 * Owner: struct tls_endpoint, from the first step of the handshake on. Private to tls. */
#ifndef TLS_SHAKE_H
#define TLS_SHAKE_H

#include <openssl/ssl.h>

#include "crypt.h"
#include "object.h"
#include "schedule.h"

struct tls_endpoint;

struct shake {
	struct tls_hooks hooks;
	struct tls_endpoint *endpoint;
	SSL *ssl;
	bool no_memory : 1; /* the BIO had none */
	bool stays : 1;     /* after the handshake as well */
	bool ticket : 1;    /* client: a session to keep has come */
	bool data : 1;      /* data has come */
	bool too_many_updates : 1;
	uint32_t key_updates_in, key_updates_out; /* since Finished */
	uint64_t now_ms;                          /* monotonic, of the tick; once open */
	/* Records of each direction since its Finished or last key update: sequence numbers of TLS
	 * 1.3. */
	uint32_t records_in, records_out;
	uint32_t record_left; /* bytes of the record that the library is reading */
	/* The last record that was written, for the explicit nonce of TLS 1.2 (record.h). */
	uint32_t written_at; /* offset in it */
	uint8_t written_head[13];
	struct schedule_secrets secrets;
};

/* The first step of a server: makes the object for e->tls.name, and lets it read the
 * ClientHello. */
void shake_accept(struct tls_endpoint *e, uint64_t now_ms);

/* Makes the object of a client. False: no memory. */
MUST_USE bool shake_connect(struct tls_endpoint *e, struct slice name, struct slice sni);

/* True: the library can read a whole record, so that it keeps no part of one. */
bool shake_has_record(const struct tls_endpoint *e);

/* The last call of the library has failed: FAILED. */
void shake_fail(struct tls_endpoint *e);

/* Goes on. */
void shake_step(struct tls_endpoint *e, uint64_t now_ms);
bool shake_is_heavy(const struct tls_endpoint *e);

/* Frees the object, and cleanses. */
void shake_free(struct tls_endpoint *e);

/* After the handshake: takes the keys, if that can be done now, and frees the object. */
void shake_hand_over(struct tls_endpoint *e);

/* ---- libraryrecords.c */

enum tls_read library_read(struct tls_endpoint *e, struct buf **plain, uint64_t now_ms);
int64_t library_seal(struct tls_endpoint *e, const struct tls_plain *entries, unsigned n,
		     struct tls_flight *f);
void library_shut(struct tls_endpoint *e); /* makes close_notify */

#endif
