/* Certificates for tests: made when the test runs, so that none expires.
 *
 * Errors: none; what fails ends the test program (ASSERT). Not for several threads at once. */
#ifndef TESTS_LIB_PKI_H
#define TESTS_LIB_PKI_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "tls/context.h"

enum pki_key { PKI_P256, PKI_P384, PKI_RSA, PKI_RSA_1024, PKI_ED25519 };

struct pki;

struct pki_options {
	const char *common_name; /* NULL: none */
	const char *san;         /* as in openssl.cnf: "DNS:a,IP:127.0.0.1"; NULL: none */
	const struct pki *issuer; /* NULL: signed by itself */
	enum pki_key key; /* RSA: the same key for all certificates of a process */
	bool ca;
	const char *usage; /* extendedKeyUsage: "serverAuth", "clientAuth"; NULL: none */
	int from_days, to_days; /* from now; both 0: -1 to 30 */
	long serial;            /* 0: the next number */
};

/* A certificate and its key. */
struct pki {
	X509 *x509;
	EVP_PKEY *key;
	long serial;
	struct slice certificate_pem; /* alone */
	struct slice chain_pem; /* with its issuers, but not the one signed by itself */
	struct slice key_pem;
	struct tls_pair pair; /* chain_pem and key_pem, and a name */
};

/* `name`: of the pair, for messages; must live as long. */
struct pki *pki_new(const char *name, const struct pki_options *options);
void pki_free(struct pki *p); /* NULL: nothing */

/* PEM of a CRL of this CA with these serial numbers, valid from yesterday until `to_days` from now.
 * To be freed with pki_text_free(). */
struct slice pki_crl(const struct pki *ca, const long *serials, size_t n, int to_days);

/* The private key, encrypted with a passphrase. To be freed with pki_text_free(). */
struct slice pki_key_encrypted(const struct pki *p);

/* The private key in the encoding before PKCS #8 (BEGIN EC PRIVATE KEY, BEGIN RSA PRIVATE KEY). */
struct slice pki_key_traditional(const struct pki *p);

void pki_text_free(struct slice text);

/* SHA-256 of the SubjectPublicKeyInfo. */
void pki_pin(const struct pki *p, uint8_t pin[32]);

#endif
