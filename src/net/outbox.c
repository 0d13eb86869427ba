#include "outbox.h"

#include <stddef.h>
#include <string.h>

#include "secure.h"

struct outbox *outbox_take(struct conn *c)
{
	struct outbox *o = c->outbox;

	if (o)
		return o;
	o = slab_take_raw(&c->tick->outboxes);
	if (!o)
		return NULL;
	memset(o, 0, offsetof(struct outbox, iov)); /* a push initialises its entry */
	o->send.owner = c;
	list_init(&o->writable);
	c->outbox = o;
	return o;
}

void outbox_release(struct outbox *o, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		struct buf *b = o->owner[i];

		o->bytes -= o->len[i];
		/* Consecutive entries in one buffer: the last of them releases the
		 * charge. */
		if (b && i + 1 < o->n && o->owner[i + 1] == b)
			o->charge[i + 1] += o->charge[i];
		else
			o->charged -= o->charge[i];
		o->owner[i] = NULL;
		buf_put(b);
	}
}

void outbox_free(struct conn *c)
{
	ASSERT(c->outbox->bytes == 0); /* each byte was released exactly once */
	list_remove(&c->outbox->writable);
	slab_put(&c->tick->outboxes, c->outbox);
	c->outbox = NULL;
}

void outbox_drop(struct conn *c)
{
	struct outbox *o = c->outbox;
	unsigned kept;

	if (!o)
		return;
	/* A flight may be sealed where the first bytes of an entry lie. */
	kept = io_busy(&o->send.op) ? o->submitted + (o->part > 0) : o->first;
	outbox_release(o, kept, o->n);
	o->n = (uint16_t)kept;
	list_remove(&o->writable);
	if (!io_busy(&o->send.op))
		outbox_free(c);
}

uint32_t conn_push_space(const struct conn *c)
{
	const struct outbox *o = c->outbox;

	if (c->state != CONN_OPEN || c->error || c->send_error)
		return 0;
	if (!o)
		return c->window;
	if (o->n + 2 * OUTBOX_SPARE <= OUTBOX_MAX && o->charged < c->window)
		return c->window - o->charged;
	return 0;
}

/* Without an outbox no send completes that could make space. */
void conn_await_space(struct conn *c)
{
	if (c->outbox)
		c->space_awaited = true;
}

static struct outbox *push_entry(struct conn *c, const void *ptr, uint32_t len)
{
	struct outbox *o;

	ASSERT(c->state == CONN_OPEN && !c->fin_sent && !c->fin_wanted);
	o = outbox_take(c);
	if (!o || o->n == OUTBOX_MAX)
		return NULL;
	if (o->n == 0 && !c->sent_lags)
		c->sent_ms = c->tick->now_ms; /* the send timeout starts now */
	o->iov[o->n] = (struct iovec){ (void *)(uintptr_t)ptr, len };
	o->len[o->n] = len;
	o->charge[o->n] = 0;
	o->bytes += len;
	if (list_empty(&o->writable))
		list_append(&c->tick->writable, &o->writable);
	return o;
}

bool conn_push(struct conn *c, struct piece *p)
{
	struct outbox *o;

	ASSERT(p->len > 0);
	o = push_entry(c, p->ptr, p->len);
	if (!o)
		return false;
	if (p->buf && (o->n == o->first || o->owner[o->n - 1] != p->buf))
		o->charge[o->n] = p->buf->size;
	o->charged += o->charge[o->n];
	o->owner[o->n++] = p->buf;
	p->buf = NULL;
	p->len = 0;
	return true;
}

/* Appends to the last entry, if that is a small one, is not submitted yet, and has space:
 * consecutive short pushes share an entry, such as the CRLF of one chunk and the size
 * line of the next. */
static bool small_append(struct outbox *o, struct slice bytes)
{
	unsigned last = o->n - 1u;

	if (o->n == o->submitted || o->iov[last].iov_base != o->small[last] ||
	    o->len[last] + bytes.len > sizeof(o->small[last]))
		return false;
	memcpy(o->small[last] + o->len[last], bytes.ptr, bytes.len);
	o->len[last] += (uint32_t)bytes.len;
	o->iov[last].iov_len = o->len[last];
	o->bytes += bytes.len;
	return true;
}

bool conn_push_small(struct conn *c, struct slice bytes)
{
	struct outbox *o;

	ASSERT(bytes.len > 0 && bytes.len <= sizeof(o->small[0]));
	ASSERT(c->state == CONN_OPEN);
	if (c->outbox && small_append(c->outbox, bytes))
		return true;
	o = push_entry(c, NULL, (uint32_t)bytes.len);
	if (!o)
		return false;
	memcpy(o->small[o->n], bytes.ptr, bytes.len);
	o->iov[o->n].iov_base = o->small[o->n];
	o->owner[o->n++] = NULL;
	return true;
}

uint64_t conn_unsent(const struct conn *c)
{
	return c->outbox ? c->outbox->bytes : 0;
}

/* Bytes pushed since the last submit. */
static uint64_t unsubmitted(const struct outbox *o)
{
	uint64_t bytes = 0;

	for (unsigned i = o->submitted; i < o->n; i++)
		bytes += o->len[i];
	return bytes - o->part;
}

uint64_t conn_submitted(const struct conn *c)
{
	return conn_position(c) - (c->outbox ? unsubmitted(c->outbox) : 0);
}

/* Drops n bytes at the end, or the last entry if that has fewer. */
static void entries_drop_last(struct outbox *o, uint64_t n)
{
	unsigned last = o->n - 1u;

	if (n >= o->len[last]) {
		outbox_release(o, last, o->n);
		o->n--;
		return;
	}
	o->len[last] -= (uint32_t)n;
	o->iov[last].iov_len = o->len[last];
	o->bytes -= n;
}

bool conn_take_back(struct conn *c, uint64_t position)
{
	struct outbox *o = c->outbox;

	ASSERT(c->state == CONN_OPEN);
	if (conn_submitted(c) > position)
		return false;
	while (conn_position(c) > position)
		entries_drop_last(o, conn_position(c) - position);
	if (o && o->n == o->submitted && !secure_has_output(c)) {
		list_remove(&o->writable);
		if (!io_busy(&o->send.op))
			outbox_free(c);
	}
	return true;
}
