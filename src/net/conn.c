#include "net/conn.h"

#include <errno.h>
#include <string.h>

#include "outbox.h"

/* A block for what waits has as much room for more, but not more than this. */
#define COMPACT_SPACE_MAX (BUF_BYTES / 4)

#define COALESCE_BYTES_MAX (BUF_BYTES / 16)

/* When facts are told the tick has not taken its time yet: it may have waited long. */
static uint64_t told_ms(const struct conn *c)
{
	return io_now_us(c->tick->loop) / 1000;
}

static void changed(struct conn *c)
{
	if (c->state == CONN_OPEN)
		c->events->changed(c);
}

/* ---- inbox ---------------------------------------------------------------- */

static uint32_t inbox_room(const struct conn *c)
{
	uint32_t window = c->inbox_limited && c->window > BUF_BYTES ? BUF_BYTES
								    : c->window;

	return window > c->inbox_held ? window - c->inbox_held : 0;
}

static bool may_receive(const struct conn *c)
{
	if (c->fd < 0 || c->eof || c->error)
		return false;
	if (c->state == CONN_OPEN)
		return inbox_room(c) > 0;
	/* What a lingering peer still says is read, and dropped
	 * (kernel-notes/09-close-with-unread-bytes). */
	return c->state == CONN_CLOSING && c->end == CONN_LINGER;
}

bool conn_can_receive(const struct conn *c)
{
	return may_receive(c);
}

static void receive(struct conn *c)
{
	if (may_receive(c) && !io_busy(&c->recv.op))
		io_recv(c->tick->loop, &c->recv, c->fd, inbox_room(c));
}

/* Short segments that must wait go behind the bytes that wait already, as the kernel does
 * with its own: else each would hold a whole buffer, and a peer that sends single bytes
 * would use up the pool. The only bytes of a body that are ever copied. */
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

static void inbox_append(struct conn *c, struct buf *b)
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

static void inbox_drop(struct conn *c)
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
	receive(c);
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

/* Moves bytes of the following buffers to the end of `first`, up to its room. */
static void pull_up(struct conn *c, struct buf *first, uint32_t max)
{
	while (first->next && first->end - first->begin < max) {
		struct buf *b = first->next;
		uint32_t n = b->end - b->begin;
		uint32_t room = first->size - first->end;

		if (n > room)
			n = room;
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

/* Puts a block with `size` bytes of room in the place of the first buffer. */
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
	/* A buffer that others refer to, or without room, is replaced by a block with
	 * room to spare: a head that drips in is copied a few times, not at each byte. */
	if (first->refs > 1 || first->begin + want > first->size) {
		first = replace_first(c, 2 * (size_t)want < max ? 2 * want : max);
		if (!first)
			return false;
	}
	pull_up(c, first, max);
	receive(c);
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

/* A block that is mostly empty would fill the window, and what is missing could not come. */
static bool is_settled(const struct buf *b, size_t room)
{
	return b->class_ != BUF_RECEIVE && b->size <= room + BUF_BYTES;
}

void conn_compact(struct conn *c)
{
	uint32_t bytes = c->inbox_bytes;
	size_t room = bytes + (bytes < COMPACT_SPACE_MAX ? bytes : COMPACT_SPACE_MAX);
	struct buf *first = c->inbox;

	if (!first || (is_settled(first, room) && !first->next))
		return;
	if (!is_settled(first, room) || first->begin + bytes > first->size)
		first = replace_first(c, room);
	if (first)
		pull_up(c, first, bytes);
	receive(c);
}

void conn_limit_inbox(struct conn *c, bool inbox_limited)
{
	c->inbox_limited = inbox_limited;
	receive(c);
}

/* ---- sending --------------------------------------------------------------- */

void conn_shut(struct conn *c)
{
	if (c->shut || c->state != CONN_OPEN)
		return;
	c->shut_wanted = true;
	if (!c->outbox) {
		c->shut = true;
		io_shutdown(c->tick->loop, c->fd);
	}
}

bool conn_poll_delivery(struct conn *c)
{
	if (c->fd < 0 || !io_delivered(c->tick->loop, c->fd, &c->delivered))
		return false;
	c->sent_ms = c->tick->now_ms;
	return true;
}

/* ---- death ---------------------------------------------------------------- */

static void reaped(struct reap *reap)
{
	struct conn *c = CONTAINER(reap, struct conn, reap);

	conn_check(c);
	c->events->dead(c);
}

static void close_if_done(struct conn *c)
{
	if (c->state != CONN_CLOSING || c->fd >= 0 || io_busy(&c->recv.op) ||
	    (c->outbox && io_busy(&c->outbox->send.op)))
		return;
	c->state = CONN_DEAD;
	tick_reap(c->tick, &c->reap);
}

/* Closes the socket; what is in flight comes back, then the conn is dead. */
static void finish(struct conn *c)
{
	if (c->fd >= 0) {
		if (c->end == CONN_RESET || c->end == CONN_BREAK)
			io_reset(c->tick->loop, c->fd);
		else
			io_close(c->tick->loop, c->fd);
		c->fd = -1;
	}
	timer_stop(&c->tick->wheel, &c->timer);
	inbox_drop(c);
	outbox_drop(c);
	close_if_done(c);
}

static void bound_end(struct conn *c)
{
	uint32_t ms = c->outbox && c->send_ms > 0 ? c->send_ms : c->end_ms;

	timer_set(&c->tick->wheel, &c->timer, told_ms(c) + ms + 1);
}

/* A reset destroys what is still on its way. Looked at again soon, and then more and more
 * rarely, as long as bytes arrive. */
static void break_when_arrived(struct conn *c)
{
	uint64_t now_ms = told_ms(c), left = c->error ? 0 : io_outstanding(c->tick->loop, c->fd);

	if (left != c->delivered)
		c->sent_ms = now_ms;
	c->delivered = left;
	if (left == 0 || now_ms - c->sent_ms >= (c->send_ms > 0 ? c->send_ms : c->end_ms))
		finish(c);
	else
		timer_set(&c->tick->wheel, &c->timer, now_ms + 1 + (now_ms - c->sent_ms) / 2);
}

/* A peer that reads, however slowly, gets all of it. */
static void linger_expired(struct timer *t)
{
	struct conn *c = CONTAINER(t, struct conn, timer);

	if (c->end == CONN_BREAK && !c->outbox) {
		break_when_arrived(c);
		return;
	}
	if (c->outbox && conn_poll_delivery(c)) {
		bound_end(c);
		return;
	}
	/* Behind an answer that ends with its connection FIN would say that it is whole. */
	if (c->outbox)
		c->end = CONN_RESET;
	finish(c);
}

/* The outbox is empty: the next step of a gentle end. */
static void flushed(struct conn *c)
{
	if (c->end == CONN_BREAK) {
		break_when_arrived(c);
		return;
	}
	if (c->end != CONN_LINGER || c->eof || c->error) {
		finish(c);
		return;
	}
	if (!c->shut) {
		c->shut = true;
		io_shutdown(c->tick->loop, c->fd);
	}
	bound_end(c);
	receive(c);
}

void conn_close(struct conn *c, enum conn_end end, uint32_t linger_ms)
{
	bool gentle = end != CONN_NOW && end != CONN_RESET && !c->error && !c->send_error;

	ASSERT(c->state != CONN_DEAD);
	if (c->state == CONN_CLOSING && (gentle || c->fd < 0))
		return;
	c->state = CONN_CLOSING;
	c->end = end;
	timer_stop(&c->tick->wheel, &c->timer);
	if (!gentle) {
		finish(c);
		return;
	}
	inbox_drop(c);
	c->end_ms = linger_ms;
	timer_init(&c->timer, linger_expired);
	bound_end(c);
	if (!c->outbox)
		flushed(c);
	else if (end != CONN_LINGER)
		io_cancel(c->tick->loop, &c->recv.op);
	else
		receive(c); /* it may be reading nothing before all it has to say is heard */
}

/* ---- facts ---------------------------------------------------------------- */

static void received(struct io_op *op, int res, unsigned flags)
{
	struct conn *c = CONTAINER(op, struct conn, recv.op);

	if (res > 0) {
		struct buf *b = c->recv.buf;

		c->received += (uint32_t)res;
		c->received_ms = told_ms(c);
		if (c->state == CONN_OPEN) {
			c->recv.buf = NULL;
			inbox_append(c, b);
			/* Many short segments fill the window before the bytes do. */
			if (flags & IO_MORE && inbox_room(c) == 0)
				io_cancel(c->tick->loop, op);
			changed(c);
		}
	} else if (res == 0) {
		c->eof = true;
		changed(c);
	} else if (res != -ECANCELED) {
		c->error = (int16_t)res;
		changed(c);
	}
	if (flags & IO_MORE)
		return;
	if (c->state == CONN_CLOSING && c->fd >= 0 && !c->outbox &&
	    (c->error || (c->eof && c->end != CONN_BREAK)))
		finish(c);
	else
		receive(c);
	close_if_done(c);
}

static void outbox_emptied(struct conn *c)
{
	outbox_give_back(c);
	if (c->state == CONN_CLOSING && c->fd >= 0)
		flushed(c);
	else if (c->shut_wanted && !c->shut && c->fd >= 0) {
		c->shut = true;
		io_shutdown(c->tick->loop, c->fd);
		changed(c);
	}
}

static void sent(struct io_op *op, int res, unsigned flags)
{
	struct outbox *o = CONTAINER(op, struct outbox, send.op);
	struct conn *c = o->send.owner;

	outbox_release(o, o->first, o->flying);
	o->first = o->flying;
	if (res < 0) {
		c->sent += o->send.len - o->send.left;
		c->send_error = (int16_t)res;
		outbox_release(o, o->first, o->n);
		outbox_give_back(c);
		changed(c);
		if (c->state == CONN_CLOSING && c->fd >= 0)
			finish(c);
		close_if_done(c);
		return;
	}
	c->sent += (uint32_t)res;
	if (!(flags & IO_SILENT)) /* else when it began, which may be long ago */
		c->sent_ms = told_ms(c);
	if (o->first == o->n) {
		o->first = o->flying = o->n = 0;
		outbox_emptied(c);
	} else if (list_empty(&o->writable)) {
		list_append(&c->tick->writable, &o->writable);
	}
	if (c->wants_space && c->state == CONN_OPEN) {
		c->wants_space = false;
		changed(c);
	}
	close_if_done(c);
}

/* In one send, as there may be but one (kernel-notes/08-restarted-sends). */
static void flush(struct conn *c)
{
	struct outbox *o = c->outbox;
	unsigned silent = c->wants_space || c->shut_wanted || c->state != CONN_OPEN
				  ? 0
				  : IO_SILENT;

	if (c->fd < 0 || io_busy(&o->send.op) || o->first == o->n)
		return;
	io_op_init(&o->send.op, sent);
	o->flying = o->n;
	c->sent_ms = c->tick->now_ms;
	io_send(c->tick->loop, &o->send, c->fd, &o->iov[o->first],
		(unsigned)(o->n - o->first), silent);
}

void conn_flush_all(struct tick *tick)
{
	struct list *node;

	while ((node = list_pop(&tick->writable)))
		flush(LIST_ITEM(node, struct outbox, writable)->send.owner);
}

void conn_open(struct conn *c, struct tick *tick, const struct conn_events *events, int fd,
	       uint32_t window)
{
	memset(c, 0, sizeof(*c));
	c->tick = tick;
	c->events = events;
	c->fd = fd;
	c->window = window;
	c->received_ms = c->sent_ms = tick->now_ms;
	c->recv.may_use_reserve = events->may_use_reserve;
	io_op_init(&c->recv.op, received);
	list_init(&c->reap.node);
	c->reap.free = reaped;
	timer_init(&c->timer, NULL);
	receive(c);
}

void conn_check(const struct conn *c)
{
	ASSERT((c->inbox == NULL) == (c->inbox_last == NULL));
	ASSERT(c->inbox || (c->inbox_bytes == 0 && c->inbox_held == 0));
	ASSERT(!c->outbox || (c->outbox->first <= c->outbox->flying &&
			      c->outbox->n <= OUTBOX_MAX));
	switch ((enum conn_state)c->state) {
	case CONN_OPEN:
		ASSERT(c->fd >= 0);
		break;
	case CONN_CLOSING:
		break;
	case CONN_DEAD:
		ASSERT(c->fd < 0 && !c->outbox && !c->inbox);
		ASSERT(!io_busy(&c->recv.op) && !timer_armed(&c->timer));
		break;
	}
}
