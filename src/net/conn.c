#include "net/conn.h"

#include <errno.h>
#include <string.h>

#include "inbox.h"
#include "outbox.h"
#include "secure.h"

/* Whether a send was slow is looked at closer if it took this part of send_ms. */
#define SLOW_PART 8

static void notify_changed(struct conn *c)
{
	if (c->state == CONN_OPEN)
		c->events->changed(c);
}

/* ---- sending --------------------------------------------------------------- */

void conn_send_fin(struct conn *c)
{
	if (c->fin_sent || c->state != CONN_OPEN)
		return;
	c->fin_wanted = true;
	if (c->secure)
		secure_shut(c);
	if (!c->outbox) {
		c->fin_sent = true;
		io_shutdown(c->tick->loop, c->fd);
	}
}

/* Of so many bytes: the longest time that the peer may take for them. */
static uint64_t time_for_ms(const struct conn *c, uint64_t bytes)
{
	return bytes * 1000 / c->send_rate;
}

static void sent_set(struct conn *c, uint64_t ms)
{
	c->sent_ms = ms;
	c->sent_lags = false;
}

/* Asks how many bytes the peer has taken, and adds the time that it may take for them. False: no
 * bytes. */
static bool sent_advance(struct conn *c, uint64_t now_ms)
{
	uint64_t bytes = io_delivered(c->tick->loop, c->fd, &c->progress_mark);

	if (bytes == 0)
		return false;
	if (c->state == CONN_OPEN && c->send_rate > 0 && bytes != IO_DELIVERED_SOME &&
	    time_for_ms(c, bytes) < now_ms - c->sent_ms)
		c->sent_ms += time_for_ms(c, bytes);
	else
		c->sent_ms = now_ms;
	return true;
}

bool conn_poll_delivery(struct conn *c)
{
	if (c->fd < 0)
		return false;
	sent_set(c, conn_sent_ms(c));
	return sent_advance(c, c->tick->now_ms);
}

/* A send has ended. If it was slow and more waits, the next one begins with the time by which the
 * peer lags behind; the time between the two does not count. */
static void send_measure(struct conn *c, uint64_t now_ms)
{
	const struct outbox *o = c->outbox;
	bool more = c->space_awaited || o->first < o->n;

	if (!more || c->state != CONN_OPEN || c->send_rate == 0 || c->fd < 0 ||
	    now_ms - c->sent_ms <= c->send_ms / SLOW_PART) {
		sent_set(c, now_ms);
		return;
	}
	sent_advance(c, now_ms);
	c->sent_ms = now_ms - c->sent_ms;
	c->sent_lags = true;
}

/* ---- closing -------------------------------------------------------------- */

static void reaped(struct reap *reap)
{
	struct conn *c = CONTAINER(reap, struct conn, reap);
	CHECK_STATE(conn_check(c));
	c->events->dead(c);
}

/* From now on conn.reap is valid instead of conn.timer. */
static void conn_die(struct conn *c)
{
	ASSERT(!timer_armed(&c->timer));
	secure_end(c);
	c->state = CONN_DEAD;
	list_init(&c->reap.node);
	c->reap.free = reaped;
	tick_reap(c->tick, &c->reap);
}

static void close_if_done(struct conn *c)
{
	if (c->state != CONN_CLOSING || c->fd >= 0 || io_busy(&c->recv.op) ||
	    (c->outbox && io_busy(&c->outbox->send.op)))
		return;
	conn_die(c);
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

/* While there are bytes to send, the peer must take some each send_ms, and all until flush_by_ms;
 * then it has end_ms. */
static void close_timer_arm(struct conn *c)
{
	uint32_t ms = c->outbox && c->send_ms > 0 ? c->send_ms : c->end_ms;
	uint64_t due_ms = tick_event_ms(c->tick) + ms + 1;

	if (c->outbox && due_ms > c->flush_by_ms)
		due_ms = c->flush_by_ms;
	timer_set(&c->tick->wheel, &c->timer, due_ms);
}

/* flush_by_ms of a conn that will be closed. */
static uint64_t flush_limit_ms(const struct conn *c, enum conn_end end)
{
	uint64_t bytes = conn_unsent(c);

	if (c->send_rate == 0)
		return WHEEL_NEVER;
	if (end == CONN_FLUSH_RESET)
		bytes += io_outstanding(c->tick->loop, c->fd);
	return tick_event_ms(c->tick) + c->send_ms + 1 + time_for_ms(c, bytes);
}

/* CONN_FLUSH_RESET: a reset would destroy bytes that the peer's kernel has not
 * acknowledged, so it waits for them. Checks again at once, then at growing intervals
 * (half the time since the last progress), until nothing was acknowledged for send_ms, or
 * flush_by_ms. */
static void reset_when_delivered(struct conn *c)
{
	uint64_t now_ms = tick_event_ms(c->tick);
	uint64_t unacked = c->error ? 0 : io_outstanding(c->tick->loop, c->fd);

	if (unacked != c->progress_mark)
		c->sent_ms = now_ms;
	c->progress_mark = unacked;
	if (unacked == 0 || now_ms >= c->flush_by_ms ||
	    now_ms - c->sent_ms >= (c->send_ms > 0 ? c->send_ms : c->end_ms))
		socket_close(c);
	else
		timer_set(&c->tick->wheel, &c->timer,
			  now_ms + 1 + (now_ms - c->sent_ms) / 2);
}

/* A peer that keeps reading fast enough gets the whole outbox. */
static void close_timer_expired(struct conn *c)
{
	if (c->end == CONN_FLUSH_RESET && !c->outbox) {
		reset_when_delivered(c);
		return;
	}
	if (c->outbox && tick_event_ms(c->tick) < c->flush_by_ms && conn_poll_delivery(c)) {
		close_timer_arm(c);
		return;
	}
	/* A close-delimited body would look complete after a FIN, so reset. */
	if (c->outbox)
		c->end = CONN_RESET;
	socket_close(c);
}

static void timer_expired(struct timer *t)
{
	struct conn *c = CONTAINER(t, struct conn, timer);

	if (c->state == CONN_OPEN)
		c->events->timer_fired(c);
	else
		close_timer_expired(c);
}

/* CONN_CLOSING, and the outbox has been sent. Lingering sends FIN and keeps reading
 * (kernel-notes/09-close-with-unread-bytes). */
static void close_after_flush(struct conn *c)
{
	if (c->end == CONN_FLUSH_RESET) {
		reset_when_delivered(c);
		return;
	}
	if (c->end != CONN_LINGER || c->receive_ended || c->error) {
		socket_close(c);
		return;
	}
	secure_end(c); /* what is received now is discarded */
	if (!c->fin_sent) {
		c->fin_sent = true;
		io_shutdown(c->tick->loop, c->fd);
	}
	close_timer_arm(c);
	inbox_receive(c);
}

void conn_close(struct conn *c, enum conn_end end, uint32_t linger_ms)
{
	bool gentle = end != CONN_NOW && end != CONN_RESET && !c->error && !c->send_error;

	ASSERT(c->state != CONN_DEAD);
	if (c->state == CONN_CLOSING && (gentle || c->fd < 0))
		return;
	if (c->state == CONN_OPEN) {
		c->flush_by_ms = c->fd < 0 ? WHEEL_NEVER : flush_limit_ms(c, end);
		c->end_ms = linger_ms; /* in place of send_rate */
		sent_set(c, conn_sent_ms(c));
	}
	if (c->secure && c->state == CONN_OPEN)
		gentle = secure_close(c, &end, gentle);
	c->state = CONN_CLOSING;
	c->end = end;
	timer_stop(&c->tick->wheel, &c->timer);
	if (!gentle) {
		socket_close(c);
		return;
	}
	inbox_drop(c);
	close_timer_arm(c);
	if (!c->outbox)
		close_after_flush(c);
	else if (end != CONN_LINGER)
		io_cancel(c->tick->loop, &c->recv.op);
	else
		inbox_receive(
			c); /* the peer may read only after it has sent everything */
}

/* ---- completions ---------------------------------------------------------- */

static void receive_done(struct io_op *op, int res, unsigned flags)
{
	struct conn *c = CONTAINER(op, struct conn, recv.op);

	if (res > 0) {
		struct buf *b = c->recv.buf;

		c->received += (uint32_t)res;
		if (c->state == CONN_OPEN) {
			c->received_ms = tick_event_ms(c->tick);
			c->recv.buf = NULL;
			if (c->secure)
				secure_receive(c, b);
			else
				inbox_append(c, b);
			/* Short segments: the buffers fill the window before their bytes
			 * do. */
			if (flags & IO_MORE && inbox_space(c) == 0)
				io_cancel(c->tick->loop, op);
			if (!c->secure)
				notify_changed(c);
		}
	} else if (res == 0) {
		c->receive_ended = true;
		if (c->secure && c->state == CONN_OPEN) {
			secure_receive_end(c);
		} else {
			c->eof = true;
			notify_changed(c);
		}
	} else if (res != -ECANCELED) {
		c->error = (int16_t)res;
		notify_changed(c);
	}
	if (flags & IO_MORE)
		return;
	if (c->state == CONN_CLOSING && c->fd >= 0 && !c->outbox &&
	    (c->error || (c->receive_ended && c->end != CONN_FLUSH_RESET)))
		socket_close(c);
	else
		inbox_receive(c);
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

static void send_failed(struct conn *c, int error)
{
	struct outbox *o = c->outbox;

	c->send_error = (int16_t)error;
	outbox_release(o, o->first, o->n);
	outbox_free(c);
	notify_changed(c);
	if (c->state == CONN_CLOSING && c->fd >= 0)
		socket_close(c);
	close_if_done(c);
}

/* `pushed`: bytes of the owner are sent. What TLS sends on its own, such as the answer to a key
 * update, is no progress: else a peer could put off the idle timeout with it. */
static bool is_progress(const struct conn *c, bool pushed)
{
	return pushed || c->fin_wanted || c->state != CONN_OPEN;
}

static void send_done(struct io_op *op, int res, unsigned flags)
{
	struct outbox *o = CONTAINER(op, struct outbox, send.op);
	struct conn *c = o->send.owner;
	uint64_t taken = res < 0 ? o->send.len - o->send.left : (uint32_t)res;
	bool pushed = o->first < o->submitted || o->part > 0;

	outbox_release(o, o->first, o->submitted);
	o->first = o->submitted;
	c->sent += c->secure ? secure_sent(c, taken) : taken;
	if (res < 0) {
		send_failed(c, res);
		return;
	}
	/* A silent send may have completed long ago. */
	if (!(flags & IO_SILENT) && is_progress(c, pushed))
		send_measure(c, tick_event_ms(c->tick));
	if (o->first == o->n)
		o->first = o->submitted = o->n = 0;
	/* What TLS has still to send is of no use when the socket is closed. */
	if (o->n == 0 && (c->fd < 0 || !secure_has_output(c))) {
		outbox_emptied(c);
	} else if (list_empty(&o->writable)) {
		list_append(&c->tick->writable, &o->writable);
	}
	if (c->space_awaited && c->state == CONN_OPEN) {
		c->space_awaited = false;
		notify_changed(c);
	}
	close_if_done(c);
}

/* A send begins. */
static uint64_t send_begin_ms(const struct conn *c)
{
	return c->sent_lags ? conn_sent_ms(c) : c->tick->now_ms;
}

static void send_sealed(struct conn *c, unsigned silent)
{
	struct outbox *o = c->outbox;

	io_op_init(&o->send.op, send_done);
	if (is_progress(c, o->first < o->n))
		sent_set(c, send_begin_ms(c));
	if (secure_send(c, silent))
		return;
	if (c->send_error)
		send_failed(c, c->send_error);
	else
		outbox_emptied(c); /* what was to be sent has no use any more */
}

/* Submits all entries as one vectored send: only one may be in flight
 * (kernel-notes/08-restarted-sends). It is silent if nothing waits for its completion. */
static void send_start(struct conn *c)
{
	struct outbox *o = c->outbox;
	unsigned silent = c->space_awaited || c->fin_wanted || c->state != CONN_OPEN
				  ? 0
				  : IO_SILENT;

	if (c->fd < 0 || io_busy(&o->send.op))
		return;
	if (c->secure && secure_begun(c)) {
		send_sealed(c, silent);
		return;
	}
	if (o->first == o->n)
		return;
	io_op_init(&o->send.op, send_done);
	o->submitted = o->n;
	sent_set(c, send_begin_ms(c));
	io_send(c->tick->loop, &o->send, c->fd, &o->iov[o->first],
		(unsigned)(o->n - o->first), silent);
}

void conn_flush_all(struct tick *tick)
{
	struct list *node;

	while ((node = list_pop(&tick->writable)))
		send_start(LIST_ITEM(node, struct outbox, writable)->send.owner);
}

static void conn_init(struct conn *c, struct tick *tick, const struct conn_events *events)
{
	memset(c, 0, sizeof(*c));
	c->tick = tick;
	c->events = events;
	c->fd = -1;
	c->recv.may_use_reserve = events->may_use_reserve;
	io_op_init(&c->recv.op, receive_done);
	timer_init(&c->timer, timer_expired);
}

void conn_open(struct conn *c, struct tick *tick, const struct conn_events *events,
	       int fd, uint32_t window)
{
	conn_init(c, tick, events);
	c->fd = fd;
	c->window = window;
	c->received_ms = c->sent_ms = tick->now_ms;
	inbox_receive(c);
}

void conn_end_unopened(struct conn *c, struct tick *tick,
		       const struct conn_events *events)
{
	conn_init(c, tick, events);
	conn_die(c);
}

void conn_check(const struct conn *c)
{
	ASSERT((c->inbox == NULL) == (c->inbox_last == NULL));
	ASSERT(c->inbox || (c->inbox_bytes == 0 && c->inbox_held == secure_charged(c)));
	ASSERT(!c->outbox ||
	       (c->outbox->first <= c->outbox->submitted && c->outbox->n <= OUTBOX_MAX));
	if (c->secure)
		CHECK_STATE(secure_check(c));
	switch ((enum conn_state)c->state) {
	case CONN_OPEN:
		ASSERT(c->fd >= 0);
		ASSERT(!timer_armed(&c->timer) || c->events->timer_fired);
		break;
	case CONN_CLOSING:
		break;
	case CONN_DEAD:
		ASSERT(c->fd < 0 && !c->outbox && !c->inbox && !c->secure);
		ASSERT(!io_busy(&c->recv.op));
		break;
	}
}
