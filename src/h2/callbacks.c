#include "callbacks.h"

#include "base/check.h"
#include "frames.h"
#include "h2/block.h"
#include "queue.h"

static struct h2_stream *stream_find(nghttp2_session *library, int32_t id)
{
	return id == 0 ? NULL : nghttp2_session_get_stream_user_data(library, id);
}

/* A request has ended by a reset, whoever sent it, before its response was whole (CVE-2023-44487;
 * CVE-2025-8671: resets that the peer provokes). */
static int reset_count(struct h2_session *s)
{
	if (s->side == H2_CLIENT)
		return 0;
	if (s->budget == 0)
		return session_refuse(s, H2_ENHANCE_YOUR_CALM);
	s->budget--;
	return 0;
}

/* ---- heads ----------------------------------------------------------------------- */

void callbacks_drop_block(struct h2_session *s)
{
	if (!s->block)
		return;
	block_drop(s->block);
	slab_put(&s->thread->blocks, s->block);
	s->block = NULL;
	s->block_of = NULL;
}

static struct h2_stream *request_open(struct h2_session *s, int32_t id)
{
	struct h2_stream *stream = s->events->opened(s);

	s->requests++;
	frames_excuse(s);
	if (!stream) {
		nghttp2_submit_rst_stream(s->library, NGHTTP2_FLAG_NONE, id,
					  NGHTTP2_REFUSED_STREAM);
		return NULL;
	}
	ASSERT(stream->state == H2_STREAM_IDLE);
	stream->session = s;
	stream->id = id;
	stream->state = H2_STREAM_OPEN;
	list_init(&stream->starved);
	s->streams++;
	nghttp2_session_set_stream_user_data(s->library, id, stream);
	return stream;
}

static int on_begin_headers(nghttp2_session *library, const nghttp2_frame *frame,
			    void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream;
	enum block_kind kind;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		stream = request_open(s, frame->hd.stream_id);
	else
		stream = stream_find(library, frame->hd.stream_id);
	callbacks_drop_block(s);
	if (!stream) /* decoded, as the state of HPACK demands, and dropped */
		return 0;
	s->block = slab_take_raw(&s->thread->blocks);
	if (!s->block)
		return session_refuse(s, H2_INTERNAL_ERROR);
	s->block_of = stream;
	kind = stream->head_received  ? BLOCK_TRAILERS
	       : s->side == H2_SERVER ? BLOCK_REQUEST
				      : BLOCK_RESPONSE;
	block_begin(s->block, s->thread->pool, kind, s->limits->heads, s->secured);
	return 0;
}

static int on_header(nghttp2_session *library, const nghttp2_frame *frame,
		     const uint8_t *name, size_t name_bytes, const uint8_t *value,
		     size_t value_bytes, uint8_t flags, void *user)
{
	struct h2_session *s = user;

	(void)library, (void)frame, (void)flags;
	if (s->block && s->block_of)
		block_field(s->block, (struct slice){ (const char *)name, name_bytes },
			    (struct slice){ (const char *)value, value_bytes });
	return 0;
}

/* Without this the library drops the field and the request goes on. */
static int on_invalid_header(nghttp2_session *library, const nghttp2_frame *frame,
			     const uint8_t *name, size_t name_bytes, const uint8_t *value,
			     size_t value_bytes, uint8_t flags, void *user)
{
	(void)library, (void)frame, (void)name, (void)name_bytes, (void)value;
	(void)value_bytes, (void)flags, (void)user;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Appends a head to an interim one that was not read yet. */
static struct buf *heads_join(struct h2_session *s, struct buf *first, struct buf *second)
{
	struct slice a = buf_bytes(first), b = buf_bytes(second);
	struct buf *both = a.len + b.len <= s->limits->heads->bytes
				   ? buf_new(s->thread->pool, a.len + b.len)
				   : NULL;

	if (both) {
		memcpy(both->data, a.ptr, a.len);
		memcpy(both->data + a.len, b.ptr, b.len);
		both->end = (uint32_t)(a.len + b.len);
	}
	buf_put(first);
	buf_put(second);
	return both;
}

static bool head_interim(struct slice text)
{
	/* "HTTP/1.1 1xx": block.c has written it. */
	return text.len > 9 && text.ptr[9] == '1';
}

static void head_complete(struct h2_session *s, struct h2_stream *stream)
{
	struct buf *text = block_end(s->block);
	bool trailers = s->block->kind == BLOCK_TRAILERS;

	if (!text) {
		stream->fault = s->block->fault;
		stream->head_received = true;
		return;
	}
	if (trailers) {
		buf_put(stream->trailers);
		stream->trailers = text;
		return;
	}
	stream->head_received = s->side == H2_SERVER || !head_interim(buf_bytes(text));
	stream->head = stream->head ? heads_join(s, stream->head, text) : text;
	if (!stream->head) {
		stream->fault = FAULT_HEAD_LARGE;
		stream->head_received = true;
	}
}

/* ---- frames ---------------------------------------------------------------------- */

static int on_frame_recv(nghttp2_session *library, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream = stream_find(library, frame->hd.stream_id);

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (stream && s->block_of == stream)
			head_complete(s, stream);
		callbacks_drop_block(s);
		break;
	case NGHTTP2_DATA:
		break;
	case NGHTTP2_RST_STREAM:
		s->resets_received++;
		if (stream)
			stream->reset_by_peer = true;
		return 0; /* on_stream_close() follows */
	case NGHTTP2_SETTINGS:
		s->settings_received = true;
		return 0;
	case NGHTTP2_GOAWAY:
		s->goaway_received = true;
		s->last_id = frame->goaway.last_stream_id;
		s->goaway_error = frame->goaway.error_code;
		return 0;
	case NGHTTP2_WINDOW_UPDATE:
		/* Credit for a stream that waits for it: its user judges how long. */
		break;
	default:
		return 0;
	}
	if (!stream)
		return 0;
	if (frame->hd.type != NGHTTP2_WINDOW_UPDATE &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		stream->received_end = true;
	s->events->changed(stream);
	return 0;
}

/* The bytes are in the buffer of h2_receive(). */
static int on_data_chunk(nghttp2_session *library, uint8_t flags, int32_t id,
			 const uint8_t *bytes, size_t n, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream = stream_find(library, id);
	struct piece p = { s->receiving, (const char *)bytes, (uint32_t)n };

	(void)flags;
	if (!stream) {
		if (nghttp2_session_consume_connection(library, n) != 0)
			return session_refuse(s, H2_INTERNAL_ERROR);
		return 0;
	}
	/* A receive buffer is not kept for a few bytes. */
	if (n < SESSION_COPY_BYTES) {
		if (!queue_copy(&s->thread->parts, s->thread->pool, &stream->in, p.ptr,
				p.len))
			return session_refuse(s, H2_INTERNAL_ERROR);
	} else {
		buf_ref(p.buf);
		if (!queue_put(&s->thread->parts, &stream->in, &p)) {
			piece_put(&p);
			return session_refuse(s, H2_INTERNAL_ERROR);
		}
	}
	stream->length_received += n;
	s->events->changed(stream);
	return 0;
}

static int on_stream_close(nghttp2_session *library, int32_t id, uint32_t error,
			   void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream = stream_find(library, id);

	if (!stream) /* left; h2_leave() has reset it */
		return 0;
	stream->error = error;
	stream->reset = error != NGHTTP2_NO_ERROR || stream->reset_by_peer;
	if (stream->sent_end && s->budget < s->limits->resets)
		s->budget++;
	if (!stream->sent_end && stream->reset_by_peer && reset_count(s) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	session_close_stream(stream);
	s->events->changed(stream);
	return 0;
}

/* ---- sending --------------------------------------------------------------------- */

ssize_t callbacks_read(nghttp2_session *library, int32_t id, uint8_t *buf, size_t n,
		       uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream = stream_find(library, id);
	uint32_t few;

	(void)buf, (void)source;
	if (!stream) /* left; its reset is queued */
		return NGHTTP2_ERR_DEFERRED;
	if (stream->out.bytes == 0 && !stream->end_queued) {
		stream->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (stream->out.bytes > 0 && s->events->space(s) == 0) {
		stream->deferred = true;
		list_append(&s->starved, &stream->starved);
		return NGHTTP2_ERR_DEFERRED;
	}
	few = queue_front(&stream->out, SESSION_COPY_BYTES, SESSION_LARGE_PIECES);
	if (n > few)
		n = few;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n < stream->out.bytes || !stream->end_queued)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (stream->out_trailers) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (!session_send_trailers(stream))
			return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

static int send_data(nghttp2_session *library, nghttp2_frame *frame, const uint8_t *head,
		     size_t n, nghttp2_data_source *source, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream = stream_find(library, frame->hd.stream_id);

	(void)source;
	ASSERT(stream && frame->data.padlen == 0);
	frames_excuse(s);
	/* The 9 bytes before the payload (RFC 9113 4.1). */
	if (!session_gather(s, head, 9) || !session_push_body(s, stream, n))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int on_frame_send(nghttp2_session *library, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *stream = stream_find(library, frame->hd.stream_id);

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		if (!stream)
			return 0;
		if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
			stream->sent_end = true;
		s->events->changed(stream);
		return 0;
	case NGHTTP2_RST_STREAM:
		s->resets_sent++;
		frames_remember_reset(s, frame->hd.stream_id);
		/* Without error: what is left of a request whose response is whole. */
		if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
		    (!stream || !stream->sent_end))
			return reset_count(s);
		return 0;
	case NGHTTP2_GOAWAY:
		if (frame->goaway.error_code != NGHTTP2_NO_ERROR && !s->failed) {
			s->failed = true;
			s->error = frame->goaway.error_code;
		}
		return 0;
	default:
		return 0;
	}
}

/* A head that is too large. */
static int on_frame_not_send(nghttp2_session *library, const nghttp2_frame *frame, int error,
			     void *user)
{
	(void)error, (void)user;
	if (frame->hd.type == NGHTTP2_HEADERS && stream_find(library, frame->hd.stream_id))
		nghttp2_submit_rst_stream(library, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					  NGHTTP2_INTERNAL_ERROR);
	return 0;
}

void callbacks_set(nghttp2_session_callbacks *c)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
	nghttp2_session_callbacks_set_send_data_callback(c, send_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_frame_not_send);
}
