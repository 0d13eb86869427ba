#include "lib/simtls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls/warm.h"

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

/* One call for each part: so records of all sizes arise. */
static void seal_part(struct sim_peer *p)
{
	size_t left = p->plain_n - p->plain_sealed, n = left;
	struct tls_flight f;
	struct tls_plain entry;
	int64_t taken;

	if (!p->uncut && simrig_draw(p->rig, 3) > 0)
		n = 1 + simrig_draw(p->rig, simrig_draw(p->rig, 4) > 0 || left < 200
						    ? left
						    : 200);
	entry = (struct tls_plain){ p->plain + p->plain_sealed, (uint32_t)n, false };
	tls_flight_init(&f);
	taken = tls_seal(p->tls, &entry, 1, &f, p->rig->tick.now_ms);
	p->plain_sealed += taken > 0 ? (size_t)taken : 0; /* else FAILED: no memory */
	flight_append(p, &f);
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

static void seal_all(struct sim_peer *p)
{
	take_output(p);
	while (may_seal(p) && p->plain_sealed < p->plain_n) {
		seal_part(p);
		take_output(p);
	}
	if (may_seal(p) && (p->fin_wanted || p->close_wanted) && !p->cuts_off) {
		tls_shut(p->tls);
		take_output(p);
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

void simtls_free(struct sim_peer *p)
{
	tls_free(p->tls);
	p->tls = NULL;
	free(p->plain);
}
