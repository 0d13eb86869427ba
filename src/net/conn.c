#include "net/conn.h"

#include <errno.h>
#include <string.h>

#include "outbox.h"

/* conn_compact() leaves as much free space after the bytes as there are bytes, but at
 * most this much. */
#define COMPACT_SPACE_MAX (BUF_BYTES / 4)

/* A received segment of at most this size is appended to the previous one. */
#define COALESCE_BYTES_MAX (BUF_BYTES / 16)

/* Callbacks run inside io_wait(), which may have waited long, before the tick updates
 * now_ms: they read the loop's clock instead. */
static uint64_t loop_now_ms(const struct conn *c)
{
	return io_now_us(c->tick->loop) / 1000;
}

static void notify_changed(struct conn *c)
{
	if (c->state == CONN_OPEN)
		c->events->changed(c);
}

/* ---- inbox ---------------------------------------------------------------- */

static uint32_t inbox_space(const struct conn *c)
{
	uint32_t window = c->inbox_limited && c->window > BUF_BYTES ? BUF_BYTES
								    : c->window;

	return window > c->inbox_held ? window - c->inbox_held : 0;
}

bool conn_can_receive(const struct conn *c)
{
	if (c->fd < 0 || c->eof || c->error)
		return false;
	if (c->state == CONN_OPEN)
		return inbox_space(c) > 0;
	/* A lingering connection reads and discards what the peer still sends
	 * (kernel-notes/09-close-with-unread-bytes). */
	return c->state == CONN_CLOSING && c->end == CONN_LINGER;
}

static void receive_arm(struct conn *c)
{
	if (conn_can_receive(c) && !io_busy(&c->recv.op))
		io_recv(c->tick->loop, &c->recv, c->fd, inbox_space(c));
}

/* Appends a short segment to the bytes already in the inbox, as the kernel coalesces
 * sk_buffs: else each segment would hold a whole buffer, and a peer that sends single
 * bytes would use up the pool. No other bytes of a body are ever copied. */
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
	receive_arm(c);
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
	receive_arm(c);
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
 * bytes could not be received. */
static bool is_compact(const struct buf *b, size_t size)
{
	return b->class_ != BUF_RECEIVE && b->size <= size + BUF_BYTES;
}

void conn_compact(struct conn *c)
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
	receive_arm(c);
}

void conn_limit_inbox(struct conn *c, bool inbox_limited)
{
	c->inbox_limited = inbox_limited;
	receive_arm(c);
}

/* ---- sending --------------------------------------------------------------- */

void conn_send_fin(struct conn *c)
{
	if (c->fin_sent || c->state != CONN_OPEN)
		return;
	c->fin_wanted = true;
	if (!c->outbox) {
		c->fin_sent = true;
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

/* ---- closing -------------------------------------------------------------- */

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

/* Closes the socket. Ops in flight complete with an error; the last one makes the conn
 * dead. */
static void socket_close(struct conn *c)
{
	if (c->fd >= 0) {
		if (c->end == CONN_RESET || c->end == CONN_FLUSH_RESET)
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

/* While there are bytes to send, the peer must take some each send_ms; then it has
 * end_ms. */
static void close_timer_arm(struct conn *c)
{
	uint32_t ms = c->outbox && c->send_ms > 0 ? c->send_ms : c->end_ms;

	timer_set(&c->tick->wheel, &c->timer, loop_now_ms(c) + ms + 1);
}

/* CONN_FLUSH_RESET: a reset would destroy bytes that the peer's kernel has not
 * acknowledged, so it waits for them. Checks again at once, then at growing intervals
 * (half the time since the last progress), until nothing was acknowledged for send_ms. */
static void reset_when_delivered(struct conn *c)
{
	uint64_t now_ms = loop_now_ms(c);
	uint64_t unacked = c->error ? 0 : io_outstanding(c->tick->loop, c->fd);

	if (unacked != c->delivered)
		c->sent_ms = now_ms;
	c->delivered = unacked;
	if (unacked == 0 ||
	    now_ms - c->sent_ms >= (c->send_ms > 0 ? c->send_ms : c->end_ms))
		socket_close(c);
	else
		timer_set(&c->tick->wheel, &c->timer, now_ms + 1 + (now_ms - c->sent_ms) / 2);
}

/* A peer that keeps reading, however slowly, gets the whole outbox. */
static void close_timer_expired(struct timer *t)
{
	struct conn *c = CONTAINER(t, struct conn, timer);

	if (c->end == CONN_FLUSH_RESET && !c->outbox) {
		reset_when_delivered(c);
		return;
	}
	if (c->outbox && conn_poll_delivery(c)) {
		close_timer_arm(c);
		return;
	}
	/* A close-delimited body would look complete after a FIN, so reset. */
	if (c->outbox)
		c->end = CONN_RESET;
	socket_close(c);
}

/* CONN_CLOSING, and the outbox has been sent. */
static void close_after_flush(struct conn *c)
{
	if (c->end == CONN_FLUSH_RESET) {
		reset_when_delivered(c);
		return;
	}
	if (c->end != CONN_LINGER || c->eof || c->error) {
		socket_close(c);
		return;
	}
	if (!c->fin_sent) {
		c->fin_sent = true;
		io_shutdown(c->tick->loop, c->fd);
	}
	close_timer_arm(c);
	receive_arm(c);
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
		socket_close(c);
		return;
	}
	inbox_drop(c);
	c->end_ms = linger_ms;
	timer_init(&c->timer, close_timer_expired);
	close_timer_arm(c);
	if (!c->outbox)
		close_after_flush(c);
	else if (end != CONN_LINGER)
		io_cancel(c->tick->loop, &c->recv.op);
	else
		receive_arm(c); /* the peer may read only after it has sent everything */
}

/* ---- completions ---------------------------------------------------------- */

static void receive_done(struct io_op *op, int res, unsigned flags)
{
	struct conn *c = CONTAINER(op, struct conn, recv.op);

	if (res > 0) {
		struct buf *b = c->recv.buf;

		c->received += (uint32_t)res;
		c->received_ms = loop_now_ms(c);
		if (c->state == CONN_OPEN) {
			c->recv.buf = NULL;
			inbox_append(c, b);
			/* Short segments: the buffers fill the window before their bytes
			 * do. */
			if (flags & IO_MORE && inbox_space(c) == 0)
				io_cancel(c->tick->loop, op);
			notify_changed(c);
		}
	} else if (res == 0) {
		c->eof = true;
		notify_changed(c);
	} else if (res != -ECANCELED) {
		c->error = (int16_t)res;
		notify_changed(c);
	}
	if (flags & IO_MORE)
		return;
	if (c->state == CONN_CLOSING && c->fd >= 0 && !c->outbox &&
	    (c->error || (c->eof && c->end != CONN_FLUSH_RESET)))
		socket_close(c);
	else
		receive_arm(c);
	close_if_done(c);
}

static void outbox_emptied(struct conn *c)
{
	outbox_free(c);
	if (c->state == CONN_CLOSING && c->fd >= 0)
		close_after_flush(c);
	else if (c->fin_wanted && !c->fin_sent && c->fd >= 0) {
		c->fin_sent = true;
		io_shutdown(c->tick->loop, c->fd);
		notify_changed(c);
	}
}

static void send_done(struct io_op *op, int res, unsigned flags)
{
	struct outbox *o = CONTAINER(op, struct outbox, send.op);
	struct conn *c = o->send.owner;

	outbox_release(o, o->first, o->submitted);
	o->first = o->submitted;
	if (res < 0) {
		c->sent += o->send.len - o->send.left;
		c->send_error = (int16_t)res;
		outbox_release(o, o->first, o->n);
		outbox_free(c);
		notify_changed(c);
		if (c->state == CONN_CLOSING && c->fd >= 0)
			socket_close(c);
		close_if_done(c);
		return;
	}
	c->sent += (uint32_t)res;
	if (!(flags & IO_SILENT)) /* a silent send may have completed long ago */
		c->sent_ms = loop_now_ms(c);
	if (o->first == o->n) {
		o->first = o->submitted = o->n = 0;
		outbox_emptied(c);
	} else if (list_empty(&o->writable)) {
		list_append(&c->tick->writable, &o->writable);
	}
	if (c->wants_space && c->state == CONN_OPEN) {
		c->wants_space = false;
		notify_changed(c);
	}
	close_if_done(c);
}

/* Submits all entries as one vectored send: only one may be in flight
 * (kernel-notes/08-restarted-sends). It is silent if nothing waits for its completion. */
static void send_start(struct conn *c)
{
	struct outbox *o = c->outbox;
	unsigned silent = c->wants_space || c->fin_wanted || c->state != CONN_OPEN
				  ? 0
				  : IO_SILENT;

	if (c->fd < 0 || io_busy(&o->send.op) || o->first == o->n)
		return;
	io_op_init(&o->send.op, send_done);
	o->submitted = o->n;
	c->sent_ms = c->tick->now_ms;
	io_send(c->tick->loop, &o->send, c->fd, &o->iov[o->first],
		(unsigned)(o->n - o->first), silent);
}

void conn_flush_all(struct tick *tick)
{
	struct list *node;

	while ((node = list_pop(&tick->writable)))
		send_start(LIST_ITEM(node, struct outbox, writable)->send.owner);
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
	io_op_init(&c->recv.op, receive_done);
	list_init(&c->reap.node);
	c->reap.free = reaped;
	timer_init(&c->timer, NULL);
	receive_arm(c);
}

void conn_check(const struct conn *c)
{
	ASSERT((c->inbox == NULL) == (c->inbox_last == NULL));
	ASSERT(c->inbox || (c->inbox_bytes == 0 && c->inbox_held == 0));
	ASSERT(!c->outbox ||
	       (c->outbox->first <= c->outbox->submitted && c->outbox->n <= OUTBOX_MAX));
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
