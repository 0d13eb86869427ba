#include "x25519.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <string.h>
#include <strings.h>

#include "curve25519.h"
#include "provider.h"

#define NAMES "X25519:1.3.101.110"
#define KEY_BYTES CURVE25519_BYTES
#define BITS 253
#define SECURITY_BITS 128

typedef void (*function)(void);

/* A key pair, a public key, or nothing yet. */
struct x25519_key {
	bool has_public, has_private;
	uint8_t public[KEY_BYTES], private[KEY_BYTES];
};

/* ---- keys ----------------------------------------------------------------------- */

static void *key_new(void *provider)
{
	(void)provider;
	return OPENSSL_zalloc(sizeof(struct x25519_key));
}

static void key_free(void *key)
{
	OPENSSL_clear_free(key, sizeof(struct x25519_key));
}

/* What is selected of a key; all have the same parameters. */
static void *key_duplicate(const void *key, int selection)
{
	struct x25519_key *copy = key_new(NULL);

	if (!copy)
		return NULL;
	*copy = *(const struct x25519_key *)key;
	if (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)) {
		OPENSSL_cleanse(copy->private, KEY_BYTES);
		copy->has_private = false;
	}
	if (!(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY))
		copy->has_public = false;
	return copy;
}

static int key_has(const void *key, int selection)
{
	const struct x25519_key *k = key;

	return k && (!(selection & OSSL_KEYMGMT_SELECT_PUBLIC_KEY) || k->has_public) &&
	       (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || k->has_private);
}

static int key_match(const void *a, const void *b, int selection)
{
	const struct x25519_key *x = a, *y = b;

	if (!(selection & OSSL_KEYMGMT_SELECT_KEYPAIR))
		return 1;
	return x->has_public && y->has_public &&
	       CRYPTO_memcmp(x->public, y->public, KEY_BYTES) == 0;
}

static int key_validate(const void *key, int selection, int check_type)
{
	(void)check_type; /* each string of 32 bytes is a public key (RFC 7748 5) */
	return key_has(key, selection);
}

/* *has: the parameter is there. False: it is no key. */
static bool octets_take(const OSSL_PARAM *params, const char *name, uint8_t *to,
			bool *has)
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, name);
	size_t n;
	void *at = to;

	*has = p && p->data_size == KEY_BYTES &&
	       OSSL_PARAM_get_octet_string(p, &at, KEY_BYTES, &n) == 1;
	return !p || *has;
}

static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
	struct x25519_key *k = key;

	if (!(selection & OSSL_KEYMGMT_SELECT_KEYPAIR) ||
	    !octets_take(params, OSSL_PKEY_PARAM_PUB_KEY, k->public, &k->has_public))
		return 0;
	if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) &&
	    !octets_take(params, OSSL_PKEY_PARAM_PRIV_KEY, k->private, &k->has_private))
		return 0;
	if (!k->has_public && k->has_private) {
		curve25519_public(k->public, k->private);
		k->has_public = true;
	}
	return k->has_public;
}

/* What is there of what is selected. */
static int key_export(void *key, int selection, OSSL_CALLBACK *to, void *argument)
{
	struct x25519_key *k = key;
	OSSL_PARAM params[3], *p = params;

	if (!(selection & OSSL_KEYMGMT_SELECT_KEYPAIR))
		return 0;
	if (k->has_public)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
							 k->public, KEY_BYTES);
	if (k->has_private && selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PRIV_KEY,
							 k->private, KEY_BYTES);
	*p = OSSL_PARAM_construct_end();
	return to(params, argument);
}

static const OSSL_PARAM pair_params[] = {
	OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
	OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, NULL, 0),
	OSSL_PARAM_END,
};

static const OSSL_PARAM *pair_types(int selection)
{
	return selection & OSSL_KEYMGMT_SELECT_KEYPAIR ? pair_params : NULL;
}

static int number_give(OSSL_PARAM *params, const char *name, int number)
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, name);

	return !p || OSSL_PARAM_set_int(p, number);
}

static int octets_give(OSSL_PARAM *params, const char *name, const uint8_t *from)
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, name);

	return !p || OSSL_PARAM_set_octet_string(p, from, KEY_BYTES);
}

static int key_get_params(void *key, OSSL_PARAM params[])
{
	const struct x25519_key *k = key;

	return number_give(params, OSSL_PKEY_PARAM_BITS, BITS) &&
	       number_give(params, OSSL_PKEY_PARAM_SECURITY_BITS, SECURITY_BITS) &&
	       number_give(params, OSSL_PKEY_PARAM_MAX_SIZE, KEY_BYTES) &&
	       (!k->has_public ||
		(octets_give(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, k->public) &&
		 octets_give(params, OSSL_PKEY_PARAM_PUB_KEY, k->public))) &&
	       (!k->has_private ||
		octets_give(params, OSSL_PKEY_PARAM_PRIV_KEY, k->private));
}

static const OSSL_PARAM *key_gettable(void *provider)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)provider;
	return params;
}

/* The public key of a peer, as it came. */
static int key_set_params(void *key, const OSSL_PARAM params[])
{
	struct x25519_key *k = key;
	bool has;

	if (!octets_take(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, k->public, &has))
		return 0;
	if (has) {
		OPENSSL_cleanse(k->private, KEY_BYTES);
		k->has_private = false;
		k->has_public = true;
	}
	return 1;
}

static const OSSL_PARAM *key_settable(void *provider)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)provider;
	return params;
}

/* ---- making them ------------------------------------------------------------------ */

struct pair_generation {
	int selection;
};

static int generation_set(void *generation, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);

	(void)generation;
	return !p || (p->data_type == OSSL_PARAM_UTF8_STRING &&
		      strcasecmp(p->data, "x25519") == 0);
}

static const OSSL_PARAM *generation_settable(void *generation, void *provider)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)generation;
	(void)provider;
	return params;
}

static void *generation_new(void *provider, int selection, const OSSL_PARAM params[])
{
	struct pair_generation *g = OPENSSL_zalloc(sizeof(*g));

	(void)provider;
	if (!g)
		return NULL;
	g->selection = selection;
	if (generation_set(g, params))
		return g;
	OPENSSL_free(g);
	return NULL;
}

static void generation_free(void *generation)
{
	OPENSSL_free(generation);
}

static void *generation_run(void *generation, OSSL_CALLBACK *progress, void *argument)
{
	const struct pair_generation *g = generation;
	struct x25519_key *k = key_new(NULL);

	(void)progress;
	(void)argument;
	if (!k || !(g->selection & OSSL_KEYMGMT_SELECT_KEYPAIR))
		return k; /* a place for the key of a peer */
	if (RAND_priv_bytes(k->private, KEY_BYTES) != 1) {
		key_free(k);
		return NULL;
	}
	curve25519_public(k->public, k->private);
	k->has_private = k->has_public = true;
	return k;
}

static const OSSL_DISPATCH manager[] = {
	{ OSSL_FUNC_KEYMGMT_NEW, (function)key_new },
	{ OSSL_FUNC_KEYMGMT_FREE, (function)key_free },
	{ OSSL_FUNC_KEYMGMT_DUP, (function)key_duplicate },
	{ OSSL_FUNC_KEYMGMT_HAS, (function)key_has },
	{ OSSL_FUNC_KEYMGMT_MATCH, (function)key_match },
	{ OSSL_FUNC_KEYMGMT_VALIDATE, (function)key_validate },
	{ OSSL_FUNC_KEYMGMT_IMPORT, (function)key_import },
	{ OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (function)pair_types },
	{ OSSL_FUNC_KEYMGMT_EXPORT, (function)key_export },
	{ OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (function)pair_types },
	{ OSSL_FUNC_KEYMGMT_GET_PARAMS, (function)key_get_params },
	{ OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (function)key_gettable },
	{ OSSL_FUNC_KEYMGMT_SET_PARAMS, (function)key_set_params },
	{ OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (function)key_settable },
	{ OSSL_FUNC_KEYMGMT_GEN_INIT, (function)generation_new },
	{ OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (function)generation_set },
	{ OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (function)generation_settable },
	{ OSSL_FUNC_KEYMGMT_GEN, (function)generation_run },
	{ OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (function)generation_free },
	{ 0, NULL },
};

const OSSL_ALGORITHM x25519_managers[] = {
	{ NAMES, PROVIDER_PROPERTIES, manager, NULL },
	{ NULL, NULL, NULL, NULL },
};

/* ---- TLS --------------------------------------------------------------------------- */

static unsigned group_id = 29, group_security_bits = SECURITY_BITS;
static int min_tls = TLS1_VERSION, max_tls, min_dtls = DTLS1_VERSION, max_dtls;

#define TEXT(key, text) \
	OSSL_PARAM_utf8_string(key, (void *)(uintptr_t)(text), sizeof(text))

const OSSL_PARAM x25519_group[] = {
	TEXT(OSSL_CAPABILITY_TLS_GROUP_NAME, "x25519"),
	TEXT(OSSL_CAPABILITY_TLS_GROUP_NAME_INTERNAL, "X25519"),
	TEXT(OSSL_CAPABILITY_TLS_GROUP_ALG, "X25519"),
	OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_ID, &group_id),
	OSSL_PARAM_uint(OSSL_CAPABILITY_TLS_GROUP_SECURITY_BITS, &group_security_bits),
	OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MIN_TLS, &min_tls),
	OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MAX_TLS, &max_tls),
	OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MIN_DTLS, &min_dtls),
	OSSL_PARAM_int(OSSL_CAPABILITY_TLS_GROUP_MAX_DTLS, &max_dtls),
	OSSL_PARAM_END,
};
