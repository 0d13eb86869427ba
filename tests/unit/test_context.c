/* Contexts by what handshakes make of them: a server's and a client's object of the library, with
 * memory between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "../../src/tls/object.h"
#include "base/check.h"
#include "lib/pki.h"
#include "tls/context.h"
#include "tls/warm.h"

#define SITE_NAMES "DNS:a.example,DNS:*.b.example,IP:192.0.2.1"
#define HOUR_MS 3600000ull

static struct pki *ca, *site, *site_rsa, *other;
static char error[512];
static uint64_t now_ms;

/* ---- the rig ------------------------------------------------------------------- */

struct party {
	SSL *ssl;
	struct tls_hooks hooks;
	SSL_SESSION *kept; /* client: the last session */
};

struct meeting {
	struct party server, client;
	enum tls_fault refused; /* by tls_object_accept() */
	bool done;
};

static struct tls_context *server_of(const struct tls_server_options *o)
{
	struct tls_context *c = tls_server_context(o, error, sizeof(error));

	if (!c)
		fail_msg("%s", error);
	assert_int_equal(ERR_peek_error(), 0);
	return c;
}

static struct tls_context *client_of(const struct tls_client_options *o)
{
	struct tls_context *c = tls_client_context(o, error, sizeof(error));

	if (!c)
		fail_msg("%s", error);
	assert_int_equal(ERR_peek_error(), 0);
	return c;
}

static struct tls_server_options server_options(void)
{
	return (struct tls_server_options){
		.name = SLICE("listener"),
		.pairs = &site->pair,
		.pairs_n = 1,
		.default_first = true,
		.protocols = { TLS_HTTP_2, TLS_HTTP_1_1 },
		.tickets = true,
		.ticket_secret = "a secret of thirty-two bytes....",
		.keylog_fd = -1,
	};
}

static struct tls_client_options client_options(void)
{
	return (struct tls_client_options){
		.name = SLICE("upstream"),
		.verify = true,
		.ca = ca->certificate_pem,
		.resume = true,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};
}

static bool session_kept(struct tls_hooks *h, SSL_SESSION *session)
{
	struct party *s = CONTAINER(h, struct party, hooks);

	SSL_SESSION_free(s->kept);
	s->kept = session;
	return true;
}

/* A handshake, and one byte each way behind it, which also delivers the tickets. */
static bool shake_go(SSL *server, SSL *client)
{
	BIO *ends[2];
	int x = 0, y = 0;
	char byte;

	assert_int_equal(BIO_new_bio_pair(&ends[0], 65536, &ends[1], 65536), 1);
	SSL_set_bio(server, ends[0], ends[0]);
	SSL_set_bio(client, ends[1], ends[1]);
	for (int i = 0; i < 10 && (x != 1 || y != 1); i++) {
		y = SSL_do_handshake(client);
		ERR_clear_error();
		x = SSL_do_handshake(server);
		ERR_clear_error();
	}
	if (x != 1 || y != 1)
		return false;
	x = SSL_write(server, "x", 1) == 1 && SSL_read(client, &byte, 1) == 1 &&
	    SSL_write(client, "y", 1) == 1 && SSL_read(server, &byte, 1) == 1;
	ERR_clear_error();
	return x;
}

/* Objects for a handshake that has not begun. `name`: what the client requests. */
static struct meeting *shake_new(struct tls_context *server, struct tls_context *client,
				 const char *name)
{
	struct meeting *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	k->server.hooks = (struct tls_hooks){ .now_ms = now_ms };
	k->client.hooks = (struct tls_hooks){ .now_ms = now_ms, .session = session_kept };
	k->server.ssl = tls_object_accept(server, &k->server.hooks, slice_of(name),
					  &k->refused);
	k->client.ssl = tls_object_connect(client, &k->client.hooks,
					   name[0] ? slice_of(name) : SLICE("192.0.2.1"),
					   SLICE(""));
	assert_non_null(k->client.ssl);
	return k;
}

static struct meeting *shake_run(struct meeting *k)
{
	assert_non_null(k->server.ssl);
	k->done = shake_go(k->server.ssl, k->client.ssl);
	return k;
}

static struct meeting *shake(struct tls_context *server, struct tls_context *client,
			     const char *name)
{
	return shake_run(shake_new(server, client, name));
}

static void shake_free(struct meeting *k)
{
	SSL_SESSION_free(k->client.kept);
	SSL_free(k->server.ssl);
	SSL_free(k->client.ssl);
	free(k);
	assert_int_equal(ERR_peek_error(), 0);
}

static bool presented(const struct meeting *k, const struct pki *p)
{
	X509 *x = SSL_get0_peer_certificate(k->client.ssl);

	return x && X509_cmp(x, p->x509) == 0;
}

/* ---- protocols, suites, versions ------------------------------------------------- */

static void the_first_protocol_of_the_server_is_chosen(void **state)
{
	static const struct {
		enum tls_protocol server[2], client[2];
		const char *chosen; /* NULL: an alert */
	} cases[] = {
		{ { TLS_HTTP_2, TLS_HTTP_1_1 }, { TLS_HTTP_1_1, TLS_HTTP_2 }, "h2" },
		{ { TLS_HTTP_1_1, TLS_HTTP_2 },
		  { TLS_HTTP_2, TLS_HTTP_1_1 },
		  "http/1.1" },
		{ { TLS_HTTP_2, TLS_HTTP_1_1 }, { TLS_HTTP_1_1 }, "http/1.1" },
		{ { TLS_HTTP_2, TLS_HTTP_1_1 }, { TLS_NO_PROTOCOL }, "" },
		{ { TLS_HTTP_1_1 }, { TLS_HTTP_2 }, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_server_options so = server_options();
		struct tls_client_options co = client_options();
		struct tls_context *s, *c;
		const unsigned char *protocol;
		unsigned len;
		struct meeting *k;

		memcpy(so.protocols, cases[i].server, sizeof(so.protocols));
		memcpy(co.protocols, cases[i].client, sizeof(co.protocols));
		s = server_of(&so);
		c = client_of(&co);
		k = shake(s, c, "a.example");
		assert_int_equal(k->done, cases[i].chosen != NULL);
		if (cases[i].chosen) {
			SSL_get0_alpn_selected(k->client.ssl, &protocol, &len);
			assert_int_equal(len, strlen(cases[i].chosen));
			assert_memory_equal(protocol ? (const char *)protocol : "",
					    cases[i].chosen, len);
			assert_int_equal(SSL_get_num_tickets(k->server.ssl), 1);
		} else {
			assert_int_equal(k->server.hooks.fault, TLS_FAULT_PROTOCOL);
		}
		shake_free(k);
		tls_context_unref(s);
		tls_context_unref(c);
	}
}

/* What a client that offers everything can get. The program runs with an openssl.cnf that allows
 * all of it (main()). */
static void old_versions_and_suites_are_refused(void **state)
{
	static const struct {
		long min, max;
		const char *suites, *suite; /* NULL: refused */
	} cases[] = {
		{ TLS1_3_VERSION, TLS1_3_VERSION, "ALL", "TLS_AES_128_GCM_SHA256" },
		{ TLS1_2_VERSION, TLS1_2_VERSION, "ALL",
		  "ECDHE-ECDSA-AES128-GCM-SHA256" },
		{ TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305:ALL",
		  "ECDHE-ECDSA-CHACHA20-POLY1305" },
		{ TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", NULL },
		{ TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM", NULL },
		{ TLS1_2_VERSION, TLS1_2_VERSION, "AES128-GCM-SHA256", NULL },
		{ TLS1_2_VERSION, TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", NULL },
		{ TLS1_1_VERSION, TLS1_1_VERSION, "ALL", NULL },
		{ TLS1_VERSION, TLS1_VERSION, "ALL", NULL },
	};
	struct tls_server_options so = server_options();
	const struct tls_pair pairs[] = { site->pair, site_rsa->pair };
	struct tls_context *s;

	(void)state;
	so.pairs = pairs;
	so.pairs_n = 2;
	s = server_of(&so);
	for (size_t i = 0; i < COUNT(cases); i++) {
		SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
		struct tls_hooks hooks = { .now_ms = now_ms };
		enum tls_fault fault;
		SSL *a, *b;

		SSL_CTX_set_security_level(ctx, 0);
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, cases[i].suites), 1);
		SSL_CTX_set_min_proto_version(ctx, cases[i].min);
		SSL_CTX_set_max_proto_version(ctx, cases[i].max);
		a = tls_object_accept(s, &hooks, SLICE("a.example"), &fault);
		b = SSL_new(ctx);
		SSL_set_connect_state(b);
		assert_int_equal(shake_go(a, b), cases[i].suite != NULL);
		if (cases[i].suite)
			assert_string_equal(SSL_get_cipher(a), cases[i].suite);
		SSL_free(a);
		SSL_free(b);
		SSL_CTX_free(ctx);
	}
	tls_context_unref(s);
}

static void version_1_3_alone(void **state)
{
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s, *c;
	struct meeting *k;

	(void)state;
	so.min_version = TLS_1_3;
	s = server_of(&so);
	c = client_of(&co);
	k = shake(s, c, "a.example");
	assert_true(k->done);
	shake_free(k);
	k = shake_new(s, c, "a.example");
	SSL_set_max_proto_version(k->client.ssl, TLS1_2_VERSION);
	assert_false(shake_run(k)->done);
	shake_free(k);
	tls_context_unref(s);
	tls_context_unref(c);
}

static void groups_are_tried_name_by_name(void **state)
{
	static const struct slice groups[] = { SLICE("nonsense"), SLICE("P-384"),
					       SLICE("another") };
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s, *c = client_of(&co);
	struct slice name;
	struct meeting *k;

	(void)state;
	so.groups = groups;
	so.groups_n = COUNT(groups);
	s = server_of(&so);
	assert_true(tls_context_missing_group(s, 0, &name));
	assert_true(slice_equal(name, SLICE("nonsense")));
	assert_true(tls_context_missing_group(s, 1, &name));
	assert_true(slice_equal(name, SLICE("another")));
	assert_false(tls_context_missing_group(s, 2, &name));
	k = shake(s, c, "a.example");
	assert_true(k->done);
	assert_int_equal(SSL_get_negotiated_group(k->server.ssl), NID_secp384r1);
	shake_free(k);
	tls_context_unref(s);
	so.groups_n = 1;
	assert_null(tls_server_context(&so, error, sizeof(error)));
	assert_non_null(strstr(error, "listener"));
	/* By default: X25519, and what the library has else. */
	so.groups_n = 0;
	s = server_of(&so);
	assert_false(tls_context_missing_group(s, 0, &name));
	k = shake(s, c, "a.example");
	assert_true(k->done);
	shake_free(k);
	tls_context_unref(s);
	tls_context_unref(c);
}

/* ---- certificates by name -------------------------------------------------------- */

static void certificates_are_found_by_name(void **state)
{
	const struct tls_pair pairs[] = { site->pair, other->pair };
	static const struct {
		const char *name;
		bool known;
		bool other;
	} cases[] = {
		{ "a.example", true, false },
		{ "x.b.example", true, false },
		{ "b.example", false, false },
		{ "y.x.b.example", false, false },
		{ "other.example", true, true },
		{ "an.other.example", false, false },
		{ "", false, false },
		{ "*.b.example", false, false },
		{ "unknown.example", false, false },
	};
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *lenient, *strict, *c;

	(void)state;
	so.pairs = pairs;
	so.pairs_n = COUNT(pairs);
	lenient = server_of(&so);
	so.default_first = false;
	strict = server_of(&so);
	co.verify = false;
	c = client_of(&co);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct meeting *k = shake(lenient, c, cases[i].name);

		assert_true(k->done);
		assert_true(presented(k, cases[i].other ? other : site));
		shake_free(k);
		k = shake_new(strict, c, cases[i].name);
		assert_int_equal(k->server.ssl != NULL, cases[i].known);
		if (!cases[i].known)
			assert_int_equal(k->refused, TLS_FAULT_NAME);
		shake_free(k);
	}
	tls_context_unref(lenient);
	tls_context_unref(strict);
	tls_context_unref(c);
}

/* ECDSA if the client can, else RSA, with both versions; then the later expiry. */
static void the_kind_of_key_is_chosen_by_the_client(void **state)
{
	struct pki *renewed = pki_new("renewed.pem",
				      &(struct pki_options){ .san = SITE_NAMES,
							     .issuer = ca,
							     .from_days = -1,
							     .to_days = 60 });
	const struct tls_pair pairs[] = { site_rsa->pair, renewed->pair, site->pair };
	static const char *const rsa_only[] = { "RSA-PSS+SHA256:RSA+SHA256", NULL };
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s, *c = client_of(&co);

	(void)state;
	so.pairs = pairs;
	so.pairs_n = COUNT(pairs);
	s = server_of(&so);
	for (unsigned i = 0; i < 4; i++) {
		struct meeting *k = shake_new(s, c, i & 2 ? "a.example" : "");

		if (i & 1)
			SSL_set_max_proto_version(k->client.ssl, TLS1_2_VERSION);
		assert_true(shake_run(k)->done);
		assert_true(presented(k, renewed));
		shake_free(k);
		k = shake_new(s, c, i & 2 ? "a.example" : "");
		if (i & 1)
			SSL_set_max_proto_version(k->client.ssl, TLS1_2_VERSION);
		assert_int_equal(SSL_set1_sigalgs_list(k->client.ssl, rsa_only[0]), 1);
		assert_true(shake_run(k)->done);
		assert_true(presented(k, site_rsa));
		shake_free(k);
	}
	tls_context_unref(s);
	tls_context_unref(c);
	pki_free(renewed);
}

static void certificates_are_shared_by_contexts(void **state)
{
	struct tls_server_options so = server_options();
	struct tls_context *a = server_of(&so), *b = server_of(&so);

	(void)state;
	assert_non_null(tls_context_certificate(a, 0));
	assert_null(tls_context_certificate(a, 1));
	assert_ptr_equal(tls_context_certificate(a, 0), tls_context_certificate(b, 0));
	tls_context_unref(a);
	assert_true(slice_equal(tls_context_certificate(b, 0)->file, SLICE("site.pem")));
	tls_context_unref(b);
}

static void a_pair_of_many_names_itself_in_errors(void **state)
{
	struct pki *weak = pki_new("weak.pem",
				   &(struct pki_options){ .san = "DNS:weak.example",
							  .key = PKI_RSA_1024,
							  .issuer = ca });
	const struct tls_pair mixed = { SLICE("mixed.pem"), site->chain_pem,
					other->key_pem };
	const struct {
		struct tls_pair second;
		const char *text;
	} cases[] = {
		{ mixed, "mixed.pem: the private key does not belong to the first" },
		{ weak->pair, "weak.pem: ee key too small" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct tls_pair pairs[] = { site->pair, cases[i].second };
		struct tls_server_options so = server_options();

		so.pairs = pairs;
		so.pairs_n = COUNT(pairs);
		assert_null(tls_server_context(&so, error, sizeof(error)));
		assert_non_null(strstr(error, cases[i].text));
		assert_int_equal(ERR_peek_error(), 0);
	}
	pki_free(weak);
}

/* ---- certificates of clients ------------------------------------------------------ */

enum {
	NO_CERTIFICATE,
	GOOD,
	FOREIGN,
	REVOKED,
	EXPIRED,
	NOT_FOR_CLIENTS,
	VIA_ISSUER,
	CLIENTS
};

static struct pki *clients[CLIENTS], *middle;

static void make_clients(void)
{
	struct pki_options o = { .common_name = "client",
				 .issuer = ca,
				 .usage = "clientAuth" };

	clients[GOOD] = pki_new("good.pem", &o);
	o.serial = 666;
	clients[REVOKED] = pki_new("revoked.pem", &o);
	o.serial = 0;
	o.from_days = -10;
	o.to_days = -1;
	clients[EXPIRED] = pki_new("expired.pem", &o);
	o.from_days = o.to_days = 0;
	o.usage = "serverAuth";
	clients[NOT_FOR_CLIENTS] = pki_new("server.pem", &o);
	o.usage = "clientAuth";
	o.issuer = NULL;
	clients[FOREIGN] = pki_new("foreign.pem", &o);
	middle = pki_new("middle.pem", &(struct pki_options){ .common_name = "Middle CA",
							      .ca = true,
							      .issuer = ca });
	o.issuer = middle;
	clients[VIA_ISSUER] = pki_new("via.pem", &o);
}

static void clients_are_let_in_by_policy(void **state)
{
	const long revoked[] = { 666 };
	struct slice crl = pki_crl(ca, revoked, 1, 7),
		     old_crl = pki_crl(ca, revoked, 1, -1);
	const struct {
		enum tls_client_auth auth;
		struct slice crl;
		enum tls_fault faults[CLIENTS]; /* NONE: let in */
	} cases[] = {
		{ TLS_AUTH_OFF, { 0 }, { 0 } },
		{ TLS_AUTH_OPTIONAL,
		  { 0 },
		  { [FOREIGN] = TLS_FAULT_CERTIFICATE_UNTRUSTED,
		    [EXPIRED] = TLS_FAULT_CERTIFICATE_EXPIRED,
		    [NOT_FOR_CLIENTS] = TLS_FAULT_CERTIFICATE } },
		{ TLS_AUTH_REQUIRE,
		  { 0 },
		  { [NO_CERTIFICATE] = TLS_FAULT_CERTIFICATE_MISSING,
		    [FOREIGN] = TLS_FAULT_CERTIFICATE_UNTRUSTED,
		    [EXPIRED] = TLS_FAULT_CERTIFICATE_EXPIRED,
		    [NOT_FOR_CLIENTS] = TLS_FAULT_CERTIFICATE } },
		{ TLS_AUTH_REQUIRE,
		  crl,
		  { [NO_CERTIFICATE] = TLS_FAULT_CERTIFICATE_MISSING,
		    [FOREIGN] = TLS_FAULT_CERTIFICATE_UNTRUSTED,
		    [REVOKED] = TLS_FAULT_CERTIFICATE_REVOKED,
		    [EXPIRED] = TLS_FAULT_CERTIFICATE_EXPIRED,
		    [NOT_FOR_CLIENTS] = TLS_FAULT_CERTIFICATE,
		    /* Nobody has a CRL of the issuer between. */
		    [VIA_ISSUER] = TLS_FAULT_CERTIFICATE_REVOKED } },
		{ TLS_AUTH_OPTIONAL,
		  old_crl,
		  { [GOOD] = TLS_FAULT_CERTIFICATE_REVOKED,
		    [FOREIGN] = TLS_FAULT_CERTIFICATE_UNTRUSTED,
		    [REVOKED] = TLS_FAULT_CERTIFICATE_REVOKED,
		    [EXPIRED] = TLS_FAULT_CERTIFICATE_REVOKED,
		    [NOT_FOR_CLIENTS] = TLS_FAULT_CERTIFICATE,
		    [VIA_ISSUER] = TLS_FAULT_CERTIFICATE_REVOKED } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct tls_policy policy = { .client_auth = cases[i].auth,
						   .ca = ca->certificate_pem,
						   .crl = cases[i].crl };
		struct tls_server_options so = server_options();
		struct tls_context *s;

		so.policies = &policy;
		so.policies_n = 1;
		s = server_of(&so);
		for (unsigned j = 0; j < 2 * CLIENTS; j++) {
			struct tls_client_options co = client_options();
			enum tls_fault fault = cases[i].faults[j / 2];
			struct tls_context *c;
			struct meeting *k;

			co.pair = clients[j / 2] ? &clients[j / 2]->pair : NULL;
			c = client_of(&co);
			k = shake_new(s, c, "a.example");
			if (j & 1)
				SSL_set_max_proto_version(k->client.ssl, TLS1_2_VERSION);
			shake_run(k);
			if (k->done != !fault)
				fail_msg("policy %zu, client %u: %d", i, j / 2, k->done);
			/* That none was sent only the library knows. */
			if (fault != TLS_FAULT_CERTIFICATE_MISSING)
				assert_int_equal(k->server.hooks.fault, fault);
			if (cases[i].auth != TLS_AUTH_OFF && k->done)
				assert_int_equal(SSL_get_num_tickets(k->server.ssl), 0);
			shake_free(k);
			tls_context_unref(c);
		}
		tls_context_unref(s);
	}
	pki_text_free(crl);
	pki_text_free(old_crl);
}

/* The whole chain is looked up: an issuer between that is revoked, or has no CRL of its own. */
static void issuers_are_looked_up(void **state)
{
	const long revoked[] = { middle->serial };
	struct slice root_crl = pki_crl(ca, NULL, 0, 7),
		     root_revokes = pki_crl(ca, revoked, 1, 7);
	struct slice middle_crl = pki_crl(middle, NULL, 0, 7);
	const struct {
		struct slice first, second;
		bool good;
	} cases[] = {
		{ root_crl, middle_crl, true },
		{ root_revokes, middle_crl, false },
		{ root_crl, SLICE(""), false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = malloc(cases[i].first.len + cases[i].second.len);
		struct tls_policy policy = { .client_auth = TLS_AUTH_REQUIRE,
					     .ca = ca->certificate_pem,
					     .crl.ptr = text };
		struct tls_server_options so = server_options();
		struct tls_client_options co = client_options();
		struct tls_context *s, *c;
		struct meeting *k;

		policy.crl.len = (size_t)(slice_append(slice_append(text, cases[i].first),
						       cases[i].second) -
					  text);
		so.policies = &policy;
		so.policies_n = 1;
		co.pair = &clients[VIA_ISSUER]->pair;
		s = server_of(&so);
		c = client_of(&co);
		k = shake(s, c, "a.example");
		assert_int_equal(k->done, cases[i].good);
		if (!cases[i].good)
			assert_int_equal(k->server.hooks.fault,
					 TLS_FAULT_CERTIFICATE_REVOKED);
		shake_free(k);
		tls_context_unref(s);
		tls_context_unref(c);
		free(text);
	}
	pki_text_free(root_crl);
	pki_text_free(root_revokes);
	pki_text_free(middle_crl);
}

static void policies_are_chosen_by_name(void **state)
{
	static const struct slice names[] = { SLICE("admin.example"),
					      SLICE("*.b.example") };
	const struct tls_policy policies[] = {
		{ .client_auth = TLS_AUTH_OPTIONAL, .ca = ca->certificate_pem },
		{ .names = names,
		  .names_n = 2,
		  .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem },
	};
	struct tls_server_options so = server_options();
	struct tls_context *with_default, *without;

	(void)state;
	so.policies = policies;
	so.policies_n = 2;
	with_default = server_of(&so);
	so.policies = policies + 1;
	so.policies_n = 1;
	without = server_of(&so);
	for (unsigned i = 0; i < 2; i++) {
		struct tls_context *s = i ? without : with_default;
		struct tls_client_options co = client_options();
		struct tls_context *c = client_of(&co);
		struct meeting *k = shake(s, c, "a.example");

		assert_int_equal(tls_context_policy(s, SLICE("a.example")), 0);
		assert_int_equal(tls_context_policy(s, SLICE("admin.example")), 1);
		/* A host with the dot of a fully qualified name is the same host. */
		assert_int_equal(tls_context_policy(s, SLICE("admin.example.")), 1);
		assert_int_equal(tls_context_policy(s, SLICE("x.b.example")), 1);
		assert_int_equal(tls_context_policy(s, SLICE("b.example")), 0);
		assert_int_equal(tls_context_policy(s, SLICE("y.x.b.example")), 0);
		assert_int_equal(tls_context_policy(s, SLICE("")), 0);
		assert_true(k->done);
		assert_int_equal(k->server.hooks.policy, 0);
		shake_free(k);
		k = shake(s, c, "x.b.example");
		assert_false(k->done);
		assert_int_equal(k->server.hooks.policy, 1);
		shake_free(k);
		tls_context_unref(c);
		tls_context_unref(s);
	}
}

static void policies_have_errors_with_a_remedy(void **state)
{
	struct slice crl = pki_crl(middle, NULL, 0, 7);
	const struct {
		struct slice ca, crl;
		const char *text;
	} cases[] = {
		{ SLICE("nothing"), { 0 }, "ca.pem: no certificate in the file; put" },
		{ { 0 }, { 0 }, "ca.pem: no certificate in the file" },
		{ SLICE("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		  { 0 },
		  "ca.pem: " },
		{ ca->certificate_pem, SLICE("nothing"),
		  "crl.pem: no CRL of /CN=Test CA in the file" },
		{ ca->certificate_pem, crl,
		  "crl.pem: no CRL of /CN=Test CA in the file; put" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct tls_policy policy = { .client_auth = TLS_AUTH_REQUIRE,
						   .ca = cases[i].ca,
						   .crl = cases[i].crl,
						   .ca_name = SLICE("ca.pem"),
						   .crl_name = SLICE("crl.pem") };
		struct tls_server_options so = server_options();

		so.policies = &policy;
		so.policies_n = 1;
		assert_null(tls_server_context(&so, error, sizeof(error)));
		if (!strstr(error, cases[i].text))
			fail_msg("%s", error);
		assert_int_equal(ERR_peek_error(), 0);
	}
	pki_text_free(crl);
}

/* ---- resumption ------------------------------------------------------------------- */

/* Connects to `first` and keeps the session, then to `then` with it. True: it was resumed. */
static bool resumes(struct tls_context *first, const char *name, struct tls_context *then,
		    const char *then_name, struct tls_context *client, long version,
		    uint64_t later_ms)
{
	struct meeting *a = shake_new(first, client, name), *b;
	bool resumed;

	SSL_set_max_proto_version(a->client.ssl, version);
	assert_true(shake_run(a)->done);
	b = shake_new(then, client, then_name);
	SSL_set_max_proto_version(b->client.ssl, version);
	b->server.hooks.now_ms += later_ms;
	if (a->client.kept)
		assert_int_equal(SSL_set_session(b->client.ssl, a->client.kept), 1);
	shake_run(b);
	assert_true(b->done);
	resumed = SSL_session_reused(b->server.ssl);
	assert_int_equal(resumed, SSL_session_reused(b->client.ssl));
	shake_free(a);
	shake_free(b);
	return resumed;
}

static void sessions_are_resumed(void **state)
{
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	/* Another context with the same secret: another worker process, or after a reload. */
	struct tls_context *s = server_of(&so), *again = server_of(&so), *none, *foreign;
	struct tls_context *c = client_of(&co);

	(void)state;
	so.ticket_secret[0]++;
	foreign = server_of(&so);
	so.tickets = false;
	none = server_of(&so);
	for (long v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
		assert_true(resumes(s, "a.example", s, "a.example", c, v, 0));
		assert_true(resumes(s, "a.example", again, "a.example", c, v, 0));
		/* Although both names have the same certificates and the same policy. */
		assert_false(resumes(s, "a.example", s, "x.b.example", c, v, 0));
		assert_false(resumes(s, "a.example", foreign, "a.example", c, v, 0));
		assert_false(resumes(none, "a.example", none, "a.example", c, v, 0));
		assert_false(resumes(s, "a.example", none, "a.example", c, v, 0));
		assert_true(resumes(s, "a.example", s, "a.example", c, v, 11 * HOUR_MS));
		assert_false(resumes(s, "a.example", s, "a.example", c, v, 14 * HOUR_MS));
	}
	tls_context_unref(s);
	tls_context_unref(again);
	tls_context_unref(none);
	tls_context_unref(foreign);
	tls_context_unref(c);
}

/* Each pair of policies, certificates and listeners: a session is resumed only where all are the
 * same, and never where clients present certificates. */
static void sessions_never_cross(void **state)
{
	static const struct slice optional[] = { SLICE("optional.b.example") },
				  require[] = { SLICE("require.b.example") },
				  also[] = { SLICE("also.b.example") },
				  with_crl[] = { SLICE("crl.b.example") };
	struct slice crl = pki_crl(ca, NULL, 0, 7);
	const struct tls_policy policies[] = {
		{ .names = optional,
		  .names_n = 1,
		  .client_auth = TLS_AUTH_OPTIONAL,
		  .ca = ca->certificate_pem },
		{ .names = require,
		  .names_n = 1,
		  .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem },
		{ .names = also,
		  .names_n = 1,
		  .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem },
		{ .names = with_crl,
		  .names_n = 1,
		  .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem,
		  .crl = crl },
	};
	const struct tls_pair pairs[] = { site->pair, other->pair };
	static const char *const names[] = { "a.example",          "other.example",
					     "optional.b.example", "require.b.example",
					     "also.b.example",     "crl.b.example" };
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s[2], *c;

	(void)state;
	so.pairs = pairs;
	so.pairs_n = 2;
	so.policies = policies;
	so.policies_n = COUNT(policies);
	s[0] = server_of(&so);
	so.name = SLICE("another listener");
	s[1] = server_of(&so);
	co.pair = &clients[GOOD]->pair;
	c = client_of(&co);
	for (size_t i = 0; i < COUNT(names) * COUNT(names) * 8; i++) {
		size_t from = i / 8 / COUNT(names), to = i / 8 % COUNT(names);
		bool same = (i & 1) == (i >> 1 & 1) && from == to && from < 2;

		assert_int_equal(resumes(s[i & 1], names[from], s[i >> 1 & 1], names[to],
					 c, i & 4 ? TLS1_2_VERSION : TLS1_3_VERSION, 0),
				 same);
	}
	tls_context_unref(s[0]);
	tls_context_unref(s[1]);
	tls_context_unref(c);
	pki_text_free(crl);
}

/* The session id context of each pair of policies differs, although no session of theirs is resumed
 * anyway: it would be what is left if tickets were sent. */
static void identities_differ(void **state)
{
	enum { POLICIES = 7 };
	const long revoked[] = { 666 };
	struct slice crls[] = { pki_crl(ca, NULL, 0, 7), pki_crl(ca, revoked, 1, 7) };
	struct slice two_cas = { 0 };
	char *text = malloc(ca->certificate_pem.len + other->certificate_pem.len);
	struct tls_policy policies[POLICIES] = {
		{ .client_auth = TLS_AUTH_OFF },
		{ .client_auth = TLS_AUTH_OPTIONAL, .ca = ca->certificate_pem },
		{ .client_auth = TLS_AUTH_REQUIRE, .ca = ca->certificate_pem },
		{ .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem,
		  .depth = 1 },
		{ .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem,
		  .crl = crls[0] },
		{ .client_auth = TLS_AUTH_REQUIRE,
		  .ca = ca->certificate_pem,
		  .crl = crls[1] },
		{ .client_auth = TLS_AUTH_REQUIRE },
	};
	unsigned char ids[POLICIES][32];

	(void)state;
	assert_non_null(text);
	two_cas.ptr = text;
	two_cas.len = (size_t)(slice_append(slice_append(text, ca->certificate_pem),
					    other->certificate_pem) -
			       text);
	policies[POLICIES - 1].ca = two_cas;
	for (unsigned i = 0; i < POLICIES; i++) {
		struct tls_server_options so = server_options();
		struct tls_client_options co = client_options();
		struct tls_context *s, *c;
		const unsigned char *id;
		struct meeting *k;
		unsigned n;

		so.policies = &policies[i];
		so.policies_n = 1;
		co.pair = &clients[GOOD]->pair;
		s = server_of(&so);
		c = client_of(&co);
		k = shake(s, c, "a.example");
		assert_true(k->done);
		id = SSL_SESSION_get0_id_context(SSL_get_session(k->server.ssl), &n);
		assert_int_equal(n, sizeof(ids[i]));
		memcpy(ids[i], id, n);
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(ids[i], ids[j], sizeof(ids[i]));
		shake_free(k);
		tls_context_unref(s);
		tls_context_unref(c);
	}
	free(text);
	pki_text_free(crls[0]);
	pki_text_free(crls[1]);
}

static void sessions_end_with_their_certificate(void **state)
{
	struct pki *renewed = pki_new(
		"site.pem", &(struct pki_options){ .san = SITE_NAMES, .issuer = ca });
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *before = server_of(&so), *after, *c = client_of(&co);

	(void)state;
	so.pairs = &renewed->pair;
	after = server_of(&so);
	assert_false(
		resumes(before, "a.example", after, "a.example", c, TLS1_3_VERSION, 0));
	assert_false(
		resumes(before, "a.example", after, "a.example", c, TLS1_2_VERSION, 0));
	tls_context_unref(before);
	tls_context_unref(after);
	tls_context_unref(c);
	pki_free(renewed);
}

/* ---- clients: verification of the server ------------------------------------------- */

static void servers_are_verified(void **state)
{
	struct pki *expired = pki_new("expired.pem",
				      &(struct pki_options){ .san = SITE_NAMES,
							     .issuer = ca,
							     .from_days = -5,
							     .to_days = -1 });
	struct pki *common = pki_new(
		"common.pem",
		&(struct pki_options){ .common_name = "a.example", .issuer = ca });
	struct pki *for_clients = pki_new("clients.pem",
					  &(struct pki_options){ .san = SITE_NAMES,
								 .issuer = ca,
								 .usage = "clientAuth" });
	struct pki *foreign = pki_new("foreign.pem",
				      &(struct pki_options){ .san = SITE_NAMES });
	const struct {
		const struct pki *server;
		const char *name;
		enum tls_fault fault;
	} cases[] = {
		{ site, "a.example", TLS_FAULT_NONE },
		{ site, "a.example.", TLS_FAULT_NONE },
		{ site, "x.b.example", TLS_FAULT_NONE },
		{ site, "192.0.2.1", TLS_FAULT_NONE },
		{ site, "192.0.2.2", TLS_FAULT_CERTIFICATE_NAME },
		{ site, "b.example", TLS_FAULT_CERTIFICATE_NAME },
		{ site, "y.x.b.example", TLS_FAULT_CERTIFICATE_NAME },
		{ site, "evil.example", TLS_FAULT_CERTIFICATE_NAME },
		{ common, "a.example", TLS_FAULT_CERTIFICATE_NAME },
		{ expired, "a.example", TLS_FAULT_CERTIFICATE_EXPIRED },
		{ foreign, "a.example", TLS_FAULT_CERTIFICATE_UNTRUSTED },
		{ for_clients, "a.example", TLS_FAULT_CERTIFICATE },
	};
	struct tls_client_options co = client_options();
	struct tls_context *c = client_of(&co), *unverified;

	(void)state;
	co.verify = false;
	co.ca = (struct slice){ 0 };
	unverified = client_of(&co);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_server_options so = server_options();
		struct tls_context *s;
		struct meeting *k;

		so.pairs = &cases[i].server->pair;
		s = server_of(&so);
		k = shake(s, c, cases[i].name);
		assert_int_equal(k->done, !cases[i].fault);
		assert_int_equal(k->client.hooks.fault, cases[i].fault);
		shake_free(k);
		k = shake(s, unverified, cases[i].name);
		assert_true(k->done);
		assert_int_equal(k->client.hooks.fault, TLS_FAULT_NONE);
		shake_free(k);
		tls_context_unref(s);
	}
	tls_context_unref(c);
	tls_context_unref(unverified);
	pki_free(expired);
	pki_free(common);
	pki_free(for_clients);
	pki_free(foreign);
}

static void validity_is_that_of_the_given_time(void **state)
{
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s = server_of(&so), *c = client_of(&co);
	struct meeting *k = shake_new(s, c, "a.example");

	(void)state;
	k->client.hooks.now_ms += 40ull * 24 * HOUR_MS;
	assert_false(shake_run(k)->done);
	assert_int_equal(k->client.hooks.fault, TLS_FAULT_CERTIFICATE_EXPIRED);
	shake_free(k);
	tls_context_unref(s);
	tls_context_unref(c);
}

static void a_trusted_certificate_need_not_be_a_root(void **state)
{
	struct pki *lonely = pki_new("lonely.pem",
				     &(struct pki_options){ .san = SITE_NAMES });
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s, *c;
	struct meeting *k;

	(void)state;
	so.pairs = &lonely->pair;
	co.ca = lonely->certificate_pem;
	s = server_of(&so);
	c = client_of(&co);
	k = shake(s, c, "a.example");
	assert_true(k->done);
	shake_free(k);
	k = shake(s, c, "evil.example");
	assert_false(k->done);
	shake_free(k);
	tls_context_unref(s);
	tls_context_unref(c);
	pki_free(lonely);
}

static void keys_are_pinned(void **state)
{
	uint8_t pins[4][32];
	const struct {
		unsigned pin;
		bool verify;
		bool good;
	} cases[] = {
		{ 0, true, true },
		{ 1, true, true },
		{ 2, true, false },
		{ 0, false, true },
		/* Anybody can send the issuer's certificate along. */
		{ 1, false, false },
		{ 2, false, false },
	};
	struct tls_server_options so = server_options();
	struct tls_pair with_ca = site->pair;
	char *chain = malloc(site->chain_pem.len + ca->certificate_pem.len);
	struct tls_context *s;

	(void)state;
	pki_pin(site, pins[0]);
	pki_pin(ca, pins[1]);
	pki_pin(other, pins[2]);
	with_ca.chain = (struct slice){
		chain, (size_t)(slice_append(slice_append(chain, site->chain_pem),
					     ca->certificate_pem) -
				chain)
	};
	so.pairs = &with_ca;
	s = server_of(&so);
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t two[2][32] = { { 1 } };
		struct tls_client_options co = client_options();
		struct tls_context *c;
		struct meeting *k;

		memcpy(two[1], pins[cases[i].pin], 32);
		co.verify = cases[i].verify;
		co.pins = (const uint8_t(*)[32])two;
		co.pins_n = 2;
		c = client_of(&co);
		k = shake(s, c, "a.example");
		assert_int_equal(k->done, cases[i].good);
		if (!cases[i].good)
			assert_int_equal(k->client.hooks.fault,
					 TLS_FAULT_CERTIFICATE_PIN);
		shake_free(k);
		tls_context_unref(c);
	}
	tls_context_unref(s);
	free(chain);
}

/* The server says that it has used the name, so the client keeps it with the session. */
static void names_are_acknowledged(void **state)
{
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s = server_of(&so), *c = client_of(&co);

	(void)state;
	for (long v = TLS1_2_VERSION; v <= TLS1_3_VERSION; v++) {
		struct meeting *k = shake_new(s, c, "a.example");

		SSL_set_max_proto_version(k->client.ssl, v);
		assert_true(shake_run(k)->done);
		assert_non_null(k->client.kept);
		assert_string_equal(SSL_SESSION_get0_hostname(k->client.kept),
				    "a.example");
		shake_free(k);
	}
	tls_context_unref(s);
	tls_context_unref(c);
}

static void server_names_are_sent(void **state)
{
	static const struct {
		const char *name, *sni;
		bool no_sni;
		const char *sent;
	} cases[] = {
		{ "a.example", "", false, "a.example" },
		{ "a.example.", "", false, "a.example" },
		{ "a.example", "x.b.example", false, "x.b.example" },
		{ "a.example", "", true, NULL },
		{ "192.0.2.1", "", false, NULL },
		{ "2001:db8::1", "", false, NULL },
		{ "192.0.2.1", "a.example", false, "a.example" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_client_options co = client_options();
		struct tls_hooks hooks = { .now_ms = now_ms };
		struct tls_context *c;
		const char *sent;
		SSL *ssl;

		co.no_sni = cases[i].no_sni;
		c = client_of(&co);
		ssl = tls_object_connect(c, &hooks, slice_of(cases[i].name),
					 slice_of(cases[i].sni));
		assert_non_null(ssl);
		sent = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
		assert_int_equal(sent != NULL, cases[i].sent != NULL);
		if (sent)
			assert_string_equal(sent, cases[i].sent);
		SSL_free(ssl);
		tls_context_unref(c);
	}
}

/* ---- secrets ------------------------------------------------------------------------ */

/* A log is asked for by its descriptor, and has the lines of RFC 9850 for this connection. */
static void secrets_are_logged(void **state)
{
	static const char *const labels[] = {
		"CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
		"SERVER_HANDSHAKE_TRAFFIC_SECRET ",
		"CLIENT_TRAFFIC_SECRET_0 ",
		"SERVER_TRAFFIC_SECRET_0 ",
		"EXPORTER_SECRET ",
	};
	struct tls_server_options so = server_options();
	struct tls_client_options co = client_options();
	struct tls_context *s, *c = client_of(&co);
	unsigned lines = 0, found = 0;
	FILE *log = tmpfile();
	char line[512];
	struct meeting *k;

	(void)state;
	so.keylog_fd = fileno(log);
	s = server_of(&so);
	k = shake(s, c, "a.example");
	assert_true(k->done);
	rewind(log);
	for (; fgets(line, sizeof(line), log); lines++) {
		assert_int_equal(line[strlen(line) - 1], '\n');
		for (size_t i = 0; i < COUNT(labels); i++)
			if (strncmp(line, labels[i], strlen(labels[i])) == 0)
				found |= 1u << i;
	}
	assert_int_equal(lines, COUNT(labels));
	assert_int_equal(found, (1u << COUNT(labels)) - 1);
	shake_free(k);
	fclose(log);
	tls_context_unref(s);
	tls_context_unref(c);
}

/* ---- all ------------------------------------------------------------------------------ */

static int make_pki(void **state)
{
	(void)state;
	now_ms = (uint64_t)time(NULL) * 1000;
	ca = pki_new("ca", &(struct pki_options){ .common_name = "Test CA", .ca = true });
	site = pki_new("site.pem",
		       &(struct pki_options){ .san = SITE_NAMES, .issuer = ca });
	site_rsa = pki_new(
		"rsa.pem",
		&(struct pki_options){ .san = SITE_NAMES, .issuer = ca, .key = PKI_RSA });
	other = pki_new("other.pem", &(struct pki_options){ .san = "DNS:other.example",
							    .issuer = ca });
	make_clients();
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CLIENTS; i++)
		pki_free(clients[i]);
	pki_free(middle);
	pki_free(other);
	pki_free(site_rsa);
	pki_free(site);
	pki_free(ca);
	return 0;
}

/* An openssl.cnf that allows everything: contexts must not be weakened by it. */
static void allow_everything(void)
{
	static const char text[] =
		"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = weak\n[weak]\n"
		"MinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n"
		"Options = UnsafeLegacyRenegotiation,-SessionTicket,AllowNoDHEKEX\n";
	static char path[] = "/tmp/fairlead-openssl-XXXXXX";
	int fd = mkstemp(path);

	ASSERT(fd >= 0 && write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	close(fd);
	setenv("OPENSSL_CONF", path, 1);
	ASSERT(tls_library_init());
	unlink(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_protocol_of_the_server_is_chosen),
		cmocka_unit_test(old_versions_and_suites_are_refused),
		cmocka_unit_test(version_1_3_alone),
		cmocka_unit_test(groups_are_tried_name_by_name),
		cmocka_unit_test(certificates_are_found_by_name),
		cmocka_unit_test(the_kind_of_key_is_chosen_by_the_client),
		cmocka_unit_test(certificates_are_shared_by_contexts),
		cmocka_unit_test(a_pair_of_many_names_itself_in_errors),
		cmocka_unit_test(clients_are_let_in_by_policy),
		cmocka_unit_test(issuers_are_looked_up),
		cmocka_unit_test(policies_are_chosen_by_name),
		cmocka_unit_test(policies_have_errors_with_a_remedy),
		cmocka_unit_test(sessions_are_resumed),
		cmocka_unit_test(sessions_never_cross),
		cmocka_unit_test(identities_differ),
		cmocka_unit_test(sessions_end_with_their_certificate),
		cmocka_unit_test(servers_are_verified),
		cmocka_unit_test(validity_is_that_of_the_given_time),
		cmocka_unit_test(a_trusted_certificate_need_not_be_a_root),
		cmocka_unit_test(keys_are_pinned),
		cmocka_unit_test(names_are_acknowledged),
		cmocka_unit_test(server_names_are_sent),
		cmocka_unit_test(secrets_are_logged),
	};

	allow_everything();
	return cmocka_run_group_tests(tests, make_pki, free_pki);
}
