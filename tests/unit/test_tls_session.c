/* TLS sessions, both ends of ours, and against the library. */
#include "tls/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "lib/tlsrig.h"

static void test_null_handshake(void **state)
{
	static const size_t cuts[] = { 16384, 1, 7, 1460 };

	(void)state;
	for (size_t i = 0; i < 4 * 40; i++) {
		struct tls_side s, c;

		sides_open(&s, &c, rig_null_server, rig_null_client, NULL,
			   cuts[i % COUNT(cuts)]);
		assert_int_equal(s.tls->state, TLS_OPEN);
		assert_int_equal(c.tls->state, TLS_OPEN);
		assert_int_equal(s.tls->protocol, TLS_HTTP_1_1);
		assert_int_equal(c.tls->protocol, TLS_HTTP_1_1);
		assert_true(slice_equal(s.tls->name, SLICE("example.org")));
		assert_true(s.heavy == 1 && c.heavy >= 1);
		side_send(&c, &s, 100, 100, cuts[i % COUNT(cuts)]);
		side_send(&s, &c, 100000, 900, cuts[i % COUNT(cuts)]);
		sides_free(&s, &c);
	}
}

static void test_null_ends(void **state)
{
	struct tls_side s, c;

	(void)state;
	sides_open(&s, &c, rig_null_server, rig_null_client, NULL, 16384);
	tls_shut(s.tls);
	assert_true(tls_has_output(s.tls));
	sides_settle(&s, &c, 16384);
	assert_int_equal(c.tls->state, TLS_ENDED);
	assert_true(c.ended);
	side_send(&c, &s, 5000, 5000, 100);
	tls_receive_end(s.tls);
	side_run(&s);
	assert_int_equal(s.tls->state, TLS_FAILED);
	assert_int_equal(s.tls->fault, TLS_FAULT_TRUNCATED);
	assert_false(tls_has_output(s.tls));
	sides_free(&s, &c);
}

/* A session of one connection is resumed by the next one to the same name only. */
static void test_null_resumption(void **state)
{
	struct tls_saved saved = { 0 };
	struct tls_side s, c;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		sides_open(&s, &c, rig_null_server, rig_null_client, &saved, 1460);
		assert_int_equal(s.tls->resumed, i > 0);
		assert_int_equal(c.tls->resumed, i > 0);
		side_send(&s, &c, 100, 100, 1460); /* behind the ticket */
		assert_non_null(saved.session);
		sides_free(&s, &c);
	}
	saved.identity++;
	sides_open(&s, &c, rig_null_server, rig_null_client, &saved, 1460);
	assert_false(c.tls->resumed);
	tls_forget(c.tls);
	sides_free(&s, &c);
	tls_saved_drop(&saved);
	assert_null(saved.session);
}

static void test_null_no_common_protocol(void **state)
{
	struct tls_client_options options = { .records = TLS_RECORDS_NULL,
					      .protocols = { TLS_HTTP_2 },
					      .keylog_fd = -1 };
	struct tls_context *other;
	struct tls_side s, c;
	char error[256];

	(void)state;
	other = tls_client_context(&options, error, sizeof(error));
	sides_open(&s, &c, rig_null_server, other, NULL, 100);
	assert_int_equal(s.tls->state, TLS_FAILED);
	assert_int_equal(s.tls->fault, TLS_FAULT_PROTOCOL);
	assert_int_equal(c.tls->state, TLS_FAILED);
	assert_int_equal(c.tls->fault, TLS_FAULT_ALERT);
	assert_int_equal(c.tls->alert, 120);
	sides_free(&s, &c);
	tls_context_unref(other);
}

static void deliver_text(struct tls_side *to, const char *text)
{
	side_deliver(to, text, strlen(text), 16384);
	side_run(to);
}

static void test_not_a_hello(void **state)
{
	static const struct {
		const char *text;
		enum tls_fault fault;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n", TLS_FAULT_PLAIN_HTTP },
		{ "\x80\x2e\x01", TLS_FAULT_NOT_TLS },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_side s = { .tls = tls_accept(rig_thread, rig_null_server) };

		deliver_text(&s, cases[i].text);
		assert_int_equal(s.tls->state, TLS_FAILED);
		assert_int_equal(s.tls->fault, cases[i].fault);
		assert_false(tls_has_output(s.tls));
		tls_free(s.tls);
	}
}

/* The end of the stream in each place of a handshake. */
static void test_null_cut_handshake(void **state)
{
	(void)state;
	for (size_t n = 0; n < 2000; n += 13) {
		struct tls_side s = { .tls = tls_accept(rig_thread, rig_null_server) };
		struct tls_side c = { .tls = tls_connect(rig_thread, rig_null_client,
							 SLICE("example.org"), SLICE(""),
							 NULL) };
		struct tls_flight f;
		char bytes[4096];
		size_t all = 0;

		side_run(&c);
		tls_flight_init(&f);
		tls_take(c.tls, &f);
		for (unsigned i = 0; i < f.n; all += f.iov[i++].iov_len)
			memcpy(bytes + all, f.iov[i].iov_base, f.iov[i].iov_len);
		tls_flight_release(&f);
		side_deliver(&s, bytes, n < all ? n : all, 100);
		tls_compact(s.tls);
		tls_receive_end(s.tls);
		side_run(&s);
		assert_int_equal(s.tls->state, TLS_FAILED);
		assert_int_equal(s.tls->fault, TLS_FAULT_CLOSED);
		tls_free(s.tls);
		tls_free(c.tls);
	}
}

static void test_names_of_faults(void **state)
{
	(void)state;
	assert_string_equal(tls_fault_name(TLS_FAULT_NONE), "none");
	assert_string_equal(tls_fault_name(TLS_FAULT_CERTIFICATE_UNTRUSTED),
			    "certificate_untrusted");
	assert_string_equal(tls_fault_error(TLS_FAULT_ALERT), "tls_alert_received");
	assert_string_equal(tls_fault_text(TLS_FAULT_LIBRARY), "handshake failed");
}

static void test_handshake(void **state)
{
	static const enum tls_records modes[] = { TLS_RECORDS_OWN, TLS_RECORDS_OPENSSL };
	static const size_t cuts[] = { 16384, 1, 100, 1460 };

	(void)state;
	for (size_t i = 0; i < 16; i++) {
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .records = modes[i & 1],
						     .protocols = { TLS_HTTP_1_1 },
						     .tickets = true });
		struct tls_context *client = rig_client_context(
			(struct tls_client_options){ .records = modes[i >> 1 & 1],
						     .protocols = { TLS_HTTP_1_1 },
						     .verify = true });
		size_t cut = cuts[i >> 2];
		struct tls_side s, c;

		sides_open(&s, &c, server, client, NULL, cut);
		assert_int_equal(s.tls->state, TLS_OPEN);
		assert_int_equal(c.tls->state, TLS_OPEN);
		assert_int_equal(s.tls->version, TLS_1_3);
		assert_int_equal(s.tls->protocol, TLS_HTTP_1_1);
		assert_int_equal(c.tls->protocol, TLS_HTTP_1_1);
		assert_int_equal(s.tls->suite, 0x1301);
		/* X25519, or with ML-KEM from OpenSSL 3.5 on. */
		assert_true(s.tls->group == 29 || s.tls->group == 0x11ec);
		side_send(&c, &s, 100, 100, cut);
		side_send(&s, &c, 200000, 900, cut);
		side_send(&c, &s, 50000, 50000, cut);
		tls_shut(c.tls);
		sides_settle(&s, &c, cut);
		assert_true(s.ended);
		side_send(&s, &c, 3000, 1000, cut);
		tls_shut(s.tls);
		sides_settle(&s, &c, cut);
		assert_true(c.ended);
		sides_free(&s, &c);
		tls_context_unref(server);
		tls_context_unref(client);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_null_handshake),
		cmocka_unit_test(test_null_ends),
		cmocka_unit_test(test_null_resumption),
		cmocka_unit_test(test_null_no_common_protocol),
		cmocka_unit_test(test_null_cut_handshake),
		cmocka_unit_test(test_not_a_hello),
		cmocka_unit_test(test_names_of_faults),
		cmocka_unit_test(test_handshake),
	};

	return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
