#include "crypt.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/hash.h"
#include "base/random.h"

#define LIBRARY_CIPHERS CRYPT_NULL /* the ciphers before it */

/* An operation of the null cipher. */
struct null_operation {
	uint64_t pad;       /* its bytes are added to the plaintext, none of them is 0 */
	uint64_t sum, sums; /* of the plaintext; sums depends on the order */
	uint64_t bytes;
};

/* A cipher context of the library, and the key that it has: to set a key costs 0.18 µs, which the
 * records of one flight, or of one receive, need only once. */
struct cipher_context {
	EVP_CIPHER_CTX *evp;
	uint8_t key[CRYPT_KEY_MAX];
	uint8_t key_bytes;
	bool set; /* it has this key */
};

struct crypt {
	EVP_CIPHER *ciphers[LIBRARY_CIPHERS];
	struct cipher_context contexts[LIBRARY_CIPHERS][CRYPT_WAYS];
	EVP_CIPHER_CTX *current; /* of the operation under way; NULL: the null cipher */
	struct null_operation null;
	enum crypt_way way;
	uint8_t tag[CRYPT_TAG_BYTES];
	OSSL_PARAM tag_params[2]; /* gets or sets `tag`; made once, as each costs 20 ns */
};

static const char *const cipher_names[LIBRARY_CIPHERS] = {
	[CRYPT_AES_128_GCM] = "AES-128-GCM",
	[CRYPT_AES_256_GCM] = "AES-256-GCM",
	[CRYPT_CHACHA20_POLY1305] = "ChaCha20-Poly1305",
};

#define AES_128 CRYPT_AES_128_GCM, CRYPT_SHA256, 16, 32
#define AES_256 CRYPT_AES_256_GCM, CRYPT_SHA384, 32, 48
#define CHACHA CRYPT_CHACHA20_POLY1305, CRYPT_SHA256, 32, 32

static const struct suite suites[] = {
	{ 0x1301, TLS_1_3, AES_128, false, "TLS_AES_128_GCM_SHA256" },
	{ 0x1302, TLS_1_3, AES_256, false, "TLS_AES_256_GCM_SHA384" },
	{ 0x1303, TLS_1_3, CHACHA, false, "TLS_CHACHA20_POLY1305_SHA256" },
	{ 0xc02b, TLS_1_2, AES_128, true, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" },
	{ 0xc02c, TLS_1_2, AES_256, true, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" },
	{ 0xc02f, TLS_1_2, AES_128, false, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" },
	{ 0xc030, TLS_1_2, AES_256, false, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" },
	{ 0xcca8, TLS_1_2, CHACHA, false, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" },
	{ 0xcca9, TLS_1_2, CHACHA, true,
	  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" },
	{ SUITE_NULL, TLS_1_3, CRYPT_NULL, CRYPT_SHA256, 16, 32, false, "null" },
};

const struct suite *suite_find(uint16_t number)
{
	for (size_t i = 0; i < COUNT(suites); i++)
		if (suites[i].number == number)
			return &suites[i];
	return NULL;
}

/* ---- of a thread --------------------------------------------------------------- */

static const uint8_t zeros[CRYPT_KEY_MAX];

/* Sets key and nonce. */
static bool context_set(struct cipher_context *context, const uint8_t *key,
			const uint8_t *nonce)
{
	memcpy(context->key, key, context->key_bytes);
	context->set = EVP_CipherInit_ex(context->evp, NULL, NULL, key, nonce, -1);
	return context->set;
}

static bool contexts_new(struct crypt *c, enum crypt_cipher cipher)
{
	c->ciphers[cipher] = EVP_CIPHER_fetch(NULL, cipher_names[cipher], NULL);
	for (unsigned way = 0; way < CRYPT_WAYS; way++) {
		struct cipher_context *context = &c->contexts[cipher][way];

		context->evp = EVP_CIPHER_CTX_new();
		if (!context->evp || !c->ciphers[cipher] ||
		    !EVP_CipherInit_ex(context->evp, c->ciphers[cipher], NULL, NULL, NULL,
				       way == CRYPT_SEAL))
			return false;
		context->key_bytes =
			(uint8_t)EVP_CIPHER_get_key_length(c->ciphers[cipher]);
		if (!context_set(context, zeros, zeros))
			return false;
	}
	return true;
}

static bool algorithms_new(struct crypt *c)
{
	for (unsigned i = 0; i < LIBRARY_CIPHERS; i++)
		if (!contexts_new(c, i))
			return false;
	return true;
}

struct crypt *crypt_new(void)
{
	struct crypt *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->tag_params[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG,
							     c->tag, sizeof(c->tag));
	c->tag_params[1] = OSSL_PARAM_construct_end();
	ERR_clear_error();
	if (algorithms_new(c))
		return c;
	ERR_clear_error();
	crypt_free(c);
	return NULL;
}

void crypt_free(struct crypt *c)
{
	for (unsigned i = 0; i < LIBRARY_CIPHERS; i++) {
		for (unsigned way = 0; way < CRYPT_WAYS; way++)
			EVP_CIPHER_CTX_free(c->contexts[i][way].evp);
		EVP_CIPHER_free(c->ciphers[i]);
	}
	OPENSSL_cleanse(c, sizeof(*c));
	free(c);
}

void crypt_forget(struct crypt *c, enum crypt_cipher cipher)
{
	if (cipher == CRYPT_NULL)
		return;
	for (unsigned way = 0; way < CRYPT_WAYS; way++)
		if (!context_set(&c->contexts[cipher][way], zeros, zeros))
			ERR_clear_error();
}

/* ---- the null cipher ------------------------------------------------------------- */

static void null_begin(struct null_operation *o, const uint8_t *key, const uint8_t *nonce,
		       const uint8_t *aad, size_t aad_bytes)
{
	uint64_t h = hash_bytes(HASH_BEGIN, (struct slice){ (const char *)key, 16 });

	h = hash_mix(
		hash_bytes(h, (struct slice){ (const char *)nonce, CRYPT_NONCE_BYTES }));
	*o = (struct null_operation){
		.pad = h | UINT64_C(0x0101010101010101),
		.sum = hash_bytes(h, (struct slice){ (const char *)aad, aad_bytes }),
	};
}

static void null_update(struct null_operation *o, enum crypt_way way, const uint8_t *from,
			uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t pad = (uint8_t)(o->pad >> (o->bytes++ % 8 * 8));
		uint8_t in = from[i], out = in ^ pad;

		o->sum += way == CRYPT_SEAL ? in : out;
		o->sums += o->sum;
		to[i] = out;
	}
}

static void null_end(const struct null_operation *o, uint8_t tag[CRYPT_TAG_BYTES])
{
	uint64_t first = hash_mix(o->pad ^ hash_mix(o->sum + o->bytes));
	uint64_t second = hash_mix(first ^ o->sums);

	memcpy(tag, &first, sizeof(first));
	memcpy(tag + sizeof(first), &second, sizeof(second));
}

/* ---- AEAD ----------------------------------------------------------------------- */

static __thread unsigned fail_at;

void crypt_fail_at(unsigned n)
{
	fail_at = n;
}

static bool failure(void)
{
	ERR_clear_error();
	return false;
}

bool crypt_begin(struct crypt *c, enum crypt_cipher cipher, enum crypt_way way,
		 const uint8_t *key, const uint8_t nonce[CRYPT_NONCE_BYTES],
		 const uint8_t *aad, size_t aad_bytes)
{
	struct cipher_context *context;
	bool set;
	int n;

	c->way = way;
	if (cipher == CRYPT_NULL) {
		c->current = NULL;
		null_begin(&c->null, key, nonce, aad, aad_bytes);
		return true;
	}
	context = &c->contexts[cipher][way];
	c->current = context->evp;
	if (context->set && CRYPTO_memcmp(context->key, key, context->key_bytes) == 0)
		set = EVP_CipherInit_ex(c->current, NULL, NULL, NULL, nonce, -1);
	else
		set = context_set(context, key, nonce);
	if (!set || !EVP_CipherUpdate(c->current, NULL, &n, aad, (int)aad_bytes))
		return failure();
	return true;
}

bool crypt_update(struct crypt *c, const void *from, void *to, size_t bytes)
{
	int n;

	if (!c->current) {
		null_update(&c->null, c->way, from, to, bytes);
		return true;
	}
	if (!EVP_CipherUpdate(c->current, to, &n, from, (int)bytes))
		return failure();
	ASSERT((size_t)n == bytes);
	return true;
}

bool crypt_end_seal(struct crypt *c, uint8_t tag[CRYPT_TAG_BYTES])
{
	int n;

	ASSERT(c->way == CRYPT_SEAL);
	if (fail_at > 0 && --fail_at == 0)
		return false;
	if (!c->current) {
		null_end(&c->null, tag);
		return true;
	}
	if (!EVP_CipherFinal_ex(c->current, c->tag, &n) ||
	    !EVP_CIPHER_CTX_get_params(c->current, c->tag_params))
		return failure();
	memcpy(tag, c->tag, CRYPT_TAG_BYTES);
	return true;
}

bool crypt_end_open(struct crypt *c, const uint8_t tag[CRYPT_TAG_BYTES])
{
	int n;

	ASSERT(c->way == CRYPT_OPEN);
	if (!c->current) {
		null_end(&c->null, c->tag);
		return CRYPTO_memcmp(c->tag, tag, CRYPT_TAG_BYTES) == 0;
	}
	memcpy(c->tag, tag, CRYPT_TAG_BYTES);
	if (!EVP_CIPHER_CTX_set_params(c->current, c->tag_params) ||
	    EVP_CipherFinal_ex(c->current, c->tag, &n) <= 0)
		return failure();
	return true;
}

/* ---- keys ----------------------------------------------------------------------- */

/* What the simulation has for a key schedule. */
static void null_expand(const uint8_t *secret, const char *label, uint8_t *out,
			size_t bytes)
{
	struct random r;

	random_init(&r, hash_bytes(hash_bytes(HASH_BEGIN, slice_of(label)),
				   (struct slice){ (const char *)secret, 32 }));
	for (size_t i = 0; i < bytes; i++)
		out[i] = (uint8_t)random_next(&r);
}

bool crypt_expand_label(struct crypt *c, const struct suite *suite, const uint8_t *secret,
			const char *label, uint8_t *out, size_t bytes)
{
	char text[HKDF_LABEL_MAX];
	char *end = slice_append(text, SLICE("tls13 "));

	(void)c;
	ASSERT(bytes <= suite->secret_bytes && strlen(label) < sizeof(text) / 2);
	if (suite->cipher == CRYPT_NULL) {
		null_expand(secret, label, out, bytes);
		return true;
	}
	end = slice_append(end, slice_of(label));
	hkdf_expand_label(suite->hash, secret,
			  (struct slice){ text, (size_t)(end - text) }, SLICE(""), out,
			  bytes);
	return true;
}

/* P_hash (RFC 5246 5): A(i) = HMAC(master, A(i - 1)), A(0) = seed; the output is the HMAC over
 * each A(i) and the seed. */
bool crypt_prf(struct crypt *c, const struct suite *suite, const uint8_t master[48],
	       const char *label, const uint8_t *seed, size_t seed_bytes, uint8_t *out,
	       size_t bytes)
{
	size_t size = hash_size(suite->hash), made = 0;
	uint8_t a[HMAC_BYTES_MAX], block[HMAC_BYTES_MAX];
	const struct slice parts[] = {
		{ (const char *)a, size },
		slice_of(label),
		{ (const char *)seed, seed_bytes },
	};

	(void)c;
	hmac(suite->hash, master, 48, parts + 1, 2, a);
	while (made < bytes) {
		size_t part = bytes - made < size ? bytes - made : size;

		hmac(suite->hash, master, 48, parts, 3, block);
		memcpy(out + made, block, part);
		made += part;
		hmac(suite->hash, master, 48, parts, 1, a);
	}
	OPENSSL_cleanse(a, sizeof(a));
	OPENSSL_cleanse(block, sizeof(block));
	return true;
}
