/* What a response is read from: a fetch (fetch.h), a value of memcached (value.h), a reply of our
 * own (reply.h). The reader of a response (relay.h, a join) does not ask which.
 *
 *   source_head() ─▶ source_take_head() ─▶ source_body() … BODY_END     one response
 *     ▲     │1xx           │
 *     └─────┴──────────────┘
 *
 * Bodies are pulled: nothing is handed out before the reader asks, so a reader without space for
 * more just does not ask. A source may read from another one, to change what passes.
 *
 * Events run the waiter that the source was made with; then its reader calls source_step(), and
 * head() and body() find what has happened. A source that has failed says why in `ending`, and
 * reports it with every further call.
 *
 * Owner: the reader that has the pointer, until source_free(). Implementations embed a struct
 * source and set `ops`. */
#ifndef PROXY_SOURCE_H
#define PROXY_SOURCE_H

#include "http/body.h"
#include "http/forward.h"
#include "http/head.h"
#include "message/stream.h"

struct source;

struct source_ops {
	void (*step)(struct source *s);
	enum verdict (*head)(struct source *s, struct head *h);
	bool (*send_head)(struct source *s, struct stream *down, const struct head *h,
			  struct forward_response *r);
	void (*take_head)(struct source *s, const struct head *h, enum framing framing);
	enum body_event (*body)(struct source *s, struct head *trailers, struct piece *p);
	void (*end_trailers)(struct source *s);
	void (*set_stalled)(struct source *s, bool stalled);
	const char *(*server)(const struct source *s);
	unsigned (*attempts)(const struct source *s);
	void (*check)(const struct source *s);
	void (*free)(struct source *s);
};

struct source {
	const struct source_ops *ops;
	uint8_t ending; /* enum ending: why it has failed; 0: it has not */
};

/* Handles the events recorded since the last step. */
static inline void source_step(struct source *s)
{
	s->ops->step(s);
}

/* Reads the head of the next response, interim ones (1xx) included. Its slices are valid until
 * source_take_head(). VERDICT_BAD: the source has failed. VERDICT_MORE: none yet. */
static inline MUST_USE enum verdict source_head(struct source *s, struct head *h)
{
	return s->ops->head(s, h);
}

/* Sends the head that source_head() has read to the client's stream: with the fields that `r`
 * asks for and those that the source adds. Sets r->via. False: out of memory. */
static inline bool source_send_head(struct source *s, struct stream *down,
				    const struct head *h, struct forward_response *r)
{
	return s->ops->send_head(s, down, h, r);
}

/* Consumes the head read by source_head(). `framing`: of the response's body. */
static inline void source_take_head(struct source *s, const struct head *h,
				    enum framing framing)
{
	s->ops->take_head(s, h, framing);
}

/* The next piece of the body of a final response. BODY_MORE: none yet. BODY_BAD: the source has
 * failed. */
static inline enum body_event source_body(struct source *s, struct head *trailers,
					  struct piece *p)
{
	return s->ops->body(s, trailers, p);
}

/* Consumes the trailers of BODY_TRAILERS. */
static inline void source_end_trailers(struct source *s)
{
	s->ops->end_trailers(s);
}

/* `stalled`: the response is not read for now, so the source is not late meanwhile. */
static inline void source_set_stalled(struct source *s, bool stalled)
{
	s->ops->set_stalled(s, stalled);
}

/* The name of the server whose head source_head() has read, for the log; NULL: none. Called before
 * source_take_head(); the name is valid until the end of the tick in which the response ends. */
static inline const char *source_server(const struct source *s)
{
	return s->ops->server(s);
}

/* Requests that were sent, or prepared, to servers and caches so far. */
static inline unsigned source_attempts(const struct source *s)
{
	return s->ops->attempts(s);
}

/* Asserts what holds between two steps. */
static inline void source_check(const struct source *s)
{
	s->ops->check(s);
}

/* In any state. The memory stays valid until the end of the tick. Sets *slot to NULL, which it may
 * be before. */
static inline void source_free(struct source **slot)
{
	struct source *s = *slot;

	*slot = NULL;
	if (s)
		s->ops->free(s);
}

#endif
