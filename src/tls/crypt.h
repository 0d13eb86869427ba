/* The algorithms of records, over the library's: AEAD ciphers, HKDF-Expand-Label (RFC 8446 7.1),
 * the PRF of TLS 1.2 (RFC 5246 5). Private to tls.
 *
 * One struct crypt per thread. It has one cipher context for each cipher and direction, and sets
 * the key when the record of another connection comes: that costs 0.18 µs, and a connection needs
 * no context (960 bytes each). Algorithms are fetched once: a fetch takes locks.
 *
 * Owner: struct tls_thread. Limits: one operation at a time. Errors: false, with an empty error
 * queue: the library has no memory, or lacks an algorithm.
 *
 * The null cipher is for the simulation: every byte is changed, and the tag is a checksum that
 * depends on key, nonce and all bytes. It protects nothing. */
#ifndef TLS_CRYPT_H
#define TLS_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "hmac.h"
#include "tls/context.h"

enum crypt_cipher {
	CRYPT_AES_128_GCM,
	CRYPT_AES_256_GCM,
	CRYPT_CHACHA20_POLY1305,
	CRYPT_NULL,
	CRYPT_CIPHERS
};

#define CRYPT_KEY_MAX 32
#define CRYPT_SECRET_MAX 48
#define CRYPT_NONCE_BYTES 12
#define CRYPT_TAG_BYTES 16

/* A cipher suite whose records tls/record.h can seal and open. */
struct suite {
	uint16_t number; /* of IANA's registry; 0: the null suite */
	uint8_t version; /* enum tls_version */
	uint8_t cipher;  /* enum crypt_cipher */
	uint8_t hash;    /* enum crypt_hash: of the key schedule */
	uint8_t key_bytes;
	uint8_t secret_bytes; /* of a traffic secret: the length of the hash */
	bool ecdsa;           /* TLS 1.2: needs an ECDSA certificate */
	const char *name;     /* IANA's */
};

/* NULL: not one of ours, so the library has to do the records. */
const struct suite *suite_find(uint16_t number);

/* The null suite: framing of TLS 1.3. */
#define SUITE_NULL 0

/* ---- of a thread --------------------------------------------------------------- */

struct crypt;

struct crypt *crypt_new(void); /* NULL: no memory, or an algorithm is missing */
void crypt_free(struct crypt *c);

/* Overwrites what the contexts of a cipher still know of a key. */
void crypt_forget(struct crypt *c, enum crypt_cipher cipher);

/* ---- AEAD ----------------------------------------------------------------------- */

enum crypt_way { CRYPT_SEAL, CRYPT_OPEN, CRYPT_WAYS };

/* Begins an operation: key, nonce, additional data. The nonce of a sealing must never have been
 * used with this key. */
MUST_USE bool crypt_begin(struct crypt *c, enum crypt_cipher cipher, enum crypt_way way,
			  const uint8_t *key, const uint8_t nonce[CRYPT_NONCE_BYTES],
			  const uint8_t *aad, size_t aad_bytes);

/* The next bytes. `from` and `to` are the same, or do not overlap. */
MUST_USE bool crypt_update(struct crypt *c, const void *from, void *to, size_t bytes);

/* Ends a sealing. */
MUST_USE bool crypt_end_seal(struct crypt *c, uint8_t tag[CRYPT_TAG_BYTES]);

/* Ends an opening. False: the tag is another one; nothing of what crypt_update() returned may be
 * used. */
MUST_USE bool crypt_end_open(struct crypt *c, const uint8_t tag[CRYPT_TAG_BYTES]);

/* For tests: of the sealings of this thread from now on, only the n-th fails at its end (1 is the
 * next); 0 switches this off. */
void crypt_fail_at(unsigned n);

/* ---- keys ----------------------------------------------------------------------- */

/* HKDF-Expand-Label(secret, "tls13 " label, "", bytes). */
MUST_USE bool crypt_expand_label(struct crypt *c, const struct suite *suite,
				 const uint8_t *secret, const char *label, uint8_t *out,
				 size_t bytes);

/* PRF(master, label, seed): `bytes` of it. */
MUST_USE bool crypt_prf(struct crypt *c, const struct suite *suite,
			const uint8_t master[48], const char *label, const uint8_t *seed,
			size_t seed_bytes, uint8_t *out, size_t bytes);

#endif
