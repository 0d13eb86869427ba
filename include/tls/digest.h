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

#endif
