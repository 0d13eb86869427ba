/* Clients that speak HTTP/2: their streams are handed out as those of HTTP/1 are. Private to
 * front.
 *
 * Owner: client.c. Limits: front->http2_limits. Errors: the connection ends, with GOAWAY if the
 * client can still read. */
#ifndef SRC_FRONT_MULTIPLEX_H
#define SRC_FRONT_MULTIPLEX_H

#include "front/client.h"

/* Before its first request: the client speaks HTTP/2, by ALPN or, where that is allowed, by the
 * preface. False: it speaks HTTP/1, or nothing has come. True: it is MULTIPLEXED now, or has ended,
 * or not all of the preface has come. */
bool multiplex_begins(struct client *c);

/* The step of a client that is MULTIPLEXED. */
void multiplex_step(struct client *c);

/* No more requests: GOAWAY, and the end when the last one is served. */
void multiplex_drain(struct client *c);

const struct task *multiplex_oldest_user(const struct client *c);

/* The connection is dead. */
void multiplex_free(struct client *c);

#endif
