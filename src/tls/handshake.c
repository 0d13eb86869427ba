/* The steps of handshakes: by the library (shake.c), or without it (nullshake.c). */
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "shake.h"

/* A hello in more parts than this is copied together. */
#define HELLO_PARTS 32

static unsigned hello_vector(struct tls_endpoint *e, struct iovec iov[HELLO_PARTS])
{
	unsigned n = sealed_vector(&e->in, iov, HELLO_PARTS, UINT32_MAX);

	if (n < HELLO_PARTS)
		return n;
	sealed_compact(&e->in, e->tls.thread->bufs);
	return sealed_vector(&e->in, iov, HELLO_PARTS, UINT32_MAX);
}

static void hello_look(struct tls_endpoint *e)
{
	struct iovec iov[HELLO_PARTS];
	enum verdict verdict = hello_scan(&e->scan, iov, hello_vector(e, iov));

	e->hello_whole = verdict == VERDICT_OK;
	e->tls.wants_step = verdict != VERDICT_MORE;
}

/* The whole ClientHello is there: the first step of a server's handshake. */
static void hello_received(struct tls_endpoint *e, struct slice message, uint64_t now_ms)
{
	struct hello hello;
	enum tls_fault fault = hello_parse(message, &hello);
	uint32_t bytes;

	if (fault != TLS_FAULT_NONE) {
		endpoint_fail(e, fault);
		return;
	}
	if (!endpoint_keep_hello(e, &hello)) {
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
		return;
	}
	e->tls.offered = hello.ticket;
	bytes = e->scan.at;
	memset(&e->scan, 0, sizeof(e->scan)); /* its place is that of the keys */
	endpoint_set_state(e, TLS_SHAKING);
	if (e->tls.context->records == TLS_RECORDS_NULL)
		null_begin(e, &hello, bytes);
	else
		shake_accept(e, now_ms); /* the library reads the message again */
}

static void hello_step(struct tls_endpoint *e, uint64_t now_ms)
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
	hello_received(e, message, now_ms);
	free(copy);
}

void handshake_look(struct tls_endpoint *e)
{
	if (e->tls.state == TLS_HELLO)
		hello_look(e);
	else
		e->tls.wants_step = e->shake ? shake_has_record(e) : e->in.bytes > 0;
}

bool tls_step_is_heavy(const struct tls *t)
{
	const struct tls_endpoint *e = (const struct tls_endpoint *)(const void *)t;

	if (t->state == TLS_HELLO)
		return e->hello_whole;
	if (t->state != TLS_SHAKING)
		return false;
	return e->shake ? shake_is_heavy(e) : null_is_heavy(e);
}

void tls_step(struct tls *t, uint64_t now_ms)
{
	struct tls_endpoint *e = endpoint_of(t);

	ASSERT(endpoint_is_shaking(e));
	t->wants_step = false;
	if (t->state == TLS_HELLO)
		hello_step(e, now_ms);
	else if (e->shake)
		shake_step(e, now_ms);
	else
		null_step(e);
	if (endpoint_is_shaking(e) && e->in_ended && !t->wants_step)
		endpoint_fail(e, TLS_FAULT_CLOSED);
	endpoint_settle(e);
}
