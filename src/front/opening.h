/* The opening of a client's connection: what it does before its first request, the states PROXIED
 * and SECURING (front/client.h).
 *
 * Owner: client.c, whose step asks before it reads requests. Limits: `header_timeout`,
 * `handshake_timeout`. Errors: the client ends; plain HTTP instead of a handshake gets a 400. */
#ifndef FRONT_OPENING_H
#define FRONT_OPENING_H

#include "front/client.h"

/* Takes what was received for the opening. True: it is over, or there is none, and requests may be
 * read. */
bool client_opened(struct client *c);

#endif
