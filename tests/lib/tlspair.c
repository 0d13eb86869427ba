#include "lib/tlspair.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "lib/hex.h"

#define FLIGHT_MAX 20000

static void expect(bool holds)
{
	if (!holds)
		ERR_print_errors_fp(stderr);
	ASSERT(holds);
}

/* ---- contexts ------------------------------------------------------------------- */

static X509 *certificate_new(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name;

	expect(x && ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
	expect(X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
	       X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	name = X509_get_subject_name(x);
	expect(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					  (const unsigned char *)"test", -1, -1, 0));
	expect(X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) &&
	       X509_sign(x, key, EVP_sha256()));
	return x;
}

static struct tlspair *current; /* for the key log */

/* NSS key log: label, client random, secret. */
static void keylog(const SSL *ssl, const char *line)
{
	static const char *const labels[] = { "CLIENT_TRAFFIC_SECRET_0 ",
					      "SERVER_TRAFFIC_SECRET_0 " };

	(void)ssl;
	for (unsigned i = 0; i < 2; i++)
		if (strncmp(line, labels[i], strlen(labels[i])) == 0)
			hex_read(strrchr(line, ' ') + 1, current->secrets[i],
				 CRYPT_SECRET_MAX);
}

static SSL_CTX *context(enum tlspair_end end)
{
	static SSL_CTX *contexts[2];

	if (!contexts[TLSPAIR_CLIENT]) {
		EVP_PKEY *key = EVP_EC_gen("P-256");
		X509 *x = certificate_new(key);

		contexts[TLSPAIR_CLIENT] = SSL_CTX_new(TLS_client_method());
		contexts[TLSPAIR_SERVER] = SSL_CTX_new(TLS_server_method());
		expect(SSL_CTX_use_certificate(contexts[TLSPAIR_SERVER], x) &&
		       SSL_CTX_use_PrivateKey(contexts[TLSPAIR_SERVER], key));
		SSL_CTX_set_num_tickets(contexts[TLSPAIR_SERVER], 0);
		SSL_CTX_set_options(contexts[TLSPAIR_SERVER], SSL_OP_NO_TICKET);
		SSL_CTX_set_session_cache_mode(contexts[TLSPAIR_SERVER],
					       SSL_SESS_CACHE_OFF);
		SSL_CTX_set_keylog_callback(contexts[TLSPAIR_SERVER], keylog);
		X509_free(x);
		EVP_PKEY_free(key);
	}
	return contexts[end];
}

/* ---- a pair --------------------------------------------------------------------- */

size_t tlspair_take(struct tlspair *p, enum tlspair_end end, void *out, size_t max)
{
	int n = BIO_read(SSL_get_wbio(p->ends[end]), out, (int)max);

	return n > 0 ? (size_t)n : 0;
}

void tlspair_give(struct tlspair *p, enum tlspair_end end, const void *bytes, size_t n)
{
	expect(BIO_write(SSL_get_rbio(p->ends[end]), bytes, (int)n) == (int)n);
}

static void end_open(struct tlspair *p, enum tlspair_end end, const struct suite *suite)
{
	SSL *ssl = SSL_new(context(end));
	const SSL_CIPHER *cipher;
	const uint8_t number[] = { (uint8_t)(suite->number >> 8),
				   (uint8_t)suite->number };
	int version = suite->version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	expect(ssl && SSL_set_min_proto_version(ssl, version) &&
	       SSL_set_max_proto_version(ssl, version));
	cipher = SSL_CIPHER_find(ssl, number);
	expect(cipher != NULL);
	expect(suite->version == TLS_1_3
		       ? SSL_set_ciphersuites(ssl, SSL_CIPHER_get_name(cipher))
		       : SSL_set_cipher_list(ssl, SSL_CIPHER_get_name(cipher)));
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
	if (end == TLSPAIR_CLIENT)
		SSL_set_connect_state(ssl);
	else
		SSL_set_accept_state(ssl);
	p->ends[end] = ssl;
}

/* Notes the explicit nonce of the last record of a flight, in case it is Finished. */
static void note_finished(uint8_t nonce[8], const uint8_t *flight, size_t n)
{
	for (size_t at = 0; at + 13 <= n;
	     at += 5 + ((size_t)flight[at + 3] << 8 | flight[at + 4]))
		memcpy(nonce, flight + at + 5, 8);
}

static void shake(struct tlspair *p)
{
	static uint8_t flight[FLIGHT_MAX];
	enum tlspair_end end = TLSPAIR_CLIENT;

	for (unsigned turns = 0; turns < 8; turns++) {
		size_t n;

		SSL_do_handshake(p->ends[end]);
		n = tlspair_take(p, end, flight, sizeof(flight));
		if (n > 0) {
			note_finished(p->finished[end], flight, n);
			tlspair_give(p, !end, flight, n);
		}
		end = !end;
	}
	expect(SSL_is_init_finished(p->ends[0]) && SSL_is_init_finished(p->ends[1]));
	ERR_clear_error();
}

static void keys_take(struct tlspair *p, struct crypt *crypt, const struct suite *suite)
{
	uint8_t master[48], randoms[2][32];

	if (suite->version == TLS_1_3) {
		for (unsigned i = 0; i < 2; i++)
			expect(record_keys_from_secret(&p->keys[i], crypt, suite,
						       p->secrets[i], 0));
		return;
	}
	expect(SSL_SESSION_get_master_key(SSL_get_session(p->ends[0]), master, 48) == 48);
	SSL_get_client_random(p->ends[0], randoms[0], 32);
	SSL_get_server_random(p->ends[0], randoms[1], 32);
	expect(record_keys_from_master(&p->keys[0], &p->keys[1], crypt, suite, master,
				       randoms[0], randoms[1]));
	for (unsigned i = 0; i < 2; i++)
		record_keys_continue(&p->keys[i], p->finished[i]);
}

void tlspair_open(struct tlspair *p, struct crypt *crypt, const struct suite *suite)
{
	ERR_clear_error();
	memset(p, 0, sizeof(*p));
	current = p;
	end_open(p, TLSPAIR_CLIENT, suite);
	end_open(p, TLSPAIR_SERVER, suite);
	shake(p);
	keys_take(p, crypt, suite);
}

void tlspair_close(struct tlspair *p)
{
	SSL_free(p->ends[0]);
	SSL_free(p->ends[1]);
	ERR_clear_error();
}
