#include "tls/session.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "crypt.h"
#include "endpoint.h"
#include "fault.h"
#include "heap.h"
#include "ja4.h"
#include "shake.h"

/* The diagram of session.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[TLS_HELLO] = 1u << TLS_SHAKING | 1u << TLS_FAILED,
	[TLS_SHAKING] = 1u << TLS_OPEN | 1u << TLS_FAILED,
	[TLS_OPEN] = 1u << TLS_ENDED | 1u << TLS_FAILED,
	[TLS_ENDED] = 1u << TLS_FAILED,
	[TLS_FAILED] = 0,
};

void endpoint_set_state(struct tls_endpoint *e, enum tls_state state)
{
	ASSERT(next_states[e->tls.state] >> state & 1);
	e->tls.state = (uint8_t)state;
}

void endpoint_fail_with(struct tls_endpoint *e, enum tls_fault fault, uint8_t alert)
{
	ASSERT(fault != TLS_FAULT_NONE);
	e->tls.fault = (uint8_t)fault;
	e->tls.wants_step = false;
	e->key_update_waiting = false;
	e->plain = e->tail = 0;
	sealed_drop(&e->in);
	if (e->tls.state == TLS_HELLO)
		memset(&e->scan, 0, sizeof(e->scan)); /* no keys: alerts go in clear */
	/* The library makes its own alerts, and keeps its keys. */
	if (e->shake && e->shake->ssl)
		alert = ALERT_NONE;
	shake_free(e);
	if (alert != ALERT_NONE && !e->tls.shut) {
		e->alert_waiting = true;
		e->alert_level = ALERT_FATAL;
		e->alert_description = alert;
	}
	endpoint_set_state(e, TLS_FAILED);
}

void endpoint_fail(struct tls_endpoint *e, enum tls_fault fault)
{
	endpoint_fail_with(e, fault, (uint8_t)fault_alert(fault));
}

/* ---- of a thread ------------------------------------------------------------------- */

struct tls_thread *tls_thread_new(struct buf_pool *bufs)
{
	struct tls_thread *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	heap_begin();
	t->bufs = bufs;
	slab_init(&t->endpoints, "TLS connection", sizeof(struct tls_endpoint), 0);
	slab_init(&t->shakes, "TLS handshake", sizeof(struct shake), 0);
	t->crypt = crypt_new();
	if (t->crypt)
		return t;
	tls_thread_free(t);
	return NULL;
}

void tls_thread_free(struct tls_thread *t)
{
	if (!t)
		return;
	if (t->crypt)
		crypt_free(t->crypt);
	slab_done(&t->endpoints);
	slab_done(&t->shakes);
	heap_end();
	free(t);
}

const struct tls_counts *tls_thread_counts(const struct tls_thread *t)
{
	return &t->counts;
}

struct slice tls_suite_name(uint16_t suite)
{
	const struct suite *s = suite_find(suite);

	return slice_of(s ? s->name : "");
}

void tls_thread_trim(struct tls_thread *t)
{
	slab_trim(&t->endpoints);
	slab_trim(&t->shakes);
	heap_trim();
}

/* ---- begin and end ----------------------------------------------------------------- */

static struct tls_endpoint *endpoint_new(struct tls_thread *t, struct tls_context *c)
{
	struct tls_endpoint *e = slab_take(&t->endpoints);

	if (!e)
		return NULL;
	e->tls.thread = t;
	e->tls.context = tls_context_ref(c);
	e->tls.server = c->server;
	return e;
}

struct tls *tls_accept(struct tls_thread *t, struct tls_context *c)
{
	struct tls_endpoint *e;

	ASSERT(c->server);
	e = endpoint_new(t, c);
	return e ? &e->tls : NULL;
}

/* Keeps the name in a block that has `more` bytes behind it. */
static bool keep_name(struct tls_endpoint *e, struct slice name, size_t more)
{
	char *copy;

	if (name.len + more == 0)
		return true;
	copy = malloc(name.len + more);
	if (!copy)
		return false;
	slice_append(copy, name);
	e->tls.name = (struct slice){ copy, name.len };
	return true;
}

bool endpoint_keep_name(struct tls_endpoint *e, struct slice name)
{
	return keep_name(e, name, 0);
}

/* The fingerprint lies behind the name: a connection without one has no space for it. */
bool endpoint_keep_hello(struct tls_endpoint *e, const struct hello *h)
{
	struct slice name = hello_name(h);
	bool ja4 = e->tls.context->ja4;

	if (!keep_name(e, name, ja4 ? JA4_BYTES : 0))
		return false;
	e->tls.has_ja4 = ja4 &&
			 ja4_write(h, (char *)(uintptr_t)e->tls.name.ptr + name.len);
	return !ja4 || e->tls.has_ja4;
}

struct slice tls_ja4(const struct tls *t)
{
	return t->has_ja4 ? (struct slice){ t->name.ptr + t->name.len, JA4_BYTES }
			  : SLICE("");
}

struct tls *tls_connect(struct tls_thread *t, struct tls_context *c, struct slice name,
			struct slice sni, struct tls_saved *saved)
{
	struct tls_endpoint *e;

	ASSERT(!c->server);
	e = endpoint_new(t, c);
	if (!e)
		return NULL;
	e->tls.state = TLS_SHAKING;
	e->tls.wants_step = true;
	e->saved = saved;
	e->identity = hash_bytes(hash_bytes(hash_mix(c->serial), name), SLICE("/"));
	e->identity = hash_bytes(e->identity, sni);
	if (c->records == TLS_RECORDS_NULL
		    ? endpoint_keep_name(e, sni.len > 0 ? sni : name)
		    : shake_connect(e, name, sni))
		return &e->tls;
	tls_free(&e->tls);
	return NULL;
}

void tls_saved_drop(struct tls_saved *s)
{
	if (s->session != &null_session)
		SSL_SESSION_free(s->session);
	*s = (struct tls_saved){ 0 };
}

void tls_forget(struct tls *t)
{
	endpoint_of(t)->saved = NULL;
}

void tls_free(struct tls *t)
{
	struct tls_endpoint *e;

	if (!t)
		return;
	e = endpoint_of(t);
	shake_free(e);
	sealed_drop(&e->in);
	output_drop(&e->out);
	if (t->state != TLS_HELLO) {
		record_keys_done(&e->in_keys, t->thread->crypt);
		record_keys_done(&e->out_keys, t->thread->crypt);
	}
	free((void *)(uintptr_t)t->name.ptr);
	free((void *)(uintptr_t)t->peer);
	tls_context_unref(t->context);
	slab_put(&t->thread->endpoints, e);
}

void endpoint_settle(struct tls_endpoint *e)
{
	e->tls.sealed_held = e->in.held;
	CHECK_STATE(tls_check(&e->tls));
}

/* ---- in ---------------------------------------------------------------------------- */

void tls_receive(struct tls *t, struct buf *b)
{
	struct tls_endpoint *e = endpoint_of(t);

	ASSERT(!e->in_ended);
	/* Bytes behind close_notify are ignored (RFC 8446 6.1). */
	if (t->state == TLS_ENDED || t->state == TLS_FAILED)
		buf_put(b);
	else
		sealed_append(&e->in, b);
	if (endpoint_is_shaking(e))
		handshake_look(e);
	endpoint_settle(e);
}

void tls_receive_end(struct tls *t)
{
	struct tls_endpoint *e = endpoint_of(t);

	e->in_ended = true;
	if (endpoint_is_shaking(e)) {
		/* A step may be due that takes the last bytes. */
		if (e->in.bytes == 0)
			endpoint_fail(e, TLS_FAULT_CLOSED);
		else
			t->wants_step = true;
	}
	endpoint_settle(e);
}

void tls_compact(struct tls *t)
{
	struct tls_endpoint *e = endpoint_of(t);

	sealed_compact(&e->in, t->thread->bufs);
	endpoint_settle(e);
}

void tls_discard(struct tls *t)
{
	struct tls_endpoint *e = endpoint_of(t);

	sealed_drop(&e->in);
	e->plain = e->tail = 0;
	endpoint_settle(e);
}

enum tls_read tls_read(struct tls *t, struct buf **plain, uint64_t now_ms)
{
	struct tls_endpoint *e = endpoint_of(t);
	enum tls_read result;

	*plain = NULL;
	if (t->state == TLS_ENDED)
		return TLS_READ_END;
	if (t->state == TLS_FAILED)
		return TLS_READ_FAILED;
	ASSERT(t->state == TLS_OPEN);
	result = e->shake ? library_read(e, plain, now_ms)
			  : inbound_read(e, plain, now_ms);
	if (result == TLS_READ_MORE && e->in_ended) {
		endpoint_fail(e, TLS_FAULT_TRUNCATED);
		result = TLS_READ_FAILED;
	}
	endpoint_settle(e);
	return result;
}

/* ---- out --------------------------------------------------------------------------- */

bool tls_has_output(const struct tls *t)
{
	const struct tls_endpoint *e = (const struct tls_endpoint *)(const void *)t;

	return e->out.first || e->alert_waiting || e->key_update_waiting;
}

bool tls_take(struct tls *t, struct tls_flight *f)
{
	struct tls_endpoint *e = endpoint_of(t);
	unsigned n = f->n;

	if (!outbound_waiting(e) && t->state != TLS_FAILED)
		endpoint_fail_with(e, TLS_FAULT_NO_MEMORY, ALERT_NONE);
	output_take(&e->out, f);
	endpoint_settle(e);
	return f->n > n;
}

int64_t tls_seal(struct tls *t, const struct tls_plain *entries, unsigned n,
		 struct tls_flight *f, uint64_t now_ms)
{
	struct tls_endpoint *e = endpoint_of(t);
	int64_t taken;

	ASSERT((t->state == TLS_OPEN || t->state == TLS_ENDED) && !t->shut);
	if (tls_has_output(t)) /* its records have lower numbers */
		return 0;
	taken = e->shake ? library_seal(e, entries, n, f)
			 : outbound_seal(e, entries, n, f, now_ms);
	if (taken < 0)
		endpoint_fail_with(e, TLS_FAULT_NO_MEMORY, ALERT_NONE);
	endpoint_settle(e);
	return taken;
}

void tls_shut(struct tls *t)
{
	struct tls_endpoint *e = endpoint_of(t);

	if (t->shut || (t->state != TLS_OPEN && t->state != TLS_ENDED))
		return;
	t->shut = true;
	if (e->shake) {
		library_shut(e);
	} else {
		e->alert_waiting = true;
		e->alert_level = ALERT_WARNING;
		e->alert_description = ALERT_CLOSE_NOTIFY;
	}
	endpoint_settle(e);
}

void tls_check(const struct tls *t)
{
	const struct tls_endpoint *e = (const struct tls_endpoint *)(const void *)t;

	sealed_check(&e->in);
	ASSERT(ERR_peek_error() ==
	       0); /* else the next call of the library looks failed */
	ASSERT(t->thread && t->context && t->context->server == t->server);
	ASSERT((t->fault != TLS_FAULT_NONE) == (t->state == TLS_FAILED));
	ASSERT(t->sealed_held == e->in.held);
	ASSERT(e->plain + e->tail <= e->in.bytes);
	switch ((enum tls_state)t->state) {
	case TLS_HELLO:
		ASSERT(t->server && !tls_has_output(t) && t->name.len == 0);
		break;
	case TLS_SHAKING:
		ASSERT(!t->shut && e->plain == 0);
		break;
	case TLS_OPEN:
		ASSERT(!t->wants_step && t->protocol <= TLS_HTTP_2);
		break;
	case TLS_ENDED:
		ASSERT(!t->wants_step && e->in.bytes == 0);
		break;
	case TLS_FAILED:
		ASSERT(!t->wants_step && e->in.bytes == 0);
		break;
	}
}
