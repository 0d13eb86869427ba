#include "tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "library.h"

#define HOUR_MS 3600000U
#define SECRET 32
#define NAME 16
#define IV 16

/* In the order of nginx's files. */
struct ticket_key {
	unsigned char name[NAME];
	unsigned char mac[32];
	unsigned char cipher[32];
};

_Static_assert(sizeof(struct ticket_key) == 80, "the size of a key file");

/* A key that was derived: 5 µs saved, twice per handshake. */
#define DERIVED 16
struct derived_key {
	uint32_t hour; /* 0: none */
	struct ticket_key key;
};

struct tickets {
	uint32_t lifetime_s;
	struct ticket_key *keys; /* NULL: keys are derived from the secret */
	size_t keys_n;
	unsigned char secret[SECRET];
	pthread_mutex_t lock;
	struct derived_key derived[DERIVED]; /* of an hour: at hour % DERIVED */
};

struct tickets *tickets_new(const struct tls_server_options *o)
{
	struct tickets *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->lifetime_s = o->ticket_lifetime_s ? o->ticket_lifetime_s : TICKET_LIFETIME_S;
	ASSERT(t->lifetime_s <= TICKET_LIFETIME_S_MAX);
	memcpy(t->secret, o->ticket_secret, SECRET);
	if (o->ticket_keys_n == 0)
		return t;
	t->keys = calloc(o->ticket_keys_n, sizeof(*t->keys));
	if (!t->keys) {
		tickets_free(t);
		return NULL;
	}
	t->keys_n = o->ticket_keys_n;
	memcpy(t->keys, o->ticket_keys, t->keys_n * sizeof(*t->keys));
	return t;
}

void tickets_free(struct tickets *t)
{
	if (!t)
		return;
	if (t->keys)
		OPENSSL_cleanse(t->keys, t->keys_n * sizeof(*t->keys));
	free(t->keys);
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t, sizeof(*t));
	free(t);
}

uint32_t tickets_lifetime_s(const struct tickets *t)
{
	return t->lifetime_s;
}

/* ---- keys ------------------------------------------------------------------- */

static void hour_write(unsigned char at[4], uint32_t hour)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (unsigned char)(hour >> (24 - 8 * i));
}

static uint32_t hour_read(const unsigned char at[4])
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 |
	       at[3];
}

/* The key of an hour. Its name begins with the hour, so that it is found again; the rest of it
 * tells that the ticket is from the same secret. */
static bool key_derive(const struct tickets *t, uint32_t hour, struct ticket_key *key)
{
	static const char label[] = "fairlead session ticket";
	EVP_KDF_CTX *kdf = EVP_KDF_CTX_new(library()->hkdf);
	unsigned char info[sizeof(label) - 1 + 4];
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 (char *)"SHA2-256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)t->secret,
						  SECRET),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info,
						  sizeof(info)),
		OSSL_PARAM_construct_end(),
	};
	bool good;

	memcpy(info, label, sizeof(label) - 1);
	hour_write(info + sizeof(label) - 1, hour);
	good = kdf &&
	       EVP_KDF_derive(kdf, (unsigned char *)key, sizeof(*key), params) == 1;
	EVP_KDF_CTX_free(kdf);
	hour_write(key->name, hour);
	return good;
}

static bool key_of_hour(struct tickets *t, uint32_t hour, struct ticket_key *key)
{
	struct derived_key *d = &t->derived[hour % DERIVED];
	bool good = true;

	pthread_mutex_lock(&t->lock);
	if (d->hour != hour) {
		good = key_derive(t, hour, &d->key);
		d->hour = good ? hour : 0;
	}
	*key = d->key;
	pthread_mutex_unlock(&t->lock);
	return good;
}

static uint32_t hour_of(uint64_t now_ms)
{
	return (uint32_t)(now_ms / HOUR_MS);
}

static enum ticket_result find_derived(struct tickets *t, uint64_t now_ms,
				       const unsigned char name[NAME],
				       struct ticket_key *key)
{
	uint32_t now = hour_of(now_ms), hour = hour_read(name);
	uint32_t hours = (t->lifetime_s + 3599) / 3600;

	/* One hour ahead: another host's clock may be. */
	if (hour == 0 || hour > now + 1 || hour + hours < now)
		return TICKET_UNKNOWN;
	if (!key_of_hour(t, hour, key))
		return TICKET_FAILED;
	if (CRYPTO_memcmp(name, key->name, NAME) != 0)
		return TICKET_UNKNOWN;
	return hour == now ? TICKET_OK : TICKET_OLD;
}

static enum ticket_result find_given(const struct tickets *t,
				     const unsigned char name[NAME],
				     struct ticket_key *key)
{
	for (size_t i = 0; i < t->keys_n; i++) {
		if (memcmp(name, t->keys[i].name, NAME) == 0) {
			*key = t->keys[i];
			return i == 0 ? TICKET_OK : TICKET_OLD;
		}
	}
	return TICKET_UNKNOWN;
}

/* ---- cipher and MAC --------------------------------------------------------- */

static bool mac_init(EVP_MAC_CTX *mac, struct ticket_key *key)
{
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac,
						  sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
						 (char *)"SHA2-256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

enum ticket_result tickets_seal(struct tickets *t, uint64_t now_ms,
				unsigned char name[NAME], unsigned char *iv,
				EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key key;
	bool good = true;

	if (t->keys)
		key = t->keys[0];
	else
		good = key_of_hour(t, hour_of(now_ms), &key);
	good = good && RAND_bytes(iv, IV) == 1 &&
	       EVP_EncryptInit_ex2(cipher, library()->aes_256_cbc, key.cipher, iv,
				   NULL) == 1 &&
	       mac_init(mac, &key);
	memcpy(name, key.name, NAME);
	OPENSSL_cleanse(&key, sizeof(key));
	return good ? TICKET_OK : TICKET_FAILED;
}

enum ticket_result tickets_open(struct tickets *t, uint64_t now_ms,
				const unsigned char name[NAME], const unsigned char *iv,
				EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key key = { 0 };
	enum ticket_result found = t->keys ? find_given(t, name, &key)
					   : find_derived(t, now_ms, name, &key);

	if (found < TICKET_UNKNOWN && (EVP_DecryptInit_ex2(cipher, library()->aes_256_cbc,
							   key.cipher, iv, NULL) != 1 ||
				       !mac_init(mac, &key)))
		found = TICKET_FAILED;
	OPENSSL_cleanse(&key, sizeof(key));
	return found;
}
