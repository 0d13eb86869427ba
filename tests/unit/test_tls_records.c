/* What an open connection receives besides data, and how it ends: alerts, post-handshake messages,
 * floods, truncation, sizes of records. The other end is one of ours that seals what the test
 * says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "../../src/tls/endpoint.h"
#include "base/check.h"
#include "lib/tlsrig.h"

static struct tls_context *own_server, *own_client;

static int records_set_up(void **state)
{
	rig_set_up(state);
	own_server = rig_server_context((struct tls_server_options){ .tickets = true });
	own_client = rig_client_context((struct tls_client_options){ .verify = true });
	return 0;
}

static int records_tear_down(void **state)
{
	tls_context_unref(own_server);
	tls_context_unref(own_client);
	return rig_tear_down(state);
}

/* Both ends with the own transform of TLS 1.3, or the null one. */
static void both_open(struct tls_side *s, struct tls_side *c, bool null)
{
	sides_open(s, c, null ? rig_null_server : own_server,
		   null ? rig_null_client : own_client, NULL, 16384);
	assert_int_equal(s->tls->state, TLS_OPEN);
	assert_int_equal(c->tls->state, TLS_OPEN);
	assert_null(endpoint_of(s->tls)->shake);
	assert_null(endpoint_of(c->tls)->shake);
}

/* As if both had agreed to TLS 1.2. */
static void become_1_2(struct tls_side *s, struct tls_side *c)
{
	struct tls_side *sides[2] = { s, c };
	static const uint8_t master[48] = { 1 }, random[32] = { 2 };

	for (unsigned i = 0; i < 2; i++) {
		struct tls_endpoint *e = endpoint_of(sides[i]->tls);
		struct record_keys client, server;

		assert_true(record_keys_from_master(&client, &server, rig_thread->crypt,
						    suite_find(0xc02b), master, random,
						    random));
		e->in_keys = i == 0 ? client : server;
		e->out_keys = i == 0 ? server : client;
		e->tls.version = TLS_1_2;
	}
}

/* Seals a record of any type. */
static void pass_record(struct tls_side *from, struct tls_side *to, enum record_type type,
			const char *bytes, uint32_t n)
{
	assert_true(outbound_message(endpoint_of(from->tls), type, bytes, n));
	side_take(from);
	side_deliver(to, from->sent, from->sent_n, 16384);
	side_run(to);
}

/* What `from` has to send is one alert. */
static void assert_alert(struct tls_side *from, struct tls_side *to, uint8_t level,
			 uint8_t description)
{
	struct tls_endpoint *e = endpoint_of(to->tls);
	struct record_plain r;
	uint8_t alert[2];

	assert_true(side_take(from));
	side_deliver(to, from->sent, from->sent_n, 16384);
	assert_int_equal(inbound_open(e, &r), VERDICT_OK);
	assert_int_equal(r.type, RECORD_ALERT);
	assert_int_equal(r.length, 2);
	assert_int_equal(r.bytes, e->in.bytes);
	sealed_copy(&e->in, r.begin, alert, 2);
	assert_int_equal(alert[0], level);
	assert_int_equal(alert[1], description);
	sealed_drop(&e->in);
	assert_false(tls_has_output(from->tls));
}

#define NO_ALERT 255

static const struct {
	const char *name;
	bool tls_1_2;
	bool to_client;
	enum record_type type;
	struct slice bytes;
	enum tls_state state;
	enum tls_fault fault;
	uint8_t alert; /* that replies */
	uint8_t received;
} cases[] = {
	{ "close_notify", false, false, RECORD_ALERT, SLICE("\1\0"), TLS_ENDED, 0,
	  NO_ALERT, 0 },
	{ "close_notify, fatal", false, false, RECORD_ALERT, SLICE("\2\0"), TLS_ENDED, 0,
	  NO_ALERT, 0 },
	{ "user_canceled", false, false, RECORD_ALERT, SLICE("\1\x5a"), TLS_OPEN, 0,
	  NO_ALERT, 0 },
	{ "warning", false, false, RECORD_ALERT, SLICE("\1\x70"), TLS_FAILED,
	  TLS_FAULT_ALERT, NO_ALERT, 0x70 },
	{ "fatal", false, true, RECORD_ALERT, SLICE("\2\x14"), TLS_FAILED,
	  TLS_FAULT_ALERT, NO_ALERT, 0x14 },
	{ "warning, 1.2", true, false, RECORD_ALERT, SLICE("\1\x70"), TLS_OPEN, 0,
	  NO_ALERT, 0 },
	{ "fatal, 1.2", true, false, RECORD_ALERT, SLICE("\2\x70"), TLS_FAILED,
	  TLS_FAULT_ALERT, NO_ALERT, 0x70 },
	{ "half an alert", false, false, RECORD_ALERT, SLICE("\1"), TLS_FAILED,
	  TLS_FAULT_MESSAGE, 50, 0 },
	{ "two alerts", false, false, RECORD_ALERT, SLICE("\1\0\1\0"), TLS_FAILED,
	  TLS_FAULT_MESSAGE, 50, 0 },
	{ "key update", false, false, RECORD_HANDSHAKE, SLICE("\x18\0\0\1\0"), TLS_OPEN,
	  0, NO_ALERT, 0 },
	{ "key update, bad request", false, false, RECORD_HANDSHAKE,
	  SLICE("\x18\0\0\1\2"), TLS_FAILED, TLS_FAULT_MESSAGE, 47, 0 },
	{ "key update, not at the end of its record", false, false, RECORD_HANDSHAKE,
	  SLICE("\x18\0\0\1\0\x18"), TLS_FAILED, TLS_FAULT_MESSAGE, 10, 0 },
	{ "key update, too long", false, false, RECORD_HANDSHAKE, SLICE("\x18\0\0\2\0\0"),
	  TLS_FAILED, TLS_FAULT_MESSAGE, 10, 0 },
	{ "key update, 1.2", true, false, RECORD_HANDSHAKE, SLICE("\x18\0\0\1\0"),
	  TLS_FAILED, TLS_FAULT_MESSAGE, 10, 0 },
	{ "ticket to a server", false, false, RECORD_HANDSHAKE, SLICE("\4\0\0\1\0"),
	  TLS_FAILED, TLS_FAULT_MESSAGE, 10, 0 },
	{ "ticket to a client", false, true, RECORD_HANDSHAKE, SLICE("\4\0\0\1\0"),
	  TLS_OPEN, 0, NO_ALERT, 0 },
	{ "huge ticket", false, true, RECORD_HANDSHAKE, SLICE("\4\x10\0\1\0"), TLS_FAILED,
	  TLS_FAULT_MESSAGE, 10, 0 },
	{ "certificate request", false, true, RECORD_HANDSHAKE, SLICE("\x0d\0\0\1\0"),
	  TLS_FAILED, TLS_FAULT_MESSAGE, 10, 0 },
	{ "hello", false, false, RECORD_HANDSHAKE, SLICE("\1\0\0\1\0"), TLS_FAILED,
	  TLS_FAULT_MESSAGE, 10, 0 },
	{ "hello, 1.2", true, false, RECORD_HANDSHAKE, SLICE("\1\0\0\1\0"), TLS_OPEN, 0,
	  100, 0 },
	{ "hello request, 1.2", true, true, RECORD_HANDSHAKE, SLICE("\0\0\0\0"), TLS_OPEN,
	  0, 100, 0 },
	{ "hello request to a server, 1.2", true, false, RECORD_HANDSHAKE,
	  SLICE("\0\0\0\0"), TLS_FAILED, TLS_FAULT_MESSAGE, 10, 0 },
};

static void test_not_data(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_side s, c, *from = cases[i].to_client ? &s : &c;
		struct tls_side *to = cases[i].to_client ? &c : &s;

		both_open(&s, &c, false);
		if (cases[i].tls_1_2)
			become_1_2(&s, &c);
		pass_record(from, to, cases[i].type, cases[i].bytes.ptr,
			    (uint32_t)cases[i].bytes.len);
		if (to->tls->state != cases[i].state || to->tls->fault != cases[i].fault)
			fail_msg("%s: state %u, %s", cases[i].name, to->tls->state,
				 tls_fault_name(to->tls->fault));
		assert_int_equal(to->tls->alert, cases[i].received);
		if (cases[i].alert == NO_ALERT)
			assert_false(tls_has_output(to->tls));
		else
			assert_alert(to, from, cases[i].alert == 100 ? 1 : 2,
				     cases[i].alert);
		sides_free(&s, &c);
	}
}

/* The same messages byte by byte, each in a record of its own. */
static void test_messages_in_parts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_side s, c, *from = cases[i].to_client ? &s : &c;
		struct tls_side *to = cases[i].to_client ? &c : &s;

		if (cases[i].type != RECORD_HANDSHAKE)
			continue;
		both_open(&s, &c, false);
		if (cases[i].tls_1_2)
			become_1_2(&s, &c);
		for (size_t k = 0; k < cases[i].bytes.len && to->tls->state == TLS_OPEN;
		     k++) {
			/* The key is another one behind a key update. */
			if (k == 5)
				break;
			pass_record(from, to, RECORD_HANDSHAKE, cases[i].bytes.ptr + k,
				    1);
		}
		if (cases[i].bytes.len <= 5 && to->tls->state != cases[i].state)
			fail_msg("%s: state %u", cases[i].name, to->tls->state);
		sides_free(&s, &c);
	}
}

static void test_data_amid_a_message(void **state)
{
	struct tls_side s, c;

	(void)state;
	both_open(&s, &c, false);
	pass_record(&c, &s, RECORD_HANDSHAKE, "\x18\0\0", 3);
	assert_int_equal(s.tls->state, TLS_OPEN);
	pass_record(&c, &s, RECORD_DATA, "x", 1);
	assert_int_equal(s.tls->fault, TLS_FAULT_MESSAGE);
	assert_int_equal(s.got_n, 0);
	sides_free(&s, &c);
	both_open(&s, &c, false);
	pass_record(&c, &s, RECORD_HANDSHAKE, "\x18\0\0", 3);
	pass_record(&c, &s, RECORD_ALERT, "\1\0", 2);
	assert_int_equal(s.tls->fault, TLS_FAULT_MESSAGE);
	sides_free(&s, &c);
}

/* A reply that is due when the peer ends its side is still sent. */
static void test_key_update_before_the_end(void **state)
{
	struct tls_side s, c;

	(void)state;
	both_open(&s, &c, false);
	assert_true(outbound_message(endpoint_of(c.tls), RECORD_HANDSHAKE, "\x18\0\0\1\1",
				     5));
	assert_true(record_keys_update(&endpoint_of(c.tls)->out_keys, rig_thread->crypt));
	tls_shut(c.tls);
	side_take(&c);
	side_deliver(&s, c.sent, c.sent_n, 16384);
	side_run(&s);
	assert_int_equal(s.tls->state, TLS_ENDED);
	assert_true(side_take(&s));
	side_deliver(&c, s.sent, s.sent_n, 16384);
	side_run(&c);
	side_send(&s, &c, 5000, 500, 1460);
	sides_free(&s, &c);
}

/* Nothing is sent of a record that could not be sealed. */
static void test_failed_seals(void **state)
{
	struct tls_side s, c;
	struct tls_flight f;

	(void)state;
	both_open(&s, &c, false);
	tls_shut(s.tls);
	tls_flight_init(&f);
	crypt_fail_at(1);
	assert_false(tls_take(s.tls, &f));
	assert_int_equal(f.n, 0);
	assert_int_equal(s.tls->state, TLS_FAILED);
	assert_false(tls_has_output(s.tls));
	sides_free(&s, &c);
}

/* More output than a flight takes: data waits, since its records have later numbers. */
static void test_output_before_data(void **state)
{
	static const char ticket[1200] = { 4 };
	const struct tls_plain data = { "data", 4, false };
	unsigned n = TLS_FLIGHT_MAX + 8;
	struct tls_side s, c;
	struct tls_flight f;

	(void)state;
	both_open(&s, &c, false);
	for (unsigned i = 0; i < n; i++)
		assert_true(outbound_message(endpoint_of(s.tls), RECORD_HANDSHAKE, ticket,
					     sizeof(ticket)));
	tls_flight_init(&f);
	assert_true(tls_take(s.tls, &f));
	assert_int_equal(f.n, TLS_FLIGHT_MAX);
	assert_int_equal(tls_seal(s.tls, &data, 1, &f, 0), 0);
	tls_flight_release(&f);
	assert_true(tls_take(s.tls, &f));
	assert_int_equal(f.n, 8);
	assert_int_equal(tls_seal(s.tls, &data, 1, &f, 0), 4);
	assert_true(endpoint_of(s.tls)->out_keys.sequence > n);
	tls_flight_release(&f);
	sides_free(&s, &c);
}

static void test_renegotiation_only_once(void **state)
{
	struct tls_side s, c;

	(void)state;
	both_open(&s, &c, false);
	become_1_2(&s, &c);
	pass_record(&c, &s, RECORD_HANDSHAKE, "\1\0\0\1\0", 5);
	assert_alert(&s, &c, 1, 100);
	side_send(&c, &s, 10, 10, 100);
	pass_record(&c, &s, RECORD_HANDSHAKE, "\1\0\0\1\0", 5);
	assert_int_equal(s.tls->fault, TLS_FAULT_RENEGOTIATION);
	sides_free(&s, &c);
}

/* A key update that is requested is replied to once, however many came before the reply. */
static void test_requested_key_updates(void **state)
{
	(void)state;
	for (unsigned null = 0; null < 2; null++) {
		struct tls_side s, c;

		both_open(&s, &c, null);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(outbound_message(endpoint_of(c.tls), RECORD_HANDSHAKE,
						     "\x18\0\0\1\1", 5));
			assert_true(record_keys_update(&endpoint_of(c.tls)->out_keys,
						       rig_thread->crypt));
		}
		side_take(&c);
		side_deliver(&s, c.sent, c.sent_n, 100);
		side_run(&s);
		assert_true(side_take(&s));
		assert_int_equal(s.sent_n, 5 + 5 + 17);
		side_deliver(&c, s.sent, s.sent_n, 100);
		side_run(&c);
		assert_false(tls_has_output(c.tls));
		side_send(&s, &c, 100000, 1000, 1460);
		side_send(&c, &s, 100000, 1000, 1460);
		sides_free(&s, &c);
	}
}

static void test_worn_keys_are_replaced(void **state)
{
	(void)state;
	for (unsigned null = 0; null < 2; null++) {
		struct tls_side s, c;
		const char text[] = "text";

		both_open(&s, &c, null);
		endpoint_of(c.tls)->in_keys.sequence =
			endpoint_of(s.tls)->out_keys.sequence = (1u << 23) - 2;
		for (unsigned i = 0; i < 4; i++) {
			c.got_n = 0;
			side_seal(&s, text, 4);
			side_deliver(&c, s.sent, s.sent_n, 100);
			side_run(&c);
			assert_int_equal(c.got_n, 4);
			assert_int_equal(tls_has_output(s.tls), i == 1);
		}
		assert_int_equal(endpoint_of(s.tls)->out_keys.sequence, 2);
		sides_free(&s, &c);
	}
}

static void test_floods(void **state)
{
	static const struct {
		enum record_type type;
		const char *bytes;
		uint32_t n;
	} kinds[] = {
		{ RECORD_DATA, "", 0 },
		{ RECORD_ALERT, "\1\x5a", 2 },
	};

	(void)state;
	for (size_t k = 0; k < COUNT(kinds); k++) {
		struct tls_side s, c;

		both_open(&s, &c, false);
		for (unsigned i = 0; i < 32; i++)
			pass_record(&c, &s, kinds[k].type, kinds[k].bytes, kinds[k].n);
		assert_int_equal(s.tls->state, TLS_OPEN);
		pass_record(&c, &s, RECORD_DATA, "x", 1); /* counts anew */
		for (unsigned i = 0; i < 33; i++) {
			assert_int_equal(s.tls->state, TLS_OPEN);
			pass_record(&c, &s, kinds[k].type, kinds[k].bytes, kinds[k].n);
		}
		assert_int_equal(s.tls->fault, TLS_FAULT_EMPTY_RECORDS);
		assert_alert(&s, &c, 2, 10);
		sides_free(&s, &c);
	}
}

/* Each byte of a record changed: nothing of it is read. */
static void test_changed_bytes(void **state)
{
	(void)state;
	for (size_t at = 0; at < 5 + 20 + 17; at++) {
		struct tls_side s, c;

		both_open(&s, &c, at % 2);
		side_seal(&c, "twenty bytes of text", 20);
		assert_int_equal(c.sent_n, 5 + 20 + 17);
		c.sent[at] ^= 0x40;
		side_deliver(&s, c.sent, c.sent_n, 16384);
		side_run(&s);
		tls_receive_end(s.tls);
		side_run(&s);
		assert_int_equal(s.tls->state, TLS_FAILED);
		assert_int_equal(s.got_n, 0);
		if (at >= 5) {
			assert_int_equal(s.tls->fault, TLS_FAULT_RECORD_AUTHENTICATION);
			assert_alert(&s, &c, 2, 20);
		}
		sides_free(&s, &c);
	}
}

/* A record twice, or left out. */
static void test_order_of_records(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct tls_side s, c;

		both_open(&s, &c, i & 1);
		side_seal(&c, "one", 3);
		if (i & 2)
			side_deliver(&s, c.sent, c.sent_n, 100);
		else
			side_seal(&c, "two", 3);
		side_deliver(&s, c.sent, c.sent_n, 100);
		side_run(&s);
		assert_int_equal(s.got_n, i & 2 ? 3 : 0);
		assert_int_equal(s.tls->fault, TLS_FAULT_RECORD_AUTHENTICATION);
		sides_free(&s, &c);
	}
}

/* FIN after each number of bytes of data and close_notify. */
static void test_truncation(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 27 + 24; n++) {
		struct tls_side s, c;
		size_t sent;
		char bytes[64];

		both_open(&s, &c, n % 2);
		side_seal(&c, "12345", 5);
		memcpy(bytes, c.sent, sent = c.sent_n);
		tls_shut(c.tls);
		side_take(&c);
		memcpy(bytes + sent, c.sent, c.sent_n);
		assert_int_equal(sent + c.sent_n, 27 + 24);
		side_deliver(&s, bytes, n, 16384);
		tls_receive_end(s.tls);
		side_run(&s);
		assert_int_equal(s.got_n, n >= 27 ? 5 : 0);
		assert_int_equal(s.tls->state, n == 27 + 24 ? TLS_ENDED : TLS_FAILED);
		if (n < 27 + 24)
			assert_int_equal(s.tls->fault, TLS_FAULT_TRUNCATED);
		assert_false(tls_has_output(s.tls));
		sides_free(&s, &c);
	}
}

/* Bytes behind close_notify do not exist; our side goes on. */
static void test_behind_close_notify(void **state)
{
	struct tls_side s, c;
	char bytes[512];
	size_t n;

	(void)state;
	both_open(&s, &c, false);
	tls_shut(c.tls);
	tls_shut(c.tls);
	side_take(&c);
	memcpy(bytes, c.sent, n = c.sent_n);
	assert_true(outbound_message(endpoint_of(c.tls), RECORD_DATA, "x", 1));
	side_take(&c);
	memcpy(bytes + n, c.sent, c.sent_n);
	side_deliver(&s, bytes, n + c.sent_n, 16384);
	side_run(&s);
	assert_true(s.ended && s.got_n == 0);
	side_deliver(&s, c.sent, c.sent_n, 16384);
	tls_receive_end(s.tls);
	side_run(&s);
	assert_int_equal(s.tls->state, TLS_ENDED);
	side_send(&s, &c, 5000, 500, 1460);
	sides_free(&s, &c);
}

/* The lengths of the records in `sent`, without header and tag. */
static unsigned record_sizes(const struct tls_side *s, unsigned *sizes, unsigned max)
{
	unsigned n = 0;

	for (size_t at = 0; at < s->sent_n && n < max;) {
		unsigned length = (uint8_t)s->sent[at + 3] << 8 |
				  (uint8_t)s->sent[at + 4];

		sizes[n++] = length - 17;
		at += 5 + length;
	}
	return n;
}

static void test_sizes_of_records(void **state)
{
	static char bytes[200000];
	struct tls_side s, c;
	unsigned sizes[64], n, i;

	(void)state;
	both_open(&s, &c, false);
	rig_now_ms += 5000;
	for (unsigned round = 0; round < 3; round++) {
		struct tls_plain entry = { bytes, sizeof(bytes), false };
		struct tls_flight f;
		bool small = round != 1; /* after a second of silence, and not before */

		rig_now_ms += round == 2 ? 1000 : 999;
		tls_flight_init(&f);
		assert_int_equal(tls_seal(s.tls, &entry, 1, &f, rig_now_ms),
				 sizeof(bytes));
		side_pass(&s, &f);
		n = record_sizes(&s, sizes, COUNT(sizes));
		for (i = 0; small && i < 3; i++)
			assert_int_equal(sizes[i], 4096);
		for (i = small ? 3 : 0; i + 1 < n; i++)
			assert_int_equal(sizes[i], 16384);
	}
	sides_free(&s, &c);
}

/* A record that arrives in segments, and is compacted after each: it holds one block, which is
 * replaced a few times. */
static void test_segments_of_a_record(void **state)
{
	static const char bytes[16384];
	struct tls_side s, c;
	struct buf *block = NULL;
	unsigned blocks = 0;

	(void)state;
	both_open(&s, &c, false);
	side_seal(&c, bytes, 100); /* the burst of small records */
	side_deliver(&s, c.sent, c.sent_n, 16384);
	for (unsigned i = 0; i < 4; i++) {
		side_seal(&c, bytes, 4096);
		side_deliver(&s, c.sent, c.sent_n, 16384);
	}
	side_run(&s);
	side_seal(&c, bytes, sizeof(bytes));
	assert_int_equal(c.sent_n, 5 + 16384 + 17);
	s.got_n = 0;
	for (size_t at = 0; at < c.sent_n; at += 1448) {
		size_t n = c.sent_n - at < 1448 ? c.sent_n - at : 1448;

		side_deliver(&s, c.sent + at, n, 1448);
		side_run(&s);
		tls_compact(s.tls);
		if (at + n == c.sent_n)
			break;
		assert_int_equal(rig_bufs.free_n, rig_bufs.count);
		assert_true(s.tls->sealed_held <= 4 * (at + n) + 1024);
		blocks += endpoint_of(s.tls)->in.first != block;
		block = endpoint_of(s.tls)->in.first;
	}
	assert_int_equal(s.got_n, sizeof(bytes));
	assert_in_range(blocks, 1, 5);
	sides_free(&s, &c);
}

/* True: one of the secrets is somewhere in these bytes. */
static bool has_secret(const void *bytes, size_t n, const uint8_t secrets[4][32])
{
	for (unsigned i = 0; i < 4; i++)
		if (memmem(bytes, n, secrets[i], 16))
			return true;
	return false;
}

/* Keys and secrets are overwritten when a connection ends. */
static void test_secrets_are_cleansed(void **state)
{
	struct tls_side s, c, other, another;
	struct tls_endpoint *e;
	uint8_t secrets[4][32];

	(void)state;
	both_open(&other, &another, false); /* the chunks of the slabs stay */
	both_open(&s, &c, false);
	e = endpoint_of(s.tls);
	memcpy(secrets[0], e->in_keys.secret, 32);
	memcpy(secrets[1], e->in_keys.key, 32);
	memcpy(secrets[2], e->out_keys.secret, 32);
	memcpy(secrets[3], e->out_keys.key, 32);
	assert_true(has_secret(e, sizeof(*e), secrets));
	sides_free(&s, &c);
	assert_false(has_secret(e, sizeof(*e), secrets));
	sides_free(&other, &another);
}

/* If it failed, then for this reason, or because the other end told it by an alert; which a server
 * does not expect before the ClientHello. */
static void assert_out_of_memory(const struct tls_side *s)
{
	if (!s->tls || s->tls->state != TLS_FAILED)
		return;
	assert_true(s->tls->fault == TLS_FAULT_NO_MEMORY ||
		    s->tls->fault == TLS_FAULT_ALERT ||
		    (s->tls->server && s->tls->fault == TLS_FAULT_MESSAGE));
}

/* No memory, in turn at each allocation of a slab: either nothing changes but the end, or it fails
 * with that fault; nothing leaks. */
static void test_no_memory(void **state)
{
	(void)state;
	for (unsigned null = 0; null < 2; null++) {
		bool failed = true;

		for (unsigned n = 1; failed; n++) {
			struct tls_side s = { 0 }, c = { 0 };

			slab_fail_at(n);
			s.tls = tls_accept(rig_thread,
					   null ? rig_null_server : own_server);
			c.tls = tls_connect(rig_thread,
					    null ? rig_null_client : own_client,
					    SLICE("example.org"), SLICE(""), NULL);
			s.got = malloc(RIG_PLAIN_MAX);
			s.sent = malloc(2 * RIG_PLAIN_MAX);
			c.got = malloc(RIG_PLAIN_MAX);
			c.sent = malloc(2 * RIG_PLAIN_MAX);
			failed = !s.tls || !c.tls;
			if (!failed) {
				sides_settle(&c, &s, 1460);
				failed = s.tls->state != TLS_OPEN ||
					 c.tls->state != TLS_OPEN;
			}
			slab_fail_at(0);
			assert_out_of_memory(&s);
			assert_out_of_memory(&c);
			assert_true(n < 100);
			sides_free(&s, &c);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_data),
		cmocka_unit_test(test_messages_in_parts),
		cmocka_unit_test(test_data_amid_a_message),
		cmocka_unit_test(test_key_update_before_the_end),
		cmocka_unit_test(test_failed_seals),
		cmocka_unit_test(test_output_before_data),
		cmocka_unit_test(test_renegotiation_only_once),
		cmocka_unit_test(test_requested_key_updates),
		cmocka_unit_test(test_worn_keys_are_replaced),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_order_of_records),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_behind_close_notify),
		cmocka_unit_test(test_sizes_of_records),
		cmocka_unit_test(test_segments_of_a_record),
		cmocka_unit_test(test_secrets_are_cleansed),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, records_set_up, records_tear_down);
}
