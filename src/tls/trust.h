/* Issuers that are trusted, and their lists of revoked certificates: what the certificates of peers
 * are verified with. All in memory: a folder of certificates would be opened at the first
 * verification, which the sandbox forbids.
 *
 * Owner: shared by the contexts of the process (shared.h): the system's bundle takes 50 ms and
 * 700 KB, once. Immutable. Errors: NULL with a message. */
#ifndef TLS_TRUST_H
#define TLS_TRUST_H

#include <openssl/ssl.h>

#include "shared.h"
#include "tls/session.h"

struct trust {
	struct shared shared;
	X509_STORE *store;
	bool crl;
};

/* `ca`, `crl`: PEM; crl may be empty. The names are for messages. */
struct trust *trust_new(struct slice ca_name, struct slice ca, struct slice crl_name,
			struct slice crl, char *error, size_t error_size);
void trust_unref(struct trust *t); /* NULL: nothing */

/* The names of all issuers, to be sent to clients. NULL: no memory. */
STACK_OF(X509_NAME) *trust_names(const struct trust *t);

/* Makes an SSL_CTX verify peers with it. False: no memory. */
bool trust_use(const struct trust *t, SSL_CTX *library);

#endif
