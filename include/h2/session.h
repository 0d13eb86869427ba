/* The framing of one HTTP/2 connection (RFC 9113, HPACK): bytes in, heads, bodies and resets out,
 * and the other way round. Knows no socket, no clock and no proxy.
 *
 *   bytes received ─▶ h2_receive() ─▶ facts of streams, events->changed()
 *   h2_send_…()     ─▶ queued in the stream ─▶ h2_flush() ─▶ events->push(): bytes to be sent
 *
 * A head or a trailer section that was received is text of HTTP/1.1 (h2/block.h): it goes through
 * the parser of HTTP/1 (http/head.h), so there is one set of rules for what a message may be, and
 * nothing reaches an HTTP/1 server that an HTTP/1 client could not have sent.
 *
 * A stream (RFC 9113 5.1) of its owner embeds a struct h2_stream:
 *
 *                 head received or sent         both messages ended, or reset
 *   IDLE (zeroed) ───────────────────▶ OPEN ──────────────────────────────▶ CLOSED
 *
 *   OPEN    `received_end`: half-closed (remote); `sent_end`: half-closed (local), once the last
 *           frame of our message has been given to push()
 *   CLOSED  the session knows it no more; what was received may still be read
 *
 * Events only record: h2_receive() and h2_flush() must not be called from one, and no stream that
 * the session has may be freed in one. Bodies are not copied: a piece that was received refers to
 * the receive buffer, a large piece that is sent goes to push() as it is. Flow control is credit:
 * the peer may send again what h2_take() has given to the caller.
 *
 * Owner: the client or origin whose connection it is. Limits: struct h2_limits. Errors: a fault of
 * the peer that the protocol answers by a reset closes the stream; any other, a flood, and lack of
 * memory end the session: h2_receive() or h2_flush() returns false, and `error` says why. A GOAWAY
 * that tells the peer is queued then: the caller flushes once more and closes.
 *
 * Source: RFC 9113, RFC 7541, RFC 9218. Only this folder includes nghttp2. */
#ifndef H2_SESSION_H
#define H2_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "http/head.h"
#include "io/buf.h"

/* The first bytes of a client (RFC 9113 3.4). */
#define H2_PREFACE_BYTES 24
extern const char h2_preface[H2_PREFACE_BYTES + 1];

/* Error codes (RFC 9113 7) that callers use. */
enum h2_error {
	H2_NO_ERROR = 0x0,
	H2_PROTOCOL_ERROR = 0x1,
	H2_INTERNAL_ERROR = 0x2,
	H2_FLOW_CONTROL_ERROR = 0x3,
	H2_REFUSED_STREAM = 0x7,
	H2_CANCEL = 0x8,
	H2_ENHANCE_YOUR_CALM = 0xb,
};

/* Legal but odd things that a peer makes us work with: counted by kind. */
enum h2_oddity {
#define H2_ODDITY(name, label, text) H2_ODDITY_##name,
#include "h2/oddity.def"
#undef H2_ODDITY
	H2_ODDITIES,
};

enum h2_side { H2_SERVER, H2_CLIENT };

struct h2_limits {
	uint32_t streams;           /* most at once, of those that the peer begins */
	uint32_t window;            /* bytes of body unread, by stream; 1 … INT32_MAX */
	uint32_t connection_window; /* the same for all streams together; 65,535 or more */
	uint32_t resets;  /* how many more requests may be reset than are answered, from the
			     beginning (CVE-2023-44487, CVE-2025-8671) */
	uint32_t oddities; /* how many more oddities may come than there are requests and full
			      frames of a body */
	uint32_t queued;  /* bytes of body that wait to be sent, of all streams */
	const struct head_limits *heads; /* of heads and trailers that are received */
};

/* What the sessions of one thread share. */
struct h2_thread {
	struct slab sessions, parts, blocks;
	struct buf_pool *pool;
};

void h2_thread_init(struct h2_thread *t, struct buf_pool *pool);
void h2_thread_done(struct h2_thread *t);
void h2_thread_trim(struct h2_thread *t);

struct h2_session;
struct h2_part; /* a piece in a queue */

enum h2_stream_state { H2_STREAM_IDLE, H2_STREAM_OPEN, H2_STREAM_CLOSED };

struct h2_queue {
	struct h2_part *first, *last;
	uint32_t bytes;
};

struct h2_stream {
	struct h2_session *session; /* NULL: IDLE, or left */
	struct list starved;        /* node on session->starved */
	int32_t id;
	uint32_t error;         /* once `reset`: enum h2_error, or another code of the peer */
	struct buf *head;       /* received: text; NULL: none, or taken by the caller */
	struct buf *trailers;   /* received: text with its empty line; NULL: none */
	struct h2_queue in;     /* body received and not taken */
	struct h2_queue out;    /* body to be sent */
	struct buf *out_trailers; /* to be sent behind `out`: a block, see h2/block.h */
	uint64_t sent;          /* bytes of body given to push() */
	uint64_t length_received; /* bytes of body received */
	uint8_t state;          /* enum h2_stream_state */
	uint8_t fault;          /* enum fault of the head that is to be refused, with a status of
				   its own; its text may be missing then */
	bool received_end : 1;  /* the peer's message is whole (with what is in `in`) */
	bool end_queued : 1;    /* nothing is queued behind `out` and `out_trailers` */
	bool sent_end : 1;
	bool body_begun : 1;    /* of ours: a final head was queued */
	bool deferred : 1;      /* the library waits for h2_send() or for space */
	bool head_received : 1; /* a final one; what follows are trailers */
	bool reset : 1;         /* ended by RST_STREAM, of whichever side, or with the session */
	bool reset_by_peer : 1;
};

/* Where frames begin and end in what is received, and how many odd ones there were. */
#define H2_FRAME_HEAD 9
#define H2_RESET_IDS 32
struct h2_frames {
	uint8_t head[H2_FRAME_HEAD];
	uint8_t n;          /* bytes of `head` that were received */
	uint8_t reset_at;   /* where the next of `reset_ids` is written */
	uint32_t left;      /* bytes of the payload, or of the preface, that come before the next
			       head */
	int32_t last_id;    /* of the requests that the peer has begun */
	uint32_t allowance; /* oddities that are left: struct h2_limits */
	uint32_t oddities[H2_ODDITIES];
	int32_t reset_ids[H2_RESET_IDS]; /* the last streams that we have reset: the peer may
					    not know yet, and send more of them */
};

struct h2_events {
	/* The peer begins a request; server only. Returns a zeroed stream. NULL: no memory, or
	 * none is wanted: it is refused (REFUSED_STREAM: the peer may repeat it). */
	struct h2_stream *(*opened)(struct h2_session *s);
	/* Facts of an open stream have changed: something was received, it was reset, or the
	 * queue `out` has become shorter. It may be CLOSED now. */
	void (*changed)(struct h2_stream *stream);
	/* Bytes to be sent; takes over the piece. False: no memory; the session ends. */
	bool (*push)(struct h2_session *s, struct piece *p);
	/* How many bytes push() takes now; 0: none, h2_flush() returns. */
	uint32_t (*space)(const struct h2_session *s);
};

struct h2_session {
	struct h2_thread *thread;
	void *owner;
	const struct h2_events *events;
	const struct h2_limits *limits;
	struct nghttp2_session *library;
	struct block *block;    /* that is being received; NULL: none */
	struct h2_stream *block_of; /* its stream; NULL: nobody's, decoded and dropped */
	struct list starved;    /* streams with a body for which there was no space */
	struct buf *gathered;   /* frames to be pushed as one piece */
	struct buf *receiving;  /* the buffer of the present h2_receive() */
	uint32_t streams;       /* open ones, with those that are being torn down */
	uint32_t queued;        /* bytes in all queues `out` */
	uint32_t budget;        /* resets that are left: struct h2_limits */
	struct h2_frames frames;
	uint32_t requests;      /* begun in either direction */
	uint32_t resets_received, resets_sent;
	int32_t last_id;        /* of GOAWAY received; INT32_MAX: none */
	uint32_t goaway_error;  /* that it stated */
	uint32_t error;         /* enum h2_error, once the session has failed */
	uint8_t side;           /* enum h2_side */
	bool secured : 1;       /* the connection has TLS: the scheme is https */
	bool failed : 1;
	bool goaway_received : 1;
	bool settings_received : 1;
	bool draining : 1;      /* h2_drain() */
};

/* Begins a session; its SETTINGS are sent by the next h2_flush(). The caller sets `secured`. NULL:
 * no memory. */
struct h2_session *h2_new(struct h2_thread *t, enum h2_side side,
			  const struct h2_events *events, const struct h2_limits *limits,
			  void *owner);

/* Every stream was left before. */
void h2_free(struct h2_session *s);

/* Takes bytes that were received, all of them. `buf` holds them; pieces of bodies refer to it.
 * False: the session has failed; nothing more may be received. */
bool h2_receive(struct h2_session *s, struct buf *buf, struct slice bytes) MUST_USE;

/* Gives what is queued to events->push(), as far as there is space. False: the session has
 * failed. */
bool h2_flush(struct h2_session *s) MUST_USE;

/* h2_flush() has something to do. */
bool h2_wants_flush(const struct h2_session *s);

/* ---- streams ----------------------------------------------------------------- */

/* Client: begins a request with this head (h2/block.h), whose reference is taken over. `end`: it
 * has no body. False: no memory, or the session takes no more requests. */
bool h2_request(struct h2_session *s, struct h2_stream *stream, struct buf *head, bool end);

/* Client: how many more requests the peer takes at present. */
uint32_t h2_streams_free(const struct h2_session *s);

/* Server: queues a head, whose reference is taken over; status 1xx: another one follows. `end`:
 * no body follows. False: no memory; the stream is reset. */
bool h2_respond(struct h2_stream *stream, struct buf *head, bool interim, bool end);

/* Queues a part of the body, also before its head; takes over the piece. False: no memory. */
bool h2_send(struct h2_stream *stream, struct piece *p);

/* The body is whole. `trailers`: a block, whose reference is taken over, or NULL. */
void h2_send_end(struct h2_stream *stream, struct buf *trailers);

/* Before the head was queued: drops the body, and its end, that were. */
void h2_unsend(struct h2_stream *stream);

/* How many bytes of body may be queued now; 0: wait for events->changed(). The last piece may be
 * larger. A stream with nothing queued may always queue a piece, so that none stands still because
 * the peer does not read another. */
uint32_t h2_send_space(const struct h2_stream *stream);

/* Body is queued, but the peer has given no credit to send it. */
bool h2_send_stalled(const struct h2_stream *stream);

/* Takes the next piece of the body, at most `max` bytes, and lets the peer send as many again.
 * An empty piece: nothing is there. */
struct piece h2_take(struct h2_stream *stream, uint32_t max);

/* Drops what waits in `in`, and lets the peer send as much again. */
void h2_discard(struct h2_stream *stream);

/* Copies what waits in `in` from receive buffers, which other connections need. */
void h2_compact(struct h2_stream *stream);

/* The owner leaves the stream: what is not sent is dropped, what was received is given back to the
 * connection's window. If it is open, it is reset with this code. Then it may be freed. */
void h2_leave(struct h2_stream *stream, uint32_t error);

/* ---- the connection ---------------------------------------------------------- */

/* Server. Tells the client that no more requests will be served (RFC 9113 6.8): first that it is
 * going to be so, then, by h2_drain_end(), which was the last one. */
void h2_drain(struct h2_session *s);
void h2_drain_end(struct h2_session *s);

/* Ends the session: GOAWAY with this code. */
void h2_fail(struct h2_session *s, uint32_t error);

/* Client: asks whether the peer is alive. An answer shows as bytes received. */
void h2_ping(struct h2_session *s);

#endif
