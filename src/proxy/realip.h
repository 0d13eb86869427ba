/* Who asks: the peer of the connection, or whom a trusted one names.
 *
 * Owner: the step that routes the request. */
#ifndef SRC_PROXY_REALIP_H
#define SRC_PROXY_REALIP_H

#include "exchange.h"
#include "http/forwarding.h"

struct realip {
	struct forwarding_peer peer;
	struct forwarding forwarding;
	char text[SOCK_TEXT_MAX]; /* of the peer */
};

/* Says it to the log as well (exchange.client_addr). Whether the peer is trusted is
 * looked up once for a connection and configuration. */
void realip_read(struct realip *a, struct exchange *x, const struct head *h);

#endif
