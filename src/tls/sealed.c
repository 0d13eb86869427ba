#include "sealed.h"

#include <string.h>

#include "base/check.h"

/* Received bytes up to this many are copied behind those that wait: else each segment would hold
 * a whole buffer (see net/inbox.c). Into a block, which has space for them since the last
 * sealed_compact(), more of them are: the segments of one record, each copied once. */
#define COALESCE_BYTES_MAX 1024u
#define COALESCE_BLOCK_MAX 4096u

/* A block that is not worth a smaller one. */
#define SMALL_BYTES 256u

/* sealed_compact() leaves as much space behind the bytes as there are bytes, but at most this. */
#define COMPACT_SPACE_MAX 16384u

static bool sealed_coalesce(struct sealed *s, struct buf *b)
{
	struct buf *last = s->last;
	uint32_t n = b->end - b->begin;
	uint32_t max;

	if (!last)
		return false;
	max = last->class_ == BUF_RECEIVE ? COALESCE_BYTES_MAX : COALESCE_BLOCK_MAX;
	if (n > max || last->size - last->end < n)
		return false;
	memcpy(last->data + last->end, b->data + b->begin, n);
	last->end += n;
	s->bytes += n;
	buf_put(b);
	return true;
}

void sealed_append(struct sealed *s, struct buf *b)
{
	if (b->end == b->begin) {
		buf_put(b);
		return;
	}
	if (sealed_coalesce(s, b))
		return;
	b->next = NULL;
	if (s->last)
		s->last->next = b;
	else
		s->first = b;
	s->last = b;
	s->bytes += b->end - b->begin;
	s->held += b->size;
}

void sealed_copy(const struct sealed *s, uint32_t from, void *to, uint32_t n)
{
	const struct buf *b = s->first;
	char *at = to;

	ASSERT(n <= s->bytes && from <= s->bytes - n);
	for (; n > 0; b = b->next) {
		uint32_t here;

		ASSERT(b);
		here = b->end - b->begin;
		if (from < here) {
			uint32_t part = here - from < n ? here - from : n;

			at = mempcpy(at, b->data + b->begin + from, part);
			n -= part;
			from = 0;
		} else {
			from -= here;
		}
	}
}

unsigned sealed_vector(const struct sealed *s, struct iovec *iov, unsigned max,
		       uint32_t bytes)
{
	unsigned n = 0;

	for (const struct buf *b = s->first; b && n < max && bytes > 0; b = b->next) {
		uint32_t here = b->end - b->begin;

		if (here > bytes)
			here = bytes;
		iov[n++] = (struct iovec){ b->data + b->begin, here };
		bytes -= here;
	}
	return n;
}

/* Takes the first buffer, out of the chain. */
static struct buf *sealed_shift(struct sealed *s)
{
	struct buf *b = s->first;

	s->first = b->next;
	if (!s->first)
		s->last = NULL;
	b->next = NULL;
	s->bytes -= b->end - b->begin;
	s->held -= b->size;
	return b;
}

void sealed_consume(struct sealed *s, uint32_t n)
{
	ASSERT(n <= s->bytes);
	while (n > 0) {
		struct buf *b = s->first;
		uint32_t here = b->end - b->begin;

		if (n < here) {
			b->begin += n;
			s->bytes -= n;
			return;
		}
		n -= here;
		buf_put(sealed_shift(s));
	}
}

struct buf *sealed_take(struct sealed *s, uint32_t n, uint32_t *tail)
{
	struct buf *b = s->first, *view;
	uint32_t here = b->end - b->begin;

	ASSERT(n > 0);
	/* Nothing else is in the buffer: it is given away, and no view of it needed. */
	if (here <= n + *tail) {
		sealed_shift(s);
		if (here > n) {
			b->end = b->begin + n;
			*tail -= here - n;
		}
		return b;
	}
	view = buf_view(b->pool, b, b->begin, b->begin + n);
	if (view) {
		sealed_consume(s, n + *tail);
		*tail = 0;
	}
	return view;
}

void sealed_compact(struct sealed *s, struct buf_pool *bufs)
{
	struct buf *first = s->first, *b;

	/* A small block is compact, and one that is mostly full. */
	if (!first || (!first->next && first->class_ != BUF_RECEIVE &&
		       (first->size <= SMALL_BYTES || first->size <= 4 * s->bytes)))
		return;
	b = buf_new(bufs, s->bytes + (s->bytes < COMPACT_SPACE_MAX ? s->bytes
								   : COMPACT_SPACE_MAX));
	if (!b)
		return;
	sealed_copy(s, 0, b->data, s->bytes);
	b->end = s->bytes;
	sealed_drop(s);
	sealed_append(s, b);
}

void sealed_drop(struct sealed *s)
{
	while (s->first)
		buf_put(sealed_shift(s));
}

void sealed_check(const struct sealed *s)
{
	uint32_t bytes = 0, held = 0;

	for (const struct buf *b = s->first; b; b = b->next) {
		ASSERT(b->refs > 0 && b->begin < b->end && b->end <= b->size);
		ASSERT(b->next || b == s->last);
		bytes += b->end - b->begin;
		held += b->size;
	}
	ASSERT(bytes == s->bytes && held == s->held);
	ASSERT(!s->first == !s->last);
}
