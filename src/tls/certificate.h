/* A pair of certificate chain and private key, decoded: what a server's handshake presents for one
 * of its names, or a client's to its server.
 *
 * Owner: counted references, atomic. Immutable. Limits: none of its own; 7 KB without its
 * issuers. */
#ifndef TLS_CERTIFICATE_H
#define TLS_CERTIFICATE_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "tls/context.h"

/* One SSL object has room for one certificate of each. In order of preference. */
enum key_kind { KEY_ECDSA, KEY_RSA, KEY_EDDSA, KEY_KINDS };

struct certificate {
	_Atomic unsigned refs;
	struct tls_certificate seen; /* first: what others see of it */
	enum key_kind kind;
	X509 *leaf;
	STACK_OF(X509) * issuers; /* may be empty */
	EVP_PKEY *key;
	unsigned char digest[32]; /* SHA-256 of the chain */
	char *text;               /* file, names, subject */
};

/* Decodes a pair. NULL: `error` has the reason, with the pair's name. */
struct certificate *certificate_new(const struct tls_pair *pair, char *error,
				    size_t error_size);
struct certificate *certificate_ref(struct certificate *c);
void certificate_unref(struct certificate *c); /* NULL: nothing */

/* Gives certificate, issuers and key to an SSL object or, if that is NULL, to an SSL_CTX. False: no
 * memory, or the library refuses the key as too weak. */
bool certificate_use(const struct certificate *c, SSL *ssl, SSL_CTX *library);

#endif
