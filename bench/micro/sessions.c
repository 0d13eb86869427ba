/* TLS sessions, both ends in one thread: requests and bodies with our records and the library's.
 * Bytes are copied once on their way, as the kernel does. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "micro.h"
#include "tls/session.h"
#include "tls/warm.h"

struct pair {
	struct tls_context *server_context, *client_context;
	struct tls *server, *client;
};

static struct buf_pool bufs;
static struct tls_thread *thread;
static struct pair own, library;
static struct tls_saved saved;
static char plain[BUF_BYTES];

/* ---- bytes on their way ------------------------------------------------------------- */

static void deliver(struct tls *to, struct tls_flight *f)
{
	struct buf *b = NULL;

	for (unsigned i = 0; i < f->n; i++) {
		const char *from = f->iov[i].iov_base;
		size_t left = f->iov[i].iov_len;

		while (left > 0) {
			size_t part = left;

			if (b && b->end == b->size) {
				tls_receive(to, b);
				b = NULL;
			}
			if (!b)
				b = buf_take(&bufs);
			micro_must(b != NULL, "a buffer");
			if (part > b->size - b->end)
				part = b->size - b->end;
			memcpy(b->data + b->end, from, part);
			b->end += (uint32_t)part;
			from += part;
			left -= part;
		}
	}
	if (b)
		tls_receive(to, b);
	tls_flight_release(f);
}

/* Its own function, so that callgrind can count the server alone (--toggle-collect). */
static __attribute__((noinline)) void server_step(struct tls *t, uint64_t wall_ms)
{
	tls_step(t, wall_ms);
}

static void handshake(struct tls *client, struct tls *server)
{
	struct tls *sides[2] = { client, server };
	uint64_t wall_ms = (uint64_t)time(NULL) * 1000;
	bool more = true;

	while (more) {
		more = false;
		for (unsigned i = 0; i < 2; i++) {
			struct tls *t = sides[i];
			struct buf *b = NULL;
			struct tls_flight f;

			while (t->wants_step) {
				if (t->server)
					server_step(t, wall_ms);
				else
					tls_step(t, wall_ms);
				more = true;
			}
			if (t->state == TLS_OPEN)
				tls_read(t, &b, 1);
			tls_flight_init(&f);
			if (tls_take(t, &f)) {
				deliver(sides[!i], &f);
				more = true;
			}
		}
	}
	micro_must(client->state == TLS_OPEN && server->state == TLS_OPEN, "a handshake");
}

static void transfer(struct tls *from, struct tls *to, unsigned bytes)
{
	struct tls_plain entry = { plain, bytes, true };
	struct tls_flight f;
	unsigned got = 0;

	tls_flight_init(&f);
	micro_must(tls_seal(from, &entry, 1, &f, 1) == bytes, "sealed bytes");
	deliver(to, &f);
	while (got < bytes) {
		struct buf *b;

		micro_must(tls_read(to, &b, 1) == TLS_READ_BYTES, "plaintext");
		got += b->end - b->begin;
		buf_put(b);
	}
}

/* ---- what is measured --------------------------------------------------------------- */

static void own_100(unsigned n)
{
	while (n-- > 0)
		transfer(own.server, own.client, 100);
}

static void library_100(unsigned n)
{
	while (n-- > 0)
		transfer(library.server, library.client, 100);
}

static void own_16k(unsigned n)
{
	while (n-- > 0)
		transfer(own.server, own.client, sizeof(plain));
}

static void library_16k(unsigned n)
{
	while (n-- > 0)
		transfer(library.server, library.client, sizeof(plain));
}

/* A connection from ClientHello to both ends open and closed; the client has the server's ticket. */
static void connect_once(struct tls_saved *session)
{
	struct tls *server = tls_accept(thread, own.server_context);
	struct tls *client = tls_connect(thread, own.client_context, SLICE("example.org"),
					 SLICE(""), session);

	micro_must(server && client, "two ends");
	handshake(client, server);
	tls_free(server);
	tls_free(client);
}

static void full(unsigned n)
{
	while (n-- > 0)
		connect_once(NULL);
}

static void resumed(unsigned n)
{
	while (n-- > 0)
		connect_once(&saved);
}

/* ---- contexts ----------------------------------------------------------------------- */

static struct slice pem_of(X509 *x, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	size_t n;

	micro_must(bio && (x ? PEM_write_bio_X509(bio, x)
			     : PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL,
							NULL)),
		   "PEM");
	n = (size_t)BIO_get_mem_data(bio, &text);
	return (struct slice){ text, n };
}

static void extension_add(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	micro_must(e && X509_add_ext(x, e, -1), "an extension");
	X509_EXTENSION_free(e);
}

static void certificate_make(struct tls_pair *pair)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	micro_must(key && x && X509_set_version(x, 2), "a certificate");
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"example.org", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	extension_add(x, NID_subject_alt_name, "DNS:example.org");
	extension_add(x, NID_basic_constraints, "critical,CA:TRUE");
	X509_set_pubkey(x, key);
	micro_must(X509_sign(x, key, EVP_sha256()) > 0, "a signature");
	*pair = (struct tls_pair){ SLICE("bench"), pem_of(x, NULL), pem_of(NULL, key) };
}

static void pair_open(struct pair *p, const struct tls_pair *pair,
		      enum tls_records records)
{
	struct tls_server_options server = { .name = SLICE("bench"),
					     .pairs = pair,
					     .pairs_n = 1,
					     .default_first = true,
					     .tickets = true,
					     .records = records,
					     .record_bytes = 16384,
					     .keylog_fd = -1 };
	struct tls_client_options client = { .name = SLICE("bench"),
					     .verify = true,
					     .ca = pair->chain,
					     .resume = true,
					     .records = records,
					     .keylog_fd = -1 };
	char error[256];

	p->server_context = tls_server_context(&server, error, sizeof(error));
	p->client_context = tls_client_context(&client, error, sizeof(error));
	micro_must(p->server_context && p->client_context, "contexts");
	p->server = tls_accept(thread, p->server_context);
	p->client = tls_connect(thread, p->client_context, SLICE("example.org"),
				SLICE(""), NULL);
	micro_must(p->server && p->client, "two ends");
	handshake(p->client, p->server);
}

static void prepare_sessions(void)
{
	struct tls_pair pair;

	micro_must(tls_library_init() && buf_pool_init(&bufs, 64) == 0, "the library");
	thread = tls_thread_new(&bufs);
	micro_must(thread != NULL, "a thread");
	certificate_make(&pair);
	pair_open(&own, &pair, TLS_RECORDS_OWN);
	pair_open(&library, &pair, TLS_RECORDS_OPENSSL);
}

static const struct micro sessions[] = {
	{ "session-own-100", "100 bytes from one TLS session to another", own_100 },
	{ "session-library-100", "the same with `records: openssl`", library_100 },
	{ "session-full", "a full TLS handshake, both ends", full },
	{ "session-resumed", "a resumed TLS handshake, both ends", resumed },
	{ "session-own-16k", "16 KiB from one TLS session to another", own_16k },
	{ "session-library-16k", "the same with `records: openssl`", library_16k },
};

const struct micro_set micro_sessions = { sessions,
					  sizeof(sessions) / sizeof(sessions[0]),
					  prepare_sessions, NULL };
