/* Lines about TLS handshakes of clients that failed: at most one for each fault and second, on
 * standard error, with the client's address, the server name it has sent, and the reason. All are
 * counted (struct tls_stats).
 *
 * Owner: the proxy; one thread. A client that leaves without a byte has only looked whether the
 * port is open, as load balancers do; one that leaves without close_notify after the handshake is
 * usual: no line. */
#ifndef PROXY_HANDSHAKELOG_H
#define PROXY_HANDSHAKELOG_H

#include "proxy/proxy.h"

/* An event of the front. */
void handshake_log_failed(struct client *c, enum tls_fault fault);

#endif
