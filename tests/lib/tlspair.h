/* A client and a server of the library, connected through memory, with the keys of both directions
 * as our own records need them: what the library makes of the same secrets can be compared.
 *
 * Certificate: P-256, made once. Tickets are off, so that no record is sealed after the
 * handshake. */
#ifndef LIB_TLSPAIR_H
#define LIB_TLSPAIR_H

#include <openssl/ssl.h>

#include "../../src/tls/record.h"

enum tlspair_end { TLSPAIR_CLIENT, TLSPAIR_SERVER };

struct tlspair {
	SSL *ends[2];
	/* Of what each end seals, after the handshake. */
	struct record_keys keys[2];
	/* The last record that each end has sent in the handshake: explicit nonce of Finished. */
	uint8_t finished[2][8];
	uint8_t secrets[2][CRYPT_SECRET_MAX];
};

/* Makes a full handshake with this suite. The library's ECDSA suites only, of TLS 1.2. */
void tlspair_open(struct tlspair *p, struct crypt *crypt, const struct suite *suite);
void tlspair_close(struct tlspair *p);

/* Takes what an end has sent, `max` bytes at most. */
size_t tlspair_take(struct tlspair *p, enum tlspair_end end, void *out, size_t max);

/* Gives bytes to an end. */
void tlspair_give(struct tlspair *p, enum tlspair_end end, const void *bytes, size_t n);

#endif
