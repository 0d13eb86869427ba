/* The public key of X25519 (RFC 7748): a multiple of the base point, by a table.
 *
 * The Montgomery curve of X25519 is the Edwards curve of Ed25519 in other coordinates (RFC 7748
 * 4.1), where points are added completely, and u is (1 + y) / (1 - y). The multiple is the sum of
 * 64 entries of the table, one for each four bits of the scalar. Neither branches nor addresses
 * depend on the scalar.
 *
 * Owner: the process: the table has 30 KB, made once. Private to tls. */
#ifndef TLS_CURVE25519_H
#define TLS_CURVE25519_H

#include <stdint.h>

#define CURVE25519_BYTES 32

/* Makes the table: once per process, before all else; a millisecond. */
void curve25519_init(void);

/* The public key of a private key. */
void curve25519_public(uint8_t public[CURVE25519_BYTES],
		       const uint8_t private[CURVE25519_BYTES]);

#endif
