#include "message/http2.h"

void http2_thread_init(struct http2_thread *t, struct buf_pool *pool)
{
	h2_thread_init(&t->h2, pool);
	slab_init(&t->connections, "http2", sizeof(struct http2), 0);
	slab_init(&t->streams, "http2_stream", sizeof(struct http2_stream), 0);
}

void http2_thread_done(struct http2_thread *t)
{
	h2_thread_done(&t->h2);
	slab_done(&t->connections);
	slab_done(&t->streams);
}

void http2_thread_trim(struct http2_thread *t)
{
	h2_thread_trim(&t->h2);
	slab_trim(&t->connections);
	slab_trim(&t->streams);
}

static struct http2_stream *stream_of(struct h2_stream *s)
{
	return CONTAINER(s, struct http2_stream, h2);
}

static struct tick *tick_of(const struct http2 *h)
{
	return h->conn->tick;
}

void http2_wants_flush(struct http2 *h)
{
	tick_run_last(tick_of(h), &h->flush);
}

/* ---- deadlines ------------------------------------------------------------------- */

static void timer_expired(struct timer *timer)
{
	struct http2_stream *s = CONTAINER(timer, struct http2_stream, timer);
	struct http2 *h = s->http2;
	uint64_t now_ms = tick_of(h)->now_ms, due_ms = h->rules->due_ms(s);

	if (due_ms == WHEEL_NEVER)
		return;
	if (due_ms > now_ms)
		timer_set(&tick_of(h)->wheel, timer, due_ms);
	else
		h->rules->passed(s);
}

void http2_bound(struct http2_stream *s, uint64_t due_ms)
{
	if (due_ms != WHEEL_NEVER &&
	    (!timer_armed(&s->timer) || due_ms < s->timer.deadline_ms))
		timer_set(&tick_of(s->http2)->wheel, &s->timer, due_ms);
}

/* ---- streams --------------------------------------------------------------------- */

static struct http2_stream *stream_new(struct http2 *h)
{
	struct http2_stream *s = slab_take(&h->thread->streams);

	if (!s)
		return NULL;
	s->http2 = h;
	s->stream.ops = h->ops;
	s->stream.limits = h->limits;
	s->stream.deadline = (struct deadline){ h->conn, h->rules, s };
	s->stream.since_ms = s->received_ms = s->sent_ms = tick_of(h)->now_ms;
	list_init(&s->ready);
	list_init(&s->node);
	list_append(&h->streams, &s->node);
	timer_init(&s->timer, timer_expired);
	if (h->n++ == 0)
		h->events->busy(h, true);
	return s;
}

static void stream_free(struct http2_stream *s, uint32_t error)
{
	struct http2 *h = s->http2;

	ASSERT(!s->stream.task);
	http2_set_awaiting(s, false);
	h2_leave(&s->h2, error);
	buf_put(s->head);
	timer_stop(&tick_of(h)->wheel, &s->timer);
	list_remove(&s->node);
	list_remove(&s->ready);
	slab_put(&h->thread->streams, s);
	if (--h->n == 0)
		h->events->busy(h, false);
}

/* Its owner has something to do for it. */
static void stream_ready(struct http2_stream *s)
{
	if (list_empty(&s->ready))
		list_append(&s->http2->ready, &s->ready);
	tick_run(tick_of(s->http2), s->http2->owner);
}

static struct h2_stream *peer_opens(struct h2_session *session)
{
	struct http2 *h = session->owner;
	struct http2_stream *s;

	/* The session has no more than `streams`; one that it has ended may have a user that has
	 * not. */
	if (h->n >= 2 * h->h2_limits->streams)
		return NULL;
	s = stream_new(h);
	return s ? &s->h2 : NULL;
}

static void record_end(struct http2_stream *s)
{
	struct stream *stream = &s->stream;

	if (s->h2.reset)
		stream->receive_failed = stream->send_failed = stream->eof = true;
}

static void stream_changed(struct h2_stream *h2)
{
	struct http2_stream *s = stream_of(h2);
	uint64_t now_ms = tick_of(s->http2)->now_ms;

	if (h2->in.bytes > 0 || h2->received_end)
		s->stream.body_awaited = false;
	if (h2->in.bytes > 0)
		s->received_ms = now_ms;
	if (h2->sent > s->sent_seen) {
		s->sent_seen = h2->sent;
		s->sent_ms = now_ms;
	}
	record_end(s);
	if (!s->announced && (h2->head || h2->fault || h2->reset))
		stream_ready(s);
	else if (s->user_left)
		stream_ready(s);
	else if (s->stream.task)
		tick_run(tick_of(s->http2), s->stream.task);
}

void http2_set_awaiting(struct http2_stream *s, bool awaiting)
{
	if (s->space_awaited == awaiting)
		return;
	s->space_awaited = awaiting;
	s->http2->awaiting += awaiting ? 1 : -1u;
}

/* What one stream could not queue because of the others' bytes, it may queue now. */
static void awaiting_wake(struct http2 *h)
{
	LIST_EACH(&h->streams, node) {
		struct http2_stream *s = LIST_ITEM(node, struct http2_stream, node);

		if (!s->space_awaited || h2_send_space(&s->h2) == 0)
			continue;
		http2_set_awaiting(s, false);
		if (s->stream.task)
			tick_run(tick_of(h), s->stream.task);
	}
}

/* ---- the connection ---------------------------------------------------------------- */

static bool bytes_push(struct h2_session *session, struct piece *p)
{
	struct http2 *h = session->owner;

	if (conn_push(h->conn, p))
		return true;
	piece_put(p);
	return false;
}

static uint32_t bytes_space(const struct h2_session *session)
{
	const struct http2 *h = session->owner;

	return conn_push_space(h->conn);
}

static const struct h2_events session_events = {
	.opened = peer_opens,
	.changed = stream_changed,
	.push = bytes_push,
	.space = bytes_space,
};

/* Gives the session the heads that wait. False: no memory. */
static bool head_submit(struct http2_stream *s)
{
	struct buf *head = s->head;

	if (!head)
		return true;
	s->head = NULL;
	s->head_bytes += head->end - head->begin;
	s->sent_ms = tick_of(s->http2)->now_ms;
	return h2_respond(&s->h2, head, false, s->head_ends);
}

static void flush_step(struct task *task)
{
	struct http2 *h = CONTAINER(task, struct http2, flush);
	bool good = true;

	if (h->conn->state != CONN_OPEN)
		return;
	LIST_EACH(&h->streams, node)
		good &= head_submit(LIST_ITEM(node, struct http2_stream, node));
	if (!good)
		h2_fail(h->session, H2_INTERNAL_ERROR);
	if (!h2_flush(h->session) || h->session->failed)
		tick_run(tick_of(h), h->owner);
	if (h->awaiting > 0)
		awaiting_wake(h);
	if (h2_wants_flush(h->session))
		conn_await_space(h->conn);
}

struct http2 *http2_new(struct http2_thread *t, enum h2_side side, struct conn *c,
			const struct http2_events *events, const struct stream_ops *ops,
			const struct deadline_rules *rules,
			const struct head_limits *heads, const struct h2_limits *limits,
			struct task *owner, void *user)
{
	struct http2 *h = slab_take(&t->connections);

	if (!h)
		return NULL;
	h->thread = t;
	h->conn = c;
	h->owner = owner;
	h->events = events;
	h->ops = ops;
	h->rules = rules;
	h->limits = heads;
	h->h2_limits = limits;
	h->user = user;
	task_init(&h->flush, flush_step);
	list_init(&h->streams);
	list_init(&h->ready);
	h->session = h2_new(&t->h2, side, &session_events, limits, h);
	if (!h->session) {
		slab_put(&t->connections, h);
		return NULL;
	}
	h->session->secured = conn_tls(c) != NULL;
	http2_wants_flush(h);
	return h;
}

void http2_free(struct http2 *h)
{
	while (!list_empty(&h->streams)) {
		struct http2_stream *s = CONTAINER(h->streams.next, struct http2_stream,
						   node);

		s->stream.task = NULL;
		stream_free(s, H2_CANCEL);
	}
	task_stop(&h->flush);
	h2_free(h->session);
	slab_put(&h->thread->connections, h);
}

/* Its request is read, or nobody needs it any more. */
static void stream_serve(struct http2_stream *s)
{
	struct http2 *h = s->http2;

	if (s->user_left) {
		/* The response is whole, and the rest of the request is not wanted
		 * (RFC 9113 8.1). */
		if (s->h2.state == H2_STREAM_CLOSED || s->h2.sent_end)
			stream_free(s, H2_NO_ERROR);
		else
			h2_discard(&s->h2);
		return;
	}
	if (s->announced)
		return;
	if (s->h2.reset) {
		stream_free(s, H2_CANCEL);
		return;
	}
	s->announced = true;
	h->events->request(h, s);
}

bool http2_serve(struct http2 *h)
{
	struct conn *c = h->conn;
	struct list now;
	struct list *node;
	bool good = true;

	while (c->inbox && good) {
		struct slice bytes = conn_peek(c);

		good = h2_receive(h->session, c->inbox, bytes);
		conn_consume(c, (uint32_t)bytes.len);
	}
	if (!h->session->block)
		h->block_since_ms = 0;
	else if (h->block_since_ms == 0)
		h->block_since_ms = tick_of(h)->now_ms;
	list_init(&now);
	list_move(&now, &h->ready);
	while ((node = list_pop(&now)))
		stream_serve(LIST_ITEM(node, struct http2_stream, ready));
	if (h2_wants_flush(h->session))
		http2_wants_flush(h);
	return good && !h->session->failed;
}

void http2_fail_streams(struct http2 *h)
{
	LIST_EACH(&h->streams, node) {
		struct http2_stream *s = LIST_ITEM(node, struct http2_stream, node);
		struct stream *stream = &s->stream;

		stream->receive_failed = stream->send_failed = stream->eof = true;
		if (stream->task)
			tick_run(tick_of(h), stream->task);
		else /* its user has left, or it has none yet */
			stream_free(s, H2_CANCEL);
	}
}

void http2_close_streams(struct http2 *h)
{
	LIST_EACH(&h->streams, node) {
		struct stream *s = &LIST_ITEM(node, struct http2_stream, node)->stream;

		if (s->state != STREAM_CLOSED)
			stream_set_state(s, STREAM_CLOSED);
	}
}

void http2_leave(struct http2_stream *s, bool whole, uint32_t error)
{
	struct http2 *h = s->http2;

	stream_release(&s->stream);
	http2_set_awaiting(s, false);
	s->stream.body_awaited = false;
	s->user_left = true;
	if (s->stream.state != STREAM_CLOSED)
		stream_set_state(&s->stream, STREAM_CLOSED);
	http2_wants_flush(h);
	if (whole && s->h2.state == H2_STREAM_OPEN) {
		/* Freed when its last frame was sent, or the client takes none for too long. */
		h2_discard(&s->h2);
		http2_bound(s, h->rules->due_ms(s));
		return;
	}
	h2_leave(&s->h2, error);
	stream_ready(s);
}

void http2_time_out(struct http2_stream *s)
{
	s->stream.timed_out = true;
	if (s->stream.task) {
		tick_run(tick_of(s->http2), s->stream.task);
	} else {
		h2_leave(&s->h2, H2_CANCEL);
		stream_ready(s);
		http2_wants_flush(s->http2);
	}
}
