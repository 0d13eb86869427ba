/* Who asks: the peer of the connection, or whom a trusted one names.
 *
 * Owner: the step that routes the request. */
#ifndef SRC_PROXY_ASKER_H
#define SRC_PROXY_ASKER_H

#include "exchange.h"
#include "http/forwarding.h"

struct asker {
	struct forwarding_peer peer;
	struct forwarding forwarding;
	char text[SOCK_TEXT_MAX]; /* of the peer */
};

/* Says it to the log as well (exchange.asker). Whether the peer is trusted is looked up once for
 * a connection and configuration. */
void asker_read(struct asker *a, struct exchange *x, const struct head *h);

#endif
