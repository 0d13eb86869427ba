#include "output.h"

#include <string.h>

#include "base/check.h"

/* What is written in small parts shares blocks of this size. */
#define SHARED_BYTES 1024u

char *output_reserve(struct output *o, struct buf_pool *bufs, uint32_t n)
{
	struct buf *b = o->last;

	if (!b || b->size - b->end < n) {
		b = buf_new(bufs, o->first && n < SHARED_BYTES ? SHARED_BYTES : n);
		if (!b)
			return NULL;
		if (o->last)
			o->last->next = b;
		else
			o->first = b;
		o->last = b;
	}
	b->end += n;
	return b->data + b->end - n;
}

void output_cancel(struct output *o, uint32_t n)
{
	ASSERT(o->last && n <= o->last->end);
	o->last->end -= n;
}

bool output_append(struct output *o, struct buf_pool *bufs, const void *bytes, size_t n)
{
	char *at = n > 0 ? output_reserve(o, bufs, (uint32_t)n) : NULL;

	if (at)
		memcpy(at, bytes, n);
	return at || n == 0;
}

void output_take(struct output *o, struct tls_flight *f)
{
	while (o->first && flight_space(f) > 0) {
		struct buf *b = o->first;

		o->first = b->next;
		if (!o->first)
			o->last = NULL;
		b->next = NULL;
		if (b->end > b->begin)
			flight_add(f, b->data + b->begin, b->end - b->begin, b);
		else
			buf_put(b); /* output_cancel() */
	}
}

void output_drop(struct output *o)
{
	while (o->first) {
		struct buf *b = o->first;

		o->first = b->next;
		b->next = NULL;
		buf_put(b);
	}
	o->last = NULL;
}

void tls_flight_init(struct tls_flight *f)
{
	f->n = 0;
	f->bytes = 0;
}

void tls_flight_release(struct tls_flight *f)
{
	for (unsigned i = 0; i < f->n; i++)
		buf_put(f->owner[i]);
	tls_flight_init(f);
}

void flight_add(struct tls_flight *f, const void *ptr, size_t len, struct buf *owner)
{
	ASSERT(f->n < TLS_FLIGHT_MAX);
	f->iov[f->n] = (struct iovec){ (void *)(uintptr_t)ptr, len };
	f->owner[f->n++] = owner;
	f->bytes += len;
}

char *flight_edge(struct tls_flight *f, uint32_t len)
{
	char *at = f->edge[f->n];

	ASSERT(f->n < TLS_FLIGHT_MAX && len <= sizeof(f->edge[0]));
	flight_add(f, at, len, NULL);
	return at;
}
