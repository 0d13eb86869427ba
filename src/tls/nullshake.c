/* A handshake of the shape of TLS 1.3, without cryptography, for the simulation:
 *
 *   client                                         server
 *   ClientHello, a real one        ───────────▶
 *                                  ◀───────────   ServerHello; then sealed: Certificate of some
 *                                                 size, unless resumed, and Finished
 *   Finished, sealed               ───────────▶
 *                                  ◀───────────   ticket
 *
 * Sizes follow from the number of handshakes that the thread has made, so the same seed gives the
 * same bytes. Names are not checked: there are no certificates. */
#include <string.h>

#include "base/hash.h"
#include "endpoint.h"
#include "fault.h"
#include "protocol.h"

/* HandshakeType. */
enum {
	CLIENT_HELLO = 1,
	SERVER_HELLO = 2,
	SESSION_TICKET = 4,
	CERTIFICATE = 11,
	FINISHED = 20,
};

#define MESSAGE_HEADER 4u
#define RANDOM_AT 6u /* in a ClientHello */
#define SERVER_HELLO_BYTES (MESSAGE_HEADER + 3u)
#define FINISHED_BYTES (MESSAGE_HEADER + 32u)
#define TICKET_BYTES (MESSAGE_HEADER + 200u)

/* Bytes of certificates, and of padding of a hello, from one handshake to the next. */
static const uint16_t certificate_bytes[] = {
	900, 2700, 60, 16380, 1, 9000, 20000, 4096
};
static const uint16_t padding_bytes[] = { 0, 200, 17, 1400, 5 };

/* What tls_saved.session refers to: all there is to know is that it is not NULL. */
char null_session;

/* ---- messages ---------------------------------------------------------------------- */

/* Bytes of a message, and lengths that are written when what they count is there. */
struct hello_text {
	uint32_t n;
	uint8_t bytes[3072];
};

static void put_bytes(struct hello_text *m, const void *bytes, size_t n)
{
	ASSERT(m->n + n <= sizeof(m->bytes));
	memcpy(m->bytes + m->n, bytes, n);
	m->n += (uint32_t)n;
}

static void put_number(struct hello_text *m, uint32_t value, unsigned width)
{
	for (unsigned i = width; i-- > 0;) {
		uint8_t byte = (uint8_t)(value >> 8 * i);

		put_bytes(m, &byte, 1);
	}
}

/* A length of `width` bytes begins here. */
static uint32_t length_begin(struct hello_text *m, unsigned width)
{
	put_number(m, 0, width);
	return m->n;
}

static void length_end(struct hello_text *m, uint32_t from, unsigned width)
{
	uint32_t length = m->n - from;

	for (unsigned i = 0; i < width; i++)
		m->bytes[from - 1 - i] = (uint8_t)(length >> 8 * i);
}

static uint32_t extension_begin(struct hello_text *m, unsigned type)
{
	put_number(m, type, 2);
	return length_begin(m, 2);
}

static void put_name(struct hello_text *m, struct slice name)
{
	uint32_t extension, list;

	if (name.len == 0)
		return;
	extension = extension_begin(m, 0);
	list = length_begin(m, 2);
	put_number(m, 0, 1);
	put_number(m, (uint32_t)name.len, 2);
	put_bytes(m, name.ptr, name.len);
	length_end(m, list, 2);
	length_end(m, extension, 2);
}

static void put_protocols(struct hello_text *m, const struct tls_context *c)
{
	uint32_t extension;

	if (c->protocols_len == 0)
		return;
	extension = extension_begin(m, 16);
	put_number(m, c->protocols_len, 2);
	put_bytes(m, c->protocols, c->protocols_len);
	length_end(m, extension, 2);
}

/* pre_shared_key, the last one: one identity and its binder. */
static void put_session(struct hello_text *m)
{
	uint32_t extension = extension_begin(m, 41);
	uint32_t list = length_begin(m, 2);
	static const uint8_t zero[32];

	put_number(m, 16, 2);
	put_bytes(m, zero, 16);
	put_number(m, 0, 4);
	length_end(m, list, 2);
	put_number(m, 33, 2);
	put_number(m, 32, 1);
	put_bytes(m, zero, 32);
	length_end(m, extension, 2);
}

static void put_random(struct hello_text *m, uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t word = hash_mix(seed + i);

		put_bytes(m, &word, sizeof(word));
	}
}

static void put_padding(struct hello_text *m, uint32_t n)
{
	uint32_t extension = extension_begin(m, 21);

	for (uint32_t i = 0; i < n; i++)
		put_number(m, 0, 1);
	length_end(m, extension, 2);
}

static void client_hello(struct hello_text *m, struct tls_endpoint *e, uint32_t count)
{
	uint32_t body, extensions, extension;

	put_number(m, CLIENT_HELLO, 1);
	body = length_begin(m, 3);
	put_number(m, 0x0303, 2);
	put_random(m, count);
	put_number(m, 0, 1); /* session id */
	put_number(m, 2, 2); /* suites */
	put_number(m, 0x1301, 2);
	put_number(m, 0x0100, 2); /* compression: none */
	extensions = length_begin(m, 2);
	extension = extension_begin(m, 43); /* supported_versions */
	put_number(m, 2, 1);
	put_number(m, 0x0304, 2);
	length_end(m, extension, 2);
	put_name(m, e->tls.name);
	put_protocols(m, e->tls.context);
	put_padding(m, padding_bytes[count % COUNT(padding_bytes)]);
	if (e->null_resumes)
		put_session(m);
	length_end(m, extensions, 2);
	length_end(m, body, 3);
}

/* ---- keys -------------------------------------------------------------------------- */

/* Keys for the handshake (0) or for data (1). The two ends have them of the client's random, so
 * bytes of another connection cannot be opened. */
static bool keys_set(struct tls_endpoint *e, struct record_keys *k, bool of_client,
		     unsigned phase)
{
	uint8_t secret[CRYPT_SECRET_MAX];
	uint64_t word = e->null_seed * 4 + of_client * 2 + phase;

	for (unsigned i = 0; i < sizeof(secret); i += 8) {
		word = hash_mix(word + i);
		memcpy(secret + i, &word, 8);
	}
	return record_keys_from_secret(k, e->tls.thread->crypt, suite_find(SUITE_NULL),
				       secret, 0);
}

static bool keys_in_set(struct tls_endpoint *e, unsigned phase)
{
	return keys_set(e, &e->in_keys, e->tls.server, phase);
}

static bool keys_out_set(struct tls_endpoint *e, unsigned phase)
{
	return keys_set(e, &e->out_keys, !e->tls.server, phase);
}

/* ---- sending ----------------------------------------------------------------------- */

/* A message of `bytes` bytes with its header; the rest is filled. */
static bool filled_send(struct tls_endpoint *e, uint8_t type, uint32_t bytes)
{
	char piece[RECORD_PLAIN_MAX];
	uint32_t n = bytes < sizeof(piece) ? bytes : (uint32_t)sizeof(piece);

	memset(piece, type, n);
	piece[0] = (char)type;
	piece[1] = (char)((bytes - MESSAGE_HEADER) >> 16);
	piece[2] = (char)((bytes - MESSAGE_HEADER) >> 8);
	piece[3] = (char)(bytes - MESSAGE_HEADER);
	while (bytes > 0) {
		if (!outbound_message(e, RECORD_HANDSHAKE, piece, n))
			return false;
		bytes -= n;
		memset(piece, type, MESSAGE_HEADER);
		n = bytes < sizeof(piece) ? bytes : (uint32_t)sizeof(piece);
	}
	return true;
}

static bool server_flight(struct tls_endpoint *e, uint32_t count)
{
	const uint8_t hello[SERVER_HELLO_BYTES] = {
		SERVER_HELLO, 0, 0, 3, e->tls.resumed, e->tls.protocol, 0
	};
	uint32_t bytes = certificate_bytes[count % COUNT(certificate_bytes)];

	return outbound_message(e, RECORD_HANDSHAKE, hello, sizeof(hello)) &&
	       keys_in_set(e, 0) && keys_out_set(e, 0) &&
	       (e->tls.resumed || filled_send(e, CERTIFICATE, MESSAGE_HEADER + bytes)) &&
	       filled_send(e, FINISHED, FINISHED_BYTES);
}

/* The first of the server's protocols that the client offers (RFC 7301 3.2). False: it
 * offers others only. */
static bool protocol_choose(const struct tls_context *c, const struct hello *hello,
			    uint8_t *chosen)
{
	*chosen = TLS_NO_PROTOCOL;
	for (unsigned i = 0; i < c->protocols_len; i += 1u + c->protocols[i]) {
		struct slice ours = { (const char *)c->protocols + i + 1,
				      c->protocols[i] };
		struct slice offered;
		size_t at = 0;

		while (hello_protocol(hello, &at, &offered))
			if (slice_equal(offered, ours)) {
				*chosen = (uint8_t)protocol_of(ours);
				return true;
			}
	}
	return !hello->has_protocols;
}

void null_begin(struct tls_endpoint *e, const struct hello *hello, uint32_t bytes)
{
	uint32_t count = e->tls.thread->null_handshakes++;

	if (!hello->tls_1_3) {
		endpoint_fail(e, TLS_FAULT_VERSION);
		return;
	}
	if (!protocol_choose(e->tls.context, hello, &e->tls.protocol)) {
		endpoint_fail(e, TLS_FAULT_PROTOCOL);
		return;
	}
	e->tls.resumed = hello->ticket;
	memcpy(&e->null_seed, hello->message.ptr + RANDOM_AT, sizeof(e->null_seed));
	e->null_phase = NULL_FINISHED;
	sealed_consume(&e->in, bytes);
	e->tls.wants_step = e->in.bytes > 0;
	if (!server_flight(e, count))
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
}

static void client_begin(struct tls_endpoint *e)
{
	uint32_t count = e->tls.thread->null_handshakes++;
	struct hello_text m = { 0 };

	e->null_resumes = e->saved && e->saved->session == &null_session &&
			  e->saved->identity == e->identity;
	e->tls.offered = e->null_resumes;
	client_hello(&m, e, count);
	memcpy(&e->null_seed, m.bytes + RANDOM_AT, sizeof(e->null_seed));
	e->null_phase = NULL_SERVER_HELLO;
	if (!outbound_message(e, RECORD_HANDSHAKE, m.bytes, m.n))
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
}

/* ---- receiving --------------------------------------------------------------------- */

static void shake_alert(struct tls_endpoint *e, uint8_t description)
{
	e->tls.alert = description;
	endpoint_fail_with(
		e, description == ALERT_CLOSE_NOTIFY ? TLS_FAULT_CLOSED : TLS_FAULT_ALERT,
		ALERT_NONE);
}

/* A record in clear: ServerHello, or an alert. */
static void server_hello_await(struct tls_endpoint *e)
{
	uint8_t record[RECORD_HEADER_BYTES + SERVER_HELLO_BYTES];

	if (e->in.bytes < RECORD_HEADER_BYTES + 2)
		return;
	sealed_copy(&e->in, 0, record, RECORD_HEADER_BYTES + 2);
	if (record[0] == RECORD_ALERT) {
		shake_alert(e, record[RECORD_HEADER_BYTES + 1]);
		return;
	}
	if (record[0] != RECORD_HANDSHAKE) {
		endpoint_fail(e, TLS_FAULT_NOT_TLS);
		return;
	}
	if (e->in.bytes < sizeof(record))
		return;
	sealed_copy(&e->in, 0, record, sizeof(record));
	if (record[4] != SERVER_HELLO_BYTES ||
	    record[RECORD_HEADER_BYTES] != SERVER_HELLO) {
		endpoint_fail(e, TLS_FAULT_MESSAGE);
		return;
	}
	sealed_consume(&e->in, sizeof(record));
	e->tls.resumed = record[9];
	e->tls.protocol = record[10];
	e->null_phase = NULL_FINISHED;
	if (!keys_in_set(e, 0) || !keys_out_set(e, 0))
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
}

/* The peer's Finished: both sides change to the keys for data. */
static void finished_received(struct tls_endpoint *e)
{
	bool sent = e->tls.server || filled_send(e, FINISHED, FINISHED_BYTES);

	if (!sent || !keys_in_set(e, 1) || !keys_out_set(e, 1) ||
	    (e->tls.server && !filled_send(e, SESSION_TICKET, TICKET_BYTES))) {
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
		return;
	}
	e->tls.version = TLS_1_3;
	e->tls.suite = SUITE_NULL;
	endpoint_set_state(e, TLS_OPEN);
}

/* Skips Certificate; true: Finished is whole, at the end of its record. */
static bool finished_seek(struct tls_endpoint *e, const struct record_plain *r)
{
	uint32_t at = 0;

	while (at < r->length) {
		if (e->message_n < MESSAGE_HEADER) {
			sealed_copy(&e->in, r->begin + at++, &e->message[e->message_n++],
				    1);
			if (e->message_n == MESSAGE_HEADER)
				e->message_left = (uint32_t)e->message[1] << 16 |
						  (uint32_t)e->message[2] << 8 |
						  e->message[3];
		} else {
			uint32_t n = r->length - at;

			n = n < e->message_left ? n : e->message_left;
			at += n;
			e->message_left -= n;
		}
		if (e->message_n == MESSAGE_HEADER && e->message_left == 0) {
			e->message_n = 0;
			if (e->message[0] == FINISHED)
				return at == r->length;
		}
	}
	return false;
}

static void finished_await(struct tls_endpoint *e)
{
	struct record_plain r;

	while (e->tls.state == TLS_SHAKING && inbound_open(e, &r) == VERDICT_OK) {
		uint8_t alert[2];

		if (r.type == RECORD_HANDSHAKE) {
			bool finished = finished_seek(e, &r);

			sealed_consume(&e->in, r.bytes);
			if (finished)
				finished_received(e);
		} else if (r.type == RECORD_ALERT && r.length == sizeof(alert)) {
			sealed_copy(&e->in, r.begin, alert, sizeof(alert));
			shake_alert(e, alert[1]);
		} else {
			endpoint_fail(e, TLS_FAULT_MESSAGE);
		}
	}
}

/* ---- steps ------------------------------------------------------------------------- */

bool null_is_heavy(const struct tls_endpoint *e)
{
	return !e->tls.server && e->null_phase != NULL_BEGIN && e->in.bytes > 0;
}

void null_step(struct tls_endpoint *e)
{
	if (e->null_phase == NULL_BEGIN)
		client_begin(e);
	if (e->tls.state == TLS_SHAKING && e->null_phase == NULL_SERVER_HELLO)
		server_hello_await(e);
	if (e->tls.state == TLS_SHAKING && e->null_phase == NULL_FINISHED)
		finished_await(e);
}
