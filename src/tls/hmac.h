/* HMAC (RFC 2104) and HKDF (RFC 5869) with the hashes of TLS, for keys of one block at most.
 *
 * A handshake of TLS 1.3 derives some thirty keys. By EVP_MAC or EVP_KDF each costs 2 to 4 µs,
 * most of it for contexts, parameters and locks; this has its state on the stack. The hashes are
 * the library's.
 *
 * Errors: none. What was on the stack is cleansed. Private to tls. */
#ifndef TLS_HMAC_H
#define TLS_HMAC_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum crypt_hash { CRYPT_SHA256, CRYPT_SHA384, CRYPT_HASHES };

#define HMAC_BYTES_MAX 48 /* of a hash */
#define HMAC_KEY_MAX 64   /* a block of SHA-256 */

size_t hash_size(enum crypt_hash hash);

/* HMAC over the parts one after the other. `out` has hash_size() bytes, and may be the key. */
void hmac(enum crypt_hash hash, const uint8_t *key, size_t key_bytes,
	  const struct slice *parts, unsigned n, uint8_t *out);

/* The hash of nothing. */
void hash_of_nothing(enum crypt_hash hash, uint8_t *out);

#define HKDF_LABEL_MAX 64 /* with prefix */

/* HKDF-Expand-Label (RFC 8446 7.1): `bytes` of it, not more than hash_size(). `label` has the
 * prefix "tls13 "; `data`: its context. */
void hkdf_expand_label(enum crypt_hash hash, const uint8_t *secret, struct slice label,
		       struct slice data, uint8_t *out, size_t bytes);

#endif
