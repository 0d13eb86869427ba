#include "h2/session.h"

#include "base/check.h"
#include "callbacks.h"
#include "frames.h"
#include "h2/block.h"
#include "queue.h"

const char h2_preface[] = NGHTTP2_CLIENT_MAGIC;

/* Sizes of the blocks they are copied to: the first of a send, and those that follow. */
#define GATHER_FIRST 512
#define GATHER_BYTES 8192
/* Bytes of a head that is sent, as the library estimates them. */
#define HEAD_BYTES_MAX (1u << 20)

/* Fields of one head that is sent. */
#define FIELDS_MAX (HEAD_FIELDS_MAX + 64)

void h2_thread_init(struct h2_thread *t, struct buf_pool *pool)
{
	t->pool = pool;
	slab_init(&t->sessions, "h2_session", sizeof(struct h2_session), 0);
	slab_init(&t->parts, "h2_part", sizeof(struct h2_part), 0);
	slab_init(&t->blocks, "h2_block", sizeof(struct block), 0);
}

void h2_thread_done(struct h2_thread *t)
{
	slab_done(&t->sessions);
	slab_done(&t->parts);
	slab_done(&t->blocks);
}

void h2_thread_trim(struct h2_thread *t)
{
	slab_trim(&t->sessions);
	slab_trim(&t->parts);
	slab_trim(&t->blocks);
}

/* ---- life of a session --------------------------------------------------------- */

static bool settings_queue(struct h2_session *s)
{
	const struct h2_limits *l = s->limits;
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->streams },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, l->window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, l->heads->bytes },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};
	const nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, l->window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, l->heads->bytes },
	};
	bool serves = s->side == H2_SERVER;

	return nghttp2_submit_settings(
		       s->library, NGHTTP2_FLAG_NONE, serves ? server : client,
		       serves ? sizeof(server) / sizeof(server[0])
			      : sizeof(client) / sizeof(client[0])) == 0 &&
	       nghttp2_session_set_local_window_size(s->library, NGHTTP2_FLAG_NONE, 0,
						     (int32_t)l->connection_window) == 0;
}

static bool library_begin(struct h2_session *s)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option = NULL;
	bool good = false;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return false;
	if (nghttp2_option_new(&option) == 0) {
		callbacks_set(callbacks);
		/* Credit is given when bytes are taken, closed streams are not remembered,
		 * resets are counted by us, in a way that needs no clock. */
		nghttp2_option_set_no_auto_window_update(option, 1);
		nghttp2_option_set_no_closed_streams(option, 1);
		nghttp2_option_set_max_send_header_block_length(option, HEAD_BYTES_MAX);
		nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX,
							   UINT64_MAX);
		nghttp2_option_set_builtin_recv_extension_type(option,
							       NGHTTP2_PRIORITY_UPDATE);
		good = (s->side == H2_SERVER ? nghttp2_session_server_new2
					     : nghttp2_session_client_new2)(
			       &s->library, callbacks, s, option) == 0;
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return good;
}

struct h2_session *h2_new(struct h2_thread *t, enum h2_side side,
			  const struct h2_events *events, const struct h2_limits *limits,
			  void *owner)
{
	struct h2_session *s = slab_take(&t->sessions);

	if (!s)
		return NULL;
	s->thread = t;
	s->owner = owner;
	s->events = events;
	s->limits = limits;
	s->side = (uint8_t)side;
	s->budget = limits->resets;
	s->frames.allowance = limits->oddities;
	s->frames.left = side == H2_SERVER ? H2_PREFACE_BYTES : 0;
	s->last_id = INT32_MAX;
	list_init(&s->starved);
	if (!library_begin(s) || !settings_queue(s)) {
		h2_free(s);
		return NULL;
	}
	return s;
}

void h2_free(struct h2_session *s)
{
	ASSERT(list_empty(&s->starved) && s->queued == 0);
	callbacks_drop_block(s);
	nghttp2_session_del(s->library);
	buf_put(s->gathered);
	slab_put(&s->thread->sessions, s);
}

void h2_fail(struct h2_session *s, uint32_t error)
{
	if (s->failed)
		return;
	s->failed = true;
	s->error = error;
	nghttp2_session_terminate_session(s->library, error);
}

/* ---- receiving ----------------------------------------------------------------- */

static void library_receive(struct h2_session *s, const char *bytes, size_t n)
{
	ssize_t result = nghttp2_session_mem_recv(s->library, (const uint8_t *)bytes, n);

	if (result < 0) /* a callback's verdict has its code already */
		h2_fail(s, result == NGHTTP2_ERR_NOMEM     ? H2_INTERNAL_ERROR
			   : result == NGHTTP2_ERR_FLOODED ? H2_ENHANCE_YOUR_CALM
							   : H2_PROTOCOL_ERROR);
}

bool h2_receive(struct h2_session *s, struct buf *buf, struct slice bytes)
{
	s->receiving = buf;
	while (bytes.len > 0 && !s->failed) {
		size_t n = frames_judge(s, bytes);

		if (s->failed)
			break;
		library_receive(s, bytes.ptr, n);
		bytes = slice_after(bytes, n);
	}
	s->receiving = NULL;
	return !s->failed;
}

struct piece h2_take(struct h2_stream *stream, uint32_t max)
{
	struct h2_session *s = stream->session;
	struct piece p = queue_take(&s->thread->parts, &stream->in, max);

	if (p.len == 0)
		return p;
	/* No error is possible but lack of memory for a WINDOW_UPDATE. */
	if ((stream->state == H2_STREAM_OPEN &&
	     nghttp2_session_consume_stream(s->library, stream->id, p.len) != 0) ||
	    nghttp2_session_consume_connection(s->library, p.len) != 0)
		h2_fail(s, H2_INTERNAL_ERROR);
	return p;
}

void h2_discard(struct h2_stream *stream)
{
	struct piece p;

	while (stream->session && (p = h2_take(stream, UINT32_MAX)).len > 0)
		piece_put(&p);
}

void h2_compact(struct h2_stream *stream)
{
	struct h2_session *s = stream->session;
	struct h2_queue old = stream->in;
	const struct h2_part *part = old.first;

	while (part && part->copied)
		part = part->next;
	if (!s || !part)
		return;
	stream->in = (struct h2_queue){ NULL, NULL, 0 };
	while (old.bytes > 0) {
		struct piece p = queue_take(&s->thread->parts, &old, UINT32_MAX);

		if (!queue_copy(&s->thread->parts, s->thread->pool, &stream->in, p.ptr,
				p.len))
			h2_fail(s, H2_INTERNAL_ERROR);
		piece_put(&p);
	}
}

/* ---- sending ------------------------------------------------------------------- */

static bool gathered_push(struct h2_session *s)
{
	struct buf *b = s->gathered;
	struct piece p;

	if (!b)
		return true;
	s->gathered = NULL;
	p = (struct piece){ b, b->data + b->begin, b->end - b->begin };
	return s->events->push(s, &p);
}

bool session_gather(struct h2_session *s, const void *bytes, size_t n)
{
	struct buf *b = s->gathered;
	size_t size = b ? GATHER_BYTES : GATHER_FIRST;

	if (b && b->size - b->end < n) {
		if (!gathered_push(s))
			return false;
		b = NULL;
	}
	if (!b) {
		b = buf_new(s->thread->pool, n > size ? n : size);
		if (!b)
			return false;
		s->gathered = b;
	}
	memcpy(b->data + b->end, bytes, n);
	b->end += (uint32_t)n;
	return true;
}

bool session_push_body(struct h2_session *s, struct h2_stream *stream, size_t n)
{
	while (n > 0) {
		struct piece p = queue_take(&s->thread->parts, &stream->out, (uint32_t)n);
		bool good;

		ASSERT(p.len > 0);
		n -= p.len;
		s->queued -= p.len;
		stream->sent += p.len;
		if (p.len <= SESSION_COPY_BYTES) {
			good = session_gather(s, p.ptr, p.len);
			piece_put(&p);
		} else {
			good = gathered_push(s) && s->events->push(s, &p);
		}
		if (!good)
			return false;
	}
	return true;
}

/* Streams whose body did not fit go on. */
static void starved_resume(struct h2_session *s)
{
	while (!list_empty(&s->starved)) {
		struct h2_stream *stream = CONTAINER(s->starved.next, struct h2_stream,
						     starved);

		list_remove(&stream->starved);
		stream->deferred = false;
		nghttp2_session_resume_data(s->library, stream->id);
	}
}

bool h2_wants_flush(const struct h2_session *s)
{
	return nghttp2_session_want_write(s->library) || !list_empty(&s->starved);
}

bool h2_flush(struct h2_session *s)
{
	const uint8_t *bytes;
	ssize_t n = 0;

	starved_resume(s);
	while (s->events->space(s) > 0 &&
	       (n = nghttp2_session_mem_send(s->library, &bytes)) > 0)
		if (!session_gather(s, bytes, (size_t)n)) {
			n = NGHTTP2_ERR_NOMEM;
			break;
		}
	if (n >= 0 && !gathered_push(s))
		n = NGHTTP2_ERR_NOMEM;
	if (n < 0 && !s->failed) {
		s->failed = true; /* there is no way to tell the peer */
		s->error = H2_INTERNAL_ERROR;
	}
	return n >= 0;
}

/* ---- streams ------------------------------------------------------------------- */

/* The entries of a block, for the library, which copies them. */
static size_t block_fields(nghttp2_nv fields[FIELDS_MAX], const struct buf *block)
{
	struct slice rest = buf_bytes(block), name, value;
	size_t n = 0;

	while (block_next(&rest, &name, &value)) {
		ASSERT(n < FIELDS_MAX);
		fields[n++] = (nghttp2_nv){ (uint8_t *)(uintptr_t)name.ptr,
					    (uint8_t *)(uintptr_t)value.ptr, name.len,
					    value.len, NGHTTP2_NV_FLAG_NONE };
	}
	return n;
}

bool h2_request(struct h2_session *s, struct h2_stream *stream, struct buf *head,
		bool end)
{
	nghttp2_nv fields[FIELDS_MAX];
	size_t n = block_fields(fields, head);
	nghttp2_data_provider body = { .source.ptr = stream,
				       .read_callback = callbacks_read };
	int32_t id = -1;

	ASSERT(stream->state == H2_STREAM_IDLE);
	if (!s->failed && !s->goaway_received)
		id = nghttp2_submit_request(s->library, NULL, fields, n,
					    end ? NULL : &body, stream);
	buf_put(head);
	if (id < 0)
		return false;
	stream->session = s;
	stream->id = id;
	stream->state = H2_STREAM_OPEN;
	stream->end_queued = stream->body_begun = end;
	list_init(&stream->starved);
	s->streams++;
	s->requests++;
	return true;
}

uint32_t h2_streams_free(const struct h2_session *s)
{
	uint32_t most = nghttp2_session_get_remote_settings(
		s->library, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	if (s->failed || s->goaway_received || s->draining)
		return 0;
	return most > s->streams ? most - s->streams : 0;
}

bool h2_respond(struct h2_stream *stream, struct buf *head, bool interim, bool end)
{
	nghttp2_session *library = stream->session->library;
	nghttp2_nv fields[FIELDS_MAX];
	size_t n = block_fields(fields, head);
	nghttp2_data_provider body = { .source.ptr = stream,
				       .read_callback = callbacks_read };
	int result = 0;

	if (stream->state == H2_STREAM_OPEN)
		result = interim ? nghttp2_submit_headers(library, NGHTTP2_FLAG_NONE,
							  stream->id, NULL, fields, n,
							  NULL)
				 : nghttp2_submit_response(library, stream->id, fields, n,
							   end ? NULL : &body);
	buf_put(head);
	if (!interim) {
		stream->body_begun = true;
		stream->end_queued |= end;
	}
	return result >= 0;
}

/* The library asks for the body again. */
static void body_resume(struct h2_stream *stream)
{
	if (stream->state != H2_STREAM_OPEN || !stream->deferred ||
	    !list_empty(&stream->starved))
		return;
	stream->deferred = false;
	nghttp2_session_resume_data(stream->session->library, stream->id);
}

bool h2_send(struct h2_stream *stream, struct piece *p)
{
	struct h2_session *s = stream->session;
	uint32_t n = p->len;

	ASSERT(!stream->end_queued);
	if (stream->state != H2_STREAM_OPEN) {
		piece_put(p);
		return true;
	}
	if (!queue_put(&s->thread->parts, &stream->out, p))
		return false;
	s->queued += n;
	body_resume(stream);
	return true;
}

void h2_send_end(struct h2_stream *stream, struct buf *trailers)
{
	ASSERT(!stream->end_queued);
	stream->end_queued = true;
	if (stream->state != H2_STREAM_OPEN) {
		buf_put(trailers);
		return;
	}
	stream->out_trailers = trailers;
	body_resume(stream);
}

void h2_unsend(struct h2_stream *stream)
{
	struct h2_session *s = stream->session;

	ASSERT(!stream->body_begun);
	s->queued -= stream->out.bytes;
	queue_drop(&s->thread->parts, &stream->out);
	buf_put(stream->out_trailers);
	stream->out_trailers = NULL;
	stream->end_queued = false;
}

bool session_send_trailers(struct h2_stream *stream)
{
	nghttp2_nv fields[FIELDS_MAX];
	struct buf *trailers = stream->out_trailers;
	size_t n = block_fields(fields, trailers);
	int result = nghttp2_submit_trailer(stream->session->library, stream->id, fields,
					    n);

	stream->out_trailers = NULL;
	buf_put(trailers);
	return result == 0;
}

uint32_t h2_send_space(const struct h2_stream *stream)
{
	const struct h2_session *s = stream->session;

	if (stream->state != H2_STREAM_OPEN)
		return UINT32_MAX; /* what is queued is dropped */
	if (s->queued < s->limits->queued)
		return s->limits->queued - s->queued;
	return stream->out.bytes == 0 ? 1 : 0;
}

bool h2_send_stalled(const struct h2_stream *stream)
{
	const struct h2_session *s = stream->session;

	return stream->state == H2_STREAM_OPEN && stream->out.bytes > 0 &&
	       (nghttp2_session_get_stream_remote_window_size(s->library, stream->id) <=
			0 ||
		nghttp2_session_get_remote_window_size(s->library) <= 0);
}

void session_close_stream(struct h2_stream *stream)
{
	struct h2_session *s = stream->session;

	ASSERT(stream->state == H2_STREAM_OPEN);
	if (s->block_of == stream)
		s->block_of = NULL;
	s->queued -= stream->out.bytes;
	queue_drop(&s->thread->parts, &stream->out);
	buf_put(stream->out_trailers);
	stream->out_trailers = NULL;
	list_remove(&stream->starved);
	s->streams--;
	stream->state = H2_STREAM_CLOSED;
}

void h2_leave(struct h2_stream *stream, uint32_t error)
{
	struct h2_session *s = stream->session;

	if (!s)
		return;
	if (stream->state == H2_STREAM_OPEN) {
		nghttp2_session_set_stream_user_data(s->library, stream->id, NULL);
		nghttp2_submit_rst_stream(s->library, NGHTTP2_FLAG_NONE, stream->id,
					  error);
		session_close_stream(stream);
	}
	if (stream->in.bytes > 0 &&
	    nghttp2_session_consume_connection(s->library, stream->in.bytes) != 0)
		h2_fail(s, H2_INTERNAL_ERROR);
	queue_drop(&s->thread->parts, &stream->in);
	buf_put(stream->head);
	buf_put(stream->trailers);
	stream->head = stream->trailers = NULL;
	stream->session = NULL;
}

/* ---- the connection ------------------------------------------------------------ */

void h2_drain(struct h2_session *s)
{
	if (s->draining || s->failed)
		return;
	s->draining = true;
	nghttp2_submit_shutdown_notice(s->library);
}

void h2_drain_end(struct h2_session *s)
{
	if (s->failed)
		return;
	s->draining = true;
	nghttp2_submit_goaway(s->library, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(s->library),
			      NGHTTP2_NO_ERROR, NULL, 0);
}

void h2_ping(struct h2_session *s)
{
	nghttp2_submit_ping(s->library, NGHTTP2_FLAG_NONE, NULL);
}
