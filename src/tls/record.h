/* TLS records: seals plaintext and opens records where they lie. Private to tls.
 *
 * struct record_keys is one direction of one connection: what is needed to seal or open its next
 * record. All that a connection keeps after its handshake are two of them.
 *
 * Always: a nonce is used once. The sequence number is counted before anything that can fail, so
 * a sealing that failed has spent it. No result is returned before the tag of the record was
 * verified; a record that fails verification is overwritten. Secrets that are replaced or
 * dropped are cleansed.
 *
 * Owner: struct tls embeds them. Limits: RFC 8446 5.1, 5.4 (2^14 bytes of plaintext, 2^14 + 1
 * with type and padding), RFC 5246 6.2.1; sequence numbers end before 2^64. Errors: a fault, or
 * false if the library fails; the connection is then over, since its numbers no longer agree with
 * the peer's.
 *
 * Rests on RFC 8446 5, RFC 5246 6.2.3.3, RFC 5288, RFC 7905. docs/tls-records.md has each of
 * their rules. */
#ifndef TLS_RECORD_H
#define TLS_RECORD_H

#include <sys/uio.h>

#include "crypt.h"
#include "tls/session.h"

/* ContentType. */
enum record_type {
	RECORD_CHANGE_CIPHER_SPEC = 20,
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
	RECORD_HEARTBEAT = 24, /* RFC 6520; never in use here */
};

#define RECORD_HEADER_BYTES 5
#define RECORD_PLAIN_MAX 16384 /* bytes of plaintext */
#define RECORD_HEAD_MAX 13     /* header and explicit nonce */
#define RECORD_TAIL_MAX 17     /* inner type and tag */
#define RECORD_BYTES_MAX (RECORD_HEAD_MAX + RECORD_PLAIN_MAX + RECORD_TAIL_MAX)

struct record_keys {
	uint64_t sequence; /* of the next record */
	const struct suite *suite;
	/* TLS 1.3 and ChaCha20: the nonce but for the sequence number. GCM of TLS 1.2: salt, and
	 * the explicit nonce of the first record. */
	uint8_t iv[CRYPT_NONCE_BYTES];
	uint8_t key[CRYPT_KEY_MAX];
	uint8_t secret[CRYPT_SECRET_MAX]; /* TLS 1.3: the traffic secret */
};

/* ---- keys ----------------------------------------------------------------------- */

/* TLS 1.3 and the null suite: from a traffic secret of suite->secret_bytes. `sequence`: how many
 * records were sealed with it already. */
MUST_USE bool record_keys_from_secret(struct record_keys *k, struct crypt *c,
				      const struct suite *suite, const uint8_t *secret,
				      uint64_t sequence);

/* TLS 1.2: both directions, from the master secret. Their Finished was the record 0, so the next
 * one is 1. */
MUST_USE bool record_keys_from_master(struct record_keys *client,
				      struct record_keys *server, struct crypt *c,
				      const struct suite *suite, const uint8_t master[48],
				      const uint8_t client_random[32],
				      const uint8_t server_random[32]);

/* TLS 1.2 with GCM, to seal: the explicit nonce of the Finished that the library has sent (bytes
 * 5 to 12 of its record). Later nonces count on from it, so none of them is that one. */
void record_keys_continue(struct record_keys *k, const uint8_t finished[8]);

/* TLS 1.3: the next traffic secret (RFC 8446 7.2), sequence number 0. False: `k` is of no use any
 * more. */
MUST_USE bool record_keys_update(struct record_keys *k, struct crypt *c);

/* True: so many records were sealed with this key that it should be replaced (RFC 8446 5.5). */
static inline bool record_keys_worn(const struct record_keys *k)
{
	return k->sequence >= UINT64_C(1) << 23;
}

/* Cleanses the secrets, here and in the contexts of the thread. Zeroed: nothing. */
void record_keys_done(struct record_keys *k, struct crypt *c);

/* ---- in ------------------------------------------------------------------------- */

/* Reads the header of a record. `bytes`: of the whole record, with its header. A record that
 * would be too large, or too small for its tag, is refused before it has arrived. */
MUST_USE enum tls_fault record_header(const struct record_keys *k,
				      const uint8_t header[RECORD_HEADER_BYTES],
				      uint32_t *bytes);

/* A record that was opened: its plaintext is at [begin, begin + length) of its bytes. */
struct record_plain {
	uint8_t type; /* RECORD_ALERT, RECORD_HANDSHAKE or RECORD_DATA */
	uint16_t begin;
	uint16_t length; /* 0 only for RECORD_DATA */
	uint32_t bytes;  /* of the record */
};

/* Opens the record at the beginning of a vector, in place. All its bytes are there; it may be cut
 * anywhere, and bytes behind it are not touched. */
MUST_USE enum tls_fault record_open(struct record_keys *k, struct crypt *c,
				    const struct iovec *iov, unsigned n,
				    struct record_plain *r);

/* ---- out ------------------------------------------------------------------------ */

/* Plaintext at `from`, sealed to `to`. The same address: in place, so nobody else may read these
 * bytes. Otherwise the two do not overlap. */
struct record_part {
	const void *from;
	void *to;
	uint32_t len;
};

/* What a record has before and behind its sealed plaintext. */
static inline unsigned record_head_bytes(const struct record_keys *k)
{
	bool explicit_nonce = k->suite->version == TLS_1_2 &&
			      k->suite->cipher != CRYPT_CHACHA20_POLY1305;

	return explicit_nonce ? RECORD_HEAD_MAX : RECORD_HEADER_BYTES;
}

static inline unsigned record_tail_bytes(const struct record_keys *k)
{
	return k->suite->version == TLS_1_2 ? CRYPT_TAG_BYTES : RECORD_TAIL_MAX;
}

/* Seals one record: `head`, the parts, `tail` are its bytes, in this order. The parts have
 * RECORD_PLAIN_MAX bytes at most, and not 0 unless the type is RECORD_DATA. False: the library
 * failed, or the sequence numbers are used up; the parts have been overwritten, and nothing of
 * them may be sent. */
MUST_USE bool record_seal(struct record_keys *k, struct crypt *c, enum record_type type,
			  const struct record_part *parts, unsigned n, uint8_t *head,
			  uint8_t *tail);

#endif
