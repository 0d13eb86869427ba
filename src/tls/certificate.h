/* A pair of certificate chain and private key, decoded: what a server's handshake presents for
 * one of its names, or a client's to its server.
 *
 * Owner: shared by the contexts of the process (shared.h); so are issuers that several pairs
 * have. Immutable. Limits: CHAIN_MAX certificates. */
#ifndef TLS_CERTIFICATE_H
#define TLS_CERTIFICATE_H

#include <openssl/ssl.h>

#include "shared.h"
#include "tls/context.h"

#define CHAIN_MAX 10

/* One SSL object has room for one certificate of each. In order of preference. */
enum key_kind { KEY_ECDSA, KEY_RSA, KEY_EDDSA, KEY_KINDS };

/* The certificates behind the first one of a chain. */
struct issuers {
	struct shared shared;
	STACK_OF(X509) * list;
};

struct certificate {
	struct shared shared;
	struct tls_certificate seen; /* what others see of it */
	enum key_kind kind;
	X509 *leaf;
	struct issuers *issuers; /* NULL: none */
	EVP_PKEY *key;
	char *texts; /* the block of memory that `seen` refers to */
};

/* Decodes a pair, or finds it. NULL: `error` has the reason, with the pair's name. */
struct certificate *certificate_new(const struct tls_pair *pair, char *error,
				    size_t error_size);
void certificate_unref(struct certificate *c); /* NULL: nothing */

/* Gives certificate, issuers and key to an SSL object or, if that is NULL, to an SSL_CTX. False:
 * no memory, or the library refuses the key as too weak. */
bool certificate_use(const struct certificate *c, SSL *ssl, SSL_CTX *library);

#endif
