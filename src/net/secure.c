#include "secure.h"

#include <errno.h>
#include <string.h>

#include "inbox.h"
#include "outbox.h"

/* An alert goes to a peer that may have stopped reading: how long it may take, if the owner did
 * not say. */
#define ALERT_MS 1000

/* ---- receiving ------------------------------------------------------------- */

/* What was received and is not opened counts against the window. But a part of a record leaves
 * space for one more buffer, unless the inbox itself has taken it: without the rest nothing of the
 * record can be opened, and whoever reads the inbox may need just that. */
static void charge_window(struct secure *s)
{
	struct conn *c = s->conn;
	uint32_t held = s->tls->sealed_held;
	uint32_t plain = c->inbox_held - s->charged;
	uint32_t most = c->window > plain + BUF_BYTES ? c->window - plain - BUF_BYTES : 0;

	if (s->hungry && held > most)
		held = most;
	c->inbox_held += held;
	c->inbox_held -= s->charged;
	s->charged = held;
}

void secure_receive(struct conn *c, struct buf *b)
{
	struct secure *s = c->secure;

	if (c->eof || c->error) { /* behind the end of the stream */
		buf_put(b);
		return;
	}
	tls_receive(s->tls, b);
	s->hungry = false;
	list_remove(&s->partial);
	charge_window(s);
	tick_run(c->tick, &s->task);
}

void secure_receive_end(struct conn *c)
{
	if (c->eof || c->error)
		return;
	tls_receive_end(c->secure->tls);
	tick_run(c->tick, &c->secure->task);
}

/* Opening moves bytes to the inbox: what is charged for them already does not count. */
static bool may_open(const struct secure *s)
{
	return s->conn->inbox_held - s->charged < inbox_window(s->conn);
}

void secure_continue(struct conn *c)
{
	struct secure *s = c->secure;

	if (s->full && c->state == CONN_OPEN && may_open(s))
		tick_run(c->tick, &s->task);
}

static void compact(struct secure *s)
{
	tls_compact(s->tls);
	charge_window(s);
}

void secure_compact(struct conn *c)
{
	struct secure *s = c->secure;

	/* Whole records as well, if the inbox has no space for what they hold. */
	if ((s->hungry || s->full) && s->tls->sealed_held > 0)
		compact(s);
}

void secure_trim(struct tick *t)
{
	struct list *node;

	while ((node = list_pop(&t->partial))) {
		struct secure *s = CONTAINER(node, struct secure, partial);

		compact(s);
		inbox_receive(s->conn); /* there may be space now */
	}
}

/* What was received is a part of a record, or of a handshake message. It is copied out of its
 * receive buffers, which other connections need. Not at once if records flow: its rest comes with
 * the next bytes. */
static void await_more(struct secure *s, bool flowing)
{
	struct tick *t = s->conn->tick;

	s->hungry = true;
	if (s->tls->sealed_held == 0)
		return;
	if (flowing && s->tls->sealed_held <= 2 * BUF_BYTES &&
	    !buf_scarce(io_bufs(t->loop)))
		list_append(&t->partial, &s->partial);
	else
		tls_compact(s->tls);
}

/* A short record is a view of a receive buffer, which it keeps: the second one in a row begins a
 * block, to which inbox_append() copies the next ones. Else a peer that sends single bytes would
 * make us hold a hundred times as much as its window. */
static struct buf *record_gather(struct conn *c, struct buf *b)
{
	uint32_t n = b->end - b->begin;
	const struct buf *last = c->inbox_last;
	struct buf *block;

	if (!last || n > COALESCE_BYTES_MAX || last->size - last->end >= n)
		return b;
	block = buf_new(io_bufs(c->tick->loop), COALESCE_BYTES_MAX);
	if (!block)
		return b;
	memcpy(block->data, b->data + b->begin, n);
	block->end = n;
	buf_put(b);
	return block;
}

/* Moves plaintext to the inbox while that has space. */
static void read_records(struct secure *s)
{
	struct conn *c = s->conn;
	bool flowing = false;
	struct buf *b;

	s->full = false;
	while (s->tls->state == TLS_OPEN) {
		if (!may_open(s)) {
			s->full = true;
			return;
		}
		switch (tls_read(s->tls, &b, c->tick->now_ms)) {
		case TLS_READ_BYTES:
			inbox_append(c, record_gather(c, b));
			charge_window(s);
			flowing = true;
			break;
		case TLS_READ_MORE:
			await_more(s, flowing);
			return;
		case TLS_READ_END:
		case TLS_READ_FAILED:
			return;
		}
	}
}

static int error_of_fault(enum tls_fault fault)
{
	if (fault == TLS_FAULT_CLOSED || fault == TLS_FAULT_TRUNCATED)
		return -ECONNRESET;
	return fault == TLS_FAULT_NO_MEMORY ? -ENOMEM : -EPROTO;
}

static enum handshake_side side_of(const struct tls *t)
{
	return t->server ? TLS_SIDE_SERVER : TLS_SIDE_CLIENT;
}

/* False: the handshake waits, for a step, a unit of the quota, or bytes. */
static bool shake(struct secure *s)
{
	struct tls *t = s->tls;

	while (t->state <= TLS_SHAKING) {
		if (tls_step_is_heavy(t) && !handshakes_may_step(s)) {
			compact(s);
			return false;
		}
		tls_step(t, s->conn->tick->wall_ms);
		if (t->state <= TLS_SHAKING && !t->wants_step) {
			await_more(s, false);
			return false;
		}
	}
	return true;
}

static void handshake_ended(struct secure *s)
{
	struct tls *t = s->tls;
	struct tls_stats *stats = &s->conn->tick->handshakes.stats;

	handshakes_end(s);
	if (t->state == TLS_FAILED)
		return;
	stat_add(&stats->handshakes[side_of(t)][t->version][t->resumed], 1);
	if (t->offered)
		stat_add(&stats->tickets[side_of(t)][t->resumed], 1);
	histogram_add(&stats->seconds[side_of(t)],
		      (uint32_t)io_now_us(s->conn->tick->loop) - s->began_us);
}

/* Records in the conn how the session has ended. */
static void record_end(struct secure *s)
{
	struct conn *c = s->conn;

	if (s->tls->state == TLS_ENDED) {
		c->eof = c->receive_ended = true;
	} else if (s->tls->state == TLS_FAILED && !c->error) {
		c->error = (int16_t)error_of_fault(s->tls->fault);
		handshakes_count_failure(c->tick, side_of(s->tls), s->tls->fault);
	}
}

static void secure_step(struct task *task)
{
	struct secure *s = CONTAINER(task, struct secure, task);
	struct conn *c = s->conn;
	bool ended_before = c->eof || c->error, shaking_before = s->shaking;
	uint32_t bytes_before = c->inbox_bytes;

	if (s->shaking && shake(s))
		handshake_ended(s);
	read_records(s);
	charge_window(s);
	if (tls_has_output(s->tls) && !s->preamble && !secure_send_own(c) &&
	    !c->send_error)
		c->send_error = -ENOMEM;
	record_end(s);
	CHECK_STATE(secure_check(c));
	inbox_receive(c);
	/* Without space, no receive is in flight that could notice the peer's end, also if a part
	 * of a record takes the space: the owner looks for it. */
	if (inbox_space(c) == 0 || s->shaking != shaking_before ||
	    c->inbox_bytes != bytes_before || (c->eof || c->error) != ended_before ||
	    c->send_error)
		c->events->changed(c);
}

/* ---- beginning and end ------------------------------------------------------ */

struct tls *conn_tls(const struct conn *c)
{
	return c->secure ? c->secure->tls : NULL;
}

bool conn_shaking(const struct conn *c)
{
	return c->secure && c->secure->tls->state <= TLS_SHAKING;
}

/* What was received before, which its owner has not consumed, is the beginning of the session. */
static void inbox_to_session(struct conn *c)
{
	struct secure *s = c->secure;

	while (c->inbox) {
		struct buf *b = c->inbox;

		c->inbox = b->next;
		tls_receive(s->tls, b);
		tick_run(c->tick, &s->task);
	}
	c->inbox_last = NULL;
	c->inbox_bytes = c->inbox_held = 0;
	charge_window(s);
	if (c->eof) {
		c->eof = false;
		tls_receive_end(s->tls);
	}
}

static bool secure_new(struct conn *c, struct tls *t)
{
	struct secure *s = t ? slab_take(&c->tick->secures) : NULL;

	ASSERT(c->state == CONN_OPEN && !c->secure);
	if (!s) {
		if (t)
			tls_free(t);
		return false;
	}
	s->conn = c;
	s->tls = t;
	s->shaking = true;
	s->began_us = (uint32_t)c->tick->now_us;
	task_init(&s->task, secure_step);
	list_init(&s->partial);
	stat_add(&c->tick->handshakes.stats.shaking, 1);
	c->secure = s;
	s->preamble = c->outbox != NULL;
	inbox_to_session(c);
	return true;
}

bool conn_secure(struct conn *c, struct tls_context *context)
{
	return secure_new(c, tls_accept(c->tick->tls, context));
}

bool conn_secure_connect(struct conn *c, struct tls_context *context, struct slice name,
			 struct slice sni, struct tls_saved *saved)
{
	if (!secure_new(c, tls_connect(c->tick->tls, context, name, sni, saved)))
		return false;
	tick_run(c->tick, &c->secure->task); /* a client speaks first */
	return true;
}

/* The handshake ends, if it has not, and nothing more is opened. */
static void stop(struct secure *s)
{
	task_stop(&s->task);
	handshakes_end(s);
	s->full = false;
	list_remove(&s->partial);
	tls_discard(s->tls);
	s->conn->inbox_held -= s->charged;
	s->charged = 0;
}

void secure_end(struct conn *c)
{
	struct secure *s = c->secure;

	if (!s)
		return;
	ASSERT(!s->flight);
	stop(s);
	c->secure = NULL;
	tls_free(s->tls);
	slab_put(&c->tick->secures, s);
}

bool conn_unsecure(struct conn *c)
{
	struct secure *s = c->secure;

	ASSERT(c->state == CONN_OPEN && s->tls->state == TLS_FAILED);
	if (s->flight || c->sent > 0)
		return false;
	if (c->outbox) /* for an alert */
		outbox_free(c);
	secure_end(c);
	c->error = 0;
	c->eof = c->receive_ended;
	inbox_receive(c);
	return true;
}

/* The session has failed by a fault of the peer, which an alert tells it. */
static bool has_alerted(const struct secure *s)
{
	return s->tls->state == TLS_FAILED && s->conn->error == -EPROTO &&
	       s->tls->fault != TLS_FAULT_ALERT;
}

bool secure_close(struct conn *c, enum conn_end *end, bool gentle)
{
	struct secure *s = c->secure;

	stop(s);
	if (has_alerted(s) && !c->send_error && *end != CONN_RESET) {
		c->error = 0; /* the socket has none */
		if (*end != CONN_LINGER)
			*end = CONN_FLUSH;
		if (c->end_ms == 0)
			c->end_ms = ALERT_MS;
		return !tls_has_output(s->tls) || secure_send_own(c);
	}
	if (gentle && *end != CONN_FLUSH_RESET)
		secure_shut(c);
	return gentle;
}

void secure_check(const struct conn *c)
{
	const struct secure *s = c->secure;

	CHECK_STATE(tls_check(s->tls));
	ASSERT(s->conn == c && s->charged <= c->inbox_held);
	ASSERT(s->shaking || s->tls->state > TLS_SHAKING || c->state != CONN_OPEN);
	ASSERT(!s->flight || (c->outbox && io_busy(&c->outbox->send.op)));
	ASSERT(!s->counted || s->shaking);
}
