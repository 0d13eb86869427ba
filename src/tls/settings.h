/* What every SSL_CTX of ours is set to, whatever openssl.cnf says: Mozilla's intermediate
 * recommendation without the suites that have no forward secrecy or no AEAD. A stricter openssl.cnf
 * stays in force. */
#ifndef TLS_SETTINGS_H
#define TLS_SETTINGS_H

#include <openssl/ssl.h>

#include "tls/context.h"

/* Versions, suites, signatures, security level, modes. False: the library's queue has the
 * reason. */
bool settings_apply(SSL_CTX *library, enum tls_version min_version);

/* The groups of the list, or the default ones if n is 0, that the library has; `missing` (n
 * entries) gets those it does not have. False: it has none of them, or no memory. */
bool settings_groups(SSL_CTX *library, const struct slice *groups, size_t n,
		     struct slice *missing, size_t *missing_n);

#endif
