/* How the front ends a client: shared by client.c, where a client's own requests and deadlines end
 * it, and front.c, which ends clients that the worker has no more use for.
 *
 * Owner: client.c. Always holds: afterwards the client is CLIENT_ENDING and its stream closed.
 * Errors: none. */
#ifndef FRONT_CLOSE_H
#define FRONT_CLOSE_H

#include "front/client.h"

/* Ends the client, in any state: closes its stream and its connection. linger_ms: for CONN_LINGER,
 * how long the connection is read after the FIN; else not used. */
void client_close(struct client *c, enum conn_end how, uint32_t linger_ms);

#endif
