/* Seals plaintext as records: where it lies if nobody else reads it, else into blocks. */
#include <string.h>

#include "endpoint.h"
#include "fault.h"

/* Record sizes without a configured one: after this silence the first bytes go in small records,
 * since the peer can use a record only when it is whole, and TCP begins with a small window. */
#define SILENCE_MS 1000
#define BURST_SMALL 12288u
#define CONTENT_SMALL 4096u

#define PARTS_MAX 32

static uint32_t content_max(struct tls_endpoint *e, uint64_t now_ms)
{
	if (e->tls.context->record_bytes > 0)
		return e->tls.context->record_bytes < RECORD_PLAIN_MAX
			       ? e->tls.context->record_bytes
			       : RECORD_PLAIN_MAX;
	if ((uint32_t)now_ms - e->sealed_ms >= SILENCE_MS)
		e->burst = 0;
	e->sealed_ms = (uint32_t)now_ms;
	return e->burst < BURST_SMALL ? CONTENT_SMALL : RECORD_PLAIN_MAX;
}

/* Where the next byte of plaintext is. */
struct plain_cursor {
	const struct tls_plain *entry;
	unsigned n; /* entries left, with this one */
	uint32_t at;
};

/* Parts of the next record, at most `max` bytes; *shared: how many of them are sealed to a block,
 * for which `to` is NULL yet. Moves the cursor. Returns how many parts. */
static unsigned record_gather(struct plain_cursor *c, uint32_t max, unsigned parts_max,
			      struct record_part *parts, uint32_t *shared)
{
	unsigned n = 0;

	*shared = 0;
	while (c->n > 0 && n < parts_max && max > 0) {
		const struct tls_plain *p = c->entry;
		uint32_t len = p->len - c->at < max ? p->len - c->at : max;
		const char *from = p->ptr + c->at;

		if (len > 0)
			parts[n++] = (struct record_part){
				from, p->exclusive ? (void *)(uintptr_t)from : NULL, len
			};
		if (!p->exclusive)
			*shared += len;
		max -= len;
		c->at += len;
		if (c->at == p->len) {
			c->entry++;
			c->n--;
			c->at = 0;
		}
	}
	return n;
}

/* Receive buffers are slabs for the sizes that blocks have none for. */
static struct buf *block_new(struct buf_pool *bufs, uint32_t bytes)
{
	bool large = bytes > BUF_BYTES / 2 && buf_available(bufs, false) > 0;

	return large ? buf_take(bufs) : buf_new(bufs, bytes);
}

/* Gives shared parts their place. False: no memory. */
static bool parts_place(struct tls_endpoint *e, struct record_part *parts, unsigned n,
			uint32_t shared, struct buf **block)
{
	char *at;

	*block = NULL;
	if (shared == 0)
		return true;
	*block = block_new(e->tls.thread->bufs, shared);
	if (!*block)
		return false;
	at = (*block)->data;
	for (unsigned i = 0; i < n; i++) {
		if (parts[i].to)
			continue;
		parts[i].to = at;
		at += parts[i].len;
	}
	return true;
}

static uint32_t parts_bytes(const struct record_part *parts, unsigned n)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += parts[i].len;
	return bytes;
}

/* Appends one part to the flight, or to its last entry if it follows that in memory. */
static void part_add(struct tls_flight *f, const struct record_part *p, struct buf *block)
{
	struct iovec *last = &f->iov[f->n - 1];
	bool in_block = block && (char *)p->to >= block->data &&
			(char *)p->to < block->data + block->size;

	if (in_block && (char *)last->iov_base + last->iov_len == p->to &&
	    f->owner[f->n - 1] == block) {
		last->iov_len += p->len;
		f->bytes += p->len;
		return;
	}
	flight_add(f, p->to, p->len, in_block ? buf_ref(block) : NULL);
}

/* Seals one record and appends it. False: no memory, or the library failed. */
static bool record_add(struct tls_endpoint *e, struct record_part *parts, unsigned n,
		       uint32_t shared, struct tls_flight *f)
{
	struct record_keys *k = &e->out_keys;
	unsigned begun = f->n;
	uint8_t *head, *tail;
	struct buf *block;
	bool sealed;

	if (!parts_place(e, parts, n, shared, &block))
		return false;
	head = (uint8_t *)flight_edge(f, record_head_bytes(k));
	for (unsigned i = 0; i < n; i++)
		part_add(f, &parts[i], block);
	tail = (uint8_t *)flight_edge(f, record_tail_bytes(k));
	sealed = record_seal(k, e->tls.thread->crypt, RECORD_DATA, parts, n, head, tail);
	buf_put(block);
	if (sealed) {
		stat_add(&e->tls.thread->counts.records[TLS_OUT], 1);
		return true;
	}
	/* Nothing of it may be sent. */
	while (f->n > begun) {
		f->n--;
		f->bytes -= f->iov[f->n].iov_len;
		buf_put(f->owner[f->n]);
	}
	return false;
}

int64_t outbound_seal(struct tls_endpoint *e, const struct tls_plain *entries, unsigned n,
		      struct tls_flight *f, uint64_t now_ms)
{
	struct plain_cursor c = { .entry = entries, .n = n };
	int64_t taken = 0;

	while (c.n > 0 && flight_space(f) >= 3) {
		struct record_part parts[PARTS_MAX];
		unsigned parts_max = flight_space(f) - 2 < PARTS_MAX ? flight_space(f) - 2
								     : PARTS_MAX;
		uint32_t shared, bytes;
		unsigned parts_n;

		parts_n = record_gather(&c, content_max(e, now_ms), parts_max, parts,
					&shared);
		if (parts_n == 0)
			break;
		bytes = parts_bytes(parts, parts_n);
		if (!record_add(e, parts, parts_n, shared, f))
			return -1;
		taken += bytes;
		e->burst = (uint16_t)(e->burst + bytes < BURST_SMALL ? e->burst + bytes
								     : BURST_SMALL);
		/* RFC 8446 5.5. The update is made by the next tls_take(), before other records. */
		if (e->tls.version == TLS_1_3 && record_keys_worn(&e->out_keys)) {
			e->key_update_waiting = true;
			break;
		}
	}
	return taken;
}

/* ---- not data ---------------------------------------------------------------------- */

static bool message_in_clear(struct tls_endpoint *e, enum record_type type,
			     const void *bytes, uint32_t n)
{
	char *at = output_reserve(&e->out, e->tls.thread->bufs, RECORD_HEADER_BYTES + n);

	if (!at)
		return false;
	at[0] = (char)type;
	at[1] = at[2] = 3;
	at[3] = (char)(n >> 8);
	at[4] = (char)n;
	memcpy(at + RECORD_HEADER_BYTES, bytes, n);
	return true;
}

bool outbound_message(struct tls_endpoint *e, enum record_type type, const void *bytes,
		      uint32_t n)
{
	struct record_keys *k = &e->out_keys;
	struct record_part part;
	unsigned head, tail;
	char *at;

	if (!k->suite)
		return message_in_clear(e, type, bytes, n);
	head = record_head_bytes(k);
	tail = record_tail_bytes(k);
	at = output_reserve(&e->out, e->tls.thread->bufs, head + n + tail);
	if (!at)
		return false;
	part = (struct record_part){ bytes, at + head, n };
	if (record_seal(k, e->tls.thread->crypt, type, &part, 1, (uint8_t *)at,
			(uint8_t *)at + head + n))
		return true;
	output_cancel(&e->out, head + n + tail); /* its number is spent, and it is no record */
	return false;
}

static bool key_update_make(struct tls_endpoint *e)
{
	/* KeyUpdate, 1 byte: update_not_requested. */
	static const uint8_t message[5] = { 24, 0, 0, 1, 0 };

	stat_add(&e->tls.thread->counts.key_updates[TLS_OUT], 1);
	return outbound_message(e, RECORD_HANDSHAKE, message, sizeof(message)) &&
	       record_keys_update(&e->out_keys, e->tls.thread->crypt);
}

bool outbound_waiting(struct tls_endpoint *e)
{
	bool key_update = e->key_update_waiting, alert = e->alert_waiting;
	uint8_t message[2] = { e->alert_level, e->alert_description };

	e->key_update_waiting = e->alert_waiting = false;
	if (key_update && !key_update_make(e))
		return false;
	return !alert || outbound_message(e, RECORD_ALERT, message, sizeof(message));
}
