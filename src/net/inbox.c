#include "inbox.h"

#include <string.h>

#include "secure.h"

/* conn_compact() leaves as much free space after the bytes as there are bytes, but at
 * most this much. */
#define COMPACT_SPACE_MAX (BUF_BYTES / 4)

uint32_t inbox_window(const struct conn *c)
{
	return c->inbox_limited && c->window > BUF_BYTES ? BUF_BYTES : c->window;
}

uint32_t inbox_space(const struct conn *c)
{
	uint32_t window = inbox_window(c);

	return window > c->inbox_held ? window - c->inbox_held : 0;
}

bool conn_can_receive(const struct conn *c)
{
	if (c->fd < 0 || c->receive_ended || c->error)
		return false;
	if (c->state == CONN_OPEN)
		return inbox_space(c) > 0;
	/* A lingering connection reads and discards what the peer still sends
	 * (kernel-notes/09-close-with-unread-bytes). */
	return c->state == CONN_CLOSING && c->end == CONN_LINGER;
}

void inbox_receive(struct conn *c)
{
	if (c->secure)
		secure_continue(c);
	if (!io_busy(&c->recv.op) && conn_can_receive(c))
		io_recv(c->tick->loop, &c->recv, c->fd, inbox_space(c));
}

/* Appends a short segment to the bytes already in the inbox, as the kernel coalesces
 * sk_buffs: else each segment would hold a whole buffer, and a peer that sends single
 * bytes would use up the pool. Other bytes of a body that is being relayed are not copied
 * here. */
static bool inbox_coalesce(struct conn *c, struct buf *b)
{
	struct buf *last = c->inbox_last;
	uint32_t n = b->end - b->begin;

	if (!last || n > COALESCE_BYTES_MAX || last->size - last->end < n)
		return false;
	memcpy(last->data + last->end, b->data + b->begin, n);
	last->end += n;
	c->inbox_bytes += n;
	buf_put(b);
	return true;
}

void inbox_append(struct conn *c, struct buf *b)
{
	if (inbox_coalesce(c, b))
		return;
	b->next = NULL;
	if (c->inbox_last)
		c->inbox_last->next = b;
	else
		c->inbox = b;
	c->inbox_last = b;
	c->inbox_bytes += b->end - b->begin;
	c->inbox_held += b->size;
}

static void inbox_drop_first(struct conn *c)
{
	struct buf *b = c->inbox;

	c->inbox = b->next;
	if (!c->inbox)
		c->inbox_last = NULL;
	b->next = NULL;
	c->inbox_bytes -= b->end - b->begin;
	c->inbox_held -= b->size;
	buf_put(b);
}

void inbox_drop(struct conn *c)
{
	while (c->inbox)
		inbox_drop_first(c);
}

struct slice conn_peek(const struct conn *c)
{
	return c->inbox ? buf_bytes(c->inbox) : (struct slice){ NULL, 0 };
}

void conn_consume(struct conn *c, uint32_t n)
{
	ASSERT(n <= c->inbox_bytes);
	while (n > 0) {
		struct buf *b = c->inbox;
		uint32_t here = b->end - b->begin;

		if (n < here) {
			b->begin += n;
			c->inbox_bytes -= n;
			return;
		}
		n -= here;
		inbox_drop_first(c);
	}
	inbox_receive(c);
}

struct piece conn_take(struct conn *c, uint32_t n)
{
	struct buf *b = c->inbox;
	struct piece p;

	ASSERT(b && n > 0 && n <= b->end - b->begin);
	p = (struct piece){ buf_ref(b), b->data + b->begin, n };
	conn_consume(c, n);
	return p;
}

/* Moves bytes of the following buffers to the end of `first`, until it holds `max` bytes
 * or is full. */
static void pull_up(struct conn *c, struct buf *first, uint32_t max)
{
	while (first->next && first->end - first->begin < max) {
		struct buf *b = first->next;
		uint32_t n = b->end - b->begin;
		uint32_t space = first->size - first->end;

		if (n > space)
			n = space;
		if (n == 0)
			return;
		memcpy(first->data + first->end, b->data + b->begin, n);
		first->end += n;
		b->begin += n;
		if (b->begin < b->end)
			return;
		first->next = b->next;
		if (c->inbox_last == b)
			c->inbox_last = first;
		b->next = NULL;
		c->inbox_held -= b->size;
		buf_put(b);
	}
}

/* Replaces the first buffer of the inbox by a block of `size` bytes with the same
 * contents. NULL: out of memory. */
static struct buf *replace_first(struct conn *c, size_t size)
{
	struct buf *first = c->inbox;
	struct buf *b = buf_new(io_bufs(c->tick->loop), size);

	if (!b)
		return NULL;
	b->end = first->end - first->begin;
	memcpy(b->data, first->data + first->begin, b->end);
	b->next = first->next;
	if (c->inbox_last == first)
		c->inbox_last = b;
	c->inbox = b;
	c->inbox_held += b->size;
	c->inbox_held -= first->size;
	first->next = NULL;
	buf_put(first);
	return b;
}

bool conn_linearize(struct conn *c, uint32_t max)
{
	struct buf *first = c->inbox;
	uint32_t want;

	if (!first || !first->next || first->end - first->begin >= max)
		return true;
	want = c->inbox_bytes < max ? c->inbox_bytes : max;
	/* A buffer that is shared, or too small, is replaced by a block with spare space:
	 * a head that arrives byte by byte is copied a few times, not at each byte. */
	if (first->refs > 1 || first->begin + want > first->size) {
		first = replace_first(c, 2 * (size_t)want < max ? 2 * want : max);
		if (!first)
			return false;
	}
	pull_up(c, first, max);
	inbox_receive(c);
	return true;
}

void conn_replace(struct conn *c, uint32_t n, struct buf *block)
{
	conn_consume(c, n);
	block->next = c->inbox;
	c->inbox = block;
	if (!c->inbox_last)
		c->inbox_last = block;
	c->inbox_bytes += block->end - block->begin;
	c->inbox_held += block->size;
}

/* A block, and not a mostly empty one: that would fill the window, so that the missing
 * bytes could not be received. A view holds a receive buffer. */
static bool is_compact(const struct buf *b, size_t size)
{
	return b->class_ != BUF_RECEIVE && b->class_ != BUF_VIEW &&
	       b->size <= size + BUF_BYTES;
}

static void inbox_compact(struct conn *c)
{
	uint32_t bytes = c->inbox_bytes;
	size_t size = bytes + (bytes < COMPACT_SPACE_MAX ? bytes : COMPACT_SPACE_MAX);
	struct buf *first = c->inbox;

	if (!first || (is_compact(first, size) && !first->next))
		return;
	if (!is_compact(first, size) || first->begin + bytes > first->size)
		first = replace_first(c, size);
	if (first)
		pull_up(c, first, bytes);
}

void conn_compact(struct conn *c)
{
	if (c->secure)
		secure_compact(c);
	inbox_compact(c);
	inbox_receive(c);
}

void conn_limit_inbox(struct conn *c, bool inbox_limited)
{
	c->inbox_limited = inbox_limited;
	inbox_receive(c);
}
