/* One request and its response on a connection, whatever the version of HTTP.
 *
 * On HTTP/1 a connection has one stream, which serves its requests one after the other
 * (message/http1.h). Its user is the exchange (a client's stream) or the attempt (a server's).
 *
 *   IDLE ────────▶ OPEN ────────▶ IDLE     complete, and another request may follow
 *                   │ │ 101
 *                   │ └──▶ TUNNEL ──┐
 *                   ▼               ▼
 *   any ─────────▶ CLOSED ◀─────────┘      no more requests
 *
 *   IDLE     no request is in progress
 *   OPEN     has a request. `received`: the peer's message was read whole (half-closed
 *            (remote) in RFC 9113 5.1); `sent`: ours was queued whole (half-closed (local))
 *   TUNNEL   bytes in both directions, as a body of unknown length each; stream_send_end()
 *            ends one direction
 *
 * Events only record: the facts below are set, and the user's task is run. The user then reads
 * at its own pace. Flow control is credit: a user takes no more from one stream than
 * stream_space() of the other allows.
 *
 * A user asks for events in its step: bytes, the end of the peer and failures always run its
 * task, space only after stream_await_space().
 *
 * Owner: the client or origin whose connection it is on. Limits: those of the connection's
 * inbox and outbox. Errors: stream_lost(), `timed_out`, a verdict or body event with `fault`, false
 * for lack of memory. stream_check() asserts what holds in each state. */
#ifndef MESSAGE_STREAM_H
#define MESSAGE_STREAM_H

#include "http/body.h"
#include "http/head.h"
#include "message/fieldblock.h"
#include "net/deadline.h"

struct stream;

enum stream_state { STREAM_IDLE, STREAM_OPEN, STREAM_TUNNEL, STREAM_CLOSED };

enum stream_abort {
	STREAM_INCOMPLETE, /* the response is not whole, and the peer must see that */
	STREAM_UNWANTED,   /* the peer has left before a response began */
};

/* For deadlines, and to know what is left. */
struct stream_progress {
	uint64_t received_ms; /* when bytes were last received */
	uint64_t sent_ms;     /* when the peer last took bytes, or a send was started */
	uint64_t unsent;      /* bytes queued that the kernel has not taken yet */
	bool unread;          /* bytes were received that were not read */
};

/* What a version of HTTP implements. The functions below have the promises. */
struct stream_ops {
	enum verdict (*head)(struct stream *s, struct head *h);
	void (*skip_head)(struct stream *s);
	void (*begin_body)(struct stream *s, enum framing framing, uint64_t length);
	enum body_event (*body)(struct stream *s, struct head *trailers, struct piece *p);
	void (*end_trailers)(struct stream *s);

	uint32_t (*space)(const struct stream *s);
	void (*await_space)(struct stream *s);
	void (*begin_block)(struct stream *s, struct field_block *b, size_t size);
	bool (*send_kept_head)(struct stream *s, struct buf *head, enum framing framing,
			       uint64_t length);
	bool (*send_message)(struct stream *s, struct field_block *head,
			     struct slice body);
	bool (*send_static)(struct stream *s, struct slice message);
	bool (*send)(struct stream *s, struct piece *p);
	bool (*send_end)(struct stream *s, struct buf *trailers);

	uint64_t (*position)(const struct stream *s);
	uint64_t (*submitted)(const struct stream *s);
	bool (*take_back)(struct stream *s, uint64_t position);
	struct stream_progress (*progress)(const struct stream *s);
	void (*begin_tunnel)(struct stream *s);

	/* Of clients' streams only. A leased stream ends with its lease. */
	bool (*may_keep_alive)(const struct stream *s);
	bool (*discard_body)(struct stream *s);
	void (*wait)(struct stream *s, bool abort_on_eof);
	void (*finish)(struct stream *s, bool keep_alive);
	void (*abort)(struct stream *s, enum stream_abort reason);
};

struct stream {
	const struct stream_ops *ops;
	struct task *task; /* of the user, which it is part of; run on events. NULL: no user */
	const struct head_limits *limits; /* of the heads and trailers to be read */
	struct deadline deadline;
	uint64_t since_ms; /* when body_awaited began; of a client's, also when its state began */
	uint32_t uses;             /* how many users it has had, with the present one */
	uint8_t state;             /* enum stream_state */
	uint8_t fault;             /* enum fault, after BODY_BAD */
	bool eof : 1;              /* the peer has finished sending; it may still read */
	bool receive_failed : 1;   /* nothing more comes */
	bool send_failed : 1; /* nothing that is sent reaches the peer; it may still have sent
				    a response before */
	bool timed_out : 1;    /* its deadline has passed */
	bool received : 1;     /* the peer's message was read whole */
	bool sent : 1;         /* our message was queued whole */
	bool body_flowing : 1; /* the body is being read; else what was received waits */
	bool body_awaited : 1; /* more of the body is wanted than was received */
	bool abort_on_eof : 1; /* its user wants to know of the peer's end at once, although
				  unread bytes may hide it */
};

/* ---- of its owner --------------------------------------------------------- */

/* In STREAM_IDLE, on a connection that is open. `rules`, `owner`: of the deadline. */
void stream_init(struct stream *s, const struct stream_ops *ops, struct conn *c,
		 const struct deadline_rules *rules, void *owner);

/* Changes the state, and asserts that the diagram above allows it. */
void stream_set_state(struct stream *s, enum stream_state state);

/* The stream belongs to the user with this task until stream_release(). */
void stream_use(struct stream *s, struct task *task);

/* The user has ended or leaves the stream: its task is not run on events any more. The user stops
 * its task itself. */
void stream_release(struct stream *s);

/* Asserts what holds between two steps in each state. */
void stream_check(const struct stream *s);

/* ---- the message that is received ----------------------------------------- */

/* Reads the next head of a response, interim ones (1xx) included. Its slices are valid until
 * it is consumed. VERDICT_MORE: none was received whole; see `eof`, `receive_failed`. */
static inline enum verdict stream_head(struct stream *s, struct head *h)
{
	return s->ops->head(s, h);
}

/* Consumes the head of an interim response: another one follows. */
static inline void stream_skip_head(struct stream *s)
{
	s->ops->skip_head(s);
}

/* Consumes the head. A body with this framing follows; `length` in bytes, for
 * FRAMING_LENGTH. */
static inline void stream_begin_body(struct stream *s, enum framing framing,
				     uint64_t length)
{
	s->ops->begin_body(s, framing, length);
}

/* Reads the next part of the body; see reader_body(). BODY_BAD: s->fault says why. */
static inline enum body_event stream_body(struct stream *s, struct head *trailers,
					  struct piece *p)
{
	return s->ops->body(s, trailers, p);
}

/* Consumes the trailers of BODY_TRAILERS. */
static inline void stream_end_trailers(struct stream *s)
{
	s->ops->end_trailers(s);
}

/* The receiver of the body is not ready: until the next stream_body() what was received
 * waits in little memory, and no time runs for the peer. */
static inline void stream_pause_body(struct stream *s)
{
	s->body_flowing = s->body_awaited = false;
}

/* ---- the message that is sent ---------------------------------------------- */

/* How many bytes may be queued now; the last piece may exceed that. 0: none. */
static inline uint32_t stream_space(const struct stream *s)
{
	return s->ops->space(s);
}

/* There is no space: the task is run when there is some. */
static inline void stream_await_space(struct stream *s)
{
	s->ops->await_space(s);
}

/* Begins a head or a trailer section: forward_response() and its like write its fields to b->sink.
 * `size`: in bytes, as forward_response_max() and its like return it. One of the functions below
 * ends it in the same step; until then no other block of the connection is begun. */
static inline void stream_begin_block(struct stream *s, struct field_block *b,
				      size_t size)
{
	s->ops->begin_block(s, b, size);
}

/* Queues a head that was written before (upstream_begin_block()), and takes over the reference;
 * a body in this framing follows. False: out of memory. */
static inline bool stream_send_kept_head(struct stream *s, struct buf *head,
					 enum framing framing, uint64_t length)
{
	return s->ops->send_kept_head(s, head, framing, length);
}

/* Ends a head and queues it; a body in this framing follows. Also for interim responses, with
 * FRAMING_NONE. False: out of memory. */
static inline bool stream_send_head(struct stream *s, struct field_block *head,
				    enum framing framing, uint64_t length)
{
	struct buf *bytes = field_block_end(head);

	return bytes && stream_send_kept_head(s, bytes, framing, length);
}

/* Ends a head and queues it with its whole body, which is copied and may be empty; the block was
 * begun with space for both. False: out of memory. */
static inline bool stream_send_message(struct stream *s, struct field_block *head,
				       struct slice body)
{
	return s->ops->send_message(s, head, body);
}

/* Queues a complete message in static memory. False: out of memory. */
static inline bool stream_send_static(struct stream *s, struct slice message)
{
	return s->ops->send_static(s, message);
}

/* Queues a part of the body, and takes over the piece. stream_space() was more than 0. False:
 * out of memory, or more bytes than declared. */
static inline bool stream_send(struct stream *s, struct piece *p)
{
	return s->ops->send(s, p);
}

/* Ends the body. `trailers` (may be NULL): field_block_end() of a trailer section, whose reference
 * is taken over; dropped unless the framing has trailers. False: out of memory, or fewer bytes
 * than declared. */
static inline bool stream_send_end(struct stream *s, struct buf *trailers)
{
	return s->ops->send_end(s, trailers);
}

/* The position of the next byte to be queued; the position up to which bytes were given to the
 * kernel. For the log: both count from the same start. */
static inline uint64_t stream_position(const struct stream *s)
{
	return s->ops->position(s);
}

static inline uint64_t stream_submitted(const struct stream *s)
{
	return s->ops->submitted(s);
}

/* Removes everything queued from this position on. False: too late, some of it was given to the
 * kernel; nothing is removed. */
static inline bool stream_take_back(struct stream *s, uint64_t position)
{
	return s->ops->take_back(s, position);
}

/* After a 101, both messages are whole: STREAM_TUNNEL. */
static inline void stream_begin_tunnel(struct stream *s)
{
	s->ops->begin_tunnel(s);
}

static inline struct stream_progress stream_progress(const struct stream *s)
{
	return s->ops->progress(s);
}

/* Our message was sent whole: nothing of it waits for the kernel. */
static inline bool stream_end_sent(const struct stream *s)
{
	return s->sent && s->ops->progress(s).unsent == 0;
}

/* ---- the state of the stream ------------------------------------------------ */

/* The connection or the stream failed. */
static inline bool stream_lost(const struct stream *s)
{
	return s->receive_failed || s->send_failed;
}

/* Neither lost nor timed out: the peer takes what is sent to it. */
static inline bool stream_responsive(const struct stream *s)
{
	return !stream_lost(s) && !s->timed_out;
}

/* ---- a client's stream ------------------------------------------------------ */

/* Nothing prevents another request after this one, as far as is known before its body was read
 * (stream_discard_body()). */
static inline bool stream_may_keep_alive(const struct stream *s)
{
	return s->ops->may_keep_alive(s);
}

/* Discards what was received of the rest of the request's body, unless no other request can
 * follow anyway. True: that was all of it, and another one may follow. */
static inline bool stream_discard_body(struct stream *s)
{
	return s->ops->discard_body(s);
}

/* The end of a step of a user that has not ended: it waits for events. */
static inline void stream_wait(struct stream *s, bool abort_on_eof)
{
	s->ops->wait(s, abort_on_eof);
}

/* The response was queued completely: the user has ended. `keep_alive`: the response said that
 * another request may follow. */
static inline void stream_finish(struct stream *s, bool keep_alive)
{
	s->ops->finish(s, keep_alive);
}

/* The user has ended early. What was queued is still sent. */
static inline void stream_abort(struct stream *s, enum stream_abort reason)
{
	s->ops->abort(s, reason);
}

#endif
