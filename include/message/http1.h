/* The stream of an HTTP/1 connection: a reader and a writer on it, for one message in each
 * direction at a time.
 *
 * A stream and its connection have one fate on HTTP/1: `eof` and failures are the connection's, and
 * a tunnel or a message whose end is the connection's leaves no stream for another request.
 *
 * Owner: the client or origin that embeds it. Its conn_events.changed calls http1_record().
 * Limits, errors: reader.h, writer.h. http1_check() asserts that the stream's facts are those of
 * its parts. Source: RFC 9112. */
#ifndef MESSAGE_HTTP1_H
#define MESSAGE_HTTP1_H

#include "message/reader.h"
#include "message/stream.h"
#include "message/writer.h"

struct http1 {
	struct stream stream;
	struct reader reader;
	struct writer writer;
};

static inline struct http1 *http1_of(struct stream *s)
{
	return CONTAINER(s, struct http1, stream);
}

static inline struct conn *http1_conn(const struct http1 *h)
{
	return h->stream.deadline.conn;
}

/* On a connection that is open. See stream_init(). */
void http1_init(struct http1 *h, const struct stream_ops *ops, struct conn *c,
		const struct deadline_rules *rules, void *owner);

/* The connection has changed: records its end or failure in the stream. */
void http1_record(struct http1 *h);

/* STREAM_OPEN ─▶ STREAM_IDLE: prepares for the next request. */
void http1_restart(struct http1 *h);

/* Asserts what holds between two steps. */
void http1_check(const struct http1 *h);

/* Between two requests: the peer has closed it, or has sent bytes that nobody asked for, or it
 * failed. So it cannot have another request of ours. */
bool http1_stale(const struct http1 *h);

/* Discards what was received of the body. True: that was all of it. `scratch`: for trailers. */
bool http1_discard_body(struct http1 *h, struct head *scratch);

/* Begins a block for any HTTP/1 stream of this worker: its bytes are the text that is sent. */
static inline void http1_block(struct field_block *b, struct buf_pool *pool, size_t size)
{
	field_block_begin(b, &sink_http1_ops, pool, size);
}

/* The user waits. Received bytes that nothing reads at present are moved out of the receive
 * buffers, which other connections need, and limited: pipelined requests, a paused body. */
void http1_wait(struct http1 *h, bool abort_on_eof);

/* The functions of struct stream_ops that do not depend on the connection's owner. */
#define HTTP1_OPS                                                                   \
	.head = http1_head, .skip_head = http1_skip_head,                           \
	.begin_body = http1_begin_body, .body = http1_body,                         \
	.end_trailers = http1_end_trailers, .space = http1_space,                   \
	.await_space = http1_await_space, .begin_block = http1_begin_block,         \
	.send_kept_head = http1_send_kept_head, .send_message = http1_send_message, \
	.send_static = http1_send_static, .send = http1_send,                       \
	.send_end = http1_send_end, .position = http1_position,                     \
	.submitted = http1_submitted, .take_back = http1_take_back,                 \
	.progress = http1_progress, .begin_tunnel = http1_begin_tunnel

enum verdict http1_head(struct stream *s, struct head *head);
void http1_skip_head(struct stream *s);
void http1_begin_body(struct stream *s, enum framing framing, uint64_t length);
enum body_event http1_body(struct stream *s, struct head *trailers, struct piece *p);
void http1_end_trailers(struct stream *s);
uint32_t http1_space(const struct stream *s);
void http1_await_space(struct stream *s);
void http1_begin_block(struct stream *s, struct field_block *b, size_t size);
bool http1_send_kept_head(struct stream *s, struct buf *head, enum framing framing,
			  uint64_t length);
bool http1_send_message(struct stream *s, struct field_block *head, struct slice body);
bool http1_send_static(struct stream *s, struct slice message);
bool http1_send(struct stream *s, struct piece *p);
bool http1_send_end(struct stream *s, struct buf *trailers);
uint64_t http1_position(const struct stream *s);
uint64_t http1_submitted(const struct stream *s);
bool http1_take_back(struct stream *s, uint64_t position);
struct stream_progress http1_progress(const struct stream *s);
void http1_begin_tunnel(struct stream *s);

#endif
