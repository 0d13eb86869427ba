/* TLS sessions, both ends of ours, and against the library. */
#include "tls/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

static struct buf_pool bufs;
static struct tls_thread *thread;

static int set_up(void **state)
{
	(void)state;
	check_states = true;
	assert_int_equal(buf_pool_init(&bufs, 256), 0);
	thread = tls_thread_new(&bufs);
	assert_non_null(thread);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tls_thread_free(thread);
	buf_pool_done(&bufs);
	return 0;
}

/* ---- two ends ---------------------------------------------------------------------- */

#define PLAIN_MAX (1u << 20)

struct end {
	struct tls *tls;
	char *got; /* plaintext that was read */
	size_t got_n;
	bool ended;
	unsigned heavy; /* steps */
};

static uint64_t now_ms = 1000000;

/* Bytes arrive in buffers of at most `cut`. */
static void deliver(struct end *to, const char *bytes, size_t n, size_t cut)
{
	while (n > 0) {
		size_t part = n < cut ? n : cut;
		struct buf *b = buf_take(&bufs);

		if (part > b->size)
			part = b->size;
		memcpy(b->data, bytes, part);
		b->end = (uint32_t)part;
		tls_receive(to->tls, b);
		bytes += part;
		n -= part;
	}
}

static bool is_shaking(const struct tls *t)
{
	return t->state == TLS_HELLO || t->state == TLS_SHAKING;
}

/* Handshake and reading, as far as what has arrived allows. */
static void run(struct end *e)
{
	struct tls *t = e->tls;
	struct buf *plain;

	while (is_shaking(t) && t->wants_step) {
		e->heavy += tls_step_is_heavy(t);
		tls_step(t, now_ms);
	}
	if (is_shaking(t))
		return;
	for (;;) {
		enum tls_read r = tls_read(t, &plain, now_ms);

		e->ended = r == TLS_READ_END;
		if (r != TLS_READ_BYTES)
			return;
		assert_true(plain->end > plain->begin);
		assert_true(e->got_n + plain->end - plain->begin <= PLAIN_MAX);
		memcpy(e->got + e->got_n, plain->data + plain->begin,
		       plain->end - plain->begin);
		e->got_n += plain->end - plain->begin;
		buf_put(plain);
	}
}

/* Sends a flight to the other end. */
static size_t pass(struct tls_flight *f, struct end *to, size_t cut)
{
	static char bytes[PLAIN_MAX + PLAIN_MAX / 8];
	size_t n = 0;

	for (unsigned i = 0; i < f->n; i++) {
		assert_true(n + f->iov[i].iov_len <= sizeof(bytes));
		memcpy(bytes + n, f->iov[i].iov_base, f->iov[i].iov_len);
		n += f->iov[i].iov_len;
	}
	assert_int_equal(n, f->bytes);
	tls_flight_release(f);
	deliver(to, bytes, n, cut);
	return n;
}

/* Both ends go on until nobody has anything to send. Returns the bytes sent. */
static size_t settle(struct end *a, struct end *b, size_t cut)
{
	size_t n = 0;
	bool more = true;

	while (more) {
		struct end *ends[2] = { a, b };

		more = false;
		for (unsigned i = 0; i < 2; i++) {
			struct tls_flight f;

			tls_flight_init(&f);
			run(ends[i]);
			if (tls_take(ends[i]->tls, &f)) {
				n += pass(&f, ends[!i], cut);
				more = true;
			}
		}
	}
	run(a);
	run(b);
	return n;
}

static struct tls_context *null_server, *null_client;

static void null_contexts(void)
{
	struct tls_server_options server = {
		.name = SLICE("test"),
		.records = TLS_RECORDS_NULL,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};
	struct tls_client_options client = {
		.name = SLICE("test"),
		.records = TLS_RECORDS_NULL,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};
	char error[256];

	null_server = tls_server_context(&server, error, sizeof(error));
	null_client = tls_client_context(&client, error, sizeof(error));
	assert_true(null_server && null_client);
}

static void ends_open(struct end *s, struct end *c, struct tls_context *server,
		      struct tls_context *client, struct tls_saved *saved, size_t cut)
{
	*s = (struct end){ .tls = tls_accept(thread, server), .got = malloc(PLAIN_MAX) };
	*c = (struct end){ .tls = tls_connect(thread, client, SLICE("example.org"),
					      SLICE(""), saved),
			   .got = malloc(PLAIN_MAX) };
	assert_true(s->tls && c->tls);
	settle(c, s, cut);
}

static void ends_free(struct end *s, struct end *c)
{
	tls_free(s->tls);
	tls_free(c->tls);
	free(s->got);
	free(c->got);
}

static char letter(size_t i)
{
	return (char)('a' + i * 7 % 23 + i / 1000 % 3);
}

/* Sends n bytes, in entries of `piece`, every other one of which is exclusive. */
static void send_plain(struct end *from, struct end *to, size_t n, size_t piece,
		       size_t cut)
{
	char *bytes = malloc(n + 1), *copy = malloc(n + 1);
	struct tls_plain entries[8];
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		bytes[i] = copy[i] = letter(i);
	to->got_n = 0;
	while (at < n) {
		struct tls_flight f;
		unsigned k = 0;
		size_t end = at;
		int64_t taken;

		while (k < COUNT(entries) && end < n) {
			size_t len = n - end < piece ? n - end : piece;

			entries[k] = (struct tls_plain){ bytes + end, (uint32_t)len,
							 k % 2 == 0 };
			end += len;
			k++;
		}
		tls_flight_init(&f);
		tls_take(from->tls, &f);
		taken = tls_seal(from->tls, entries, k, &f, now_ms);
		assert_true(taken > 0);
		/* What is not exclusive is as it was. */
		for (size_t i = 0, x = at; i < k; x += entries[i++].len)
			if (!entries[i].exclusive)
				assert_memory_equal(bytes + x, copy + x, entries[i].len);
		at += (size_t)taken;
		pass(&f, to, cut);
		run(to);
	}
	assert_int_equal(to->got_n, n);
	assert_memory_equal(to->got, copy, n);
	free(bytes);
	free(copy);
}

static void test_null_handshake(void **state)
{
	static const size_t cuts[] = { 16384, 1, 7, 1460 };

	(void)state;
	for (size_t i = 0; i < 4 * 40; i++) {
		struct end s, c;

		ends_open(&s, &c, null_server, null_client, NULL, cuts[i % COUNT(cuts)]);
		assert_int_equal(s.tls->state, TLS_OPEN);
		assert_int_equal(c.tls->state, TLS_OPEN);
		assert_int_equal(s.tls->protocol, TLS_HTTP_1_1);
		assert_int_equal(c.tls->protocol, TLS_HTTP_1_1);
		assert_true(slice_equal(s.tls->name, SLICE("example.org")));
		assert_true(s.heavy == 1 && c.heavy >= 1);
		send_plain(&c, &s, 100, 100, cuts[i % COUNT(cuts)]);
		send_plain(&s, &c, 100000, 900, cuts[i % COUNT(cuts)]);
		ends_free(&s, &c);
	}
}

static void test_null_ends(void **state)
{
	struct end s, c;

	(void)state;
	ends_open(&s, &c, null_server, null_client, NULL, 16384);
	tls_shut(s.tls);
	assert_true(tls_has_output(s.tls));
	settle(&s, &c, 16384);
	assert_int_equal(c.tls->state, TLS_ENDED);
	assert_true(c.ended);
	send_plain(&c, &s, 5000, 5000, 100);
	tls_receive_end(s.tls);
	run(&s);
	assert_int_equal(s.tls->state, TLS_FAILED);
	assert_int_equal(s.tls->fault, TLS_FAULT_TRUNCATED);
	assert_false(tls_has_output(s.tls));
	ends_free(&s, &c);
}

/* A session of one connection is resumed by the next one to the same name only. */
static void test_null_resumption(void **state)
{
	struct tls_saved saved = { 0 };
	struct end s, c;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		ends_open(&s, &c, null_server, null_client, &saved, 1460);
		assert_int_equal(s.tls->resumed, i > 0);
		assert_int_equal(c.tls->resumed, i > 0);
		send_plain(&s, &c, 100, 100, 1460); /* behind the ticket */
		assert_non_null(saved.session);
		ends_free(&s, &c);
	}
	saved.identity++;
	ends_open(&s, &c, null_server, null_client, &saved, 1460);
	assert_false(c.tls->resumed);
	tls_forget(c.tls);
	ends_free(&s, &c);
	tls_saved_drop(&saved);
	assert_null(saved.session);
}

static void test_null_no_common_protocol(void **state)
{
	struct tls_client_options options = { .records = TLS_RECORDS_NULL,
					      .protocols = { TLS_HTTP_2 },
					      .keylog_fd = -1 };
	struct tls_context *other;
	struct end s, c;
	char error[256];

	(void)state;
	other = tls_client_context(&options, error, sizeof(error));
	ends_open(&s, &c, null_server, other, NULL, 100);
	assert_int_equal(s.tls->state, TLS_FAILED);
	assert_int_equal(s.tls->fault, TLS_FAULT_PROTOCOL);
	assert_int_equal(c.tls->state, TLS_FAILED);
	assert_int_equal(c.tls->fault, TLS_FAULT_ALERT);
	assert_int_equal(c.tls->alert, 120);
	ends_free(&s, &c);
	tls_context_unref(other);
}

static void deliver_text(struct end *to, const char *text)
{
	deliver(to, text, strlen(text), 16384);
	run(to);
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
		struct end s = { .tls = tls_accept(thread, null_server) };

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
		struct end s = { .tls = tls_accept(thread, null_server) };
		struct end c = { .tls = tls_connect(thread, null_client,
						    SLICE("example.org"), SLICE(""),
						    NULL) };
		struct tls_flight f;
		char bytes[4096];
		size_t all = 0;

		run(&c);
		tls_flight_init(&f);
		tls_take(c.tls, &f);
		for (unsigned i = 0; i < f.n; all += f.iov[i++].iov_len)
			memcpy(bytes + all, f.iov[i].iov_base, f.iov[i].iov_len);
		tls_flight_release(&f);
		deliver(&s, bytes, n < all ? n : all, 100);
		tls_compact(s.tls);
		tls_receive_end(s.tls);
		run(&s);
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

static int contexts_set_up(void **state)
{
	null_contexts();
	return set_up(state);
}

static int contexts_tear_down(void **state)
{
	tls_context_unref(null_server);
	tls_context_unref(null_client);
	return tear_down(state);
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
	};

	return cmocka_run_group_tests(tests, contexts_set_up, contexts_tear_down);
}
