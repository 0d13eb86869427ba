/* The client's real address: the peer of the connection, or the client that a trusted peer names
 * in `Forwarded` or `X-Forwarded-For` (http/forwarding.h).
 *
 * Owner: the stack frame that routes the request. */
#ifndef PROXY_REALIP_H
#define PROXY_REALIP_H

#include "http/forwarding.h"
#include "proxy/exchange.h"

struct realip {
	struct forwarding_peer peer;
	struct forwarding forwarding;
	char text[SOCK_TEXT_MAX]; /* the peer's address */
};

/* Fills `a`, and sets x->client_addr for the log. Whether the peer is trusted is looked up once
 * per connection and generation. */
void realip_read(struct realip *a, struct exchange *x, const struct head *h);

#endif
