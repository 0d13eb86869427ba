/* The provider "fairlead" of the library: what handshakes need and we have cheaper, which is the
 * key schedule of TLS 1.3 (schedule.h) and key pairs of X25519 (x25519.h).
 *
 * Only contexts that are made with provider_wanted() use it. Where the library is to use validated
 * code only (FIPS), nothing of ours takes its place: then there is no such provider, no secret of a
 * connection is known, and the library's objects do the records.
 *
 * Owner: the process. Private to tls. */
#ifndef TLS_PROVIDER_H
#define TLS_PROVIDER_H

#include <stdbool.h>

/* Of its algorithms. */
#define PROVIDER_PROPERTIES "provider=fairlead"

/* Once per process, before the first SSL_CTX. */
bool provider_init(void);

/* The properties of an SSL_CTX: algorithms of this provider where it has some. NULL: none are. */
const char *provider_wanted(void);

#endif
