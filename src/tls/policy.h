/* Which clients must present a certificate: a policy of a server's context, chosen by the requested
 * name. Each has an SSL_CTX of its own, so that a handshake costs no more than without.
 *
 * Where client certificates are read, no session is resumed and no ticket sent: a verification is
 * never older than its connection, and a CRL works from the next connection on.
 *
 * Owner: the context. Immutable. Errors: NULL with a message. */
#ifndef TLS_POLICY_H
#define TLS_POLICY_H

#include <openssl/ssl.h>

#include "tls/context.h"
#include "trust.h"

struct policy {
	enum tls_client_auth client_auth;
	unsigned tag; /* of the caller */
	SSL_CTX *library;
	struct trust *trust; /* NULL: TLS_AUTH_OFF */
	/* Of everything that decides which clients are let in: part of the session id context. */
	uint8_t digest[SHARED_DIGEST];
};

/* `library`: an SSL_CTX that is set up but for this; the policy owns it from now on, also after
 * false. */
bool policy_init(struct policy *p, SSL_CTX *library, const struct tls_policy *options,
		 char *error, size_t error_size);
void policy_done(struct policy *p); /* of zeroes: nothing */

#endif
