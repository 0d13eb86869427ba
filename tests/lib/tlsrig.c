#include "lib/tlsrig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "base/check.h"
#include "tls/warm.h"

#define SENT_MAX (RIG_PLAIN_MAX + RIG_PLAIN_MAX / 4)

struct buf_pool rig_bufs;
struct tls_thread *rig_thread;
uint64_t rig_now_ms = 1000000;
struct pki *rig_ca, *rig_p256, *rig_rsa;
struct tls_context *rig_null_server, *rig_null_client;

/* ---- contexts ---------------------------------------------------------------------- */

struct tls_context *rig_server_context(struct tls_server_options o)
{
	struct tls_context *c;
	char error[256] = "";

	o.name = SLICE("listener");
	o.keylog_fd = -1;
	o.default_first = true;
	if (!o.pairs && o.records != TLS_RECORDS_NULL) {
		o.pairs = &rig_p256->pair;
		o.pairs_n = 1;
	}
	c = tls_server_context(&o, error, sizeof(error));
	if (!c)
		fail_msg("%s", error);
	return c;
}

struct tls_context *rig_client_context(struct tls_client_options o)
{
	struct tls_context *c;
	char error[256] = "";

	o.name = SLICE("upstream");
	o.keylog_fd = -1;
	if (o.ca.len == 0)
		o.ca = rig_ca->certificate_pem;
	c = tls_client_context(&o, error, sizeof(error));
	if (!c)
		fail_msg("%s", error);
	return c;
}

int rig_set_up(void **state)
{
	(void)state;
	assert_true(tls_library_init());
	check_states = true;
	assert_int_equal(buf_pool_init(&rig_bufs, 2048), 0);
	rig_thread = tls_thread_new(&rig_bufs);
	assert_non_null(rig_thread);
	rig_ca = pki_new("ca", &(struct pki_options){ .common_name = "CA", .ca = true });
	rig_p256 = pki_new("p256", &(struct pki_options){
					   .san = "DNS:example.org,IP:127.0.0.1",
					   .issuer = rig_ca,
				   });
	rig_rsa = pki_new("rsa", &(struct pki_options){
					 .san = "DNS:example.org,IP:127.0.0.1",
					 .issuer = rig_ca,
					 .key = PKI_RSA,
				 });
	rig_null_server = rig_server_context((struct tls_server_options){
		.records = TLS_RECORDS_NULL, .protocols = { TLS_HTTP_1_1 } });
	rig_null_client = rig_client_context((struct tls_client_options){
		.records = TLS_RECORDS_NULL, .protocols = { TLS_HTTP_1_1 } });
	return 0;
}

int rig_tear_down(void **state)
{
	(void)state;
	tls_context_unref(rig_null_server);
	tls_context_unref(rig_null_client);
	pki_free(rig_p256);
	pki_free(rig_rsa);
	pki_free(rig_ca);
	tls_thread_free(rig_thread);
	buf_pool_done(&rig_bufs);
	return 0;
}

/* ---- one end ----------------------------------------------------------------------- */

static void side_init(struct tls_side *s, struct tls *tls)
{
	assert_non_null(tls);
	*s = (struct tls_side){ .tls = tls,
				.got = malloc(RIG_PLAIN_MAX),
				.sent = malloc(SENT_MAX) };
	assert_true(s->got && s->sent);
}

void side_accept(struct tls_side *s, struct tls_context *c)
{
	side_init(s, tls_accept(rig_thread, c));
}

void side_connect(struct tls_side *s, struct tls_context *c, struct tls_saved *saved)
{
	side_init(s, tls_connect(rig_thread, c, SLICE("example.org"), SLICE(""), saved));
}

void side_free(struct tls_side *s)
{
	tls_free(s->tls);
	free(s->got);
	free(s->sent);
	*s = (struct tls_side){ 0 };
}

void side_deliver(struct tls_side *to, const char *bytes, size_t n, size_t cut)
{
	while (n > 0) {
		size_t part = n < cut ? n : cut;
		struct buf *b = buf_take(&rig_bufs);

		assert_non_null(b);
		if (part > b->size)
			part = b->size;
		memcpy(b->data, bytes, part);
		b->end = (uint32_t)part;
		tls_receive(to->tls, b);
		bytes += part;
		n -= part;
	}
}

static bool side_is_shaking(const struct tls_side *s)
{
	return s->tls->state == TLS_HELLO || s->tls->state == TLS_SHAKING;
}

void side_run(struct tls_side *s)
{
	struct buf *plain;

	while (side_is_shaking(s) && s->tls->wants_step) {
		s->heavy += tls_step_is_heavy(s->tls);
		/* The wall clock: certificates were made today. */
		tls_step(s->tls, (uint64_t)time(NULL) * 1000);
	}
	if (side_is_shaking(s))
		return;
	for (;;) {
		enum tls_read r = tls_read(s->tls, &plain, rig_now_ms);
		size_t n;

		s->ended = r == TLS_READ_END;
		if (r != TLS_READ_BYTES)
			return;
		n = plain->end - plain->begin;
		assert_true(n > 0 && s->got_n + n <= RIG_PLAIN_MAX);
		memcpy(s->got + s->got_n, plain->data + plain->begin, n);
		s->got_n += n;
		buf_put(plain);
	}
}

void side_pass(struct tls_side *s, struct tls_flight *f)
{
	s->sent_n = 0;
	for (unsigned i = 0; i < f->n; i++) {
		assert_true(s->sent_n + f->iov[i].iov_len <= SENT_MAX);
		memcpy(s->sent + s->sent_n, f->iov[i].iov_base, f->iov[i].iov_len);
		s->sent_n += f->iov[i].iov_len;
	}
	assert_int_equal(s->sent_n, f->bytes);
	tls_flight_release(f);
}

bool side_take(struct tls_side *s)
{
	bool had = tls_has_output(s->tls);
	struct tls_flight f;

	tls_flight_init(&f);
	assert_int_equal(tls_take(s->tls, &f), had);
	assert_false(tls_has_output(s->tls));
	if (had)
		side_pass(s, &f);
	return had;
}

void sides_settle(struct tls_side *a, struct tls_side *b, size_t cut)
{
	bool more = true;

	while (more) {
		struct tls_side *sides[2] = { a, b };

		more = false;
		for (unsigned i = 0; i < 2; i++) {
			side_run(sides[i]);
			if (side_take(sides[i])) {
				side_deliver(sides[!i], sides[i]->sent, sides[i]->sent_n,
					     cut);
				more = true;
			}
		}
	}
	side_run(a);
	side_run(b);
}

void sides_open(struct tls_side *s, struct tls_side *c, struct tls_context *server,
		struct tls_context *client, struct tls_saved *saved, size_t cut)
{
	side_accept(s, server);
	side_connect(c, client, saved);
	sides_settle(c, s, cut);
}

void sides_free(struct tls_side *s, struct tls_side *c)
{
	side_free(s);
	side_free(c);
}

char rig_letter(size_t i)
{
	return (char)('a' + i * 7 % 23 + i / 1000 % 3);
}

static char *letters_new(size_t n)
{
	char *bytes = malloc(n + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = rig_letter(i);
	return bytes;
}

/* Entries of `piece` bytes; returns how many. */
static unsigned entries_make(struct tls_plain *entries, unsigned max, char *bytes,
			     size_t n, size_t piece)
{
	unsigned k = 0;

	while (k < max && n > 0) {
		size_t len = n < piece ? n : piece;

		entries[k] = (struct tls_plain){ bytes, (uint32_t)len, k % 2 == 0 };
		bytes += len;
		n -= len;
		k++;
	}
	return k;
}

/* Seals bytes [at, n) as far as one call goes. Returns how far. */
static size_t side_seal_some(struct tls_side *s, char *bytes, const char *copy, size_t at,
			     size_t n, size_t piece)
{
	struct tls_plain entries[40];
	unsigned k = entries_make(entries, COUNT(entries), bytes + at, n - at, piece);
	struct tls_flight f;
	int64_t taken;

	tls_flight_init(&f);
	tls_take(s->tls, &f);
	taken = tls_seal(s->tls, entries, k, &f, rig_now_ms);
	assert_true(taken > 0);
	/* What is not exclusive is as it was. */
	for (unsigned i = 0; i < k; i++)
		if (!entries[i].exclusive)
			assert_memory_equal(entries[i].ptr,
					    copy + (entries[i].ptr - bytes),
					    entries[i].len);
	side_pass(s, &f);
	return at + (size_t)taken;
}

void side_send(struct tls_side *from, struct tls_side *to, size_t n, size_t piece,
	       size_t cut)
{
	char *bytes = letters_new(n), *copy = letters_new(n);
	size_t at = 0;

	to->got_n = 0;
	while (at < n) {
		at = side_seal_some(from, bytes, copy, at, n, piece);
		side_deliver(to, from->sent, from->sent_n, cut);
		side_run(to);
	}
	assert_int_equal(to->got_n, n);
	assert_memory_equal(to->got, copy, n);
	free(bytes);
	free(copy);
}

void side_seal(struct tls_side *s, const char *bytes, size_t n)
{
	struct tls_plain entry = { bytes, (uint32_t)n, false };
	struct tls_flight f;

	tls_flight_init(&f);
	tls_take(s->tls, &f);
	assert_int_equal(tls_seal(s->tls, &entry, 1, &f, rig_now_ms), n);
	side_pass(s, &f);
}

/* ---- against the library ----------------------------------------------------------- */

void raw_new(struct raw *r, bool server, int version)
{
	*r = (struct raw){ .got = malloc(RIG_PLAIN_MAX) };
	r->context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	assert_true(r->got && r->context);
	SSL_CTX_set_min_proto_version(r->context, version);
	SSL_CTX_set_max_proto_version(r->context, version);
	if (server) {
		SSL_CTX_use_certificate(r->context, rig_p256->x509);
		SSL_CTX_use_PrivateKey(r->context, rig_p256->key);
	}
	r->ssl = SSL_new(r->context);
	r->in = BIO_new(BIO_s_mem());
	r->out = BIO_new(BIO_s_mem());
	assert_true(r->ssl && r->in && r->out);
	SSL_set_bio(r->ssl, r->in, r->out);
	if (server) {
		SSL_set_accept_state(r->ssl);
	} else {
		SSL_set_connect_state(r->ssl);
		SSL_set_tlsext_host_name(r->ssl, "example.org");
	}
}

void raw_free(struct raw *r)
{
	SSL_free(r->ssl);
	SSL_CTX_free(r->context);
	free(r->got);
	*r = (struct raw){ 0 };
}

/* Handshake and reading; the queue of errors is left empty, as our sessions expect. */
static void raw_run(struct raw *r)
{
	int n;

	if (r->error == SSL_ERROR_SSL)
		return;
	ERR_clear_error();
	if (!r->open) {
		n = SSL_do_handshake(r->ssl);
		r->open = n == 1;
		r->error = n == 1 ? 0 : SSL_get_error(r->ssl, n);
	}
	while (r->open) {
		n = SSL_read(r->ssl, r->got + r->got_n, (int)(RIG_PLAIN_MAX - r->got_n));
		if (n <= 0) {
			r->error = SSL_get_error(r->ssl, n);
			r->ended = r->error == SSL_ERROR_ZERO_RETURN;
			break;
		}
		r->got_n += (size_t)n;
	}
	r->reason = r->error == SSL_ERROR_SSL ? ERR_GET_REASON(ERR_peek_error()) : 0;
	ERR_clear_error();
}

/* False: it had nothing to send. */
static bool raw_pass(struct raw *r, struct tls_side *s, size_t cut)
{
	char *bytes;
	long n = BIO_get_mem_data(r->out, &bytes);

	if (n <= 0)
		return false;
	side_deliver(s, bytes, (size_t)n, cut);
	BIO_reset(r->out);
	return true;
}

void raw_settle(struct raw *r, struct tls_side *s, size_t cut)
{
	bool more = true;

	while (more) {
		raw_run(r);
		more = raw_pass(r, s, cut);
		side_run(s);
		if (side_take(s)) {
			BIO_write(r->in, s->sent, (int)s->sent_n);
			more = true;
		}
	}
	raw_run(r);
}

void raw_send(struct raw *r, struct tls_side *s, size_t n, size_t cut)
{
	char *bytes = letters_new(n);

	s->got_n = 0;
	assert_int_equal(SSL_write(r->ssl, bytes, (int)n), n);
	raw_settle(r, s, cut);
	assert_int_equal(s->got_n, n);
	assert_memory_equal(s->got, bytes, n);
	free(bytes);
}

void side_send_raw(struct tls_side *s, struct raw *r, size_t n, size_t piece, size_t cut)
{
	char *bytes = letters_new(n), *copy = letters_new(n);
	size_t at = 0;

	r->got_n = 0;
	while (at < n) {
		at = side_seal_some(s, bytes, copy, at, n, piece);
		BIO_write(r->in, s->sent, (int)s->sent_n);
		raw_settle(r, s, cut);
	}
	assert_int_equal(r->got_n, n);
	assert_memory_equal(r->got, copy, n);
	free(bytes);
	free(copy);
}
