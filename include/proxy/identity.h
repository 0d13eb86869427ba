/* Detects authentication schemes that authenticate a connection and not a request: NTLM, and
 * Negotiate with NTLM or Kerberos (RFC 4559). The server takes every later request on that
 * connection for the authenticated user's, so the connection may serve one client only.
 *
 * `Persistent-Auth: false` in a response is not relied on. Pure. */
#ifndef PROXY_IDENTITY_H
#define PROXY_IDENTITY_H

#include "http/head.h"

/* True: the request carries credentials of such a scheme. */
bool identity_presented(const struct head *h);

/* True: the response (401, 407) asks for such credentials. */
bool identity_challenged(const struct head *h);

#endif
