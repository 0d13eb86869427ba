/* What connections to an upstream with `proxy_protocol` begin with. */
#include <string.h>

#include "clienttls.h"
#include "proxy/action.h"

/* The length of the first attribute: up to a comma that is not escaped. */
static size_t attribute_length(struct slice subject)
{
	size_t n = 0;

	while (n < subject.len && subject.ptr[n] != ',')
		n += subject.ptr[n] == '\\' && n + 1 < subject.len ? 2 : 1;
	return n;
}

/* The CN of a subject as RFC 2253 writes it, if it is a plain text; empty: there is none. */
static struct slice common_name(struct slice subject)
{
	while (subject.len > 0) {
		size_t n = attribute_length(subject);
		bool comma = n < subject.len;

		if (slice_starts(subject, SLICE("CN="))) {
			subject.len = n;
			return memchr(subject.ptr, '\\', n) ? SLICE("")
							    : slice_after(subject, 3);
		}
		subject = slice_after(subject, comma ? n + 1 : n);
	}
	return subject;
}

/* The client's connection: the one that ends here, or what a trusted proxy has stated of the one
 * that ends there. */
static struct proxy_header connection_of(const struct client *c)
{
	const struct proxy_header *stated = client_proxy_header(c);
	struct proxy_header h = { .source = c->peer };
	struct sockaddr_storage local;
	struct client_tls tls;

	if (stated)
		return *stated;
	h.tls = client_tls_read(&tls, c);
	if (h.tls) {
		h.alpn = tls.alpn;
		h.authority = tls.sni;
		h.version = tls.version;
		h.cipher = tls.cipher;
		h.subject = common_name(tls.subject);
	}
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
