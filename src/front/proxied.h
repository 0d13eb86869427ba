/* A client whose connection begins with a header of the PROXY protocol: reads it.
 *
 * Owner: opening.c, which decides what becomes of the connection. Limits: PROXY_HEADER_MAX bytes.
 * Errors: a verdict; BAD also without memory. */
#ifndef FRONT_PROXIED_H
#define FRONT_PROXIED_H

#include "front/client.h"

/* OK: the header was consumed, and c->peer is what it states. *kept: for c->proxy_header; NULL: it
 * states nothing. */
enum verdict proxied_read(struct client *c, struct buf **kept) MUST_USE;

#endif
