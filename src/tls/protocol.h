/* Application protocols by their names (ALPN, RFC 7301 6). Private to tls. */
#ifndef TLS_PROTOCOL_H
#define TLS_PROTOCOL_H

#include "base/slice.h"
#include "tls/context.h"

static inline enum tls_protocol protocol_of(struct slice name)
{
	if (slice_equal(name, SLICE("http/1.1")))
		return TLS_HTTP_1_1;
	if (slice_equal(name, SLICE("h2")))
		return TLS_HTTP_2;
	return TLS_NO_PROTOCOL;
}

#endif
