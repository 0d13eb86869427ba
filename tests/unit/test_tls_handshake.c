/* What handshakes are like and how they fail: sessions, certificates of both sides, names,
 * protocols, versions, and which fault and alert each failure has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "../../src/tls/endpoint.h"
#include "../../src/tls/library.h"
#include "base/check.h"
#include "lib/tlsrig.h"

static const enum tls_records modes[] = { TLS_RECORDS_OWN, TLS_RECORDS_OPENSSL };

/* Certificates that are only there to be refused. */
static struct pki *other_ca, *untrusted, *expired, *other_name, *client_pki, *client_ca;

static int handshake_set_up(void **state)
{
	rig_set_up(state);
	other_ca = pki_new("other",
			   &(struct pki_options){ .common_name = "Other", .ca = true });
	client_ca = pki_new(
		"clients", &(struct pki_options){ .common_name = "Clients", .ca = true });
	untrusted = pki_new("untrusted", &(struct pki_options){ .san = "DNS:example.org",
								.issuer = other_ca });
	expired = pki_new("expired", &(struct pki_options){ .san = "DNS:example.org",
							    .issuer = rig_ca,
							    .from_days = -9,
							    .to_days = -2 });
	other_name = pki_new(
		"other name",
		&(struct pki_options){ .san = "DNS:example.com", .issuer = rig_ca });
	client_pki = pki_new(
		"client",
		&(struct pki_options){
			.common_name = "J\xc3\xb6rg, \"Q\" <x>",
			.san = "DNS:laptop.example.org,URI:spiffe://a/b,IP:192.0.2.1",
			.issuer = client_ca,
			.usage = "clientAuth",
			.serial = 0xabcdef,
		});
	return 0;
}

static int handshake_tear_down(void **state)
{
	pki_free(untrusted);
	pki_free(expired);
	pki_free(other_name);
	pki_free(client_pki);
	pki_free(client_ca);
	pki_free(other_ca);
	return rig_tear_down(state);
}

static void contexts_free(struct tls_context *a, struct tls_context *b)
{
	tls_context_unref(a);
	tls_context_unref(b);
}

/* ---- sessions ---------------------------------------------------------------------- */

static void test_resumption(void **state)
{
	(void)state;
	for (unsigned mode = 0; mode < 4; mode++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .records = modes[mode & 1],
						     .tickets = true });
		struct tls_context *client = rig_client_context((
			struct tls_client_options){
			.records = modes[mode >> 1], .verify = true, .resume = true });
		struct tls_saved saved = { 0 };
		struct tls_side s, c;

		for (unsigned i = 0; i < 3; i++) {
			sides_open(&s, &c, server, client, &saved, 1460);
			assert_int_equal(s.tls->state, TLS_OPEN);
			assert_int_equal(s.tls->resumed, i > 0);
			assert_int_equal(c.tls->resumed, i > 0);
			assert_non_null(saved.session);
			/* The ticket has come, and the object of the library gone. */
			if (mode >> 1 == 0)
				assert_null(endpoint_of(c.tls)->shake);
			side_send(&s, &c, 5000, 1000, 100);
			side_send(&c, &s, 5000, 1000, 100);
			sides_free(&s, &c);
		}
		/* Not under another identity. */
		saved.identity++;
		sides_open(&s, &c, server, client, &saved, 1460);
		assert_false(s.tls->resumed);
		sides_free(&s, &c);
		tls_saved_drop(&saved);
		contexts_free(server, client);
	}
}

/* The server `saved` belongs to is gone before the ticket has come. */
static void test_forgotten_session(void **state)
{
	struct tls_context *server =
		rig_server_context((struct tls_server_options){ .tickets = true });
	struct tls_context *client = rig_client_context(
		(struct tls_client_options){ .verify = true, .resume = true });
	struct tls_saved *saved = calloc(1, sizeof(*saved));
	struct tls_side s, c;

	(void)state;
	side_accept(&s, server);
	side_connect(&c, client, saved);
	tls_forget(c.tls);
	tls_saved_drop(saved);
	free(saved);
	sides_settle(&c, &s, 1460);
	assert_int_equal(c.tls->state, TLS_OPEN);
	side_send(&s, &c, 5000, 1000, 100);
	side_send(&c, &s, 5000, 1000, 100);
	sides_free(&s, &c);
	contexts_free(server, client);
}

static void test_resumption_1_2(void **state)
{
	SSL_SESSION *session = NULL;

	(void)state;
	for (unsigned mode = 0; mode < 2; mode++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .records = modes[mode],
						     .tickets = true });

		for (unsigned i = 0; i < 3; i++) {
			struct tls_side s;
			struct raw r;

			side_accept(&s, server);
			raw_new(&r, false, TLS1_2_VERSION);
			if (session)
				SSL_set_session(r.ssl, session);
			raw_settle(&r, &s, 1460);
			assert_int_equal(s.tls->state, TLS_OPEN);
			assert_int_equal(s.tls->resumed, i > 0);
			raw_send(&r, &s, 1000, 100);
			side_send_raw(&s, &r, 1000, 100, 100);
			SSL_SESSION_free(session);
			SSL_shutdown(r.ssl);
			session = SSL_get1_session(r.ssl);
			side_free(&s);
			raw_free(&r);
		}
		SSL_SESSION_free(session);
		session = NULL;
		tls_context_unref(server);
	}
}

static void test_client_resumes_1_2(void **state)
{
	struct tls_context *client = rig_client_context(
		(struct tls_client_options){ .verify = true, .resume = true });
	struct tls_saved saved = { 0 };
	struct raw first;

	(void)state;
	raw_new(&first, true, TLS1_2_VERSION);
	for (unsigned i = 0; i < 3; i++) {
		struct tls_side c;
		struct raw r;

		raw_new(&r, true, TLS1_2_VERSION);
		/* The keys of tickets belong to the context. */
		SSL_set_SSL_CTX(r.ssl, first.context);
		SSL_free(r.ssl);
		SSL_CTX_up_ref(first.context);
		SSL_CTX_free(r.context);
		r.context = first.context;
		r.ssl = SSL_new(r.context);
		r.in = BIO_new(BIO_s_mem());
		r.out = BIO_new(BIO_s_mem());
		SSL_set_bio(r.ssl, r.in, r.out);
		SSL_set_accept_state(r.ssl);
		side_connect(&c, client, &saved);
		raw_settle(&r, &c, 1460);
		assert_int_equal(c.tls->state, TLS_OPEN);
		assert_int_equal(c.tls->resumed, i > 0);
		assert_null(endpoint_of(c.tls)->shake);
		raw_send(&r, &c, 1000, 100);
		side_send_raw(&c, &r, 1000, 100, 100);
		side_free(&c);
		raw_free(&r);
	}
	raw_free(&first);
	tls_saved_drop(&saved);
	tls_context_unref(client);
}

static void test_hello_retry_request(void **state)
{
	(void)state;
	for (unsigned mode = 0; mode < 2; mode++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .records = modes[mode],
						     .tickets = true });
		struct tls_side s;
		struct raw r;

		side_accept(&s, server);
		raw_new(&r, false, TLS1_3_VERSION);
		SSL_set1_groups_list(r.ssl, "P-521:P-256");
		raw_settle(&r, &s, 100);
		assert_int_equal(s.tls->state, TLS_OPEN);
		assert_int_equal(s.tls->group, 23);
		raw_send(&r, &s, 1000, 100);
		side_send_raw(&s, &r, 1000, 100, 100);
		side_free(&s);
		raw_free(&r);
		tls_context_unref(server);
	}
}

/* ---- certificates of clients ------------------------------------------------------- */

static struct tls_context *mutual_server(enum tls_client_auth mode)
{
	struct tls_policy policy = { .client_auth = mode,
				     .ca = client_ca->certificate_pem };

	return rig_server_context((struct tls_server_options){
		.policies = &policy, .policies_n = 1, .tickets = true });
}

static void test_client_certificate(void **state)
{
	static const struct {
		enum tls_client_auth mode;
		struct pki **pki;
		enum tls_fault fault;
		uint8_t alert;
	} kinds[] = {
		{ TLS_AUTH_REQUIRE, &client_pki, TLS_FAULT_NONE, 0 },
		{ TLS_AUTH_OPTIONAL, &client_pki, TLS_FAULT_NONE, 0 },
		{ TLS_AUTH_OPTIONAL, NULL, TLS_FAULT_NONE, 0 },
		{ TLS_AUTH_REQUIRE, NULL, TLS_FAULT_CERTIFICATE_MISSING, 116 },
		{ TLS_AUTH_REQUIRE, &untrusted, TLS_FAULT_CERTIFICATE_UNTRUSTED, 48 },
		{ TLS_AUTH_OPTIONAL, &untrusted, TLS_FAULT_CERTIFICATE_UNTRUSTED, 48 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct tls_context *server = mutual_server(kinds[i].mode);
		struct tls_context *client =
			rig_client_context((struct tls_client_options){
				.verify = true,
				.pair = kinds[i].pki ? &(*kinds[i].pki)->pair : NULL });
		struct tls_side s, c;

		sides_open(&s, &c, server, client, NULL, 1460);
		if (s.tls->fault != kinds[i].fault)
			fail_msg("%zu: %s", i, tls_fault_name(s.tls->fault));
		if (kinds[i].fault != TLS_FAULT_NONE) {
			assert_int_equal(c.tls->fault, TLS_FAULT_ALERT);
			assert_int_equal(c.tls->alert, kinds[i].alert);
			assert_non_null(s.tls->reason);
		} else {
			assert_int_equal(s.heavy, 2);
			assert_int_equal(s.tls->peer != NULL, kinds[i].pki != NULL);
		}
		sides_free(&s, &c);
		contexts_free(server, client);
	}
}

static void assert_slice(struct slice s, const char *text)
{
	if (!slice_equal(s, slice_of(text)))
		fail_msg("%.*s, not %s", SLICE_ARG(s), text);
}

/* `text` is the certificate as a byte sequence of structured fields. */
static void assert_byte_sequence(struct slice text, X509 *x509)
{
	unsigned char *der = NULL, decoded[4096];
	int len = i2d_X509(x509, &der), n;

	assert_true(text.len > 2 && text.ptr[0] == ':' && text.ptr[text.len - 1] == ':');
	n = EVP_DecodeBlock(decoded, (const unsigned char *)text.ptr + 1,
			    (int)text.len - 2);
	assert_true(n >= len && n < len + 3);
	assert_memory_equal(decoded, der, (size_t)len);
	OPENSSL_free(der);
}

static void test_texts_of_client_certificate(void **state)
{
	struct tls_context *server = mutual_server(TLS_AUTH_REQUIRE);
	struct pki *sub = pki_new("sub", &(struct pki_options){ .common_name = "Sub",
								.issuer = client_ca,
								.ca = true });
	struct pki *leaf = pki_new(
		"leaf", &(struct pki_options){ .san = "DNS:a\\,DNS:b", .issuer = sub });
	const struct pki *pkis[] = { client_pki, leaf };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct tls_context *client = rig_client_context(
			(struct tls_client_options){ .verify = true,
						     .pair = &pkis[i]->pair });
		const struct tls_peer *p;
		struct tls_side s, c;

		sides_open(&s, &c, server, client, NULL, 1460);
		assert_int_equal(s.tls->state, TLS_OPEN);
		p = s.tls->peer;
		assert_int_equal(p->fingerprint.len, 64);
		assert_byte_sequence(p->certificate, pkis[i]->x509);
		if (i == 0) {
			assert_slice(p->subject, "CN=J\\C3\\B6rg\\, \\\"Q\\\" \\<x\\>");
			assert_slice(p->issuer, "CN=Clients");
			assert_slice(p->san, "DNS:laptop.example.org, URI:spiffe://a/b, "
					     "IP:192.0.2.1");
			assert_slice(p->serial, "ABCDEF");
			assert_int_equal(p->chain.len, 0);
		} else {
			/* A backslash is always the beginning of an escape. */
			assert_slice(p->san, "DNS:a\\5c, DNS:b");
			assert_byte_sequence(p->chain, sub->x509);
		}
		sides_free(&s, &c);
		tls_context_unref(client);
	}
	pki_free(leaf);
	pki_free(sub);
	tls_context_unref(server);
}

/* ---- failures ---------------------------------------------------------------------- */

/* Certificates that a client refuses. */
static void test_refused_servers(void **state)
{
	static uint8_t pins[1][32];
	const struct {
		struct pki *pki;
		bool pinned;
		enum tls_fault fault;
		uint8_t alert;
	} kinds[] = {
		{ untrusted, false, TLS_FAULT_CERTIFICATE_UNTRUSTED, 48 },
		{ expired, false, TLS_FAULT_CERTIFICATE_EXPIRED, 45 },
		{ other_name, false, TLS_FAULT_CERTIFICATE_NAME, 42 },
		{ rig_p256, true, TLS_FAULT_CERTIFICATE_PIN, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .pairs = &kinds[i].pki->pair,
						     .pairs_n = 1 });
		struct tls_context *client = rig_client_context((
			struct tls_client_options){
			.verify = true, .pins = pins, .pins_n = kinds[i].pinned });
		struct tls_side s, c;

		sides_open(&s, &c, server, client, NULL, 1460);
		assert_int_equal(c.tls->state, TLS_FAILED);
		if (c.tls->fault != kinds[i].fault)
			fail_msg("%zu: %s", i, tls_fault_name(c.tls->fault));
		assert_non_null(c.tls->reason);
		assert_int_equal(s.tls->fault, TLS_FAULT_ALERT);
		if (kinds[i].alert)
			assert_int_equal(s.tls->alert, kinds[i].alert);
		sides_free(&s, &c);
		contexts_free(server, client);
	}
}

/* Not verified: any certificate will do. An address is verified as such, and not sent as SNI. */
static void test_names(void **state)
{
	static const struct {
		const char *name, *sni;
		bool verify;
		enum tls_fault fault;
		const char *seen;
	} kinds[] = {
		{ "example.org", "", true, TLS_FAULT_NONE, "example.org" },
		{ "EXAMPLE.org", "", true, TLS_FAULT_NONE, "example.org" },
		{ "127.0.0.1", "", true, TLS_FAULT_NONE, "" },
		{ "127.0.0.2", "", true, TLS_FAULT_CERTIFICATE_NAME, "" },
		{ "example.org", "other.example", true, TLS_FAULT_NONE, "other.example" },
		{ "example.com", "example.org", true, TLS_FAULT_CERTIFICATE_NAME,
		  "example.org" },
		{ "example.com", "", false, TLS_FAULT_NONE, "example.com" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .tickets = true });
		struct tls_context *client = rig_client_context(
			(struct tls_client_options){ .verify = kinds[i].verify });
		struct tls_side s, c;

		side_accept(&s, server);
		side_connect(&c, client, NULL);
		tls_free(c.tls);
		c.tls = tls_connect(rig_thread, client, slice_of(kinds[i].name),
				    slice_of(kinds[i].sni), NULL);
		sides_settle(&c, &s, 1460);
		if (c.tls->fault != kinds[i].fault)
			fail_msg("%zu: %s", i, tls_fault_name(c.tls->fault));
		assert_slice(s.tls->name, kinds[i].seen);
		sides_free(&s, &c);
		contexts_free(server, client);
	}
}

static void no_versions(SSL *ssl)
{
	SSL_set_min_proto_version(ssl, TLS1_VERSION);
	SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
	SSL_set_security_level(ssl, 0);
	SSL_set_cipher_list(ssl, "ALL:@SECLEVEL=0");
}

static void no_suites(SSL *ssl)
{
	SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	SSL_set_cipher_list(ssl, "AES128-SHA");
}

static void no_groups(SSL *ssl)
{
	SSL_set1_groups_list(ssl, "P-521");
}

static void no_signatures(SSL *ssl)
{
	SSL_set1_sigalgs_list(ssl, "RSA-PSS+SHA256");
}

static void no_protocols(SSL *ssl)
{
	SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2", 3);
}

/* Clients that a server cannot agree with. */
static void test_nothing_in_common(void **state)
{
	static const struct {
		void (*set)(SSL *ssl);
		enum tls_fault fault;
		uint8_t alert;
	} kinds[] = {
		{ no_versions, TLS_FAULT_VERSION, 70 },
		{ no_suites, TLS_FAULT_SUITE, 40 },
		{ no_groups, TLS_FAULT_GROUP, 40 },
		{ no_signatures, TLS_FAULT_SIGNATURE, 40 },
		{ no_protocols, TLS_FAULT_PROTOCOL, 120 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .protocols = { TLS_HTTP_1_1 } });
		struct tls_side s;
		struct raw r;

		side_accept(&s, server);
		raw_new(&r, false, 0);
		kinds[i].set(r.ssl);
		raw_settle(&r, &s, 1460);
		assert_int_equal(s.tls->state, TLS_FAILED);
		if (s.tls->fault != kinds[i].fault)
			fail_msg("%zu: %s (%s)", i, tls_fault_name(s.tls->fault),
				 s.tls->reason);
		assert_int_equal(r.error, SSL_ERROR_SSL);
		assert_int_equal(r.reason - SSL_AD_REASON_OFFSET, kinds[i].alert);
		side_free(&s);
		raw_free(&r);
		tls_context_unref(server);
	}
}

static void test_refused_name(void **state)
{
	struct tls_server_options o = { .name = SLICE("listener"),
					.pairs = &other_name->pair,
					.pairs_n = 1,
					.keylog_fd = -1 };
	struct tls_context *client =
		rig_client_context((struct tls_client_options){ .verify = true });
	struct tls_context *server;
	struct tls_side s, c;
	char error[256];

	(void)state;
	server = tls_server_context(&o, error, sizeof(error));
	sides_open(&s, &c, server, client, NULL, 1460);
	assert_int_equal(s.tls->fault, TLS_FAULT_NAME);
	assert_slice(s.tls->name, "example.org");
	assert_int_equal(c.tls->fault, TLS_FAULT_ALERT);
	assert_int_equal(c.tls->alert, 112);
	sides_free(&s, &c);
	contexts_free(server, client);
}

/* What a server replies that does not speak TLS. */
static void test_not_a_server(void **state)
{
	static const char *const replies[] = { "HTTP/1.1 400 Bad Request\r\n\r\n",
					       "220 smtp\r\n" };
	struct tls_context *client = rig_client_context((struct tls_client_options){ 0 });

	(void)state;
	for (size_t i = 0; i < COUNT(replies); i++) {
		struct tls_side c;

		side_connect(&c, client, NULL);
		side_run(&c);
		side_take(&c);
		side_deliver(&c, replies[i], strlen(replies[i]), 3);
		side_run(&c);
		assert_int_equal(c.tls->state, TLS_FAILED);
		if (c.tls->fault != TLS_FAULT_NOT_TLS)
			fail_msg("%s (%s)", tls_fault_name(c.tls->fault), c.tls->reason);
		side_free(&c);
	}
	tls_context_unref(client);
}

/* The library's allocations fail, one after the other: the handshake fails for that reason or
 * succeeds all the same, and everything is freed. */
static void test_no_memory_in_the_library(void **state)
{
	struct tls_context *server = mutual_server(TLS_AUTH_REQUIRE);
	struct tls_context *client = rig_client_context((struct tls_client_options){
		.verify = true, .pair = &client_pki->pair, .resume = true });
	unsigned failed = 0, n = 1;
	bool hit = true;

	(void)state;
	while (hit) {
		struct tls_saved saved = { 0 };
		struct tls_side s = { 0 }, c = { 0 };

		library_fail_at(n);
		s.tls = tls_accept(rig_thread, server);
		c.tls = tls_connect(rig_thread, client, SLICE("example.org"), SLICE(""),
				    &saved);
		s.got = malloc(100);
		c.got = malloc(100);
		s.sent = malloc(100000);
		c.sent = malloc(100000);
		if (c.tls)
			sides_settle(&c, &s, 16384);
		hit = library_fail_at(0) == 0;
		if (!c.tls || c.tls->state == TLS_FAILED || s.tls->state == TLS_FAILED)
			failed++;
		else if (s.tls->state == TLS_OPEN)
			assert_non_null(s.tls->peer);
		sides_free(&s, &c);
		tls_saved_drop(&saved);
		n += 1 + n / 200; /* each of the first, then some */
	}
	assert_true(n > 500 && failed > 100);
	contexts_free(server, client);
}

/* What an idle connection holds: this struct, and nothing of the library or of the pool. */
static void test_memory_of_idle_connections(void **state)
{
	enum { N = 50 };
	struct tls_context *server =
		rig_server_context((struct tls_server_options){ .tickets = true });
	struct tls_context *client = rig_client_context(
		(struct tls_client_options){ .verify = true, .resume = true });
	struct tls_saved saved = { 0 };
	struct tls_side s[N], c[N];
	size_t before = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		sides_open(&s[i], &c[i], server, client, &saved, 1460);
		side_send(&s[i], &c[i], 5000, 500, 1460);
		side_send(&c[i], &s[i], 100, 100, 1460);
		if (i == 9) /* what is allocated once is there */
			before = tls_library_bytes();
	}
	assert_in_range(tls_library_bytes(), before - 4096, before + 4096);
	assert_int_equal(rig_bufs.block_bytes, 0);
	assert_int_equal(rig_bufs.free_n, rig_bufs.count);
	assert_true(sizeof(struct tls_endpoint) <= 400);
	for (unsigned i = 0; i < N; i++)
		sides_free(&s[i], &c[i]);
	tls_saved_drop(&saved);
	contexts_free(server, client);
}

/* 100 bytes of a ClientHello hold little more than themselves. */
static void test_memory_of_half_hellos(void **state)
{
	enum { N = 50 };
	static const char bytes[100] = { 22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3 };
	struct tls_context *server =
		rig_server_context((struct tls_server_options){ .tickets = true });
	size_t before = tls_library_bytes();
	struct tls_side s[N];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		side_accept(&s[i], server);
		side_deliver(&s[i], bytes, sizeof(bytes), 16384);
		side_run(&s[i]);
		tls_compact(s[i].tls);
		assert_int_equal(s[i].tls->state, TLS_HELLO);
	}
	assert_int_equal(tls_library_bytes(), before);
	assert_int_equal(rig_bufs.free_n, rig_bufs.count);
	assert_int_equal(rig_bufs.block_bytes, N * 256);
	for (unsigned i = 0; i < N; i++)
		side_free(&s[i]);
	tls_context_unref(server);
}

/* Alerts in the place of a ServerHello. */
static void test_alerts_to_a_client(void **state)
{
	static const struct {
		struct slice record;
		enum tls_fault fault;
		uint8_t alert;
	} kinds[] = {
		{ SLICE("\x15\3\3\0\2\1\0"), TLS_FAULT_CLOSED, 0 },
		{ SLICE("\x15\3\3\0\2\2\x28"), TLS_FAULT_ALERT, 40 },
		{ SLICE("\x15\3\3\0\2\2\x70"), TLS_FAULT_ALERT, 112 },
	};
	struct tls_context *client = rig_client_context((struct tls_client_options){ 0 });

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct tls_side c;

		side_connect(&c, client, NULL);
		side_run(&c);
		side_take(&c);
		side_deliver(&c, kinds[i].record.ptr, kinds[i].record.len, 3);
		side_run(&c);
		assert_int_equal(c.tls->state, TLS_FAILED);
		if (c.tls->fault != kinds[i].fault)
			fail_msg("%zu: %s", i, tls_fault_name(c.tls->fault));
		assert_int_equal(c.tls->alert, kinds[i].alert);
		side_free(&c);
	}
	tls_context_unref(client);
}

/* The handshake of both ends, cut off after each number of flights' bytes. */
static void test_cut_handshake(void **state)
{
	struct tls_context *server =
		rig_server_context((struct tls_server_options){ .tickets = true });
	struct tls_context *client =
		rig_client_context((struct tls_client_options){ .verify = true });

	(void)state;
	for (size_t n = 0; n < 1600; n += 97) {
		struct tls_side s, c;

		side_accept(&s, server);
		side_connect(&c, client, NULL);
		side_run(&c);
		side_take(&c);
		side_deliver(&s, c.sent, n < c.sent_n ? n : c.sent_n, 50);
		side_run(&s);
		tls_compact(s.tls);
		side_take(&s);
		side_deliver(&c, s.sent, n < s.sent_n ? n : s.sent_n, 50);
		tls_receive_end(c.tls);
		side_run(&c);
		tls_receive_end(s.tls);
		side_run(&s);
		if (c.tls->state == TLS_FAILED)
			assert_true(c.tls->fault == TLS_FAULT_CLOSED ||
				    c.tls->fault == TLS_FAULT_TRUNCATED);
		assert_int_equal(s.tls->state, TLS_FAILED);
		assert_int_equal(s.tls->fault, TLS_FAULT_CLOSED);
		sides_free(&s, &c);
	}
	contexts_free(server, client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resumption),
		cmocka_unit_test(test_forgotten_session),
		cmocka_unit_test(test_resumption_1_2),
		cmocka_unit_test(test_client_resumes_1_2),
		cmocka_unit_test(test_hello_retry_request),
		cmocka_unit_test(test_client_certificate),
		cmocka_unit_test(test_texts_of_client_certificate),
		cmocka_unit_test(test_refused_servers),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_nothing_in_common),
		cmocka_unit_test(test_refused_name),
		cmocka_unit_test(test_not_a_server),
		cmocka_unit_test(test_alerts_to_a_client),
		cmocka_unit_test(test_cut_handshake),
		cmocka_unit_test(test_memory_of_idle_connections),
		cmocka_unit_test(test_memory_of_half_hellos),
		cmocka_unit_test(test_no_memory_in_the_library),
	};

	return cmocka_run_group_tests(tests, handshake_set_up, handshake_tear_down);
}
