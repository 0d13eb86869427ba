/* Moves bytes through an exchange: the request's body to its fetch, the response's heads and body
 * to its client, and both directions of a tunnel.
 *
 * Each function moves as much as was received and as there is space for on the other side. When
 * more bytes or more space are available, the exchange's task is run, which calls it again. Every
 * function here may end the exchange: callers test x->ended. */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "proxy/exchange.h"

/* EXCHANGE_REQUESTING: sends the request's body, reads the response's heads. May change the
 * exchange's state. */
void relay_request(struct exchange *x);

/* EXCHANGE_RELAYING: sends the response's body, and the rest of the request's body. */
void relay_response(struct exchange *x);

/* EXCHANGE_TUNNEL */
void relay_tunnel(struct exchange *x);

#endif
