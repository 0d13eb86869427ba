/* Pieces of a body in order. Private to h2.
 *
 * Owner: a stream. Limits: those of its session. Errors: false, no memory. */
#ifndef SRC_H2_QUEUE_H
#define SRC_H2_QUEUE_H

#include "h2/session.h"

struct h2_part {
	struct h2_part *next;
	struct piece piece;
	bool copied; /* its block is ours alone: bytes may be appended */
};

/* Takes over the piece. */
static inline bool queue_put(struct slab *parts, struct h2_queue *q, struct piece *p)
{
	struct h2_part *part = slab_take_raw(parts);

	if (!part)
		return false;
	part->next = NULL;
	part->piece = *p;
	part->copied = false;
	if (q->last)
		q->last->next = part;
	else
		q->first = part;
	q->last = part;
	q->bytes += p->len;
	*p = (struct piece){ NULL, NULL, 0 };
	return true;
}

/* Copies bytes, behind those of the last block if that is ours and has space. */
static inline bool queue_copy(struct slab *parts, struct buf_pool *pool, struct h2_queue *q,
			      const char *bytes, uint32_t n)
{
	struct h2_part *last = q->last;
	struct piece p;

	if (last && last->copied && last->piece.buf->size - last->piece.buf->end >= n) {
		memcpy(last->piece.buf->data + last->piece.buf->end, bytes, n);
		last->piece.buf->end += n;
		last->piece.len += n;
		q->bytes += n;
		return true;
	}
	p.buf = buf_new(pool, n);
	if (!p.buf)
		return false;
	memcpy(p.buf->data, bytes, n);
	p.buf->end = n;
	p.ptr = p.buf->data;
	p.len = n;
	if (!queue_put(parts, q, &p)) {
		piece_put(&p);
		return false;
	}
	q->last->copied = true;
	return true;
}

/* The first bytes, at most `max` and at most those of one piece; none: an empty piece. */
static inline struct piece queue_take(struct slab *parts, struct h2_queue *q, uint32_t max)
{
	struct h2_part *part = q->first;
	struct piece p = { NULL, NULL, 0 };

	if (!part || max == 0)
		return p;
	p = part->piece;
	if (p.len > max) {
		p.len = max;
		if (p.buf)
			buf_ref(p.buf);
		part->copied = false;
		part->piece.ptr += max;
		part->piece.len -= max;
	} else {
		q->first = part->next;
		if (!q->first)
			q->last = NULL;
		slab_put(parts, part);
	}
	q->bytes -= p.len;
	return p;
}

/* How many bytes at the front are in few pieces that are larger than `small`: `most` at most. */
static inline uint32_t queue_front(const struct h2_queue *q, uint32_t small, unsigned most)
{
	uint32_t n = 0;

	for (const struct h2_part *part = q->first; part; part = part->next) {
		if (part->piece.len > small && most-- == 0)
			break;
		n += part->piece.len;
	}
	return n;
}

static inline void queue_drop(struct slab *parts, struct h2_queue *q)
{
	while (q->first) {
		struct piece p = queue_take(parts, q, UINT32_MAX);

		piece_put(&p);
	}
}

#endif
