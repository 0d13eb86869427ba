#include "lib/simtls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/tls/endpoint.h"
#include "../../src/tls/protocol.h"
#include "../../src/tls/shake.h"
#include "tls/warm.h"

/* A peer may make 100 key updates a second, and makes fewer. */
#define KEY_UPDATE_MS 50

#define CORRUPT_BYTES 1000 /* of plaintext in the record that is corrupted, at most */

struct tls_context *simtls_server_context(void)
{
	struct tls_server_options options = {
		.name = SLICE("simulation"),
		.records = TLS_RECORDS_NULL,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};
	char error[256];
	struct tls_context *c;

	assert_true(tls_library_init());
	c = tls_server_context(&options, error, sizeof(error));

	assert_non_null(c);
	return c;
}

struct tls_context *simtls_client_context(void)
{
	struct tls_client_options options = {
		.name = SLICE("simulation"),
		.records = TLS_RECORDS_NULL,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
		.resume = true,
	};
	char error[256];
	struct tls_context *c;

	assert_true(tls_library_init());
	c = tls_client_context(&options, error, sizeof(error));

	assert_non_null(c);
	return c;
}

void simtls_secure(struct sim_peer *p, struct tls_thread *thread,
		   struct tls_context *context, struct slice name,
		   struct tls_saved *saved)
{
	assert_null(p->tls);
	p->tls = p->server ? tls_accept(thread, context)
			   : tls_connect(thread, context, name, SLICE(""), saved);
	if (p->tls)
		simtls_step(p);
	else
		sim_peer_close_now(p); /* slab_fail_at() */
}

void simtls_send(struct sim_peer *p, struct slice bytes)
{
	p->plain = realloc(p->plain, p->plain_n + bytes.len + 1);
	assert_non_null(p->plain);
	if (bytes.len > 0)
		memcpy(p->plain + p->plain_n, bytes.ptr, bytes.len);
	p->plain_n += bytes.len;
	simtls_step(p);
}

void simtls_receive(struct sim_peer *p, struct buf *b)
{
	if (p->tls->state == TLS_ENDED) /* nothing comes behind close_notify */
		fail_msg("%u bytes after close_notify", b->end - b->begin);
	tls_receive(p->tls, b);
	simtls_step(p);
}

void simtls_receive_end(struct sim_peer *p)
{
	tls_receive_end(p->tls);
	simtls_step(p);
}

static bool may_seal(const struct sim_peer *p)
{
	return (p->tls->state == TLS_OPEN || p->tls->state == TLS_ENDED) && !p->tls->shut;
}

static void flight_append(struct sim_peer *p, struct tls_flight *f)
{
	for (unsigned i = 0; i < f->n; i++)
		sim_peer_append_output(p, f->iov[i].iov_base, f->iov[i].iov_len);
	tls_flight_release(f);
}

/* Changes one bit of what the flight has. */
static void flight_corrupt(struct sim_peer *p, struct tls_flight *f)
{
	uint64_t at = simrig_draw(p->rig, f->bytes);
	unsigned i = 0;

	while (at >= f->iov[i].iov_len)
		at -= f->iov[i++].iov_len;
	((char *)f->iov[i].iov_base)[at] ^= (char)(1 << simrig_draw(p->rig, 8));
}

/* How many bytes the next part has. *corrupt: it is the one. */
static size_t part_bytes(struct sim_peer *p, bool *corrupt)
{
	const struct simtls_faults *faults = &p->tls_faults;
	size_t left = p->plain_n - p->plain_sealed;

	*corrupt = faults->corrupts && p->plain_sealed == faults->corrupt_at;
	if (*corrupt)
		return left < CORRUPT_BYTES ? left : CORRUPT_BYTES;
	if (faults->corrupts && p->plain_sealed < faults->corrupt_at)
		left = faults->corrupt_at - p->plain_sealed;
	if (p->uncut || simrig_draw(p->rig, 3) == 0)
		return left;
	return 1 +
	       simrig_draw(p->rig, simrig_draw(p->rig, 4) > 0 || left < 200 ? left : 200);
}

/* One call for each part: so records of all sizes arise. */
static void seal_part(struct sim_peer *p)
{
	bool corrupt;
	size_t n = part_bytes(p, &corrupt);
	struct tls_plain entry = { p->plain + p->plain_sealed, (uint32_t)n, false };
	struct tls_flight f;
	int64_t taken;

	tls_flight_init(&f);
	taken = tls_seal(p->tls, &entry, 1, &f, p->rig->tick.now_ms);
	p->plain_sealed += taken > 0 ? (size_t)taken : 0; /* else FAILED: no memory */
	if (corrupt && f.bytes > 0)
		flight_corrupt(p, &f);
	flight_append(p, &f);
}

void simtls_update_keys(struct sim_peer *p, bool requested)
{
	struct tls_endpoint *e = endpoint_of(p->tls);
	const uint8_t message[5] = { 24, 0, 0, 1, requested }; /* KeyUpdate */

	if (e->shake)
		assert_int_equal(SSL_key_update(e->shake->ssl, requested), 1);
	else if (!outbound_message(e, RECORD_HANDSHAKE, message, sizeof(message)) ||
		 !record_keys_update(&e->out_keys, e->tls.thread->crypt))
		endpoint_fail(e, TLS_FAULT_NO_MEMORY); /* slab_fail_at() */
}

static void update_keys_by_chance(struct sim_peer *p)
{
	uint64_t now_ms = p->rig->tick.now_ms;

	if (!p->rig->key_updates || p->tls->version != TLS_1_3 || p->uncut ||
	    p->tls_faults.key_update_ms + KEY_UPDATE_MS > now_ms ||
	    simrig_draw(p->rig, 8) > 0)
		return;
	p->tls_faults.key_update_ms = now_ms;
	simtls_update_keys(p, simrig_draw(p->rig, 2));
}

static void take_output(struct sim_peer *p)
{
	struct tls_flight f;

	tls_flight_init(&f);
	while (tls_take(p->tls, &f)) {
		flight_append(p, &f);
		tls_flight_init(&f);
	}
}

/* tls_seal() would not do it. */
static void seal_behind(struct sim_peer *p)
{
	struct tls_endpoint *e = endpoint_of(p->tls);
	struct simtls_faults *faults = &p->tls_faults;

	while (faults->behind_n > 0 && !e->shake) {
		struct tls_plain entry = { faults->behind, (uint32_t)faults->behind_n,
					   false };
		struct tls_flight f;
		int64_t taken;

		tls_flight_init(&f);
		taken = outbound_seal(e, &entry, 1, &f, p->rig->tick.now_ms);
		flight_append(p, &f);
		if (taken <= 0)
			break;
		faults->behind_n -= (size_t)taken;
		memmove(faults->behind, faults->behind + taken, faults->behind_n);
	}
	faults->behind_n = 0;
}

static void seal_all(struct sim_peer *p)
{
	take_output(p);
	while (may_seal(p) && p->plain_sealed < p->plain_n) {
		update_keys_by_chance(p);
		take_output(p);
		if (!may_seal(p))
			break;
		seal_part(p);
		take_output(p);
	}
	if (may_seal(p) && p->tls_faults.alerts) {
		endpoint_fail_with(endpoint_of(p->tls), TLS_FAULT_CLOSED,
				   SSL_AD_INTERNAL_ERROR);
		take_output(p);
	}
	if (may_seal(p) && (p->fin_wanted || p->close_wanted) && !p->cuts_off) {
		tls_shut(p->tls);
		take_output(p);
		seal_behind(p);
	}
}

static void read_all(struct sim_peer *p)
{
	struct buf *b;

	while (p->tls->state == TLS_OPEN) {
		if (tls_read(p->tls, &b, p->rig->tick.now_ms) != TLS_READ_BYTES)
			break;
		sim_peer_append_input(p, b->data + b->begin, b->end - b->begin);
		buf_put(b);
	}
	if (p->tls->state < TLS_FAILED)
		tls_compact(p->tls);
}

void simtls_step(struct sim_peer *p)
{
	struct tls *t = p->tls;

	while (t->state <= TLS_SHAKING && t->wants_step)
		tls_step(t, p->rig->tick.wall_ms);
	if (t->state == TLS_OPEN)
		read_all(p);
	seal_all(p);
	if (t->state == TLS_ENDED)
		p->eof = true;
	if (t->state == TLS_FAILED)
		p->close_wanted = true; /* behind an alert */
	if (t->state == TLS_FAILED && !p->error)
		p->error = t->fault == TLS_FAULT_TRUNCATED || t->fault == TLS_FAULT_CLOSED
				   ? -ECONNRESET
				   : -EPROTO;
}

bool simtls_done(const struct sim_peer *p)
{
	bool end_wanted = (p->fin_wanted || p->close_wanted) && !p->cuts_off;

	if (p->tls->state == TLS_FAILED)
		return true;
	return (p->tls->state == TLS_OPEN || p->tls->state == TLS_ENDED) &&
	       p->plain_sealed == p->plain_n && (p->tls->shut || !end_wanted);
}

void simtls_end(struct sim_peer *p, enum simtls_end how)
{
	switch (how) {
	case SIMTLS_CLOSES:
	case SIMTLS_ENDS:
		break;
	case SIMTLS_CUTS_OFF:
		p->cuts_off = true;
		break;
	case SIMTLS_ALERTS:
		p->cuts_off = true;
		p->tls_faults.alerts = true;
		simtls_step(p);
		break;
	case SIMTLS_CORRUPTS:
		p->tls_faults.corrupts = true;
		p->tls_faults.corrupt_at = p->plain_n;
		break;
	case SIMTLS_GOES_ON:
		break;
	}
}

void simtls_send_behind(struct sim_peer *p, struct slice bytes)
{
	struct simtls_faults *faults = &p->tls_faults;

	faults->behind = realloc(faults->behind, bytes.len + 1);
	assert_non_null(faults->behind);
	memcpy(faults->behind, bytes.ptr, bytes.len);
	faults->behind_n = bytes.len;
}

void simtls_free(struct sim_peer *p)
{
	free(p->tls_faults.behind);
	tls_free(p->tls);
	p->tls = NULL;
	free(p->plain);
}
