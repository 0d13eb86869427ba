#include "certificate.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "library.h"
#include "pem.h"

#define REASON_MAX 256

/* What the PEM texts of a pair hold. */
struct blocks {
	struct pem_block chain[CHAIN_MAX];
	size_t chain_n;
	EVP_PKEY *key;
	bool encrypted; /* a key that needs a passphrase */
	bool long_chain;
};

static void blocks_free(struct blocks *b)
{
	for (size_t i = 0; i < b->chain_n; i++)
		pem_free(&b->chain[i]);
	EVP_PKEY_free(b->key);
}

/* Blocks of other kinds are left out: parameters of a curve, the other half of a file that holds
 * both. False: the library's queue has the reason. */
static bool blocks_read_chain(struct blocks *b, struct slice pem)
{
	BIO *text = pem_open(pem);
	struct pem_block block;

	if (!text)
		return false;
	while ((block = pem_next(text)).kind < PEM_END) {
		if (block.kind == PEM_CERTIFICATE && b->chain_n < CHAIN_MAX) {
			b->chain[b->chain_n++] = block;
			continue;
		}
		b->long_chain |= block.kind == PEM_CERTIFICATE;
		pem_free(&block);
	}
	BIO_free(text);
	return block.kind == PEM_END;
}

static bool blocks_read_key(struct blocks *b, struct slice pem)
{
	BIO *text = pem_open(pem);
	struct pem_block block;
	bool good = text;

	while (good && (block = pem_next(text)).kind < PEM_END) {
		if (block.kind == PEM_KEY && !b->key)
			good = (b->key = pem_key(&block));
		b->encrypted |= block.kind == PEM_KEY_ENCRYPTED;
		pem_free(&block);
	}
	BIO_free(text);
	return good && block.kind == PEM_END;
}

static X509 *block_decode(const struct pem_block *b)
{
	const unsigned char *der = b->der;

	return d2i_X509(NULL, &der, b->len);
}

/* ---- issuers ---------------------------------------------------------------- */

static void issuers_free(struct shared *s)
{
	struct issuers *issuers = CONTAINER(s, struct issuers, shared);

	sk_X509_pop_free(issuers->list, X509_free);
	free(issuers);
}

static struct issuers *issuers_decode(const struct blocks *b)
{
	struct issuers *issuers = calloc(1, sizeof(*issuers));

	if (!issuers || !(issuers->list = sk_X509_new_null())) {
		free(issuers);
		return NULL;
	}
	for (size_t i = 1; i < b->chain_n; i++) {
		X509 *x = block_decode(&b->chain[i]);

		if (!x || sk_X509_push(issuers->list, x) <= 0) {
			X509_free(x);
			issuers_free(&issuers->shared);
			return NULL;
		}
	}
	return issuers;
}

/* Thousands of certificates have one or two lists of issuers between them. */
static struct issuers *issuers_new(const struct blocks *b)
{
	struct slice ders[CHAIN_MAX];
	uint8_t digest[SHARED_DIGEST];
	struct shared *s;
	struct issuers *issuers;

	for (size_t i = 1; i < b->chain_n; i++)
		ders[i] = (struct slice){ (const char *)b->chain[i].der,
					  (size_t)b->chain[i].len };
	if (!shared_digest(digest, SHARED_ISSUERS, ders + 1, b->chain_n - 1))
		return NULL;
	s = shared_find(digest);
	if (!s) {
		issuers = issuers_decode(b);
		s = issuers ? shared_add(&issuers->shared, digest, issuers_free) : NULL;
	}
	return s ? CONTAINER(s, struct issuers, shared) : NULL;
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
	c->texts = malloc(size);
	if (!c->texts)
		return false;
	names = (const char **)(void *)c->texts;
	at = c->texts + list->n * sizeof(char *);
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
	}
	return false;
}

static void certificate_free(struct shared *s)
{
	struct certificate *c = CONTAINER(s, struct certificate, shared);

	X509_free(c->leaf);
	shared_unref(c->issuers ? &c->issuers->shared : NULL);
	EVP_PKEY_free(c->key);
	free(c->texts);
	free(c);
}

/* NULL, or what is wrong with the blocks that were found. */
static const char *blocks_fault(const struct blocks *b)
{
	if (b->chain_n == 0)
		return "no certificate in the file; put the server's own there, as the first "
		       "block BEGIN CERTIFICATE";
	if (b->long_chain)
		return "more than 10 certificates in the file; put there the server's own and its "
		       "issuers";
	if (!b->key && b->encrypted)
		return "the private key is encrypted; remove its passphrase with: openssl pkey "
		       "-in FILE -out FILE";
	if (!b->key)
		return "no private key in the file; put it there, as a block BEGIN PRIVATE KEY";
	return NULL;
}

/* Decodes the blocks. False: `*fault` is the reason, or NULL if the library's queue has it. */
static bool certificate_fill(struct certificate *c, struct blocks *b, struct slice name,
			     const char **fault)
{
	if ((*fault = blocks_fault(b)) || !(c->leaf = block_decode(&b->chain[0])))
		return false;
	c->key = b->key;
	b->key = NULL;
	if (X509_check_private_key(c->leaf, c->key) != 1)
		*fault =
			"the private key does not belong to the first certificate of the "
			 "file; use the key that the certificate was made for";
	else if (!key_kind_of(c->key, &c->kind))
		*fault = "the key is of a kind that TLS does not use; use ECDSA or RSA";
	if (*fault || (b->chain_n > 1 && !(c->issuers = issuers_new(b))))
		return false;
	c->seen.ecdsa = c->kind == KEY_ECDSA;
	c->seen.not_before = seconds_of(X509_get0_notBefore(c->leaf));
	c->seen.not_after = seconds_of(X509_get0_notAfter(c->leaf));
	if (certificate_texts(c, name))
		return true;
	*fault = "out of memory";
	return false;
}

static struct shared *certificate_decode(const struct tls_pair *pair,
					 const uint8_t digest[SHARED_DIGEST], char *error,
					 size_t error_size)
{
	struct certificate *c = calloc(1, sizeof(*c));
	struct blocks b = { 0 };
	const char *fault = NULL;
	char reason[REASON_MAX];
	bool good = c && blocks_read_chain(&b, pair->chain) &&
		    blocks_read_key(&b, pair->key) &&
		    certificate_fill(c, &b, pair->name, &fault);

	if (!good) {
		snprintf(error, error_size, "%.*s: %s", SLICE_ARG(pair->name),
			 fault ? fault : library_error(reason, sizeof(reason)));
		if (c)
			certificate_free(&c->shared);
	}
	blocks_free(&b);
	ERR_clear_error();
	return good ? shared_add(&c->shared, digest, certificate_free) : NULL;
}

struct certificate *certificate_new(const struct tls_pair *pair, char *error,
				    size_t error_size)
{
	const struct slice parts[] = { pair->name, pair->chain, pair->key };
	uint8_t digest[SHARED_DIGEST];
	struct shared *s;

	if (!shared_digest(digest, SHARED_PAIR, parts, COUNT(parts))) {
		snprintf(error, error_size, "%.*s: out of memory", SLICE_ARG(pair->name));
		return NULL;
	}
	s = shared_find(digest);
	if (!s)
		s = certificate_decode(pair, digest, error, error_size);
	return s ? CONTAINER(s, struct certificate, shared) : NULL;
}

void certificate_unref(struct certificate *c)
{
	shared_unref(c ? &c->shared : NULL);
}

bool certificate_use(const struct certificate *c, SSL *ssl, SSL_CTX *ctx)
{
	STACK_OF(X509) *issuers = c->issuers ? c->issuers->list : NULL;

	if (ssl)
		return SSL_use_cert_and_key(ssl, c->leaf, c->key, issuers, 1) == 1;
	return SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, issuers, 1) == 1;
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
