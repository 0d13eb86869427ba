#include "message/http2.h"

#include "h2/block.h"

static uint64_t now_ms(const struct http2_stream *s)
{
	return s->http2->conn->tick->now_ms;
}

/* ---- receiving -------------------------------------------------------------------- */

/* The line is ours: what is logged of it tells the version. */
static void head_tell_http2(struct head *h)
{
	static const char version[] = "HTTP/2.0";
	size_t n = sizeof(version) - 1;

	h->http2 = true;
	memcpy((char *)(uintptr_t)h->line.ptr + h->line.len - n, version, n);
}

enum verdict http2_request(struct http2_stream *s, struct head *h)
{
	struct buf *text = s->h2.head;
	uint32_t scanned = 0;
	enum verdict v;

	if (!text || s->h2.fault) {
		memset(h, 0, offsetof(struct head, fields));
		h->fault = (enum fault)s->h2.fault;
		return VERDICT_BAD;
	}
	v = head_parse_request(h, text->data + text->begin, text->end - text->begin,
			       s->stream.limits, &scanned);
	if (v != VERDICT_OK)
		return VERDICT_BAD;
	head_tell_http2(h);
	/* A body of unknown length has an end of its own (RFC 9113 8.1). */
	if (h->framing == FRAMING_NONE && !(s->h2.received_end && s->h2.in.bytes == 0))
		h->framing = FRAMING_CHUNKED;
	stream_set_state(&s->stream, STREAM_OPEN);
	return VERDICT_OK;
}

enum verdict http2_head(struct stream *stream, struct head *h)
{
	struct http2_stream *s = http2_of(stream);
	struct buf *text = s->h2.head;
	uint32_t scanned = 0;
	enum verdict v;

	if (s->h2.fault) {
		h->fault = (enum fault)s->h2.fault;
		return VERDICT_BAD;
	}
	if (!text || text->begin == text->end)
		return VERDICT_MORE;
	v = head_parse_response(h, text->data + text->begin, text->end - text->begin,
				stream->limits, &scanned);
	if (v != VERDICT_OK)
		return VERDICT_BAD;
	h->http2 = h->keep_alive = true;
	if (h->framing == FRAMING_CLOSE)
		h->framing = FRAMING_CHUNKED;
	return VERDICT_OK;
}

void http2_skip_head(struct stream *stream)
{
	struct buf *text = http2_of(stream)->h2.head;
	struct slice rest = buf_bytes(text);
	const char *end = memmem(rest.ptr, rest.len, "\r\n\r\n", 4);

	ASSERT(end);
	text->begin += (uint32_t)(end + 4 - rest.ptr);
}

static void record_received(struct http2_stream *s)
{
	s->stream.received = s->h2.received_end && s->h2.in.bytes == 0 && !s->h2.trailers;
}

void http2_begin_body(struct stream *stream, enum framing framing, uint64_t length)
{
	struct http2_stream *s = http2_of(stream);

	(void)framing, (void)length; /* the session compares */
	buf_put(s->h2.head);
	s->h2.head = NULL;
	record_received(s);
}

enum body_event http2_body(struct stream *stream, struct head *trailers, struct piece *p)
{
	struct http2_stream *s = http2_of(stream);
	struct buf *text;
	uint32_t scanned = 0;

	stream->body_flowing = true;
	stream->body_awaited = false;
	*p = h2_take(&s->h2, UINT32_MAX);
	if (p->len > 0) {
		http2_wants_flush(s->http2); /* credit */
		record_received(s);
		return BODY_DATA;
	}
	text = s->h2.trailers;
	if (text) {
		if (head_parse_trailers(trailers, text->data + text->begin,
					text->end - text->begin, stream->limits,
					&scanned) == VERDICT_OK)
			return BODY_TRAILERS;
		stream->fault = (uint8_t)trailers->fault;
		return BODY_BAD;
	}
	if (s->h2.fault) { /* of trailers */
		stream->fault = s->h2.fault == FAULT_HEAD_LARGE ||
						s->h2.fault == FAULT_HEAD_FIELDS
					? FAULT_TRAILER_LARGE
					: FAULT_TRAILER;
		return BODY_BAD;
	}
	record_received(s);
	if (stream->received)
		return BODY_END;
	if (stream->state == STREAM_OPEN) {
		stream->body_awaited = true;
		stream->since_ms = now_ms(s);
	}
	return BODY_MORE;
}

void http2_end_trailers(struct stream *stream)
{
	struct http2_stream *s = http2_of(stream);

	buf_put(s->h2.trailers);
	s->h2.trailers = NULL;
	record_received(s);
}

/* ---- sending ---------------------------------------------------------------------- */

uint32_t http2_space(const struct stream *stream)
{
	return h2_send_space(&CONTAINER(stream, struct http2_stream, stream)->h2);
}

void http2_await_space(struct stream *stream)
{
	http2_set_awaiting(http2_of(stream), true);
}

/* A field has as many bytes as on HTTP/1, the pseudo-fields of a request have more. */
#define PSEUDO_BYTES 64

void http2_begin_block(struct stream *stream, struct field_block *b, size_t size)
{
	field_block_begin(b, &sink_http2_ops, http2_of(stream)->http2->thread->h2.pool,
			  size + PSEUDO_BYTES);
}

/* The status of a head. */
static bool block_interim(const struct buf *head)
{
	struct slice rest = buf_bytes(head), name, value;

	return block_next(&rest, &name, &value) && value.len == 3 && value.ptr[0] == '1';
}

bool http2_send_kept_head(struct stream *stream, struct buf *head, enum framing framing,
			  uint64_t length)
{
	struct http2_stream *s = http2_of(stream);
	uint32_t bytes = head->end - head->begin;

	ASSERT(stream->state == STREAM_OPEN && !s->head);
	s->queued += bytes;
	http2_wants_flush(s->http2);
	if (block_interim(head)) {
		s->head_bytes += bytes;
		return h2_respond(&s->h2, head, true, false);
	}
	s->head = head;
	s->framing = (uint8_t)framing;
	s->left = length;
	s->head_ends = framing == FRAMING_NONE ||
		       (framing == FRAMING_LENGTH && length == 0);
	stream->sent = s->head_ends;
	return true;
}

static bool body_queue(struct http2_stream *s, struct piece *p)
{
	uint32_t n = p->len;

	if (s->queued == http2_submitted(&s->stream))
		s->sent_ms = now_ms(s);
	if (!h2_send(&s->h2, p))
		return false;
	s->queued += n;
	http2_wants_flush(s->http2);
	return true;
}

static void end_queue(struct http2_stream *s, struct buf *trailers)
{
	h2_send_end(&s->h2, trailers);
	s->stream.sent = true;
	http2_wants_flush(s->http2);
}

bool http2_send_message(struct stream *stream, struct field_block *head,
			struct slice body)
{
	struct http2_stream *s = http2_of(stream);
	struct buf *fields = field_block_end(head);
	struct buf *content = body.len > 0 ? buf_new(s->http2->thread->h2.pool, body.len)
					   : NULL;
	struct piece p;

	if (!fields || (body.len > 0 && !content)) {
		buf_put(fields);
		buf_put(content);
		return false;
	}
	if (!http2_send_kept_head(stream, fields, content ? FRAMING_LENGTH : FRAMING_NONE,
				  body.len)) {
		buf_put(content);
		return false;
	}
	if (!content)
		return true;
	memcpy(content->data, body.ptr, body.len);
	content->end = (uint32_t)body.len;
	p = (struct piece){ content, content->data, content->end };
	if (!body_queue(s, &p)) {
		piece_put(&p);
		return false;
	}
	end_queue(s, NULL);
	return true;
}

/* The message is text of HTTP/1: its status is said, and its body sent. */
bool http2_send_static(struct stream *stream, struct slice message)
{
	struct http2_stream *s = http2_of(stream);
	const char *end = memmem(message.ptr, message.len, "\r\n\r\n", 4);
	struct field_block b;
	struct slice body;

	ASSERT(end && slice_starts(message, SLICE("HTTP/1.1 ")));
	body = slice_after(message, (size_t)(end - message.ptr) + 4);
	http2_begin_block(stream, &b, 128);
	sink_field(&b.sink, SLICE(":status"), (struct slice){ message.ptr + 9, 3 });
	if (message.ptr[9] != '1')
		return http2_send_message(stream, &b, body);
	return stream_send_head(&s->stream, &b, FRAMING_NONE, 0);
}

bool http2_send(struct stream *stream, struct piece *p)
{
	struct http2_stream *s = http2_of(stream);
	uint32_t n = p->len;

	if (s->framing == FRAMING_LENGTH && n > s->left) {
		piece_put(p);
		return false;
	}
	if (s->framing == FRAMING_NONE) { /* HEAD: no body follows */
		piece_put(p);
		return true;
	}
	if (!body_queue(s, p)) {
		piece_put(p);
		return false;
	}
	if (s->framing == FRAMING_LENGTH && (s->left -= n) == 0)
		end_queue(s, NULL);
	return true;
}

bool http2_send_end(struct stream *stream, struct buf *trailers)
{
	struct http2_stream *s = http2_of(stream);

	if (stream->sent) {
		buf_put(trailers);
		return true;
	}
	if (s->framing == FRAMING_LENGTH && s->left > 0) {
		buf_put(trailers);
		return false;
	}
	end_queue(s, trailers);
	return true;
}

uint64_t http2_position(const struct stream *stream)
{
	return CONTAINER(stream, struct http2_stream, stream)->queued;
}

uint64_t http2_submitted(const struct stream *stream)
{
	const struct http2_stream *s = CONTAINER(stream, struct http2_stream, stream);

	return s->head_bytes + s->h2.sent;
}

bool http2_take_back(struct stream *stream, uint64_t position)
{
	struct http2_stream *s = http2_of(stream);

	if (http2_submitted(stream) > position || (!s->head && s->queued > position))
		return false;
	if (s->head) {
		h2_unsend(&s->h2);
		buf_put(s->head);
		s->head = NULL;
	}
	s->queued = position;
	stream->sent = false;
	return true;
}

struct stream_progress http2_progress(const struct stream *stream)
{
	const struct http2_stream *s = CONTAINER(stream, struct http2_stream, stream);

	return (struct stream_progress){ s->received_ms, s->sent_ms,
					 s->queued - http2_submitted(stream),
					 s->h2.in.bytes > 0 };
}

/* Only HTTP/1 has 101 (RFC 9113 8.6). */
void http2_begin_tunnel(struct stream *stream)
{
	(void)stream;
	ASSERT(false);
}
