#include "message/http1.h"

#include "http/lenient.h"

void http1_init(struct http1 *h, const struct stream_ops *ops, struct conn *c,
		const struct deadline_rules *rules, void *owner)
{
	stream_init(&h->stream, ops, c, rules, owner);
	reader_init(&h->reader);
}

void http1_record(struct http1 *h)
{
	const struct conn *c = http1_conn(h);

	/* Its user looks at what has come, or is not ready for it: then nobody waits for the
	 * peer. */
	if (c->inbox)
		h->stream.body_awaited = false;
	if (c->eof)
		h->stream.eof = true;
	if (c->error)
		h->stream.receive_failed = true;
	if (c->send_error)
		h->stream.send_failed = true;
}

bool http1_stale(const struct http1 *h)
{
	return http1_conn(h)->inbox || h->stream.eof || stream_lost(&h->stream);
}

void http1_restart(struct http1 *h)
{
	struct stream *s = &h->stream;

	reader_init(&h->reader);
	s->received = s->sent = s->body_flowing = s->body_awaited = s->abort_on_eof =
		false;
	s->fault = FAULT_NONE;
	stream_set_state(s, STREAM_IDLE);
	/* With the limit of http1_wait() the next bytes would end the receive. */
	if (http1_conn(h)->inbox_limited)
		conn_limit_inbox(http1_conn(h), false);
}

void http1_check(const struct http1 *h)
{
	const struct stream *s = &h->stream;
	const struct conn *c = http1_conn(h);

	CHECK_STATE(stream_check(s));
	ASSERT((s->state == STREAM_CLOSED) == (c->state != CONN_OPEN));
	if (s->state == STREAM_CLOSED)
		return;
	ASSERT(!c->eof || s->eof);
	ASSERT(s->receive_failed == (c->error != 0) &&
	       s->send_failed == (c->send_error != 0));
	ASSERT(s->state == STREAM_IDLE || s->received == reader_ended(&h->reader));
}

/* ---- receiving ------------------------------------------------------------ */

enum verdict http1_head(struct stream *s, struct head *head)
{
	struct http1 *h = http1_of(s);

	return reader_response(&h->reader, http1_conn(h), s->limits, head);
}

void http1_skip_head(struct stream *s)
{
	struct http1 *h = http1_of(s);

	reader_skip_head(&h->reader, http1_conn(h));
}

void http1_begin_body(struct stream *s, enum framing framing, uint64_t length)
{
	struct http1 *h = http1_of(s);

	ASSERT(s->state == STREAM_OPEN);
	reader_begin_body(&h->reader, http1_conn(h), framing, length);
	h->reader.body.padding_allowed = s->limits->lenient >> LENIENT_CHUNK_PADDING & 1;
	s->received = reader_ended(&h->reader);
}

/* A body that flows may fill the window; from BODY_MORE on the peer is awaited. */
static void record_flow(struct http1 *h, bool awaited)
{
	struct stream *s = &h->stream;

	s->body_flowing = true;
	if (http1_conn(h)->inbox_limited)
		conn_limit_inbox(http1_conn(h), false);
	if (awaited && !s->body_awaited)
		s->since_ms = http1_conn(h)->tick->now_ms;
	s->body_awaited = awaited;
}

enum body_event http1_body(struct stream *s, struct head *trailers, struct piece *p)
{
	struct http1 *h = http1_of(s);
	enum body_event event;

	ASSERT(s->state == STREAM_OPEN || s->state == STREAM_TUNNEL);
	event = reader_body(&h->reader, http1_conn(h), s->limits, trailers, p);
	record_flow(h, event == BODY_MORE && s->state == STREAM_OPEN);
	s->received = reader_ended(&h->reader);
	s->fault = event == BODY_BAD ? h->reader.body.fault : (uint8_t)FAULT_NONE;
	return event;
}

void http1_end_trailers(struct stream *s)
{
	struct http1 *h = http1_of(s);

	reader_end_trailers(&h->reader, http1_conn(h));
	s->received = reader_ended(&h->reader);
}

bool http1_discard_body(struct http1 *h, struct head *scratch)
{
	struct stream *s = &h->stream;

	if (!s->received)
		s->received = reader_discard_body(&h->reader, http1_conn(h), s->limits,
						  scratch);
	if (s->received)
		s->body_awaited = false;
	return s->received;
}

void http1_wait(struct http1 *h, bool abort_on_eof)
{
	struct stream *s = &h->stream;

	s->abort_on_eof = abort_on_eof;
	if ((s->received || !s->body_flowing) && s->state != STREAM_TUNNEL) {
		conn_compact(http1_conn(h));
		conn_limit_inbox(http1_conn(h), true);
	}
}

/* ---- sending -------------------------------------------------------------- */

uint32_t http1_space(const struct stream *s)
{
	return conn_push_space(s->deadline.conn);
}

void http1_await_space(struct stream *s)
{
	conn_await_space(s->deadline.conn);
}

void http1_begin_block(struct stream *s, struct field_block *b, size_t size)
{
	http1_block(b, io_bufs(http1_conn(http1_of(s))->tick->loop), size);
}

bool http1_send_kept_head(struct stream *s, struct buf *head, enum framing framing,
			  uint64_t length)
{
	struct http1 *h = http1_of(s);
	bool good;

	ASSERT(s->state == STREAM_OPEN);
	good = writer_begin(&h->writer, http1_conn(h), head, framing, length);
	s->sent = h->writer.ended;
	return good;
}

/* A head and a body are bytes of one block. */
bool http1_send_message(struct stream *s, struct field_block *head, struct slice body)
{
	struct buf *bytes;

	emit_slice(&head->sink.out, body);
	bytes = field_block_end(head);
	return bytes && http1_send_kept_head(s, bytes, FRAMING_NONE, 0);
}

bool http1_send_static(struct stream *s, struct slice message)
{
	struct http1 *h = http1_of(s);

	s->sent = true;
	return writer_static(&h->writer, http1_conn(h), message);
}

bool http1_send(struct stream *s, struct piece *p)
{
	struct http1 *h = http1_of(s);
	bool good = writer_piece(&h->writer, http1_conn(h), p);

	s->sent = h->writer.ended;
	return good;
}

bool http1_send_end(struct stream *s, struct buf *trailers)
{
	struct http1 *h = http1_of(s);
	bool good = writer_end(&h->writer, http1_conn(h), trailers);

	s->sent = h->writer.ended;
	if (s->state == STREAM_TUNNEL)
		conn_send_fin(http1_conn(h));
	return good;
}

uint64_t http1_position(const struct stream *s)
{
	return conn_position(s->deadline.conn);
}

uint64_t http1_submitted(const struct stream *s)
{
	return conn_submitted(s->deadline.conn);
}

struct stream_progress http1_progress(const struct stream *s)
{
	const struct conn *c = s->deadline.conn;

	return (struct stream_progress){ c->received_ms, conn_sent_ms(c), conn_unsent(c),
					 c->inbox != NULL };
}

bool http1_take_back(struct stream *s, uint64_t position)
{
	return conn_take_back(s->deadline.conn, position);
}

/* ---- tunnels -------------------------------------------------------------- */

void http1_begin_tunnel(struct stream *s)
{
	struct http1 *h = http1_of(s);

	ASSERT(s->received && s->sent);
	stream_set_state(s, STREAM_TUNNEL);
	s->received = s->sent = s->abort_on_eof = false;
	reader_begin_tunnel(&h->reader);
	writer_begin_tunnel(&h->writer);
	conn_limit_inbox(http1_conn(h), false);
}
