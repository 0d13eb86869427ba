/* The library's object (SSL) of one handshake, made from a context with everything that this
 * context promises; and what the callbacks of the library report of it.
 *
 * Server: the object gets the certificates and the policy of the requested name, so the
 * ClientHello must have been parsed. Client: likewise, with the name to verify. It has no BIO
 * yet.
 *
 * Owner: the session, which frees the object with SSL_free(). `struct tls_hooks` lives as long as
 * the object; it is its app data. */
#ifndef TLS_OBJECT_H
#define TLS_OBJECT_H

#include <openssl/ssl.h>

#include "tls/session.h"

struct tls_hooks {
	struct tls_context *context; /* set by tls_object_…() */

	/* ---- set by the owner; functions may be NULL */
	uint64_t
		now_ms; /* wall clock: for ticket keys and for the validity of certificates.
			    Before each call that goes on with the handshake */
	/* Client: a session to keep. True: the owner has taken the reference. */
	bool (*session)(struct tls_hooks *h, SSL_SESSION *session);

	/* ---- set by the callbacks */
	uint8_t fault; /* enum tls_fault: why the handshake fails, if a callback knows more
			   than the library; else NONE */
	uint8_t policy;     /* index, server */
	bool ticket_missed; /* server: the client's ticket could not be opened */
};

/* The object of a server's handshake. `name`: SNI, lower case; empty: none. NULL: `*fault` says
 * why: NO_MEMORY, or NAME, which is replied to with the alert unrecognized_name (112). */
SSL *tls_object_accept(struct tls_context *c, struct tls_hooks *h, struct slice name,
		       enum tls_fault *fault);

/* The object of a client's handshake. `name`, `sni`: as tls_connect(). NULL: no memory. */
SSL *tls_object_connect(struct tls_context *c, struct tls_hooks *h, struct slice name,
			struct slice sni);

/* Why a certificate was refused (SSL_get_verify_result()); NONE for X509_V_OK. */
enum tls_fault tls_object_verify_fault(long result);

/* ---- for context.c ------------------------------------------------------------ */

/* Makes an SSL_CTX report to the hooks of its objects. */
void object_callbacks(SSL_CTX *library, const struct tls_context *c);

#endif
