#include "reply.h"

#include <stdio.h>
#include <string.h>

bool reply_send(struct proxy *p, struct client *c, struct reply *r)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%d %s\n", r->status, status_phrase(r->status));
	struct slice body = r->body.len > 0 ? r->body : (struct slice){ line, (size_t)n };
	struct buf *b = buf_new(io_bufs(p->tick->loop),
				EMIT_EXTRA + body.len + r->location.len + r->allow.len);
	struct emit e;

	if (!b)
		return false;
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_reply(&e, &(struct emit_reply){
		.status = r->status,
		.content_type = r->content_type.len > 0 ? r->content_type : SLICE("text/plain"),
		.has_body = true,
		.length = body.len,
		.close = r->close,
		.keep_alive_1_0 = r->minor_0 && !r->close,
		.date = proxy_date(p),
		.proxy_name = SLICE("fairlead"),
		.proxy_status = slice_of(ending_proxy_error(r->ending)),
		.location = r->location,
		.allow = r->allow,
	});
	r->sent_bytes = r->head_only ? 0 : body.len;
	emit_slice(&e, (struct slice){ body.ptr, r->sent_bytes });
	ASSERT(!e.overflow);
	b->end = (uint32_t)(e.at - b->data);
	return writer_begin(&c->writer, &c->conn, b, FRAMING_NONE, 0);
}
