#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "../../src/tls/tickets.h"
#include "base/check.h"
#include "tls/warm.h"

#define HOUR_MS 3600000ull
#define NOW_MS (500000 * HOUR_MS + 1234)
#define PLAIN "what a session is"

/* A ticket as the library makes it: name, iv, ciphertext, MAC of all these. */
struct ticket {
	unsigned char name[16], iv[16], sealed[64];
	int sealed_n;
	unsigned char mac[32];
};

static EVP_MAC *hmac;

static struct tickets *tickets_of(const char *secret, uint32_t lifetime_s)
{
	struct tls_server_options o = { .ticket_lifetime_s = lifetime_s };
	struct tickets *t;

	strncpy((char *)o.ticket_secret, secret, sizeof(o.ticket_secret));
	t = tickets_new(&o);
	assert_non_null(t);
	return t;
}

static void mac_of(EVP_MAC_CTX *mac, const struct ticket *k, unsigned char out[32])
{
	size_t n = 0;

	assert_int_equal(EVP_MAC_init(mac, NULL, 0, NULL), 1);
	EVP_MAC_update(mac, k->name, sizeof(k->name) + sizeof(k->iv));
	EVP_MAC_update(mac, k->sealed, (size_t)k->sealed_n);
	assert_int_equal(EVP_MAC_final(mac, out, &n, 32), 1);
	assert_int_equal(n, 32);
}

static struct ticket seal(struct tickets *t, uint64_t now_ms)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
	struct ticket k = { 0 };
	int n = 0;

	assert_int_equal(tickets_seal(t, now_ms, k.name, k.iv, cipher, mac), TICKET_OK);
	EVP_EncryptUpdate(cipher, k.sealed, &n, (const unsigned char *)PLAIN,
			  sizeof(PLAIN));
	k.sealed_n = n;
	EVP_EncryptFinal_ex(cipher, k.sealed + n, &n);
	k.sealed_n += n;
	mac_of(mac, &k, k.mac);
	EVP_CIPHER_CTX_free(cipher);
	EVP_MAC_CTX_free(mac);
	return k;
}

static enum ticket_result open_ticket(struct tickets *t, uint64_t now_ms,
				      const struct ticket *k)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
	unsigned char plain[64], tag[32];
	int n = 0, m = 0;
	enum ticket_result result = tickets_open(t, now_ms, k->name, k->iv, cipher, mac);

	if (result < TICKET_UNKNOWN) {
		mac_of(mac, k, tag);
		assert_memory_equal(tag, k->mac, 32);
		EVP_DecryptUpdate(cipher, plain, &n, k->sealed, k->sealed_n);
		assert_int_equal(EVP_DecryptFinal_ex(cipher, plain + n, &m), 1);
		assert_int_equal(n + m, sizeof(PLAIN));
		assert_memory_equal(plain, PLAIN, sizeof(PLAIN));
	}
	EVP_CIPHER_CTX_free(cipher);
	EVP_MAC_CTX_free(mac);
	return result;
}

static void keys_change_with_the_hour(void **state)
{
	/* Another one with the same secret: a worker process, a host. */
	struct tickets *t = tickets_of("one", 0), *same = tickets_of("one", 0);
	struct tickets *foreign = tickets_of("two", 0);
	struct ticket k = seal(t, NOW_MS), later = seal(t, NOW_MS + HOUR_MS),
		      again = seal(t, NOW_MS);

	(void)state;
	assert_int_equal(tickets_lifetime_s(t), 43200);
	assert_memory_not_equal(k.name, later.name, 16);
	assert_memory_equal(k.name, again.name, 16);
	assert_memory_not_equal(k.iv, again.iv, 16);
	for (unsigned i = 0; i < 2; i++) {
		struct tickets *o = i ? same : t;

		assert_int_equal(open_ticket(o, NOW_MS, &k), TICKET_OK);
		assert_int_equal(open_ticket(o, NOW_MS + HOUR_MS, &k), TICKET_OLD);
		assert_int_equal(open_ticket(o, NOW_MS + 12 * HOUR_MS, &k), TICKET_OLD);
		assert_int_equal(open_ticket(o, NOW_MS + 13 * HOUR_MS, &k),
				 TICKET_UNKNOWN);
		/* The clock of another host is ahead. */
		assert_int_equal(open_ticket(o, NOW_MS - HOUR_MS, &k), TICKET_OLD);
		assert_int_equal(open_ticket(o, NOW_MS - 2 * HOUR_MS, &k),
				 TICKET_UNKNOWN);
	}
	assert_int_equal(open_ticket(foreign, NOW_MS, &k), TICKET_UNKNOWN);
	tickets_free(t);
	tickets_free(same);
	tickets_free(foreign);
	tickets_free(NULL);
}

static void keys_live_as_long_as_tickets(void **state)
{
	struct tickets *t = tickets_of("one", TICKET_LIFETIME_S_MAX);
	struct ticket k = seal(t, NOW_MS);

	(void)state;
	for (uint64_t h = 0; h < 200; h++)
		assert_int_equal(open_ticket(t, NOW_MS + h * HOUR_MS, &k),
				 h == 0     ? TICKET_OK
				 : h <= 168 ? TICKET_OLD
					    : TICKET_UNKNOWN);
	tickets_free(t);
}

static void any_name_is_answered(void **state)
{
	struct tickets *t = tickets_of("one", 0);
	struct ticket k = seal(t, NOW_MS);

	(void)state;
	for (unsigned i = 0; i < 16 * 8; i++) {
		struct ticket changed = k;

		changed.name[i / 8] ^= (unsigned char)(1 << i % 8);
		assert_int_equal(open_ticket(t, NOW_MS, &changed), TICKET_UNKNOWN);
	}
	tickets_free(t);
}

/* The first seals, all open; their bytes are used as nginx does. */
static void keys_of_files(void **state)
{
	uint8_t keys[3][80];
	struct tls_server_options o = { .ticket_keys = (const uint8_t(*)[80])keys,
					.ticket_keys_n = 3 };
	struct tickets *before, *after;
	unsigned char plain[64], tag[32];
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	struct ticket k;
	unsigned tag_n;
	int n;

	(void)state;
	for (unsigned i = 0; i < sizeof(keys); i++)
		keys[i / 80][i % 80] = (uint8_t)(i * 7 + i / 80);
	before = tickets_new(&o);
	k = seal(before, NOW_MS);
	assert_memory_equal(k.name, keys[0], 16);
	HMAC(EVP_sha256(), keys[0] + 16, 32, k.name, (size_t)(32 + k.sealed_n), tag,
	     &tag_n);
	assert_memory_equal(tag, k.mac, 32);
	EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, keys[0] + 48, k.iv);
	EVP_DecryptUpdate(cipher, plain, &n, k.sealed, k.sealed_n);
	assert_memory_equal(plain, PLAIN, 16);
	EVP_CIPHER_CTX_free(cipher);
	assert_int_equal(open_ticket(before, NOW_MS, &k), TICKET_OK);
	/* Files do not age. */
	assert_int_equal(open_ticket(before, NOW_MS + 1000 * HOUR_MS, &k), TICKET_OK);
	/* Rotated: the first is now the second. */
	memmove(keys[1], keys[0], 160);
	keys[0][0] ^= 1;
	after = tickets_new(&o);
	assert_int_equal(open_ticket(after, NOW_MS, &k), TICKET_OLD);
	k = seal(after, NOW_MS);
	assert_int_equal(open_ticket(before, NOW_MS, &k), TICKET_UNKNOWN);
	tickets_free(before);
	tickets_free(after);
}

static int fetch_hmac(void **state)
{
	(void)state;
	assert_true(tls_library_init());
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	return hmac ? 0 : -1;
}

static int free_hmac(void **state)
{
	(void)state;
	EVP_MAC_free(hmac);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_change_with_the_hour),
		cmocka_unit_test(keys_live_as_long_as_tickets),
		cmocka_unit_test(any_name_is_answered),
		cmocka_unit_test(keys_of_files),
	};

	return cmocka_run_group_tests(tests, fetch_hmac, free_hmac);
}
