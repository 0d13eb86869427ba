/* Moves bytes through an exchange: the request's body to its fetch, the response's heads and body
 * to its client, and both directions of a tunnel.
 *
 * Each function moves as much as has come and as there is space for on the other side. Space is
 * credit: when it returns, a fact runs the client's task again. Every function here may end the
 * exchange: x may be freed. */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "exchange.h"

/* EXCHANGE_REQUESTING: sends the request's body, reads the response's heads. May change the
 * exchange's state. */
void relay_request(struct exchange *x);

/* EXCHANGE_RELAYING: sends the response's body, and what is left of the request's. */
void relay_response(struct exchange *x);

/* EXCHANGE_TUNNEL */
void relay_tunnel(struct exchange *x);

#endif
