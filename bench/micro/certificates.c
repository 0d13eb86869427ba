/* A server with a thousand certificates: the one for a name, and the object of a handshake. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "../../src/tls/contextparts.h"
#include "../../src/tls/object.h"
#include "micro.h"
#include "tls/warm.h"

#define PAIRS 1000

static struct tls_context *context;
static char hosts[PAIRS][32];

static struct slice text_of_bio(BIO *bio)
{
	char *bytes, *copy;
	long n = BIO_get_mem_data(bio, &bytes);

	copy = malloc((size_t)n);
	micro_must(copy != NULL, "memory");
	memcpy(copy, bytes, (size_t)n);
	BIO_free(bio);
	return (struct slice){ copy, (size_t)n };
}

static struct slice certificate_for(EVP_PKEY *key, unsigned number)
{
	X509 *x = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char names[200];
	X509_EXTENSION *san;

	snprintf(
		names, sizeof(names),
		"DNS:s%u.example,DNS:www.s%u.example,DNS:api.s%u.example,DNS:m.s%u.example,"
		"DNS:*.w.s%u.example",
		number, number, number, number, number);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), number);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, key);
	micro_must(san && X509_add_ext(x, san, -1) &&
			   X509_sign(x, key, EVP_sha256()) > 0 &&
			   PEM_write_bio_X509(bio, x),
		   "a certificate");
	X509_EXTENSION_free(san);
	X509_free(x);
	return text_of_bio(bio);
}

static void prepare_certificates(void)
{
	static struct tls_pair pairs[PAIRS];
	struct tls_server_options o = { .name = SLICE("micro"),
					.pairs = pairs,
					.pairs_n = PAIRS,
					.tickets = true,
					.keylog_fd = -1 };
	EVP_PKEY *key;
	BIO *bio;
	char error[256] = "a context";
	struct slice key_text;

	tls_library_init();
	key = EVP_EC_gen("P-256");
	bio = BIO_new(BIO_s_mem());
	micro_must(key && bio &&
			   PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL),
		   "a key");
	key_text = text_of_bio(bio);
	for (unsigned i = 0; i < PAIRS; i++) {
		pairs[i] = (struct tls_pair){ SLICE("pair"), certificate_for(key, i),
					      key_text };
		snprintf(hosts[i], sizeof(hosts[i]), "%ss%u.example",
			 i % 2 ? "www." : "x.w.", i);
	}
	context = tls_server_context(&o, error, sizeof(error));
	micro_must(context != NULL, error);
	for (unsigned i = 0; i < PAIRS; i++)
		free((void *)(uintptr_t)pairs[i].chain.ptr);
	free((void *)(uintptr_t)key_text.ptr);
	EVP_PKEY_free(key);
}

static void certificate_by_name(unsigned n)
{
	for (unsigned i = 0; n-- > 0; i = (i + 7) % PAIRS)
		micro_must(certtable_find(&context->table, slice_of(hosts[i])) != NULL,
			   "the certificate of a name");
}

static void object_of_handshake(unsigned n)
{
	struct tls_hooks hooks = { .now_ms = 0 };
	enum tls_fault fault;

	for (unsigned i = 0; n-- > 0; i = (i + 7) % PAIRS) {
		SSL *ssl = tls_object_accept(context, &hooks, slice_of(hosts[i]), &fault);

		micro_must(ssl != NULL, "an object");
		SSL_free(ssl);
	}
}

static const struct micro certificates[] = {
	{ "certificate-by-name", "find the certificate of a name among 5,000 names",
	  certificate_by_name },
	{ "tls-object",
	  "make and free the library's object of a handshake, with certificate",
	  object_of_handshake },
};

const struct micro_set micro_certificates = { certificates,
					      sizeof(certificates) /
						      sizeof(certificates[0]),
					      prepare_certificates, NULL };
