/* TLS records: ours, in place, and the library's, which reads and writes through memory. */
#include <string.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "../../src/tls/record.h"
#include "micro.h"

static struct crypt *crypt_of_thread;
static struct record_keys writer, reader;
static SSL *client, *server;
static unsigned char record[RECORD_BYTES_MAX];
static unsigned char plain[RECORD_PLAIN_MAX];

/* ---- ours ------------------------------------------------------------------------ */

static void own_round(unsigned bytes)
{
	unsigned char *text = record + RECORD_HEADER_BYTES;
	struct record_part part = { text, text, bytes };
	struct iovec iov = { record, RECORD_HEADER_BYTES + bytes + RECORD_TAIL_MAX };
	struct record_plain r;

	micro_must(record_seal(&writer, crypt_of_thread, RECORD_DATA, &part, 1, record,
			       text + bytes),
		   "a sealed record");
	micro_must(record_open(&reader, crypt_of_thread, &iov, 1, &r) == TLS_FAULT_NONE &&
			   r.length == bytes,
		   "an opened record");
}

static void own_100(unsigned n)
{
	while (n-- > 0)
		own_round(100);
}

static void own_16k(unsigned n)
{
	while (n-- > 0)
		own_round(RECORD_PLAIN_MAX);
}

/* ---- the library's --------------------------------------------------------------- */

/* Moves what the writer has sent to the reader. */
static void carry(SSL *from, SSL *to)
{
	int n;

	while ((n = BIO_read(SSL_get_wbio(from), record, sizeof(record))) > 0)
		micro_must(BIO_write(SSL_get_rbio(to), record, n) == n,
			   "a carried record");
}

static void library_round(unsigned bytes)
{
	micro_must(SSL_write(client, plain, (int)bytes) == (int)bytes,
		   "a written record");
	carry(client, server);
	micro_must(SSL_read(server, plain, sizeof(plain)) == (int)bytes, "a read record");
}

static void library_100(unsigned n)
{
	while (n-- > 0)
		library_round(100);
}

static void library_16k(unsigned n)
{
	while (n-- > 0)
		library_round(RECORD_PLAIN_MAX);
}

/* ---- preparations ----------------------------------------------------------------- */

static SSL *end_new(SSL_CTX *context)
{
	SSL *ssl = SSL_new(context);

	micro_must(ssl != NULL, "an SSL");
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
	return ssl;
}

static SSL_CTX *server_context(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	micro_must(c && key && x, "a context");
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	micro_must(X509_sign(x, key, EVP_sha256()) > 0, "a certificate");
	micro_must(SSL_CTX_use_certificate(c, x) && SSL_CTX_use_PrivateKey(c, key),
		   "its key");
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256");
	return c;
}

static void prepare_records(void)
{
	static const uint8_t secret[32] = "a traffic secret of 32 bytes...";
	const struct suite *suite = suite_find(0x1301);

	crypt_of_thread = crypt_new();
	micro_must(crypt_of_thread && record_keys_from_secret(&writer, crypt_of_thread,
							      suite, secret, 0),
		   "keys");
	reader = writer;
	client = end_new(SSL_CTX_new(TLS_client_method()));
	server = end_new(server_context());
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (unsigned turns = 0; turns < 3; turns++) {
		SSL_do_handshake(client);
		carry(client, server);
		SSL_do_handshake(server);
		carry(server, client);
	}
	micro_must(SSL_is_init_finished(client) && SSL_is_init_finished(server),
		   "a handshake");
}

static const struct micro records[] = {
	{ "record-own-100", "seal and open a TLS record of 100 bytes", own_100 },
	{ "record-library-100", "the same with SSL_write() and SSL_read()", library_100 },
	{ "record-own-16k", "seal and open a TLS record of 16 KiB", own_16k },
	{ "record-library-16k", "the same with SSL_write() and SSL_read()", library_16k },
};

const struct micro_set micro_records = { records, sizeof(records) / sizeof(records[0]),
					 prepare_records, NULL };
