#include "reply.h"

#include <stdio.h>
#include <string.h>

#define OUT_OF_MEMORY "503 Service Unavailable\n"
#define OUT_OF_MEMORY_HEAD                                                                \
	"HTTP/1.1 503 Service Unavailable\r\n"                                            \
	"Content-Type: text/plain\r\n"                                                    \
	"Content-Length: 24\r\n"                                                          \
	"Connection: close\r\n"                                                           \
	"Retry-After: 1\r\n"                                                              \
	"Proxy-Status: fairlead; error=proxy_internal_error\r\n"                          \
	"\r\n"

/* A constant: it needs one outbox entry and no other memory. */
static bool send_out_of_memory(struct stream *down, struct reply *r)
{
	_Static_assert(sizeof(OUT_OF_MEMORY) - 1 == 24, "Content-Length");

	r->sent_bytes = r->head_only ? 0 : sizeof(OUT_OF_MEMORY) - 1;
	return stream_send_static(down,
				  r->head_only ? SLICE(OUT_OF_MEMORY_HEAD)
					       : SLICE(OUT_OF_MEMORY_HEAD OUT_OF_MEMORY));
}

static bool send_reply(struct proxy *p, struct stream *down, struct reply *r)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%d %s\n", r->status, status_phrase(r->status));
	bool has_body = r->status != 204;
	struct slice body = r->body.len > 0 ? r->body :
			    (struct slice){ line, has_body ? (size_t)n : 0 };
	const struct forward_reply head = {
		.status = r->status,
		.content_type = r->content_type.len > 0 || !has_body
					? r->content_type
					: SLICE("text/plain"),
		.has_body = has_body,
		.length = body.len,
		.close = r->close,
		.keep_alive_1_0 = r->http_1_0 && !r->close,
		.date = proxy_date(p),
		.proxy_name = SLICE("fairlead"),
		.proxy_status = slice_of(ending_proxy_error(r->ending)),
		.location = r->location,
		.allow = r->allow,
		.retry_after = r->retry_after,
	};
	struct buf *b = buf_new(io_bufs(p->tick->loop),
				forward_reply_max(&head) + body.len);
	struct sink s;

	if (!b)
		return false;
	s = sink_http1(b->data, b->size);
	forward_reply(&s, &head);
	r->sent_bytes = r->head_only ? 0 : body.len;
	emit_slice(&s.out, (struct slice){ body.ptr, r->sent_bytes });
	ASSERT(!s.out.overflow);
	b->end = (uint32_t)(s.out.at - b->data);
	return stream_send_head(down, b, FRAMING_NONE, 0);
}

bool reply_send(struct proxy *p, struct stream *down, struct reply *r)
{
	return r->ending == ENDING_NO_MEMORY ? send_out_of_memory(down, r)
					     : send_reply(p, down, r);
}
