#include "lib/pki.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tls/warm.h"

#define DAY 86400L

static struct slice text_of(BIO *bio)
{
	char *bytes, *copy;
	long len = BIO_get_mem_data(bio, &bytes);

	copy = malloc((size_t)len + 1);
	ASSERT(copy);
	memcpy(copy, bytes, (size_t)len);
	copy[len] = '\0';
	BIO_free(bio);
	return (struct slice){ copy, (size_t)len };
}

void pki_text_free(struct slice text)
{
	free((char *)text.ptr);
}

/* A key of RSA takes 100 ms: one for all. */
static EVP_PKEY *rsa_key(unsigned bits)
{
	static EVP_PKEY *keys[2];
	EVP_PKEY **key = &keys[bits == 1024];

	if (!*key)
		*key = EVP_RSA_gen(bits);
	ASSERT(*key && EVP_PKEY_up_ref(*key));
	return *key;
}

static EVP_PKEY *key_new(enum pki_key kind)
{
	switch (kind) {
	case PKI_P256:
		return EVP_EC_gen("P-256");
	case PKI_P384:
		return EVP_EC_gen("P-384");
	case PKI_RSA:
		return rsa_key(2048);
	case PKI_RSA_1024:
		return rsa_key(1024);
	case PKI_ED25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	}
	return NULL;
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	if (!value)
		return;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ASSERT(e && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static const EVP_MD *digest_for(const EVP_PKEY *key)
{
	return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
}

static X509 *certificate_made(const struct pki *p, const struct pki_options *o)
{
	X509 *x = X509_new(), *issuer = o->issuer ? o->issuer->x509 : x;
	EVP_PKEY *signer = o->issuer ? o->issuer->key : p->key;
	X509_NAME *subject = X509_get_subject_name(x);
	bool spans = o->from_days || o->to_days;

	ASSERT(x && X509_set_version(x, X509_VERSION_3));
	ASSERT(ASN1_INTEGER_set(X509_get_serialNumber(x), p->serial));
	X509_gmtime_adj(X509_getm_notBefore(x), (spans ? o->from_days : -1) * DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), (spans ? o->to_days : 30) * DAY);
	if (o->common_name)
		ASSERT(X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
						  (const unsigned char *)o->common_name,
						  -1, -1, 0));
	ASSERT(X509_set_pubkey(x, p->key));
	ASSERT(X509_set_issuer_name(x, X509_get_subject_name(issuer)));
	extend(x, issuer, NID_basic_constraints, o->ca ? "critical,CA:TRUE" : "CA:FALSE");
	extend(x, issuer, NID_key_usage,
	       o->ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
	extend(x, issuer, NID_subject_key_identifier, "hash");
	extend(x, issuer, NID_authority_key_identifier, "keyid:always");
	extend(x, issuer, NID_subject_alt_name, o->san);
	extend(x, issuer, NID_ext_key_usage, o->usage);
	ASSERT(X509_sign(x, signer, digest_for(signer)) > 0);
	return x;
}

static void pems_make(struct pki *p, const struct pki_options *o)
{
	BIO *certificate = BIO_new(BIO_s_mem()), *chain = BIO_new(BIO_s_mem()),
	    *key = BIO_new(BIO_s_mem());

	ASSERT(PEM_write_bio_X509(certificate, p->x509) == 1);
	ASSERT(PEM_write_bio_X509(chain, p->x509) == 1);
	/* The chain of an issuer that is signed by itself is its own certificate. */
	if (o->issuer && o->issuer->chain_pem.len > 0 &&
	    X509_NAME_cmp(X509_get_subject_name(o->issuer->x509),
			  X509_get_issuer_name(o->issuer->x509)) != 0)
		BIO_write(chain, o->issuer->chain_pem.ptr, (int)o->issuer->chain_pem.len);
	ASSERT(PEM_write_bio_PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL) == 1);
	p->certificate_pem = text_of(certificate);
	p->chain_pem = text_of(chain);
	p->key_pem = text_of(key);
}

struct pki *pki_new(const char *name, const struct pki_options *options)
{
	static long serial = 1000;
	struct pki *p = calloc(1, sizeof(*p));

	ASSERT(tls_library_init() && p);
	p->serial = options->serial ? options->serial : serial++;
	p->key = key_new(options->key);
	ASSERT(p->key);
	p->x509 = certificate_made(p, options);
	pems_make(p, options);
	p->pair = (struct tls_pair){ slice_of(name), p->chain_pem, p->key_pem };
	return p;
}

void pki_free(struct pki *p)
{
	if (!p)
		return;
	X509_free(p->x509);
	EVP_PKEY_free(p->key);
	pki_text_free(p->certificate_pem);
	pki_text_free(p->chain_pem);
	pki_text_free(p->key_pem);
	free(p);
}

static void revoke(X509_CRL *crl, long serial)
{
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	ASN1_TIME *when = X509_time_adj_ex(NULL, -1, 0, NULL);

	ASSERT(r && number && when && ASN1_INTEGER_set(number, serial));
	ASSERT(X509_REVOKED_set_serialNumber(r, number));
	ASSERT(X509_REVOKED_set_revocationDate(r, when));
	ASSERT(X509_CRL_add0_revoked(crl, r));
	ASN1_INTEGER_free(number);
	ASN1_TIME_free(when);
}

struct slice pki_crl(const struct pki *ca, const long *serials, size_t n, int to_days)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = X509_time_adj_ex(NULL, -1, 0, NULL),
		  *to = X509_time_adj_ex(NULL, to_days, 0, NULL);
	BIO *bio = BIO_new(BIO_s_mem());

	ASSERT(crl && from && to && bio && X509_CRL_set_version(crl, X509_CRL_VERSION_2));
	ASSERT(X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->x509)));
	ASSERT(X509_CRL_set1_lastUpdate(crl, from) && X509_CRL_set1_nextUpdate(crl, to));
	for (size_t i = 0; i < n; i++)
		revoke(crl, serials[i]);
	X509_CRL_sort(crl);
	ASSERT(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0);
	ASSERT(PEM_write_bio_X509_CRL(bio, crl) == 1);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	X509_CRL_free(crl);
	return text_of(bio);
}

struct slice pki_key_encrypted(const struct pki *p)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ASSERT(PEM_write_bio_PrivateKey(bio, p->key, EVP_aes_128_cbc(),
					(const unsigned char *)"secret", 6, NULL,
					NULL) == 1);
	return text_of(bio);
}

struct slice pki_key_traditional(const struct pki *p)
{
	BIO *bio = BIO_new(BIO_s_mem());

	ASSERT(PEM_write_bio_PrivateKey_traditional(bio, p->key, NULL, NULL, 0, NULL,
						    NULL) == 1);
	return text_of(bio);
}

void pki_pin(const struct pki *p, uint8_t pin[32])
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(p->x509), &der);

	ASSERT(len > 0);
	SHA256(der, (size_t)len, pin);
	OPENSSL_free(der);
}
