#include "reply.h"

#define OUT_OF_MEMORY "503 Service Unavailable\n"
#define OUT_OF_MEMORY_HEAD                                                                \
	"HTTP/1.1 503 Service Unavailable\r\n"                                            \
	"Content-Type: text/plain\r\n"                                                    \
	"Content-Length: 24\r\n"                                                          \
	"Connection: close\r\n"                                                           \
	"Retry-After: 1\r\n"                                                              \
	"Proxy-Status: fairlead; error=proxy_internal_error\r\n"                          \
	"\r\n"

_Static_assert(sizeof(OUT_OF_MEMORY) - 1 == REPLY_OUT_OF_MEMORY_BODY_BYTES,
	       "Content-Length");

const struct slice reply_out_of_memory = { OUT_OF_MEMORY_HEAD OUT_OF_MEMORY,
					   sizeof(OUT_OF_MEMORY_HEAD OUT_OF_MEMORY) - 1 };

static struct reply *reply_of(struct source *s)
{
	return CONTAINER(s, struct reply, source);
}

/* "404 Not Found\n". Empty: no phrase is known. */
static struct slice status_text(int status)
{
	switch (status) {
#define STATUS(code, phrase) \
	case code:           \
		return SLICE(#code " " phrase "\n");
#include "http/status.def"
#undef STATUS
	}
	return SLICE("");
}

static bool has_body(const struct reply *r)
{
	return r->status != 204;
}

static void step_reply(struct source *s)
{
	(void)s; /* nothing happens to it */
}

/* The fields are those of reply_send_head(). */
static enum verdict reply_head(struct source *s, struct head *h)
{
	const struct reply *r = reply_of(s);

	h->status = r->status;
	h->framing = has_body(r) ? FRAMING_LENGTH : FRAMING_NONE;
	h->length = r->body.len;
	h->field_n = 0;
	return VERDICT_OK;
}

static bool reply_send_head(struct source *s, struct stream *down, const struct head *h,
			    struct forward_response *f)
{
	const struct reply *r = reply_of(s);
	const struct forward_reply head = {
		.status = h->status,
		.content_type = r->content_type.len > 0 || !has_body(r)
					? r->content_type
					: SLICE("text/plain"),
		.has_body = has_body(r),
		.length = h->length,
		.close = f->close,
		.keep_alive_1_0 = f->keep_alive_1_0,
		.date = f->date,
		.proxy_name = SLICE("fairlead"),
		.proxy_status = slice_of(ending_proxy_error(r->ending)),
		.location = r->location,
		.allow = r->allow,
		.retry_after = r->retry_after,
		.challenge = r->challenge,
		.changes = f->changes,
		.own = f->own,
		.own_n = f->own_n,
	};
	struct field_block b;

	stream_begin_block(down, &b, forward_reply_max(&head));
	forward_reply(&b.sink, &head);
	return stream_send_head(down, &b, f->framing, f->length);
}

static void reply_take_head(struct source *s, const struct head *h, enum framing framing)
{
	struct reply *r = reply_of(s);

	ASSERT(h->status == r->status);
	if (framing == FRAMING_NONE)
		piece_put(&r->body);
}

static enum body_event reply_body(struct source *s, struct head *trailers,
				  struct piece *p)
{
	struct reply *r = reply_of(s);

	(void)trailers;
	if (r->body.len == 0)
		return BODY_END;
	*p = r->body;
	r->body = (struct piece){ NULL, NULL, 0 };
	return BODY_DATA;
}

static void reply_end_trailers(struct source *s)
{
	(void)s;
	ASSERT(false); /* a reply has none */
}

static void reply_set_stalled(struct source *s, bool stalled)
{
	(void)s;
	(void)stalled;
}

static const char *reply_server(const struct source *s)
{
	(void)s;
	return NULL; /* none has responded */
}

static unsigned reply_attempts(const struct source *s)
{
	(void)s;
	return 0;
}

static void check_reply(const struct source *s)
{
	const struct reply *r = CONTAINER(s, const struct reply, source);

	ASSERT(s->ending == 0 && r->status >= 200);
	ASSERT(has_body(r) || r->body.len == 0);
}

static void reply_free(struct source *s)
{
	piece_put(&reply_of(s)->body);
}

static const struct source_ops reply_ops = {
	.step = step_reply,
	.head = reply_head,
	.send_head = reply_send_head,
	.take_head = reply_take_head,
	.body = reply_body,
	.end_trailers = reply_end_trailers,
	.set_stalled = reply_set_stalled,
	.server = reply_server,
	.attempts = reply_attempts,
	.check = check_reply,
	.free = reply_free,
};

struct source *reply_source(struct reply *r)
{
	struct slice text;

	r->source = (struct source){ .ops = &reply_ops };
	if (r->body.len == 0 && !r->body_given && has_body(r)) {
		text = status_text(r->status);
		ASSERT(text.len > 0);
		r->body = (struct piece){ NULL, text.ptr, (uint32_t)text.len };
	}
	check_reply(&r->source);
	return &r->source;
}
