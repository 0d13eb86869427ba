/* TLS of a client's connection: of ours with it, or of its own with a trusted proxy that has stated
 * it in a header of the PROXY protocol. If there is such a header, our connection is only that of
 * the proxy, and the header counts.
 *
 * Owner: the caller; the texts are valid as long as the connection is open. Errors: none. */
#ifndef PROXY_CLIENTTLS_H
#define PROXY_CLIENTTLS_H

#include "front/client.h"
#include "proxy/proxy.h"
#include "route/route.h"

/* False: the client does not use TLS, or its connection is not open any more. */
bool client_tls_read(struct client_tls *t, const struct client *c);

/* The certificate that the client has presented to us, if it is to be forwarded
 * (`client_auth.forward`): for struct forwarding_peer. */
void client_tls_forward(struct forwarding_peer *peer, const struct client *c);

/* The host, in normal form, is served with another policy for client certificates than the one with
 * which the connection was made: the request must not be answered on it (RFC 9110 15.5.20). */
bool client_tls_misdirected(const struct client *c, struct slice host);

#endif
