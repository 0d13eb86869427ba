#include "secure.h"

#include <errno.h>

#include "outbox.h"

static bool may_seal(const struct secure *s)
{
	return s->tls->state == TLS_OPEN || s->tls->state == TLS_ENDED;
}

/* Nobody else reads these bytes, now or later: all references to the buffer are of entries
 * [first, last] of this outbox, which refer to different bytes of it. Bytes without a buffer are
 * static, unless they were copied to the outbox. */
static bool entries_exclusive(const struct outbox *o, unsigned first, unsigned last)
{
	const struct buf *b = o->owner[first];

	if (!b)
		return o->iov[first].iov_base >= (const void *)o->small &&
		       o->iov[first].iov_base < (const void *)&o->small[OUTBOX_MAX];
	for (unsigned i = first + 1; i <= last; i++)
		if ((const char *)o->iov[i - 1].iov_base + o->len[i - 1] >
		    (const char *)o->iov[i].iov_base)
			return false;
	return b->refs == last - first + 1;
}

static unsigned entries_describe(const struct outbox *o, struct tls_plain *plain)
{
	unsigned next;

	for (unsigned i = o->first; i < o->n; i = next) {
		bool exclusive;

		next = i + 1;
		while (o->owner[i] && next < o->n && o->owner[next] == o->owner[i])
			next++;
		exclusive = entries_exclusive(o, i, next - 1);
		for (unsigned k = i; k < next; k++)
			plain[k - o->first] = (struct tls_plain){ o->iov[k].iov_base,
								  o->len[k], exclusive };
	}
	return (unsigned)(o->n - o->first);
}

/* Marks the first bytes as submitted. */
static void entries_submit(struct outbox *o, uint64_t bytes)
{
	o->submitted = o->first;
	while (o->submitted < o->n && bytes >= o->len[o->submitted])
		bytes -= o->len[o->submitted++];
	o->part = (uint32_t)bytes;
}

/* False: the session failed. */
static bool seal_entries(struct conn *c, struct tls_flight *f)
{
	struct tls_plain plain[OUTBOX_MAX];
	int64_t taken = 0;

	if (may_seal(c->secure) && c->outbox->first < c->outbox->n)
		taken = tls_seal(c->secure->tls, plain,
				 entries_describe(c->outbox, plain), f, c->tick->now_ms);
	if (taken < 0)
		return false;
	entries_submit(c->outbox, (uint64_t)taken);
	c->secure->flight_plain = (uint32_t)taken;
	return true;
}

/* All of the outbox is sealed, and nothing will follow: close_notify. */
static void shut_if_last(struct conn *c, struct tls_flight *f)
{
	struct secure *s = c->secure;

	if (!s->shut_wanted || c->outbox->submitted < c->outbox->n)
		return;
	s->shut_wanted = false;
	tls_shut(s->tls);
	tls_take(s->tls, f);
}

/* A session that has failed seals nothing. */
static void drop_unsealed(struct conn *c)
{
	struct outbox *o = c->outbox;

	outbox_release(o, o->first, o->n);
	o->first = o->submitted = o->n = 0;
}

static struct tls_flight *flight_seal(struct conn *c)
{
	struct tls_flight *f = slab_take_raw(&c->tick->flights);
	const struct tls *t = c->secure->tls;
	bool failed_before = t->state == TLS_FAILED, failed;

	if (!f)
		return NULL;
	tls_flight_init(f);
	tls_take(c->secure->tls, f);
	/* For a key update there may have been no memory. */
	failed = t->state == TLS_FAILED && !failed_before;
	if (!failed && seal_entries(c, f)) {
		shut_if_last(c, f);
		return f;
	}
	tls_flight_release(f);
	slab_put(&c->tick->flights, f);
	return NULL;
}

bool secure_send(struct conn *c, unsigned flags)
{
	struct secure *s = c->secure;
	struct outbox *o = c->outbox;
	struct tls_flight *f;

	if (s->tls->state == TLS_FAILED)
		drop_unsealed(c);
	f = flight_seal(c);
	if (!f) {
		c->send_error = -ENOMEM;
		return false;
	}
	if (f->n == 0) {
		slab_put(&c->tick->flights, f);
		return false;
	}
	s->flight = f;
	if (o->submitted < o->n || tls_has_output(s->tls))
		flags = 0; /* the rest begins when this ends */
	io_send(c->tick->loop, &o->send, c->fd, f->iov, f->n, flags);
	return true;
}

/* The entry of which a part was sent begins behind that. */
static void entry_shorten(struct outbox *o, uint32_t part)
{
	unsigned i = o->submitted;

	o->part = 0;
	o->iov[i].iov_base = (char *)o->iov[i].iov_base + part;
	o->len[i] -= part;
	o->iov[i].iov_len = o->len[i];
	o->bytes -= part;
	if (o->len[i] == 0) /* the rest was taken back */
		o->submitted++;
}

uint64_t secure_sent(struct conn *c, uint64_t sealed_bytes)
{
	struct secure *s = c->secure;
	uint64_t plain = s->flight_plain;

	if (s->preamble) {
		s->preamble = false;
		return sealed_bytes;
	}
	tls_flight_release(s->flight);
	slab_put(&c->tick->flights, s->flight);
	s->flight = NULL;
	s->flight_plain = 0;
	if (c->outbox->part > 0)
		entry_shorten(c->outbox, c->outbox->part);
	return plain < sealed_bytes ? plain : sealed_bytes;
}

bool secure_send_own(struct conn *c)
{
	struct outbox *o = outbox_take(c);

	if (!o)
		return false;
	if (list_empty(&o->writable))
		list_append(&c->tick->writable, &o->writable);
	return true;
}

/* No memory: FIN comes without it. */
void secure_shut(struct conn *c)
{
	struct secure *s = c->secure;

	if (may_seal(s) && !s->tls->shut)
		s->shut_wanted = secure_send_own(c);
}
