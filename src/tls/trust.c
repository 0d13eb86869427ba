#include "trust.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "library.h"
#include "pem.h"

#define REASON_MAX 256
#define NAME_MAX_SHOWN 200

static void trust_free(struct shared *s)
{
	struct trust *t = CONTAINER(s, struct trust, shared);

	X509_STORE_free(t->store);
	free(t);
}

static bool trust_add_certificate(struct trust *t, const struct pem_block *b)
{
	const unsigned char *der = b->der;
	X509 *x = d2i_X509(NULL, &der, b->len);
	bool good = x && X509_STORE_add_cert(t->store, x) == 1;

	X509_free(x);
	return good;
}

static bool trust_add_crl(struct trust *t, const struct pem_block *b)
{
	const unsigned char *der = b->der;
	X509_CRL *crl = d2i_X509_CRL(NULL, &der, b->len);
	bool good = crl && X509_STORE_add_crl(t->store, crl) == 1;

	X509_CRL_free(crl);
	return good;
}

/* Adds all certificates or all CRLs of a text. `*n`: how many. False: the library's queue has the
 * reason. */
static bool trust_read(struct trust *t, struct slice pem, enum pem_kind kind, size_t *n)
{
	BIO *text = pem_open(pem);
	struct pem_block block;
	bool good = text;

	*n = 0;
	while (good && (block = pem_next(text)).kind < PEM_END) {
		if (block.kind == kind) {
			good = kind == PEM_CRL ? trust_add_crl(t, &block)
					       : trust_add_certificate(t, &block);
			++*n;
		}
		pem_free(&block);
	}
	BIO_free(text);
	return good && block.kind == PEM_END;
}

static bool crl_exists(STACK_OF(X509_OBJECT) * objects, const X509_NAME *issuer)
{
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509_CRL *crl =
			X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));

		if (crl && X509_NAME_cmp(X509_CRL_get_issuer(crl), issuer) == 0)
			return true;
	}
	return false;
}

/* The whole chain is checked for revocation, so a certificate of an issuer without a CRL is never
 * accepted: an error now is better than refused clients later. The issuer that has none, or
 * NULL. */
static const X509_NAME *issuer_without_crl(const struct trust *t)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(t->store);

	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));

		if (x && !crl_exists(objects, X509_get_subject_name(x)))
			return X509_get_subject_name(x);
		if (x && !crl_exists(objects, X509_get_issuer_name(x)))
			return X509_get_issuer_name(x);
	}
	return NULL;
}

/* What trust is made from, and where an error goes. */
struct trust_source {
	struct slice ca_name, ca, crl_name, crl;
	char *error;
	size_t error_size;
};

/* `why` NULL: the library's queue has the reason. */
static bool source_fail(const struct trust_source *from, struct slice name,
			const char *why)
{
	char reason[REASON_MAX];

	if (!why)
		why = library_error(reason, sizeof(reason));
	snprintf(from->error, from->error_size, "%.*s: %s", SLICE_ARG(name), why);
	return false;
}

static bool trust_check_crls(const struct trust *t, const struct trust_source *from)
{
	const X509_NAME *issuer = issuer_without_crl(t);
	char name[NAME_MAX_SHOWN], why[NAME_MAX_SHOWN + 200];

	if (!issuer)
		return true;
	X509_NAME_oneline(issuer, name, sizeof(name));
	snprintf(
		why, sizeof(why),
		"no CRL of %s in the file; put it there, as a block BEGIN X509 CRL, because "
		"clients of an issuer without one are refused",
		name);
	return source_fail(from, from->crl_name, why);
}

static bool trust_fill(struct trust *t, const struct trust_source *from)
{
	size_t n;

	if (!t->store || !trust_read(t, from->ca, PEM_CERTIFICATE, &n))
		return source_fail(from, from->ca_name, NULL);
	if (n == 0)
		return source_fail(from, from->ca_name,
				   "no certificate in the file; put each issuer to trust "
				   "there, as a block BEGIN CERTIFICATE");
	t->crl = from->crl.len > 0;
	if (!t->crl)
		return true;
	if (!trust_read(t, from->crl, PEM_CRL, &n))
		return source_fail(from, from->crl_name, NULL);
	return trust_check_crls(t, from);
}

static struct shared *trust_decode(const struct trust_source *from,
				   const uint8_t digest[SHARED_DIGEST])
{
	struct trust *t = calloc(1, sizeof(*t));
	bool good;

	ERR_clear_error();
	if (!t) {
		source_fail(from, from->ca_name, "out of memory");
		return NULL;
	}
	t->store = X509_STORE_new();
	good = trust_fill(t, from);
	ERR_clear_error();
	if (good)
		return shared_add(&t->shared, digest, trust_free);
	trust_free(&t->shared);
	return NULL;
}

struct trust *trust_new(struct slice ca_name, struct slice ca, struct slice crl_name,
			struct slice crl, char *error, size_t error_size)
{
	const struct trust_source from = {
		ca_name, ca, crl_name, crl, error, error_size
	};
	const struct slice parts[] = { ca, crl };
	uint8_t digest[SHARED_DIGEST];
	struct shared *s;

	if (!shared_digest(digest, SHARED_TRUST, parts, COUNT(parts))) {
		source_fail(&from, ca_name, "out of memory");
		return NULL;
	}
	s = shared_find(digest);
	if (!s)
		s = trust_decode(&from, digest);
	return s ? CONTAINER(s, struct trust, shared) : NULL;
}

void trust_unref(struct trust *t)
{
	shared_unref(t ? &t->shared : NULL);
}

STACK_OF(X509_NAME) * trust_names(const struct trust *t)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(t->store);
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();

	for (int i = 0; names && i < sk_X509_OBJECT_num(objects); i++) {
		X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
		X509_NAME *name = x ? X509_NAME_dup(X509_get_subject_name(x)) : NULL;

		if (x && (!name || sk_X509_NAME_push(names, name) <= 0)) {
			X509_NAME_free(name);
			sk_X509_NAME_pop_free(names, X509_NAME_free);
			names = NULL;
		}
	}
	return names;
}

bool trust_use(const struct trust *t, SSL_CTX *library)
{
	/* An issuer that is named is trusted, also if it is not a root. */
	unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;

	if (t->crl)
		flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
	return X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(library), flags) == 1 &&
	       SSL_CTX_set1_verify_cert_store(library, t->store) == 1;
}

const char *tls_system_ca_file(void)
{
	const char *named = getenv("SSL_CERT_FILE");
	const char *const files[] = {
		named ? named : "",
		"/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch, Alpine */
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
		"/etc/ssl/ca-bundle.pem",                            /* SUSE */
		"/etc/ssl/cert.pem",                                 /* BSD */
	};

	for (size_t i = 0; i < COUNT(files); i++)
		if (files[i][0] && access(files[i], R_OK) == 0)
			return files[i];
	return NULL;
}
