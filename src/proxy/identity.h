/* Schemes that authenticate a connection and not a request (NTLM, and Negotiate with it or with
 * Kerberos, RFC 4559): whoever comes next on it is taken for the one who was authenticated. So
 * it may serve one client only. What `Persistent-Auth: false` promises is not relied on. */
#ifndef PROXY_IDENTITY_H
#define PROXY_IDENTITY_H

#include "http/head.h"

/* A request that brings credentials of such a scheme. */
bool identity_presented(const struct head *h);

/* A response (401, 407) that asks for them. */
bool identity_challenged(const struct head *h);

#endif
