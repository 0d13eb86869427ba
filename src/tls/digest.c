#include "tls/digest.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/check.h"
#include "library.h"

void tls_digest(const struct slice *parts, size_t n, uint8_t digest[TLS_DIGEST_BYTES])
{
	const struct library *l = library();
	EVP_MD_CTX *c;
	bool good;

	ERR_clear_error();
	c = EVP_MD_CTX_new();
	good = c && EVP_DigestInit_ex(c, l->sha256, NULL) == 1;
	for (size_t i = 0; i < n && good; i++)
		good = parts[i].len == 0 ||
		       EVP_DigestUpdate(c, parts[i].ptr, parts[i].len) == 1;
	good = good && EVP_DigestFinal_ex(c, digest, NULL) == 1;
	EVP_MD_CTX_free(c);
	ASSERT(good);
}

struct tls_digester {
	EVP_MD_CTX *context; /* used again for each digest */
};

struct tls_digester *tls_digester_new(void)
{
	struct tls_digester *d = malloc(sizeof(*d));

	if (!d)
		return NULL;
	d->context = EVP_MD_CTX_new();
	if (d->context && EVP_DigestInit_ex(d->context, library()->sha256, NULL) == 1)
		return d;
	ERR_clear_error();
	tls_digester_free(d);
	return NULL;
}

void tls_digester_free(struct tls_digester *d)
{
	if (d)
		EVP_MD_CTX_free(d->context);
	free(d);
}

void tls_digest_by(struct tls_digester *d, struct slice text,
		   uint8_t digest[TLS_DIGEST_BYTES])
{
	bool good = EVP_DigestInit_ex(d->context, NULL, NULL) == 1 &&
		    EVP_DigestUpdate(d->context, text.ptr, text.len) == 1 &&
		    EVP_DigestFinal_ex(d->context, digest, NULL) == 1;

	ASSERT(good);
}
