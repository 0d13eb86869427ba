/* SHA-256, to tell contents apart.
 *
 * Owner, errors: none; out of memory ends the process (ASSERT). */
#ifndef TLS_DIGEST_H
#define TLS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define TLS_DIGEST_BYTES 32

/* Of the parts one after the other. */
void tls_digest(const struct slice *parts, size_t n, uint8_t digest[TLS_DIGEST_BYTES]);

/* What a thread keeps to make many digests without allocating memory for each. NULL: no memory. */
struct tls_digester;
struct tls_digester *tls_digester_new(void);
void tls_digester_free(struct tls_digester *d); /* may be NULL */
void tls_digest_by(struct tls_digester *d, struct slice text, uint8_t digest[TLS_DIGEST_BYTES]);

#endif
