/* What connections to an upstream with `proxy_protocol` begin with. */
#include <string.h>

#include "proxy/action.h"

/* The client's connection: the one that ends here, or what a trusted proxy has stated of the one
 * that ends there. */
static struct proxy_header connection_of(const struct client *c)
{
	const struct proxy_header *stated = client_proxy_header(c);
	struct proxy_header h = { .source = c->peer };
	struct sockaddr_storage local;

	if (stated)
		return *stated;
	io_local_address(c->front->tick->loop, c->conn.fd, &local);
	peer_from(&h.destination, &local);
	return h;
}

static struct buf *header_write(struct buf_pool *bufs, const struct proxy_header *h,
				enum config_proxy_protocol version)
{
	char bytes[PROXY_HEADER_WRITE_MAX];
	size_t n = version == CONFIG_PROXY_V1 ? proxy_header_write_v1(h, bytes)
					      : proxy_header_write_v2(h, bytes);
	struct buf *b = buf_new(bufs, n);

	if (!b)
		return NULL;
	memcpy(b->data, bytes, n);
	b->begin = 0;
	b->end = (uint32_t)n;
	return b;
}

bool action_preamble(struct exchange *x, unsigned upstream, struct buf **preamble)
{
	enum config_proxy_protocol version =
		x->generation->config->upstreams[upstream].proxy_protocol;
	struct proxy_header h;

	*preamble = NULL;
	if (version == CONFIG_PROXY_OFF)
		return true;
	h = connection_of(x->client);
	*preamble = header_write(io_bufs(x->proxy->tick->loop), &h, version);
	return *preamble != NULL;
}
