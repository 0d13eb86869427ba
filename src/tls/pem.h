/* PEM texts (RFC 7468): their blocks, one after the other.
 *
 * Not the library's functions for one type: those try all decoders with a private key (1 ms), and
 * cannot tell an encrypted key, or a file of something else. No owner; errors: see pem_next(). */
#ifndef TLS_PEM_H
#define TLS_PEM_H

#include <openssl/types.h>

#include "base/slice.h"

enum pem_kind {
	PEM_CERTIFICATE,
	PEM_CRL,
	PEM_KEY,
	PEM_KEY_ENCRYPTED,
	PEM_OTHER, /* parameters of a curve, a public key … */
	PEM_END,   /* no block is left */
	PEM_BROKEN /* cannot be decoded: the library's queue has the reason */
};

struct pem_block {
	enum pem_kind kind;
	char *label;
	unsigned char *der;
	long len;
};

/* Takes the next block from the text. The caller frees it. */
struct pem_block pem_next(BIO *text);
void pem_free(struct pem_block *b);

/* The private key of a block PEM_KEY. NULL: the library's queue has the reason. */
EVP_PKEY *pem_key(const struct pem_block *b);

/* A BIO over the text, which must live as long. NULL: no memory. */
BIO *pem_open(struct slice text);

#endif
