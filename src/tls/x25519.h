/* Key pairs of X25519 (RFC 7748): a key manager of the provider "fairlead", and its group of TLS.
 *
 * Why: each handshake makes a key pair. OpenSSL computes its public key with code for machines
 * without a 64-bit multiplication, in 50 µs, which is more than the exchange itself takes;
 * curve25519.h takes 19. The exchange is the library's: it exports the keys to its own key manager,
 * as it does for the keys of any provider.
 *
 * Keys are cleansed. Owner: the library. Private to tls. */
#ifndef TLS_X25519_H
#define TLS_X25519_H

#include <openssl/core.h>

/* What the provider has to offer. */
extern const OSSL_ALGORITHM x25519_managers[];
extern const OSSL_PARAM x25519_group[]; /* as capability TLS-GROUP */

#endif
