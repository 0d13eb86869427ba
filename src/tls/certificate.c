#include "certificate.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "library.h"

#define REASON_MAX 256

/* What the blocks of a PEM file are. */
struct blocks {
	X509 *leaf;
	STACK_OF(X509) * issuers;
	EVP_PKEY *key;
	bool encrypted; /* a key that needs a passphrase */
};

static void blocks_free(struct blocks *b)
{
	X509_free(b->leaf);
	sk_X509_pop_free(b->issuers, X509_free);
	EVP_PKEY_free(b->key);
}

/* The private key of a block with this label; NULL: it is none, or cannot be decoded. The decoder
 * for one encoding takes 150 µs, the one for all 1 ms. */
static EVP_PKEY *key_of_block(const char *label, const unsigned char *der, long len)
{
	PKCS8_PRIV_KEY_INFO *info;
	EVP_PKEY *key;

	if (strcmp(label, PEM_STRING_ECPRIVATEKEY) == 0)
		return d2i_PrivateKey(EVP_PKEY_EC, NULL, &der, len);
	if (strcmp(label, PEM_STRING_RSA) == 0)
		return d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, len);
	if (strcmp(label, PEM_STRING_PKCS8INF) != 0)
		return NULL;
	info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, len);
	key = info ? EVP_PKCS82PKEY(info) : NULL;
	PKCS8_PRIV_KEY_INFO_free(info);
	return key;
}

static bool is_certificate(const char *label)
{
	return strcmp(label, PEM_STRING_X509) == 0 ||
	       strcmp(label, PEM_STRING_X509_OLD) == 0;
}

static bool is_key(const char *label)
{
	return strcmp(label, PEM_STRING_ECPRIVATEKEY) == 0 ||
	       strcmp(label, PEM_STRING_RSA) == 0 ||
	       strcmp(label, PEM_STRING_PKCS8INF) == 0;
}

/* The first certificate is the leaf, all others are its issuers. */
static bool block_take_certificate(struct blocks *b, const unsigned char *der, long len)
{
	X509 *x = d2i_X509(NULL, &der, len);

	if (!x)
		return false;
	if (!b->leaf) {
		b->leaf = x;
		return true;
	}
	if (!b->issuers)
		b->issuers = sk_X509_new_null();
	if (b->issuers && sk_X509_push(b->issuers, x) > 0)
		return true;
	X509_free(x);
	return false;
}

/* Reads the certificates or the key of a PEM text; blocks of other kinds are left out (parameters
 * of a curve, the other half of a combined file). False: the library's queue has the reason. */
static bool blocks_read(struct blocks *b, struct slice pem, bool certificates, bool keys)
{
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	char *label, *header;
	unsigned char *der;
	long len;
	bool good = bio;

	while (good && PEM_read_bio(bio, &label, &header, &der, &len) == 1) {
		if (is_certificate(label) && certificates) {
			good = block_take_certificate(b, der, len);
		} else if (is_key(label) && keys && !b->key) {
			if (strstr(header, "ENCRYPTED"))
				b->encrypted = true;
			else
				good = (b->key = key_of_block(label, der, len));
		} else if (strcmp(label, PEM_STRING_PKCS8) == 0 && keys) {
			b->encrypted = true;
		}
		OPENSSL_free(label);
		OPENSSL_free(header);
		OPENSSL_clear_free(der, (size_t)len);
	}
	BIO_free(bio);
	/* The end of the text is reported as an error, too. */
	if (good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		ERR_clear_error();
	return good && ERR_peek_error() == 0;
}

/* ---- names ------------------------------------------------------------------ */

struct name_list {
	char **at;
	size_t n;
};

static bool name_add(struct name_list *list, const char *name, size_t len)
{
	char **at = realloc(list->at, (list->n + 1) * sizeof(*at));

	if (!at)
		return false;
	list->at = at;
	list->at[list->n] = strndup(name, len);
	if (!list->at[list->n])
		return false;
	for (char *p = list->at[list->n]; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	list->n++;
	return true;
}

static void names_free(struct name_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->at[i]);
	free(list->at);
}

/* No name of a host has a control character, a space or a NUL, which would end it early. */
static bool is_host_text(const unsigned char *p, int len)
{
	for (int i = 0; i < len; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f)
			return false;
	return len > 0;
}

static bool name_add_address(struct name_list *list, const ASN1_OCTET_STRING *address)
{
	int len = ASN1_STRING_length(address);
	char text[INET6_ADDRSTRLEN];

	if (len != 4 && len != 16)
		return true;
	if (!inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address),
		       text, sizeof(text)))
		return false;
	return name_add(list, text, strlen(text));
}

static bool name_add_san(struct name_list *list, const GENERAL_NAME *g)
{
	int type;
	const void *value = GENERAL_NAME_get0_value(g, &type);

	if (type == GEN_IPADD)
		return name_add_address(list, value);
	if (type != GEN_DNS ||
	    !is_host_text(ASN1_STRING_get0_data(value), ASN1_STRING_length(value)))
		return true;
	return name_add(list, (const char *)ASN1_STRING_get0_data(value),
			(size_t)ASN1_STRING_length(value));
}

/* The subject's last common name: used only if there is no subjectAltName (RFC 9525 appendix B). */
static bool name_add_common(struct name_list *list, X509 *leaf)
{
	const X509_NAME *subject = X509_get_subject_name(leaf);
	int at = -1, next;
	unsigned char *text = NULL;
	int len;
	bool good = true;

	while ((next = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
		at = next;
	if (at < 0)
		return true;
	len = ASN1_STRING_to_UTF8(
		&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (len > 0 && is_host_text(text, len))
		good = name_add(list, (const char *)text, (size_t)len);
	OPENSSL_free(text);
	return good;
}

static bool names_read(struct name_list *list, X509 *leaf)
{
	GENERAL_NAMES *san = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool good = true;

	if (!san)
		good = name_add_common(list, leaf);
	for (int i = 0; good && i < sk_GENERAL_NAME_num(san); i++)
		good = name_add_san(list, sk_GENERAL_NAME_value(san, i));
	GENERAL_NAMES_free(san);
	ERR_clear_error();
	return good;
}

/* Subject as one line of RFC 2253, to be freed. NULL: no memory. */
static char *subject_read(X509 *leaf)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *bytes, *copy = NULL;
	long len;

	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(leaf), 0,
				      XN_FLAG_RFC2253) >= 0) {
		len = BIO_get_mem_data(bio, &bytes);
		copy = len > 0 ? strndup(bytes, (size_t)len) : strdup("");
	}
	BIO_free(bio);
	return copy;
}

/* Puts file, names and subject into one block of memory. */
static bool texts_keep(struct certificate *c, struct slice file,
		       const struct name_list *list, const char *subject)
{
	size_t size = list->n * sizeof(char *) + file.len + 1 + strlen(subject) + 1;
	const char **names;
	char *at;

	for (size_t i = 0; i < list->n; i++)
		size += strlen(list->at[i]) + 1;
	c->text = malloc(size);
	if (!c->text)
		return false;
	names = (const char **)(void *)c->text;
	at = c->text + list->n * sizeof(char *);
	for (size_t i = 0; i < list->n; i++) {
		names[i] = at;
		at = stpcpy(at, list->at[i]) + 1;
	}
	c->seen.names = names;
	c->seen.names_n = list->n;
	c->seen.subject = at;
	at = stpcpy(at, subject) + 1;
	c->seen.file = (struct slice){ at, file.len };
	*slice_append(at, file) = '\0';
	return true;
}

static bool certificate_texts(struct certificate *c, struct slice file)
{
	struct name_list list = { 0 };
	char *subject = subject_read(c->leaf);
	bool good = subject && names_read(&list, c->leaf) &&
		    texts_keep(c, file, &list, subject);

	names_free(&list);
	free(subject);
	return good;
}

/* ---- pairs ------------------------------------------------------------------ */

static int64_t seconds_of(const ASN1_TIME *time)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days = 0, seconds = 0;

	if (!epoch || ASN1_TIME_diff(&days, &seconds, epoch, time) != 1)
		days = seconds = 0;
	ASN1_TIME_free(epoch);
	return (int64_t)days * 86400 + seconds;
}

static bool key_kind_of(const EVP_PKEY *key, enum key_kind *kind)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_EC:
		*kind = KEY_ECDSA;
		return true;
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		*kind = KEY_RSA;
		return true;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		*kind = KEY_EDDSA;
		return true;
	default:
		return false;
	}
}

/* NULL, or what is wrong with the blocks that were found. */
static const char *blocks_fault(const struct blocks *b)
{
	if (!b->leaf)
		return "no certificate in the file; put the server's own there, as the first block "
		       "BEGIN CERTIFICATE";
	if (!b->key && b->encrypted)
		return "the private key is encrypted; remove its passphrase with: openssl pkey "
		       "-in FILE -out FILE";
	if (!b->key)
		return "no private key in the file; put it there, as a block BEGIN PRIVATE KEY";
	if (X509_check_private_key(b->leaf, b->key) != 1)
		return "the private key does not belong to the first certificate of the file; use "
		       "the key that the certificate was made for";
	return NULL;
}

static struct certificate *certificate_of(struct blocks *b, struct slice file)
{
	struct certificate *c = calloc(1, sizeof(*c));
	unsigned n = sizeof(c->digest);

	if (!c)
		return NULL;
	c->refs = 1;
	c->leaf = b->leaf;
	c->issuers = b->issuers;
	c->key = b->key;
	*b = (struct blocks){ 0 };
	c->seen.not_before = seconds_of(X509_get0_notBefore(c->leaf));
	c->seen.not_after = seconds_of(X509_get0_notAfter(c->leaf));
	if (X509_digest(c->leaf, library()->sha256, c->digest, &n) == 1 &&
	    certificate_texts(c, file))
		return c;
	certificate_unref(c);
	return NULL;
}

struct certificate *certificate_new(const struct tls_pair *pair, char *error,
				    size_t error_size)
{
	struct blocks b = { 0 };
	struct certificate *c = NULL;
	enum key_kind kind;
	const char *fault;
	char reason[REASON_MAX];

	library();
	ERR_clear_error();
	if (!blocks_read(&b, pair->chain, true, false) ||
	    !blocks_read(&b, pair->key, false, true))
		fault = library_error(reason, sizeof(reason));
	else if (!(fault = blocks_fault(&b)) && !key_kind_of(b.key, &kind))
		fault = "the key is of a kind that TLS servers do not use; use ECDSA or RSA";
	else if (!fault && !(c = certificate_of(&b, pair->name)))
		fault = "out of memory";
	if (c) {
		c->kind = kind;
		c->seen.ecdsa = kind == KEY_ECDSA;
	} else {
		snprintf(error, error_size, "%.*s: %s", SLICE_ARG(pair->name), fault);
	}
	blocks_free(&b);
	ERR_clear_error();
	return c;
}

struct certificate *certificate_ref(struct certificate *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void certificate_unref(struct certificate *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	X509_free(c->leaf);
	sk_X509_pop_free(c->issuers, X509_free);
	EVP_PKEY_free(c->key);
	free(c->text);
	free(c);
}

bool certificate_use(const struct certificate *c, SSL *ssl, SSL_CTX *ctx)
{
	if (ssl)
		return SSL_use_cert_and_key(ssl, c->leaf, c->key, c->issuers, 1) == 1;
	return SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->issuers, 1) == 1;
}

bool tls_certificate_read(const struct tls_pair *pair,
			  struct tls_certificate **certificate, char *error,
			  size_t error_size)
{
	struct certificate *c = certificate_new(pair, error, error_size);

	*certificate = c ? &c->seen : NULL;
	return c;
}

void tls_certificate_free(struct tls_certificate *certificate)
{
	if (certificate)
		certificate_unref(CONTAINER(certificate, struct certificate, seen));
}
