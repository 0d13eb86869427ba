/* Records of an open connection: opens them where they lie and gives away their plaintext; alerts
 * (RFC 8446 6), key updates (RFC 8446 4.6.3) and what else is not data. */
#include "endpoint.h"
#include "fault.h"

/* Key updates of the peer in a second; each costs two derivations of keys, and a record. */
#define KEY_UPDATES_PER_S 100
/* Records in a row that bring nothing: empty ones, and warnings that are ignored. */
#define IDLE_RECORDS_MAX 32
/* A handshake message after the handshake; a ticket of TLS 1.3 is below that. */
#define MESSAGE_BYTES_MAX (1u << 18)

/* HandshakeType. */
enum {
	HELLO_REQUEST = 0,
	CLIENT_HELLO = 1,
	NEW_SESSION_TICKET = 4,
	KEY_UPDATE = 24,
};

/* A record of 16 KB in parts of 1 KB, which is the smallest that sealed_append() leaves; more parts
 * are copied together. */
#define RECORD_PARTS 20

enum verdict inbound_open(struct tls_endpoint *e, struct record_plain *r)
{
	struct iovec iov[RECORD_PARTS];
	uint8_t header[RECORD_HEADER_BYTES];
	enum tls_fault fault;
	uint32_t bytes;
	unsigned n;

	if (e->in.bytes < RECORD_HEADER_BYTES)
		return VERDICT_MORE;
	sealed_copy(&e->in, 0, header, sizeof(header));
	fault = record_header(&e->in_keys, header, &bytes);
	if (fault == TLS_FAULT_NONE && e->in.bytes < bytes)
		return VERDICT_MORE;
	if (fault == TLS_FAULT_NONE) {
		n = sealed_vector(&e->in, iov, RECORD_PARTS, bytes);
		if (n == RECORD_PARTS) {
			sealed_compact(&e->in, e->tls.thread->bufs);
			n = sealed_vector(&e->in, iov, RECORD_PARTS, bytes);
		}
		fault = n == RECORD_PARTS ? TLS_FAULT_NO_MEMORY
					  : record_open(&e->in_keys, e->tls.thread->crypt,
							iov, n, r);
	}
	if (fault == TLS_FAULT_NONE) {
		stat_add(&e->tls.thread->counts.records[TLS_IN], 1);
		return VERDICT_OK;
	}
	endpoint_fail(e, fault);
	return VERDICT_BAD;
}

/* A record that brings nothing. */
static void idle_record(struct tls_endpoint *e)
{
	if (++e->idle_records > IDLE_RECORDS_MAX)
		endpoint_fail(e, TLS_FAULT_EMPTY_RECORDS);
}

static void alert_received(struct tls_endpoint *e, const struct record_plain *r)
{
	uint8_t alert[2];
	bool v13 = e->tls.version == TLS_1_3;

	if (r->length != sizeof(alert)) {
		endpoint_fail_with(e, TLS_FAULT_MESSAGE, ALERT_DECODE_ERROR);
		return;
	}
	sealed_copy(&e->in, r->begin, alert, sizeof(alert));
	if (alert[1] == ALERT_CLOSE_NOTIFY) {
		sealed_drop(&e->in);
		endpoint_set_state(e, TLS_ENDED);
		return;
	}
	/* TLS 1.3: levels mean nothing, and all others are fatal. */
	if (alert[1] == ALERT_USER_CANCELED || (!v13 && alert[0] == ALERT_WARNING)) {
		sealed_consume(&e->in, r->bytes);
		idle_record(e);
		return;
	}
	e->tls.alert = alert[1];
	endpoint_fail_with(e, TLS_FAULT_ALERT, ALERT_NONE);
}

bool key_update_allowed(struct tls_endpoint *e, uint64_t now_ms)
{
	if (e->key_updates == 0 || (uint32_t)now_ms - e->key_updates_ms >= 1000) {
		e->key_updates_ms = (uint32_t)now_ms;
		e->key_updates = 0;
	}
	return ++e->key_updates <= KEY_UPDATES_PER_S;
}

/* The message is the last one of its record, since the next one has another key. */
static void key_update_received(struct tls_endpoint *e, bool is_last, uint64_t now_ms)
{
	uint8_t request = e->message[4];

	stat_add(&e->tls.thread->counts.key_updates[TLS_IN], 1);
	e->message_n = 0;
	if (!is_last) {
		endpoint_fail(e, TLS_FAULT_MESSAGE);
	} else if (request > 1) {
		endpoint_fail_with(e, TLS_FAULT_MESSAGE, ALERT_ILLEGAL_PARAMETER);
	} else if (!key_update_allowed(e, now_ms)) {
		endpoint_fail(e, TLS_FAULT_KEY_UPDATES);
	} else if (!record_keys_update(&e->in_keys, e->tls.thread->crypt)) {
		endpoint_fail(e, TLS_FAULT_LIBRARY);
	} else if (request == 1 && !e->tls.shut) {
		e->key_update_waiting = true; /* one reply to all that came meanwhile */
	}
}

static uint32_t message_length(const struct tls_endpoint *e)
{
	return (uint32_t)e->message[1] << 16 | (uint32_t)e->message[2] << 8 |
	       e->message[3];
}

/* The library's object has taken those that came while it was there. */
static void ticket_received(struct tls_endpoint *e)
{
	idle_record(e);
	if (e->tls.context->records != TLS_RECORDS_NULL || !e->saved)
		return;
	e->saved->session = &null_session;
	e->saved->identity = e->identity;
}

/* TLS 1.2: the peer wants a new handshake. The first time it is told that there will be none
 * (RFC 5246 7.2.2), and the connection goes on. */
static void renegotiation_refused(struct tls_endpoint *e)
{
	if (e->renegotiated || e->alert_waiting || e->tls.shut) {
		endpoint_fail(e, TLS_FAULT_RENEGOTIATION);
		return;
	}
	e->renegotiated = true;
	e->alert_waiting = true;
	e->alert_level = ALERT_WARNING;
	e->alert_description = ALERT_NO_RENEGOTIATION;
}

/* The header of a message is there, whose body will be skipped, but for KeyUpdate's. */
static void message_begun(struct tls_endpoint *e)
{
	uint32_t length = message_length(e);
	uint8_t type = e->message[0];
	bool v13 = e->tls.version == TLS_1_3;

	if (v13 && type == KEY_UPDATE && length == 1)
		return;
	e->message_n = 0;
	e->message_left = length;
	if (length > MESSAGE_BYTES_MAX)
		endpoint_fail(e, TLS_FAULT_MESSAGE);
	else if (v13 && !e->tls.server && type == NEW_SESSION_TICKET)
		ticket_received(e);
	else if (!v13 && type == (e->tls.server ? CLIENT_HELLO : HELLO_REQUEST))
		renegotiation_refused(e);
	else
		endpoint_fail(e, TLS_FAULT_MESSAGE);
}

/* Handshake messages after the handshake: whole, in parts, or several in one record. */
static void messages_received(struct tls_endpoint *e, const struct record_plain *r,
			      uint64_t now_ms)
{
	uint32_t at = 0;

	while (at < r->length && e->tls.state == TLS_OPEN) {
		uint32_t left = r->length - at;

		if (e->message_left > 0) {
			uint32_t n = left < e->message_left ? left : e->message_left;

			e->message_left -= n;
			at += n;
			continue;
		}
		sealed_copy(&e->in, r->begin + at++, &e->message[e->message_n++], 1);
		if (e->message_n == 4)
			message_begun(e);
		else if (e->message_n == 5)
			key_update_received(e, at == r->length, now_ms);
	}
	if (e->tls.state == TLS_OPEN)
		sealed_consume(&e->in, r->bytes);
}

static void record_received(struct tls_endpoint *e, const struct record_plain *r,
			    uint64_t now_ms)
{
	/* A message in parts has no other records between them (RFC 8446 5.1). */
	bool amid_message = e->message_n > 0 || e->message_left > 0;

	if (r->type == RECORD_HANDSHAKE) {
		messages_received(e, r, now_ms);
	} else if (amid_message) {
		endpoint_fail(e, TLS_FAULT_MESSAGE);
	} else if (r->type == RECORD_ALERT) {
		alert_received(e, r);
	} else if (r->length == 0) {
		sealed_consume(&e->in, r->bytes);
		idle_record(e);
	} else {
		e->idle_records = 0;
		sealed_consume(&e->in, r->begin);
		e->plain = r->length;
		e->tail = (uint16_t)(r->bytes - r->begin - r->length);
	}
}

/* Gives away what is plaintext. */
static enum tls_read plain_take(struct tls_endpoint *e, struct buf **plain)
{
	uint32_t tail = e->tail;

	*plain = sealed_take(&e->in, e->plain, &tail);
	if (!*plain) {
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
		return TLS_READ_FAILED;
	}
	e->plain -= (uint16_t)((*plain)->end - (*plain)->begin);
	e->tail = (uint16_t)tail;
	if (e->plain == 0) {
		sealed_consume(&e->in, tail);
		e->tail = 0;
	}
	return TLS_READ_BYTES;
}

enum tls_read inbound_read(struct tls_endpoint *e, struct buf **plain, uint64_t now_ms)
{
	while (e->plain == 0) {
		struct record_plain r = { .bytes = 0 };

		if (inbound_open(e, &r) == VERDICT_MORE)
			return TLS_READ_MORE;
		if (e->tls.state == TLS_OPEN)
			record_received(e, &r, now_ms);
		if (e->tls.state == TLS_ENDED)
			return TLS_READ_END;
		if (e->tls.state == TLS_FAILED)
			return TLS_READ_FAILED;
	}
	return plain_take(e, plain);
}
