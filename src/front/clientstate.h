/* What the files of a client share: its states, its deadline, and how it ends.
 *
 *   client.c        states, deadlines, requests
 *   opening.c       what precedes the first request: the PROXY protocol, the TLS handshake
 *   clientstream.c  what the user of a client's stream can ask for
 *   multiplex.c     clients of HTTP/2
 *   front.c         ends clients that the worker has no more use for
 *
 * Owner: client.c. Always holds: see client_check(). Errors: none. */
#ifndef FRONT_CLIENTSTATE_H
#define FRONT_CLIENTSTATE_H

#include "front/client.h"

void client_set_state(struct client *c, enum client_state state);

/* A state began: computes when its time is over. */
void client_begin_deadline(struct client *c);

/* A FIN would abort the exchange, but no receive is in flight, so it would go unnoticed. */
bool client_misses_fin(const struct client *c);

/* Responds to a request that cannot be read, and ends the client. FAULT_NONE: it was not received
 * in time. */
void client_refuse_request(struct client *c, enum fault fault);

/* Ends the client, in any state: closes its stream and its connection. linger_ms: for CONN_LINGER,
 * how long the connection is read after the FIN; else not used. */
void client_close(struct client *c, enum conn_end how, uint32_t linger_ms);

/* The same, with the time of the front. */
void client_end(struct client *c, enum conn_end how);

/* The connection failed: nothing that is written reaches the client. */
static inline bool client_lost(const struct client *c)
{
	return c->conn.error || c->conn.send_error;
}

static inline struct client *client_of(const struct stream *s)
{
	return CONTAINER(s, struct client, http1.stream);
}

#endif
