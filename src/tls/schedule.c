#include "schedule.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "provider.h"

static __thread struct schedule_secrets *reported_to;

void schedule_report_to(struct schedule_secrets *s)
{
	reported_to = s;
}

/* ---- one derivation ------------------------------------------------------------- */

/* The parameters of one, as the library gives them to its TLS13-KDF (EVP_KDF-TLS13_KDF(7)). */
struct derivation {
	int mode;
	enum crypt_hash hash;
	struct slice key, salt, data;
	struct slice label;
	char text[HKDF_LABEL_MAX]; /* prefix and label */
};

static bool hash_named(const char *name, enum crypt_hash *hash)
{
	static const struct {
		const char *name;
		enum crypt_hash hash;
	} names[] = {
		{ "SHA2-256", CRYPT_SHA256 },
		{ "SHA256", CRYPT_SHA256 },
		{ "SHA2-384", CRYPT_SHA384 },
		{ "SHA384", CRYPT_SHA384 },
	};

	for (size_t i = 0; i < COUNT(names); i++) {
		if (strcasecmp(name, names[i].name) == 0) {
			*hash = names[i].hash;
			return true;
		}
	}
	return false;
}

static struct slice octets(const OSSL_PARAM *p)
{
	return (struct slice){ p->data, p->data_size };
}

static bool derivation_read(struct derivation *d, const OSSL_PARAM *p)
{
	struct slice prefix = SLICE(""), label = SLICE("");
	bool hashed = false;

	*d = (struct derivation){ .mode = -1 };
	for (; p && p->key; p++) {
		if (strcmp(p->key, OSSL_KDF_PARAM_KEY) == 0)
			d->key = octets(p);
		else if (strcmp(p->key, OSSL_KDF_PARAM_SALT) == 0)
			d->salt = octets(p);
		else if (strcmp(p->key, OSSL_KDF_PARAM_DATA) == 0)
			d->data = octets(p);
		else if (strcmp(p->key, OSSL_KDF_PARAM_PREFIX) == 0)
			prefix = octets(p);
		else if (strcmp(p->key, OSSL_KDF_PARAM_LABEL) == 0)
			label = octets(p);
		else if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0)
			hashed = hash_named(p->data, &d->hash);
		else if (strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0 &&
			 !OSSL_PARAM_get_int(p, &d->mode))
			return false;
	}
	if (!hashed || prefix.len + label.len > sizeof(d->text))
		return false;
	d->label.ptr = d->text;
	d->label.len =
		(size_t)(slice_append(slice_append(d->text, prefix), label) - d->text);
	return true;
}

/* HKDF-Extract, with the salt that 7.1 draws between two of them:
 * Derive-Secret(previous secret, "derived", ""). */
static bool extract(const struct derivation *d, uint8_t *out)
{
	static const uint8_t zeros[HMAC_BYTES_MAX];
	size_t size = hash_size(d->hash);
	uint8_t salt[HMAC_BYTES_MAX] = { 0 }, nothing[HMAC_BYTES_MAX];
	struct slice key = d->key.ptr ? d->key
				      : (struct slice){ (const char *)zeros, size };

	if (d->salt.ptr && d->salt.len != size)
		return false;
	hash_of_nothing(d->hash, nothing);
	if (d->salt.ptr)
		hkdf_expand_label(d->hash, (const uint8_t *)d->salt.ptr, d->label,
				  (struct slice){ (const char *)nothing, size }, salt,
				  size);
	hmac(d->hash, salt, size, &key, 1, out);
	OPENSSL_cleanse(salt, sizeof(salt));
	return true;
}

static void secret_report(const struct derivation *d, const uint8_t *secret, size_t bytes)
{
	struct schedule_secrets *s = reported_to;

	if (!s || bytes > HMAC_BYTES_MAX)
		return;
	if (slice_equal(d->label, SLICE("tls13 c ap traffic"))) {
		memcpy(s->client, secret, bytes);
		s->known |= SCHEDULE_CLIENT;
	} else if (slice_equal(d->label, SLICE("tls13 s ap traffic"))) {
		memcpy(s->server, secret, bytes);
		s->known |= SCHEDULE_SERVER;
	}
}

static bool expand(const struct derivation *d, uint8_t *out, size_t bytes)
{
	size_t size = hash_size(d->hash);

	if (d->key.len != size || bytes > size || d->data.len > HMAC_BYTES_MAX)
		return false;
	hkdf_expand_label(d->hash, (const uint8_t *)d->key.ptr, d->label, d->data, out,
			  bytes);
	secret_report(d, out, bytes);
	return true;
}

/* ---- what the library calls ----------------------------------------------------- */

/* It gives all parameters to derive(), so there is nothing to keep. */
static void *kdf_new(void *provider)
{
	return provider;
}

static void kdf_free(void *unused)
{
	(void)unused;
}

static int kdf_derive(void *unused, unsigned char *out, size_t bytes,
		      const OSSL_PARAM params[])
{
	struct derivation d;

	(void)unused;
	if (!derivation_read(&d, params))
		return 0;
	if (d.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY)
		return expand(&d, out, bytes);
	return d.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY && bytes == hash_size(d.hash) &&
	       extract(&d, out);
}

typedef void (*function)(void);

static const OSSL_DISPATCH kdf_functions[] = {
	{ OSSL_FUNC_KDF_NEWCTX, (function)kdf_new },
	{ OSSL_FUNC_KDF_FREECTX, (function)kdf_free },
	{ OSSL_FUNC_KDF_DERIVE, (function)kdf_derive },
	{ 0, NULL },
};

const OSSL_ALGORITHM schedule_kdfs[] = {
	{ OSSL_KDF_NAME_TLS1_3_KDF, PROVIDER_PROPERTIES, kdf_functions, NULL },
	{ NULL, NULL, NULL, NULL },
};
