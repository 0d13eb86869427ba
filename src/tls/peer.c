#include "tls/peer.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "library.h"
#include "peer.h"

/* The texts of a struct tls_peer, in the order in which they are written. */
enum { SUBJECT, ISSUER, SAN, SERIAL, FINGERPRINT, CERTIFICATE, CHAIN, TEXTS };

/* Texts behind each other, and where each ends. */
struct texts {
	BIO *bytes;
	size_t ends[TEXTS];
	unsigned n;
	bool failed;
};

static void put(struct texts *t, const void *bytes, size_t n)
{
	if (n > 0 && BIO_write(t->bytes, bytes, (int)n) != (int)n)
		t->failed = true;
}

static void put_slice(struct texts *t, struct slice s)
{
	put(t, s.ptr, s.len);
}

static void text_end(struct texts *t)
{
	char *unused;

	t->ends[t->n++] = (size_t)BIO_get_mem_data(t->bytes, &unused);
}

static void put_hex(struct texts *t, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		char pair[2] = { digits[bytes[i] >> 4], digits[bytes[i] & 15] };

		put(t, pair, sizeof(pair));
	}
}

/* The names of others: what could be taken for a separator, or is not printable, becomes a
 * backslash and two digits (as in RFC 4514 2.4). */
static void put_escaped(struct texts *t, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = (uint8_t)bytes[i];

		if (c > ' ' && c < 0x7f && !strchr(",;\\\"", c)) {
			put(t, &bytes[i], 1);
		} else {
			put(t, "\\", 1);
			put_hex(t, &c, 1);
		}
	}
}

/* RFC 2253, with control characters and what is not ASCII escaped. */
static void put_name(struct texts *t, const X509_NAME *name)
{
	if (X509_NAME_print_ex(t->bytes, name, 0, XN_FLAG_RFC2253) < 0)
		t->failed = true;
	text_end(t);
}

static void put_address(struct texts *t, const ASN1_OCTET_STRING *address)
{
	const uint8_t *bytes = ASN1_STRING_get0_data(address);
	int n = ASN1_STRING_length(address);
	char text[INET6_ADDRSTRLEN];

	if ((n == 4 || n == 16) &&
	    inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)))
		put_slice(t, slice_of(text));
	else
		put_hex(t, bytes, n > 0 ? (size_t)n : 0);
}

/* "DNS:a, URI:b": names, addresses of mail and of hosts. Other kinds are left out. */
static void put_alternative_names(struct texts *t, const X509 *x)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool first = true;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		struct slice kind = name->type == GEN_DNS     ? SLICE("DNS:")
				    : name->type == GEN_URI   ? SLICE("URI:")
				    : name->type == GEN_EMAIL ? SLICE("email:")
				    : name->type == GEN_IPADD ? SLICE("IP:")
							      : SLICE("");

		if (kind.len == 0)
			continue;
		if (!first)
			put_slice(t, SLICE(", "));
		first = false;
		put_slice(t, kind);
		if (name->type == GEN_IPADD)
			put_address(t, name->d.iPAddress);
		else
			put_escaped(t, (const char *)ASN1_STRING_get0_data(name->d.ia5),
				    (size_t)ASN1_STRING_length(name->d.ia5));
	}
	GENERAL_NAMES_free(names);
	text_end(t);
}

static void put_serial(struct texts *t, const X509 *x)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
	char *text = number ? BN_bn2hex(number) : NULL;

	if (text)
		put_slice(t, slice_of(text));
	else
		t->failed = true;
	OPENSSL_free(text);
	BN_free(number);
	text_end(t);
}

static void put_fingerprint(struct texts *t, const X509 *x)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (X509_digest(x, library()->sha256, digest, &n) != 1)
		t->failed = true;
	put_hex(t, digest, n);
	text_end(t);
}

/* A byte sequence of structured fields (RFC 8941 3.3.5). */
static void put_byte_sequence(struct texts *t, const X509 *x)
{
	unsigned char *der = NULL;
	int len = i2d_X509(x, &der);
	char *base64 = len > 0 ? malloc(((size_t)len + 2) / 3 * 4 + 1) : NULL;

	if (base64) {
		put_slice(t, SLICE(":"));
		put(t, base64,
		    (size_t)EVP_EncodeBlock((unsigned char *)base64, der, len));
		put_slice(t, SLICE(":"));
	} else {
		t->failed = true;
	}
	free(base64);
	OPENSSL_free(der);
}

/* RFC 9440 2.3: without the certificate itself. The trust anchor may be left out, and is. */
static void put_chain(struct texts *t, STACK_OF(X509) * chain)
{
	for (int i = 1; i < sk_X509_num(chain); i++) {
		X509 *x = sk_X509_value(chain, i);

		if (i + 1 == sk_X509_num(chain) && X509_self_signed(x, 0) == 1)
			break;
		if (i > 1)
			put_slice(t, SLICE(", "));
		put_byte_sequence(t, x);
	}
	text_end(t);
}

static struct slice peer_text(const struct texts *t, const char *bytes, unsigned i)
{
	size_t begin = i > 0 ? t->ends[i - 1] : 0;

	return (struct slice){ bytes + begin, t->ends[i] - begin };
}

static struct tls_peer *peer_make(const struct texts *t)
{
	char *from;
	size_t n = (size_t)BIO_get_mem_data(t->bytes, &from);
	struct tls_peer *p = t->failed ? NULL : malloc(sizeof(*p) + n);
	const char *bytes;

	if (!p)
		return NULL;
	ASSERT(t->n == TEXTS && t->ends[TEXTS - 1] == n);
	bytes = memcpy(p + 1, from, n);
	*p = (struct tls_peer){
		.subject = peer_text(t, bytes, SUBJECT),
		.issuer = peer_text(t, bytes, ISSUER),
		.san = peer_text(t, bytes, SAN),
		.serial = peer_text(t, bytes, SERIAL),
		.fingerprint = peer_text(t, bytes, FINGERPRINT),
		.certificate = peer_text(t, bytes, CERTIFICATE),
		.chain = peer_text(t, bytes, CHAIN),
	};
	return p;
}

bool peer_render(const SSL *ssl, struct tls_peer **peer)
{
	X509 *x = SSL_get0_peer_certificate(ssl);
	struct texts t = { .bytes = x ? BIO_new(BIO_s_mem()) : NULL };

	*peer = NULL;
	if (!t.bytes)
		return !x;
	put_name(&t, X509_get_subject_name(x));
	put_name(&t, X509_get_issuer_name(x));
	put_alternative_names(&t, x);
	put_serial(&t, x);
	put_fingerprint(&t, x);
	put_byte_sequence(&t, x);
	text_end(&t);
	put_chain(&t, SSL_get0_verified_chain(ssl));
	*peer = peer_make(&t);
	BIO_free(t.bytes);
	return *peer;
}
