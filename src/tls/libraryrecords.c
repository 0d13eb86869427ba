/* Records of an open connection by the library's object: `records: openssl`, suites that are not
 * ours, and a client that waits for its ticket. */
#include <openssl/err.h>
#include <string.h>

#include "endpoint.h"
#include "shake.h"

/* Records of one call. */
#define RECORDS_MAX 8

/* An empty buffer for the plaintext of the next record. */
static struct buf *plain_new(struct tls_endpoint *e)
{
	uint8_t header[RECORD_HEADER_BYTES] = { 0 };
	uint32_t length;

	if (e->in.bytes >= sizeof(header))
		sealed_copy(&e->in, 0, header, sizeof(header));
	length = (uint32_t)header[3] << 8 | header[4];
	if (length > RECORD_PLAIN_MAX || length == 0)
		length = RECORD_PLAIN_MAX;
	return buf_new(e->tls.thread->bufs, length);
}

/* The object has nothing more to give. Returns what to tell the caller. */
static enum tls_read read_ended(struct tls_endpoint *e, int result)
{
	switch (SSL_get_error(e->shake->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return TLS_READ_MORE;
	case SSL_ERROR_ZERO_RETURN:
		sealed_drop(&e->in);
		endpoint_set_state(e, TLS_ENDED);
		return TLS_READ_END;
	default: /* not an enum */
		shake_fail(e);
		return TLS_READ_FAILED;
	}
}

static enum tls_read record_read(struct tls_endpoint *e, struct buf **plain)
{
	struct buf *b = plain_new(e);
	int result;

	if (!b) {
		endpoint_fail(e, TLS_FAULT_NO_MEMORY);
		return TLS_READ_FAILED;
	}
	ERR_clear_error();
	result = SSL_read(e->shake->ssl, b->data, (int)b->size);
	if (result > 0) {
		b->end = (uint32_t)result;
		e->shake->data = true;
		*plain = b;
		return TLS_READ_BYTES;
	}
	buf_put(b);
	return read_ended(e, result);
}

enum tls_read library_read(struct tls_endpoint *e, struct buf **plain, uint64_t now_ms)
{
	enum tls_read r = TLS_READ_MORE;

	e->shake->now_ms = now_ms;
	while (r == TLS_READ_MORE &&
	       (shake_has_record(e) || SSL_has_pending(e->shake->ssl))) {
		r = record_read(e, plain);
		if (e->shake && e->shake->too_many_updates) {
			endpoint_fail(e, TLS_FAULT_KEY_UPDATES);
			buf_put(*plain);
			*plain = NULL;
			r = TLS_READ_FAILED;
		}
		ERR_clear_error();
		if (e->tls.state == TLS_OPEN)
			shake_hand_over(e);
		if (e->tls.state == TLS_OPEN && !e->shake && r == TLS_READ_MORE)
			return inbound_read(e, plain, now_ms);
	}
	return r;
}

/* Copies up to a record of plaintext together. Returns its bytes. */
static uint32_t entries_copy(const struct tls_plain *entries, unsigned n, uint64_t from,
			     uint32_t max, char *to)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < n && bytes < max; i++) {
		uint32_t len = entries[i].len, part;

		if (from >= len) {
			from -= len;
			continue;
		}
		part = len - (uint32_t)from;
		if (part > max - bytes)
			part = max - bytes;
		memcpy(to + bytes, entries[i].ptr + from, part);
		bytes += part;
		from = 0;
	}
	return bytes;
}

int64_t library_seal(struct tls_endpoint *e, const struct tls_plain *entries, unsigned n,
		     struct tls_flight *f)
{
	uint32_t configured = e->tls.context->record_bytes;
	uint32_t max = configured > 0 && configured < RECORD_PLAIN_MAX ? configured
								       : RECORD_PLAIN_MAX;
	char record[RECORD_PLAIN_MAX];
	int64_t taken = 0;

	for (unsigned i = 0; i < RECORDS_MAX && flight_space(f) > 4; i++) {
		uint32_t bytes = entries_copy(entries, n, (uint64_t)taken, max, record);
		int result;

		if (bytes == 0)
			break;
		ERR_clear_error();
		result = SSL_write(e->shake->ssl, record, (int)bytes);
		ERR_clear_error();
		if (result != (int)bytes)
			return -1;
		taken += result;
		output_take(&e->out, f);
	}
	return taken;
}

void library_shut(struct tls_endpoint *e)
{
	ERR_clear_error();
	SSL_shutdown(e->shake->ssl);
	ERR_clear_error();
}
