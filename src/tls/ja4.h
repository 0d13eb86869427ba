/* JA4, a fingerprint of a ClientHello by which logs and rules tell kinds of clients apart. Private
 * to tls.
 *
 * Of what a client sends, in an order that does not depend on chance: version, number of suites
 * and extensions, first application protocol, hashes of the sorted suites and of the sorted
 * extensions with the signature algorithms. Computed on request only: it sorts, and hashes twice.
 *
 * Owner, limits: none of its own. Errors: the library cannot hash. Source: FoxIO, JA4 technical
 * details (TLS client fingerprint; BSD licence). */
#ifndef TLS_JA4_H
#define TLS_JA4_H

#include "hello.h"

#define JA4_BYTES 36

/* For a hello that came by TCP. `out` is not terminated. */
MUST_USE bool ja4_write(const struct hello *h, char out[JA4_BYTES]);

#endif
