/* The streams of an HTTP/2 connection: each is a struct stream (message/stream.h), so its user
 * does not know the version.
 *
 *   conn ─▶ http2_receive() ─▶ h2/session.h ─▶ facts of streams, their users' tasks run
 *   users queue ─▶ tick->flushes ─▶ one h2_flush() for all streams ─▶ conn
 *
 * What users queue in a tick leaves together: the session is asked for frames once, after all
 * tasks of the tick, so one record and one send have them all.
 *
 * A head waits in its stream until then (`head`), so that it can be taken back
 * (stream_take_back()).
 *
 * Owner: the client or origin whose connection it is. Its conn_events.changed calls nothing here:
 * the owner's task calls http2_receive(). Limits: h2/session.h; `streams` of them, those included
 * whose user has ended and whose last frames wait. Errors: of a stream: those of stream.h; of the
 * connection: http2_receive() returns false. Source: RFC 9113. */
#ifndef MESSAGE_HTTP2_H
#define MESSAGE_HTTP2_H

#include "h2/session.h"
#include "message/stream.h"

struct http2;

struct http2_stream {
	struct stream stream;
	struct h2_stream h2;
	struct http2 *http2;
	struct list node;      /* on http2->streams */
	struct list ready;     /* on http2->ready */
	struct timer timer;    /* computes the stream's deadline when it fires */
	struct buf *head;      /* to be sent: a block that the session has not got yet */
	uint64_t queued;       /* position: bytes of heads and bodies that were queued */
	uint64_t head_bytes;   /* of those: of heads that the session has */
	uint64_t left;         /* bytes of the declared length that are still to be queued */
	uint64_t received_ms;
	uint64_t sent_ms;      /* when the client last gave credit for bytes that were sent, or
				  bytes began to wait */
	uint64_t sent_seen;    /* h2.sent at that time */
	uint8_t framing;       /* enum framing of the message that is sent */
	bool announced : 1;    /* the owner has been told of its head */
	bool head_ends : 1;    /* `head` is the whole message */
	bool space_awaited : 1;
	bool user_left : 1;    /* the user has ended; frees itself when its last frame was sent */
};

struct http2_events {
	/* A client's request has come: call http2_request(). */
	void (*request)(struct http2 *h, struct http2_stream *s);
	/* The number of streams has become 0, or is not 0 any more. */
	void (*busy)(struct http2 *h, bool any);
};

/* What the HTTP/2 connections of one thread share. */
struct http2_thread {
	struct h2_thread h2;
	struct slab connections, streams;
};

struct http2 {
	struct h2_session *session;
	struct http2_thread *thread;
	struct conn *conn;
	struct task *owner;       /* run when http2_serve() has something to do */
	const struct http2_events *events;
	const struct stream_ops *ops;
	const struct deadline_rules *rules;
	const struct head_limits *limits;
	const struct h2_limits *h2_limits;
	void *user;               /* the client or origin */
	struct task flush;        /* on tick->flushes */
	struct list streams;      /* all that the session has, and those of users */
	struct list ready;        /* streams whose request is to be read, or that are to be freed */
	uint32_t n;               /* length of `streams` */
	uint64_t block_since_ms;  /* when the header block that is being received began; 0: none
				     is */
	uint32_t awaiting;        /* of those: whose users await space */
};

void http2_thread_init(struct http2_thread *t, struct buf_pool *pool);
void http2_thread_done(struct http2_thread *t);
void http2_thread_trim(struct http2_thread *t);

/* Begins a session on a connection that is open. NULL: no memory. */
struct http2 *http2_new(struct http2_thread *t, enum h2_side side, struct conn *c,
			const struct http2_events *events, const struct stream_ops *ops,
			const struct deadline_rules *rules, const struct head_limits *heads,
			const struct h2_limits *limits, struct task *owner, void *user);

/* The connection is dead or closes, and no stream has a user. */
void http2_free(struct http2 *h);

/* Gives the session all that is in the inbox, then tells of requests and frees streams. False: the
 * session has failed or is over: what is queued (GOAWAY) is in the outbox. */
bool http2_serve(struct http2 *h);

/* Parses the request of a stream that events->request() was told of. VERDICT_BAD: h->fault. */
enum verdict http2_request(struct http2_stream *s, struct head *h);

/* Every stream that has a user fails: the connection has. */
void http2_fail_streams(struct http2 *h);

/* The connection closes: no stream has more requests. */
void http2_close_streams(struct http2 *h);

/* The user has ended. `whole`: what was queued is sent; else the stream is reset with `error`. */
void http2_leave(struct http2_stream *s, bool whole, uint32_t error);

/* The deadline of a stream has passed: its user is told; without one it is reset. */
void http2_time_out(struct http2_stream *s);

/* The deadline of this stream may be due at this time. */
void http2_bound(struct http2_stream *s, uint64_t due_ms);

/* The user of a stream awaits space, or does not any more. */
void http2_set_awaiting(struct http2_stream *s, bool awaiting);

/* Frames are queued: they are sent at the end of the tick. */
void http2_wants_flush(struct http2 *h);

static inline struct http2_stream *http2_of(struct stream *s)
{
	return CONTAINER(s, struct http2_stream, stream);
}

/* The functions of struct stream_ops that do not depend on the connection's owner. */
#define HTTP2_OPS                                                                   \
	.head = http2_head, .skip_head = http2_skip_head,                           \
	.begin_body = http2_begin_body, .body = http2_body,                         \
	.end_trailers = http2_end_trailers, .space = http2_space,                   \
	.await_space = http2_await_space, .begin_block = http2_begin_block,         \
	.send_kept_head = http2_send_kept_head, .send_message = http2_send_message, \
	.send_static = http2_send_static, .send = http2_send,                       \
	.send_end = http2_send_end, .position = http2_position,                     \
	.submitted = http2_submitted, .take_back = http2_take_back,                 \
	.progress = http2_progress, .begin_tunnel = http2_begin_tunnel

enum verdict http2_head(struct stream *s, struct head *head);
void http2_skip_head(struct stream *s);
void http2_begin_body(struct stream *s, enum framing framing, uint64_t length);
enum body_event http2_body(struct stream *s, struct head *trailers, struct piece *p);
void http2_end_trailers(struct stream *s);
uint32_t http2_space(const struct stream *s);
void http2_await_space(struct stream *s);
void http2_begin_block(struct stream *s, struct field_block *b, size_t size);
bool http2_send_kept_head(struct stream *s, struct buf *head, enum framing framing,
			  uint64_t length);
bool http2_send_message(struct stream *s, struct field_block *head, struct slice body);
bool http2_send_static(struct stream *s, struct slice message);
bool http2_send(struct stream *s, struct piece *p);
bool http2_send_end(struct stream *s, struct buf *trailers);
uint64_t http2_position(const struct stream *s);
uint64_t http2_submitted(const struct stream *s);
bool http2_take_back(struct stream *s, uint64_t position);
struct stream_progress http2_progress(const struct stream *s);
void http2_begin_tunnel(struct stream *s);

#endif
