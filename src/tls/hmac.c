#include "hmac.h"

/* The functions of one hash, which need no context of the library, are deprecated for programs
 * that should be able to exchange it. TLS names its hashes. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "base/check.h"

#define BLOCK_MAX SHA512_CBLOCK

struct digest {
	enum crypt_hash hash;
	union {
		SHA256_CTX sha256;
		SHA512_CTX sha384;
	};
};

size_t hash_size(enum crypt_hash hash)
{
	return hash == CRYPT_SHA256 ? SHA256_DIGEST_LENGTH : SHA384_DIGEST_LENGTH;
}

static size_t block_size(enum crypt_hash hash)
{
	return hash == CRYPT_SHA256 ? SHA256_CBLOCK : SHA512_CBLOCK;
}

/* None of these fails: the library returns 1. */
static void digest_begin(struct digest *d, enum crypt_hash hash)
{
	d->hash = hash;
	if (hash == CRYPT_SHA256)
		SHA256_Init(&d->sha256);
	else
		SHA384_Init(&d->sha384);
}

static void digest_add(struct digest *d, const void *bytes, size_t n)
{
	if (d->hash == CRYPT_SHA256)
		SHA256_Update(&d->sha256, bytes, n);
	else
		SHA384_Update(&d->sha384, bytes, n);
}

static void digest_end(struct digest *d, uint8_t *out)
{
	if (d->hash == CRYPT_SHA256)
		SHA256_Final(out, &d->sha256);
	else
		SHA384_Final(out, &d->sha384);
}

/* The first block of the inner or outer hash: the key, exclusive or the pad. */
static void digest_begin_keyed(struct digest *d, enum crypt_hash hash, const uint8_t *key,
			       size_t key_bytes, uint8_t pad)
{
	uint8_t block[BLOCK_MAX];

	memset(block, pad, sizeof(block));
	for (size_t i = 0; i < key_bytes; i++)
		block[i] ^= key[i];
	digest_begin(d, hash);
	digest_add(d, block, block_size(hash));
	OPENSSL_cleanse(block, sizeof(block));
}

void hmac(enum crypt_hash hash, const uint8_t *key, size_t key_bytes,
	  const struct slice *parts, unsigned n, uint8_t *out)
{
	uint8_t inner[HMAC_BYTES_MAX];
	struct digest d;

	ASSERT(key_bytes <= HMAC_KEY_MAX);
	digest_begin_keyed(&d, hash, key, key_bytes, 0x36);
	for (unsigned i = 0; i < n; i++)
		digest_add(&d, parts[i].ptr, parts[i].len);
	digest_end(&d, inner);
	digest_begin_keyed(&d, hash, key, key_bytes, 0x5c);
	digest_add(&d, inner, hash_size(hash));
	digest_end(&d, out);
	OPENSSL_cleanse(inner, sizeof(inner));
	OPENSSL_cleanse(&d, sizeof(d));
}

void hash_of_nothing(enum crypt_hash hash, uint8_t *out)
{
	struct digest d;

	digest_begin(&d, hash);
	digest_end(&d, out);
}

/* No more than one block of output is asked for: HMAC(secret, HkdfLabel | 1), RFC 5869 2.3. */
void hkdf_expand_label(enum crypt_hash hash, const uint8_t *secret, struct slice label,
		       struct slice data, uint8_t *out, size_t bytes)
{
	const char head[3] = { (char)(bytes >> 8), (char)bytes, (char)label.len };
	const char data_length = (char)data.len;
	const struct slice parts[] = {
		{ head, sizeof(head) }, label, { &data_length, 1 }, data, SLICE("\x01"),
	};
	uint8_t block[HMAC_BYTES_MAX];

	ASSERT(bytes <= hash_size(hash) && label.len <= HKDF_LABEL_MAX &&
	       data.len <= HMAC_BYTES_MAX);
	hmac(hash, secret, hash_size(hash), parts, COUNT(parts), block);
	memcpy(out, block, bytes);
	OPENSSL_cleanse(block, sizeof(block));
}
