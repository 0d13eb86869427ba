#include "multiplex.h"

#include "clientstate.h"

static struct client *client_of_http2(const struct http2 *h)
{
	return h->user;
}

/* ---- streams -------------------------------------------------------------------- */

static bool allows_another(const struct stream *s)
{
	return !s->timed_out;
}

/* Another request needs no end of this one. */
static bool discard_body(struct stream *s)
{
	struct piece p;

	while ((p = h2_take(&http2_of(s)->h2, UINT32_MAX)).len > 0)
		piece_put(&p);
	http2_wants_flush(http2_of(s)->http2);
	return true;
}

static void stream_waits(struct stream *s, bool abort_on_eof)
{
	s->abort_on_eof = abort_on_eof;
	h2_compact(&http2_of(s)->h2);
}

static void stream_finished(struct stream *s, bool keep_alive)
{
	(void)keep_alive; /* the connection's end is not a response's business */
	http2_leave(http2_of(s), true, H2_NO_ERROR);
}

static void stream_aborted(struct stream *s, enum stream_abort reason)
{
	http2_leave(http2_of(s), false,
		    reason == STREAM_UNWANTED ? H2_CANCEL : H2_INTERNAL_ERROR);
}

static const struct stream_ops stream_ops = {
	HTTP2_OPS,
	.may_keep_alive = allows_another,
	.discard_body = discard_body,
	.wait = stream_waits,
	.finish = stream_finished,
	.abort = stream_aborted,
};

/* ---- deadlines of streams --------------------------------------------------------- */

static uint64_t stream_due_ms(const void *owner)
{
	const struct http2_stream *s = owner;
	const struct client_timeouts *t = &client_of_http2(s->http2)->front->timeouts;
	uint64_t since_ms = s->stream.since_ms;

	if (s->stream.body_awaited && s->stream.task &&
	    client_of_http2(s->http2)->front->events->body_due_ms)
		return client_of_http2(s->http2)->front->events->body_due_ms(&s->stream);
	if (s->stream.body_awaited)
		return (s->received_ms > since_ms ? s->received_ms : since_ms) +
		       t->receive_ms;
	if (s->queued > http2_submitted(&s->stream))
		return s->sent_ms + t->send_ms;
	return s->http2->conn->tick->now_ms +
	       (t->send_ms < t->receive_ms ? t->send_ms : t->receive_ms);
}

static void stream_time_passed(void *owner)
{
	http2_time_out(owner);
}

static const struct deadline_rules stream_rules = { stream_due_ms, stream_time_passed,
						    NULL };

/* ---- requests ----------------------------------------------------------------------- */

static void request_come(struct http2 *h, struct http2_stream *s)
{
	struct client *c = client_of_http2(h);
	struct front *f = c->front;
	struct head *head = f->scratch;
	struct buf *text = s->h2.head ? buf_ref(s->h2.head) : NULL;

	if (http2_request(s, head) == VERDICT_OK) {
		stat_add(&f->stats->requests, 1);
		http2_bound(s, stream_due_ms(s));
		f->events->head_received(c, &s->stream, head);
		/* Its route may allow less time. */
		if (s->stream.task && f->events->body_due_ms)
			http2_bound(s, f->events->body_due_ms(&s->stream));
	} else {
		stream_set_state(&s->stream, STREAM_OPEN);
		f->events->head_refused(c, &s->stream, head->fault);
		http2_leave(s, true, H2_PROTOCOL_ERROR);
	}
	buf_put(text);
}

/* While no request is in progress, it may be evicted. */
static void busy(struct http2 *h, bool any)
{
	struct client *c = client_of_http2(h);
	struct worker_stats *stats = c->front->stats;

	if (c->state != CLIENT_MULTIPLEXED)
		return;
	c->multiplexed.stream.since_ms = c->front->tick->now_ms;
	if (any) {
		list_remove(&c->idle_node);
		stat_sub(&stats->connections_idle, 1);
		return;
	}
	list_append(&c->front->idle, &c->idle_node);
	stat_add(&stats->connections_idle, 1);
	client_begin_deadline(c);
	tick_run(c->front->tick, &c->task);
}

static const struct http2_events http2_events = { request_come, busy };

/* ---- the connection ------------------------------------------------------------------ */

/* VERDICT_MORE: not all of the preface has come. */
static enum verdict preface_read(struct client *c)
{
	struct slice s;

	if (!conn_linearize(&c->conn, H2_PREFACE_BYTES))
		return VERDICT_BAD;
	s = conn_peek(&c->conn);
	if (s.len > H2_PREFACE_BYTES)
		s.len = H2_PREFACE_BYTES;
	if (memcmp(s.ptr, h2_preface, s.len) != 0)
		return VERDICT_BAD;
	return s.len == H2_PREFACE_BYTES ? VERDICT_OK : VERDICT_MORE;
}

/* VERDICT_BAD: it speaks HTTP/1. */
static enum verdict version_read(struct client *c)
{
	const struct tls *t = conn_tls(&c->conn);

	if (!c->front->http2 || c->state != CLIENT_IDLE || c->http1.stream.uses > 0)
		return VERDICT_BAD;
	if (t)
		return t->protocol == TLS_HTTP_2 ? VERDICT_OK : VERDICT_BAD;
	/* What ends here is nothing to wait for. */
	if (!c->http2_allowed || !c->conn.inbox || c->conn.eof || client_lost(c) ||
	    c->http1.stream.timed_out)
		return VERDICT_BAD;
	return preface_read(c);
}

bool multiplex_begins(struct client *c)
{
	struct front *f = c->front;
	struct http2 *h;

	switch (version_read(c)) {
	case VERDICT_BAD:
		return false;
	case VERDICT_MORE:
		return true;
	case VERDICT_OK:
		break;
	}
	h = http2_new(f->http2, H2_SERVER, &c->conn, &http2_events, &stream_ops,
		      &stream_rules, &f->limits, &f->http2_limits, &c->task, c);
	if (!h) {
		client_end(c, CONN_NOW);
		return true;
	}
	/* Leaves front->unused for front->idle. */
	client_set_state(c, CLIENT_MULTIPLEXED);
	list_append(&f->idle, &c->idle_node);
	stat_add(&f->stats->connections_idle, 1);
	c->multiplexed.http2 = h;
	c->is_multiplexed = true;
	client_begin_deadline(c);
	if (f->draining)
		multiplex_drain(c);
	return true;
}

/* The connection has failed, or says nothing that could be served: its streams' users end, and
 * then it does. */
static void multiplex_give_up(struct client *c, enum conn_end how)
{
	struct http2 *h = c->multiplexed.http2;

	http2_fail_streams(h);
	if (h->n > 0)
		return;
	if (!h2_flush(h->session)) /* GOAWAY */
		how = CONN_NOW;
	client_end(c, how);
}

void multiplex_step(struct client *c)
{
	struct http2 *h = c->multiplexed.http2;
	bool good;

	if (c->state != CLIENT_MULTIPLEXED)
		return;
	good = http2_serve(h);
	if (h->block_since_ms > 0 && c->multiplexed.stream.timed_out) {
		h2_fail(h->session, H2_ENHANCE_YOUR_CALM);
		good = false;
	} else if (h->block_since_ms > 0) {
		client_begin_deadline(c);
	}
	if (client_lost(c))
		multiplex_give_up(c, CONN_NOW);
	else if (!good)
		multiplex_give_up(c, CONN_LINGER);
	else if (c->conn.eof)
		multiplex_give_up(c, CONN_FLUSH);
	else if (c->multiplexed.stream.timed_out && conn_unsent(&c->conn) > 0)
		multiplex_give_up(c, CONN_NOW);
	else if (h->n == 0 && (c->multiplexed.stream.timed_out || c->front->draining)) {
		h2_drain_end(h->session);
		if (h2_flush(h->session))
			client_end(c, CONN_LINGER);
		else
			client_end(c, CONN_NOW);
	}
}

void multiplex_drain(struct client *c)
{
	struct http2 *h = c->multiplexed.http2;

	h2_drain_end(h->session);
	http2_wants_flush(h);
	if (h->n == 0)
		tick_run(c->front->tick, &c->task);
}

const struct task *multiplex_oldest_user(const struct client *c)
{
	LIST_EACH(&c->multiplexed.http2->streams, node) {
		const struct http2_stream *s = LIST_ITEM(node, struct http2_stream, node);

		if (s->stream.task)
			return s->stream.task;
	}
	return NULL;
}

void multiplex_free(struct client *c)
{
	struct http2 *h = c->multiplexed.http2;

	LIST_EACH(&h->streams, node) {
		struct http2_stream *s = LIST_ITEM(node, struct http2_stream, node);

		if (s->stream.task)
			c->front->events->stream_closed(&s->stream);
	}
	http2_free(h);
}
