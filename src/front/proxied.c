#include "proxied.h"

#include <string.h>

const struct proxy_header *client_proxy_header(const struct client *c)
{
	return !c->context_waits && c->proxy_header ? (const void *)c->proxy_header->data
						    : NULL;
}

/* A copy of the header, behind what was read of it. NULL: no memory. */
static struct buf *header_copy(struct client *c, const char *bytes, uint32_t n)
{
	struct proxy_header *h;
	struct buf *b = buf_new(io_bufs(c->front->tick->loop), sizeof(*h) + n);
	enum verdict v;

	if (!b)
		return NULL;
	h = (void *)b->data;
	v = proxy_header_parse(h, memcpy(b->data + sizeof(*h), bytes, n), n);
	ASSERT(v == VERDICT_OK);
	return b;
}

/* The header may lie in several receive buffers. */
static enum verdict header_parse(struct client *c, struct proxy_header *h)
{
	struct slice bytes = conn_peek(&c->conn);
	enum verdict v = proxy_header_parse(h, bytes.ptr, bytes.len);

	if (v != VERDICT_MORE || c->conn.inbox_bytes == bytes.len)
		return v;
	if (!conn_linearize(&c->conn, PROXY_HEADER_MAX))
		return VERDICT_BAD;
	bytes = conn_peek(&c->conn);
	return proxy_header_parse(h, bytes.ptr, bytes.len);
}

enum verdict proxied_read(struct client *c, struct buf **kept)
{
	struct proxy_header h;
	enum verdict v = header_parse(c, &h);

	*kept = NULL;
	if (v != VERDICT_OK)
		return v;
	if (!h.local) {
		*kept = header_copy(c, conn_peek(&c->conn).ptr, h.bytes);
		if (!*kept)
			return VERDICT_BAD;
		c->peer = h.source;
	}
	conn_consume(&c->conn, h.bytes);
	return VERDICT_OK;
}
