#include "tls/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "endpoint.h"
#include "fault.h"

/* The diagram of session.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[TLS_HELLO] = 1u << TLS_SHAKING | 1u << TLS_FAILED,
	[TLS_SHAKING] = 1u << TLS_OPEN | 1u << TLS_FAILED,
	[TLS_OPEN] = 1u << TLS_ENDED | 1u << TLS_FAILED,
	[TLS_ENDED] = 1u << TLS_FAILED,
	[TLS_FAILED] = 0,
};

void endpoint_set_state(struct endpoint *e, enum tls_state state)
{
	ASSERT(next_states[e->tls.state] >> state & 1);
	e->tls.state = (uint8_t)state;
}

void endpoint_fail_with(struct endpoint *e, enum tls_fault fault, uint8_t alert)
{
	ASSERT(fault != TLS_FAULT_NONE);
	e->tls.fault = (uint8_t)fault;
	e->tls.wants_step = false;
	e->key_update_waiting = false;
	e->plain = e->tail = 0;
	sealed_drop(&e->in);
	if (e->tls.state == TLS_HELLO)
		memset(&e->scan, 0, sizeof(e->scan)); /* no keys: alerts go in clear */
	if (alert != ALERT_NONE && !e->tls.shut) {
		e->alert_waiting = true;
		e->alert_level = ALERT_FATAL;
		e->alert_description = alert;
	}
	endpoint_set_state(e, TLS_FAILED);
}

void endpoint_fail(struct endpoint *e, enum tls_fault fault)
{
	endpoint_fail_with(e, fault, (uint8_t)fault_alert(fault));
}

/* ---- of a thread ------------------------------------------------------------------- */

struct tls_thread *tls_thread_new(struct buf_pool *bufs)
{
	struct tls_thread *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->bufs = bufs;
	slab_init(&t->endpoints, "TLS connection", sizeof(struct endpoint), 0);
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
	free(t);
}

void tls_thread_trim(struct tls_thread *t)
{
	slab_trim(&t->endpoints);
}

/* ---- begin and end ----------------------------------------------------------------- */

static struct endpoint *endpoint_new(struct tls_thread *t, struct tls_context *c)
{
	struct endpoint *e = slab_take(&t->endpoints);

	if (!e)
		return NULL;
	e->tls.thread = t;
	e->tls.context = tls_context_ref(c);
	e->tls.server = c->server;
	return e;
}

struct tls *tls_accept(struct tls_thread *t, struct tls_context *c)
{
	struct endpoint *e;

	ASSERT(c->server);
	e = endpoint_new(t, c);
	return e ? &e->tls : NULL;
}

/* Keeps a copy, so that it lives as long as the connection. */
static bool name_keep(struct endpoint *e, struct slice name)
{
	char *copy;

	if (name.len == 0)
		return true;
	copy = malloc(name.len);
	if (!copy)
		return false;
	memcpy(copy, name.ptr, name.len);
	e->tls.name = (struct slice){ copy, name.len };
	return true;
}

struct tls *tls_connect(struct tls_thread *t, struct tls_context *c, struct slice name,
			struct slice sni, struct tls_saved *saved)
{
	struct endpoint *e;

	ASSERT(!c->server);
	e = endpoint_new(t, c);
	if (!e)
		return NULL;
	e->tls.state = TLS_SHAKING;
	e->tls.wants_step = true;
	if (!name_keep(e, sni.len > 0 ? sni : name)) {
		tls_free(&e->tls);
		return NULL;
	}
	e->saved = saved;
	e->identity = hash_bytes(hash_bytes(hash_mix(c->serial), name), SLICE("/"));
	e->identity = hash_bytes(e->identity, sni);
	return &e->tls;
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
	struct endpoint *e;

	if (!t)
		return;
	e = endpoint_of(t);
	sealed_drop(&e->in);
	output_drop(&e->out);
	if (t->state != TLS_HELLO) {
		record_keys_done(&e->in_keys, t->thread->crypt);
		record_keys_done(&e->out_keys, t->thread->crypt);
	}
	free((void *)(uintptr_t)t->name.ptr);
	tls_context_unref(t->context);
	slab_put(&t->thread->endpoints, e);
}

static bool is_shaking(const struct tls *t)
{
	return t->state == TLS_HELLO || t->state == TLS_SHAKING;
}

/* What always happens at the end of a call from outside. */
static void settle(struct endpoint *e)
{
	e->tls.sealed_held = e->in.held;
	CHECK_STATE(tls_check(&e->tls));
}

/* ---- handshake --------------------------------------------------------------------- */

/* A hello in more parts than this is copied together. */
#define HELLO_PARTS 32

static unsigned hello_vector(struct endpoint *e, struct iovec iov[HELLO_PARTS])
{
	unsigned n = sealed_vector(&e->in, iov, HELLO_PARTS, UINT32_MAX);

	if (n < HELLO_PARTS)
		return n;
	sealed_compact(&e->in, e->tls.thread->bufs);
	return sealed_vector(&e->in, iov, HELLO_PARTS, UINT32_MAX);
}

/* Looks at what was received; a step is due if there is a whole hello, or a fault. */
static void hello_look(struct endpoint *e)
{
	struct iovec iov[HELLO_PARTS];
	enum verdict verdict = hello_scan(&e->scan, iov, hello_vector(e, iov));

	e->hello_whole = verdict == VERDICT_OK;
	e->tls.wants_step = verdict != VERDICT_MORE;
}

/* The whole ClientHello is there: the first step of a server's handshake. */
static void hello_received(struct endpoint *e, struct slice message)
{
	struct hello hello;
	enum tls_fault fault = hello_parse(message, &hello);
	uint32_t bytes;

	if (fault != TLS_FAULT_NONE) {
		endpoint_fail(e, fault);
		return;
	}
	if (!name_keep(e, hello_name(&hello))) {
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
		return;
	}
	bytes = e->scan.at;
	memset(&e->scan, 0, sizeof(e->scan)); /* its place is that of the keys */
	endpoint_set_state(e, TLS_SHAKING);
	null_step(e, &hello);
	if (e->tls.state == TLS_FAILED)
		return;
	sealed_consume(&e->in, bytes);
	e->tls.wants_step = e->in.bytes > 0;
}

static void hello_step(struct endpoint *e)
{
	struct iovec iov[HELLO_PARTS];
	unsigned n = hello_vector(e, iov);
	struct slice message;
	char *copy = NULL;

	if (!e->hello_whole) {
		if (e->scan.fault != TLS_FAULT_NONE)
			endpoint_fail(e, e->scan.fault);
		return;
	}
	message = hello_in_place(&e->scan, iov, n);
	if (message.len == 0) {
		copy = malloc(e->scan.length);
		if (!copy) {
			endpoint_fail(e, TLS_FAULT_NO_MEMORY);
			return;
		}
		hello_gather(&e->scan, iov, n, copy);
		message = (struct slice){ copy, e->scan.length };
	}
	hello_received(e, message);
	free(copy);
}

bool tls_step_is_heavy(const struct tls *t)
{
	const struct endpoint *e = (const struct endpoint *)(const void *)t;

	if (t->state == TLS_HELLO)
		return e->hello_whole;
	return t->state == TLS_SHAKING && null_is_heavy(e);
}

void tls_step(struct tls *t, uint64_t now_ms)
{
	struct endpoint *e = endpoint_of(t);

	ASSERT(is_shaking(t));
	(void)now_ms;
	t->wants_step = false;
	if (t->state == TLS_HELLO)
		hello_step(e);
	else
		null_step(e, NULL);
	if (is_shaking(t) && e->in_ended && !t->wants_step)
		endpoint_fail(e, TLS_FAULT_CLOSED);
	settle(e);
}

/* ---- in ---------------------------------------------------------------------------- */

void tls_receive(struct tls *t, struct buf *b)
{
	struct endpoint *e = endpoint_of(t);

	ASSERT(!e->in_ended);
	/* Bytes behind close_notify are ignored (RFC 8446 6.1). */
	if (t->state == TLS_ENDED || t->state == TLS_FAILED)
		buf_put(b);
	else
		sealed_append(&e->in, b);
	if (t->state == TLS_HELLO)
		hello_look(e);
	else if (t->state == TLS_SHAKING)
		t->wants_step = true;
	settle(e);
}

void tls_receive_end(struct tls *t)
{
	struct endpoint *e = endpoint_of(t);

	e->in_ended = true;
	if (is_shaking(t)) {
		/* A step may be due that takes the last bytes. */
		if (e->in.bytes == 0)
			endpoint_fail(e, TLS_FAULT_CLOSED);
		else
			t->wants_step = true;
	}
	settle(e);
}

void tls_compact(struct tls *t)
{
	struct endpoint *e = endpoint_of(t);

	sealed_compact(&e->in, t->thread->bufs);
	settle(e);
}

enum tls_read tls_read(struct tls *t, struct buf **plain, uint64_t now_ms)
{
	struct endpoint *e = endpoint_of(t);
	enum tls_read result;

	*plain = NULL;
	if (t->state == TLS_ENDED)
		return TLS_READ_END;
	if (t->state == TLS_FAILED)
		return TLS_READ_FAILED;
	ASSERT(t->state == TLS_OPEN);
	result = inbound_read(e, plain, now_ms);
	if (result == TLS_READ_MORE && e->in_ended) {
		endpoint_fail(e, TLS_FAULT_TRUNCATED);
		result = TLS_READ_FAILED;
	}
	settle(e);
	return result;
}

/* ---- out --------------------------------------------------------------------------- */

bool tls_has_output(const struct tls *t)
{
	const struct endpoint *e = (const struct endpoint *)(const void *)t;

	return e->out.first || e->alert_waiting || e->key_update_waiting;
}

bool tls_take(struct tls *t, struct tls_flight *f)
{
	struct endpoint *e = endpoint_of(t);
	unsigned n = f->n;

	if (!outbound_waiting(e) && t->state != TLS_FAILED)
		endpoint_fail_with(e, TLS_FAULT_NO_MEMORY, ALERT_NONE);
	output_take(&e->out, f);
	settle(e);
	return f->n > n;
}

int64_t tls_seal(struct tls *t, const struct tls_plain *entries, unsigned n,
		 struct tls_flight *f, uint64_t now_ms)
{
	struct endpoint *e = endpoint_of(t);
	int64_t taken;

	ASSERT((t->state == TLS_OPEN || t->state == TLS_ENDED) && !t->shut);
	ASSERT(!tls_has_output(t));
	taken = outbound_seal(e, entries, n, f, now_ms);
	if (taken < 0)
		endpoint_fail_with(e, TLS_FAULT_NO_MEMORY, ALERT_NONE);
	settle(e);
	return taken;
}

void tls_shut(struct tls *t)
{
	struct endpoint *e = endpoint_of(t);

	if (t->shut || (t->state != TLS_OPEN && t->state != TLS_ENDED))
		return;
	t->shut = true;
	e->alert_waiting = true;
	e->alert_level = ALERT_WARNING;
	e->alert_description = ALERT_CLOSE_NOTIFY;
	settle(e);
}

void tls_check(const struct tls *t)
{
	const struct endpoint *e = (const struct endpoint *)(const void *)t;

	sealed_check(&e->in);
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
		ASSERT(!t->wants_step && e->in.bytes == 0 && !e->key_update_waiting);
		break;
	case TLS_FAILED:
		ASSERT(!t->wants_step && e->in.bytes == 0);
		break;
	}
}
