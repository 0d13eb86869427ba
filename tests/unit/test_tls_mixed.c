/* Two open sessions that do everything in random order: seal, deliver in parts of any size, read
 * some, hold what was read, compact, change keys, close; sometimes a byte changes on its way. What
 * is read must be what was sent, and must stay that as long as it is held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/tls/endpoint.h"
#include "base/check.h"
#include "base/random.h"
#include "lib/tlsrig.h"

#define WIRE_MAX (1u << 21)
#define HELD_MAX 24

/* One direction. */
struct tls_way {
	struct tls *from, *to;
	char *wire; /* sealed bytes that were not delivered */
	size_t wire_n;
	size_t sent, read; /* plaintext */
	bool shut, changed;
	struct {
		struct buf *buf;
		size_t at; /* position of its first byte */
	} held[HELD_MAX];
	unsigned held_n;
};

static struct random random_state;

static uint32_t below(uint32_t n)
{
	return (uint32_t)random_below(&random_state, n);
}

/* Sizes of all magnitudes. */
static uint32_t some(uint32_t max)
{
	uint32_t n = 1 + below(1u << below(18));

	return n < max ? n : max;
}

static void wire_append(struct tls_way *w, struct tls_flight *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		assert_true(w->wire_n + f->iov[i].iov_len <= WIRE_MAX);
		memcpy(w->wire + w->wire_n, f->iov[i].iov_base, f->iov[i].iov_len);
		w->wire_n += f->iov[i].iov_len;
	}
	tls_flight_release(f);
}

static bool may_seal(const struct tls_way *w)
{
	return (w->from->state == TLS_OPEN || w->from->state == TLS_ENDED) &&
	       !w->from->shut && w->wire_n < WIRE_MAX / 4;
}

static void op_seal(struct tls_way *w)
{
	struct tls_plain entries[12];
	static char bytes[12][20000];
	struct tls_flight f;
	unsigned n = 1 + below(COUNT(entries));
	size_t at = w->sent;

	if (!may_seal(w))
		return;
	for (unsigned i = 0; i < n; i++) {
		entries[i] = (struct tls_plain){ bytes[i], some(sizeof(bytes[i])),
						 below(2) };
		for (uint32_t k = 0; k < entries[i].len; k++)
			bytes[i][k] = rig_letter(at++);
	}
	tls_flight_init(&f);
	tls_take(w->from, &f);
	w->sent += (size_t)tls_seal(w->from, entries, n, &f, rig_now_ms);
	wire_append(w, &f);
}

static void op_take(struct tls_way *w)
{
	struct tls_flight f;

	tls_flight_init(&f);
	tls_take(w->from, &f);
	wire_append(w, &f);
}

/* A part of the wire, in a receive buffer or a block, and not at its beginning. */
static void op_deliver(struct tls_way *w)
{
	uint32_t n = some(BUF_BYTES), offset;
	struct buf *b;

	if (n > w->wire_n)
		n = (uint32_t)w->wire_n;
	if (n == 0 || rig_bufs.count - rig_bufs.free_n > 1000)
		return;
	b = below(3) > 0 ? buf_take(&rig_bufs) : buf_new(&rig_bufs, n);
	offset = b->size > n ? below(b->size - n + 1) : 0;
	b->begin = offset;
	b->end = offset + n;
	memcpy(b->data + offset, w->wire, n);
	if (below(20000) < n && below(40) == 0) {
		b->data[offset + below(n)] ^= (char)(1 << below(8));
		w->changed = true;
	}
	memmove(w->wire, w->wire + n, w->wire_n - n);
	w->wire_n -= n;
	tls_receive(w->to, b);
}

static void held_check(const struct buf *b, size_t at)
{
	struct slice s = buf_bytes(b);

	for (size_t i = 0; i < s.len; i++)
		assert_int_equal(s.ptr[i], rig_letter(at + i));
}

static void held_release(struct tls_way *w, unsigned i)
{
	held_check(w->held[i].buf, w->held[i].at);
	buf_put(w->held[i].buf);
	w->held[i] = w->held[--w->held_n];
}

static void op_read(struct tls_way *w)
{
	for (unsigned n = some(30); n > 0; n--) {
		struct buf *b;

		if (w->to->state != TLS_OPEN ||
		    tls_read(w->to, &b, rig_now_ms) != TLS_READ_BYTES)
			return;
		held_check(b, w->read);
		if (w->held_n == HELD_MAX)
			held_release(w, below(w->held_n));
		w->held[w->held_n].buf = b;
		w->held[w->held_n++].at = w->read;
		w->read += b->end - b->begin;
		assert_true(w->read <= w->sent);
	}
}

static void op_key_update(struct tls_way *w)
{
	struct tls_endpoint *e = endpoint_of(w->from);

	/* No more than the other end permits in a second. */
	rig_now_ms += 20;
	if (w->from->version == TLS_1_3 && may_seal(w))
		e->key_update_waiting = true;
}

static void op_requested_key_update(struct tls_way *w)
{
	struct tls_endpoint *e = endpoint_of(w->from);

	rig_now_ms += 20;
	if (w->from->version != TLS_1_3 || !may_seal(w) || tls_has_output(w->from))
		return;
	assert_true(outbound_message(e, RECORD_HANDSHAKE, "\x18\0\0\1\1", 5));
	assert_true(record_keys_update(&e->out_keys, rig_thread->crypt));
}

static void op_empty_record(struct tls_way *w)
{
	if (may_seal(w) && !tls_has_output(w->from))
		assert_true(outbound_message(endpoint_of(w->from), RECORD_DATA, "", 0));
}

static void op_compact(struct tls_way *w)
{
	tls_compact(w->to);
}

static void op_release(struct tls_way *w)
{
	while (w->held_n > 0)
		held_release(w, below(w->held_n));
}

static void op_time(struct tls_way *w)
{
	(void)w;
	rig_now_ms += below(1500);
}

static void op_shut(struct tls_way *w)
{
	if (below(60) == 0)
		tls_shut(w->from);
	w->shut = w->from->shut;
}

static void (*const ops[])(struct tls_way *w) = {
	op_seal,
	op_seal,
	op_take,
	op_deliver,
	op_deliver,
	op_deliver,
	op_read,
	op_read,
	op_compact,
	op_key_update,
	op_requested_key_update,
	op_empty_record,
	op_release,
	op_time,
	op_shut,
};

/* The other end may have failed by a byte that was changed, and said so. */
static bool has_failed(const struct tls_way *w)
{
	if (w->to->state != TLS_FAILED)
		return false;
	if (!w->changed && w->to->fault != TLS_FAULT_ALERT)
		fail_msg("%s", tls_fault_name(w->to->fault));
	return true;
}

/* Everything that is still on its way arrives. */
static void finish(struct tls_way *w)
{
	struct buf *none;

	while (w->wire_n > 0 || tls_has_output(w->from)) {
		op_take(w);
		op_deliver(w);
		op_read(w);
		op_release(w);
	}
	while (w->read < w->sent && w->to->state == TLS_OPEN && !w->changed) {
		op_read(w);
		op_release(w);
	}
	op_read(w);
	op_release(w);
	/* What has changed may have been the length of a record, whose end never comes. */
	if (has_failed(w) || w->changed)
		return;
	assert_int_equal(w->read, w->sent);
	if (w->to->state == TLS_OPEN)
		tls_read(w->to, &none, rig_now_ms);
	if (!has_failed(w))
		assert_int_equal(w->to->state, w->from->shut ? TLS_ENDED : TLS_OPEN);
}

static void become_1_2(struct tls_side *s, struct tls_side *c)
{
	struct tls_side *sides[2] = { s, c };
	static const uint8_t master[48] = { 1 }, hello_random[32] = { 2 };

	for (unsigned i = 0; i < 2; i++) {
		struct tls_endpoint *e = endpoint_of(sides[i]->tls);
		struct record_keys client, server;

		assert_true(record_keys_from_master(&client, &server, rig_thread->crypt,
						    suite_find(0xc02b), master,
						    hello_random, hello_random));
		e->in_keys = i == 0 ? client : server;
		e->out_keys = i == 0 ? server : client;
		e->tls.version = TLS_1_2;
	}
}

static void run_seed(uint64_t seed, struct tls_context *server,
		     struct tls_context *client, bool tls_1_2)
{
	struct tls_side s, c;
	struct tls_way ways[2];

	random_init(&random_state, seed);
	sides_open(&s, &c, server, client, NULL, 16384);
	if (tls_1_2)
		become_1_2(&s, &c);
	ways[0] =
		(struct tls_way){ .from = s.tls, .to = c.tls, .wire = malloc(WIRE_MAX) };
	ways[1] =
		(struct tls_way){ .from = c.tls, .to = s.tls, .wire = malloc(WIRE_MAX) };
	for (unsigned n = 100 + below(400); n > 0; n--)
		ops[below(COUNT(ops))](&ways[below(2)]);
	/* Twice: a reply to a key update may be on its way. */
	for (unsigned i = 0; i < 4; i++)
		finish(&ways[i % 2]);
	for (unsigned i = 0; i < 2; i++)
		free(ways[i].wire);
	sides_free(&s, &c);
	assert_int_equal(rig_bufs.free_n, rig_bufs.count);
	assert_int_equal(rig_bufs.block_bytes, 0);
}

static void test_random_orders(void **state)
{
	struct tls_context *server = rig_server_context((struct tls_server_options){ 0 });
	struct tls_context *client =
		rig_client_context((struct tls_client_options){ .verify = true });
	const char *seeds = getenv("SEEDS");

	(void)state;
	for (uint64_t seed = 1; seed <= (seeds ? strtoull(seeds, NULL, 10) : 60);
	     seed++) {
		run_seed(seed, rig_null_server, rig_null_client, false);
		run_seed(seed, server, client, false);
		run_seed(seed, server, client, true);
	}
	tls_context_unref(server);
	tls_context_unref(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_orders) };

	return cmocka_run_group_tests(tests, rig_set_up, rig_tear_down);
}
