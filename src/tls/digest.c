#include "tls/digest.h"

#include <openssl/err.h>
#include <openssl/evp.h>

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
