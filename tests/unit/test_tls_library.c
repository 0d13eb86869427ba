/* Our sessions against the library's, in memory: versions, suites, modes of records, key updates,
 * what a handshake can be like. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/tls/endpoint.h"
#include "base/check.h"
#include "lib/tlsrig.h"

static const enum tls_records modes[] = { TLS_RECORDS_OWN, TLS_RECORDS_OPENSSL };
static const size_t cuts[] = { 16384, 1, 5, 1460 };

struct suite_case {
	int version;
	const char *name;
	unsigned number;
	bool rsa;
};

static const struct suite_case suites[] = {
	{ TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 0x1301, false },
	{ TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", 0x1302, true },
	{ TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", 0x1303, false },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b, false },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c, false },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9, false },
	{ TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", 0xc02f, true },
	{ TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384", 0xc030, true },
	{ TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305", 0xcca8, true },
};

static void raw_suite(struct raw *r, const struct suite_case *c)
{
	if (c->version == TLS1_3_VERSION)
		SSL_set_ciphersuites(r->ssl, c->name);
	else
		SSL_set_cipher_list(r->ssl, c->name);
}

static struct tls_context *server_for(bool rsa, enum tls_records records)
{
	return rig_server_context((struct tls_server_options){
		.records = records,
		.pairs = rsa ? &rig_rsa->pair : &rig_p256->pair,
		.pairs_n = 1,
		.tickets = true,
	});
}

static void exchange(struct raw *r, struct tls_side *s, size_t cut)
{
	raw_send(r, s, 1, cut);
	side_send_raw(s, r, 1, 1, cut);
	raw_send(r, s, 40000, cut);
	side_send_raw(s, r, 100000, 700, cut);
	side_send_raw(s, r, 40000, 40000, cut);
}

/* Both close; each end sees it. */
static void close_both(struct raw *r, struct tls_side *s, size_t cut)
{
	tls_shut(s->tls);
	raw_settle(r, s, cut);
	assert_true(r->ended);
	SSL_shutdown(r->ssl);
	raw_settle(r, s, cut);
	assert_true(s->ended);
	assert_int_equal(s->tls->state, TLS_ENDED);
	assert_false(tls_has_output(s->tls));
}

static void test_server_of_each_suite(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(suites) * 2; i++) {
		const struct suite_case *c = &suites[i / 2];
		struct tls_context *context = server_for(c->rsa, modes[i % 2]);
		struct tls_side s;
		struct raw r;

		side_accept(&s, context);
		raw_new(&r, false, c->version);
		raw_suite(&r, c);
		raw_settle(&r, &s, cuts[i % COUNT(cuts)]);
		assert_true(r.open);
		assert_int_equal(s.tls->state, TLS_OPEN);
		assert_int_equal(s.tls->version, c->version == TLS1_3_VERSION);
		assert_int_equal(s.tls->suite, c->number);
		assert_int_equal(s.heavy, c->version == TLS1_3_VERSION ? 1 : 2);
		exchange(&r, &s, cuts[i % COUNT(cuts)]);
		close_both(&r, &s, cuts[i % COUNT(cuts)]);
		side_free(&s);
		raw_free(&r);
		tls_context_unref(context);
	}
}

static void test_client_of_each_suite(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(suites) * 4; i++) {
		const struct suite_case *c = &suites[i / 4];
		struct tls_context *context = rig_client_context((
			struct tls_client_options){
			.records = modes[i % 2], .verify = true, .resume = true });
		struct tls_saved saved = { 0 };
		struct tls_side s;
		struct raw r;

		side_connect(&s, context, i & 2 ? &saved : NULL);
		raw_new(&r, true, c->version);
		if (c->rsa) {
			SSL_use_certificate(r.ssl, rig_rsa->x509);
			SSL_use_PrivateKey(r.ssl, rig_rsa->key);
		}
		raw_suite(&r, c);
		raw_settle(&r, &s, cuts[i % COUNT(cuts)]);
		assert_true(r.open);
		assert_int_equal(s.tls->state, TLS_OPEN);
		assert_int_equal(s.tls->suite, c->number);
		assert_true(s.heavy >= 1);
		exchange(&r, &s, cuts[i % COUNT(cuts)]);
		close_both(&r, &s, cuts[i % COUNT(cuts)]);
		side_free(&s);
		tls_saved_drop(&saved);
		raw_free(&r);
		tls_context_unref(context);
	}
}

static void test_key_updates(void **state)
{
	static const int kinds[] = { SSL_KEY_UPDATE_REQUESTED,
				     SSL_KEY_UPDATE_NOT_REQUESTED };

	(void)state;
	for (size_t i = 0; i < 2 * COUNT(suites); i++) {
		struct tls_context *context = server_for(suites[i / 2].rsa, modes[i % 2]);
		struct tls_side s;
		struct raw r;

		if (suites[i / 2].version != TLS1_3_VERSION) {
			tls_context_unref(context);
			continue;
		}
		side_accept(&s, context);
		raw_new(&r, false, TLS1_3_VERSION);
		raw_suite(&r, &suites[i / 2]);
		raw_settle(&r, &s, 1460);
		for (unsigned k = 0; k < 6; k++) {
			SSL_key_update(r.ssl, kinds[k % 2]);
			raw_send(&r, &s, 5000, 100);
			side_send_raw(&s, &r, 30000, 3000, 1460);
		}
		close_both(&r, &s, 1460);
		side_free(&s);
		raw_free(&r);
		tls_context_unref(context);
	}
}

/* 100 in a second, and not more. */
static void test_too_many_key_updates(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct tls_context *context = server_for(false, modes[i]);
		unsigned n = 0;
		struct tls_side s;
		struct raw r;

		side_accept(&s, context);
		raw_new(&r, false, TLS1_3_VERSION);
		raw_settle(&r, &s, 1460);
		rig_now_ms += 5000;
		for (; n < 250; n++) {
			if (n == 90)
				rig_now_ms += 1000;
			SSL_key_update(r.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
			SSL_write(r.ssl, "x", 1);
			raw_settle(&r, &s, 1460);
			if (s.tls->state != TLS_OPEN)
				break;
		}
		assert_int_equal(n, 190);
		assert_int_equal(s.tls->fault, TLS_FAULT_KEY_UPDATES);
		side_free(&s);
		raw_free(&r);
		tls_context_unref(context);
	}
}

/* A server that sends no ticket: the client's object stays, and what it did with the keys until it
 * goes is not forgotten. */
static void test_key_updates_before_the_hand_over(void **state)
{
	struct tls_context *context = rig_client_context(
		(struct tls_client_options){ .verify = true, .resume = true });

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct tls_saved saved = { 0 };
		struct tls_side s;
		struct raw r;

		side_connect(&s, context, &saved);
		raw_new(&r, true, TLS1_3_VERSION);
		SSL_set_num_tickets(r.ssl, 0);
		raw_settle(&r, &s, 1460);
		assert_non_null(endpoint_of(s.tls)->shake);
		if (i == 1)
			side_send_raw(&s, &r, 5000, 500, 1460);
		for (unsigned k = 0; k < i; k++) {
			SSL_key_update(r.ssl, k ? SSL_KEY_UPDATE_NOT_REQUESTED
						: SSL_KEY_UPDATE_REQUESTED);
			SSL_do_handshake(r.ssl);
			raw_settle(&r, &s, 1460);
		}
		assert_non_null(endpoint_of(s.tls)->shake);
		if (i == 2)
			side_send_raw(&s, &r, 5000, 500, 1460);
		raw_send(&r, &s, 5000, 1460);
		assert_null(endpoint_of(s.tls)->shake);
		if (i == 1) /* the reply that the library has not sent yet */
			assert_int_equal(s.sent_n, 5 + 5 + 17);
		exchange(&r, &s, 1460);
		close_both(&r, &s, 1460);
		side_free(&s);
		raw_free(&r);
	}
	tls_context_unref(context);
}

/* Where the last record of what was sent begins. */
static const char *last_record(const struct tls_side *s)
{
	size_t at = 0, next = 0;

	while (next < s->sent_n) {
		at = next;
		next += 5 + ((size_t)(uint8_t)s->sent[at + 3] << 8 |
			     (uint8_t)s->sent[at + 4]);
	}
	return s->sent + at;
}

/* TLS 1.2 with GCM: the explicit nonces go on from that of the library's Finished. */
static void test_explicit_nonces(void **state)
{
	struct tls_context *context = server_for(false, TLS_RECORDS_OWN);
	uint64_t finished, next;
	struct tls_side s;
	struct raw r;

	(void)state;
	side_accept(&s, context);
	raw_new(&r, false, TLS1_2_VERSION);
	raw_suite(&r, &suites[3]);
	raw_settle(&r, &s, 1460);
	assert_int_equal(s.tls->state, TLS_OPEN);
	/* The last flight is still in s.sent. */
	memcpy(&finished, last_record(&s) + 5, 8);
	for (unsigned i = 1; i < 4; i++) {
		side_seal(&s, "text", 4);
		memcpy(&next, s.sent + 5, 8);
		assert_int_equal(be64toh(next), be64toh(finished) + i);
	}
	side_free(&s);
	raw_free(&r);
	tls_context_unref(context);
}

/* The library goes on to the next record behind a key update, and must not begin one that is not
 * whole. */
static void test_part_of_a_record_behind_a_key_update(void **state)
{
	static const char text[1000] = "text";

	(void)state;
	alarm(60); /* the failure is an endless loop */
	for (size_t i = 0; i < COUNT(modes); i++) {
		struct tls_context *context = server_for(false, modes[i]);
		char sealed[4096];
		struct tls_side s;
		struct raw r;
		int n;

		side_accept(&s, context);
		raw_new(&r, false, TLS1_3_VERSION);
		raw_settle(&r, &s, 16384);
		assert_true(SSL_key_update(r.ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
		assert_int_equal(SSL_write(r.ssl, text, sizeof(text)), sizeof(text));
		n = BIO_read(r.out, sealed, sizeof(sealed));
		assert_true(n > (int)sizeof(text));
		for (int parts = 0; parts < 2; parts++) {
			side_deliver(&s, parts ? sealed + n - 10 : sealed,
				     parts ? 10 : (size_t)n - 10, 16384);
			side_run(&s);
			assert_int_equal(s.got_n, parts ? sizeof(text) : 0);
		}
		assert_memory_equal(s.got, text, sizeof(text));
		side_free(&s);
		raw_free(&r);
		tls_context_unref(context);
	}
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_of_each_suite),
		cmocka_unit_test(test_client_of_each_suite),
		cmocka_unit_test(test_key_updates),
		cmocka_unit_test(test_too_many_key_updates),
		cmocka_unit_test(test_key_updates_before_the_hand_over),
		cmocka_unit_test(test_explicit_nonces),
		cmocka_unit_test(test_part_of_a_record_behind_a_key_update),
	};

	return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
