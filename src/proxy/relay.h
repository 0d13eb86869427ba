/* What passes through an exchange: the request's body to its fetch, the answer's head and
 * body back to its client, and both ways in a tunnel. Each pulls as much as there is and as
 * there is room for; room is credit, and comes back as a fact. */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "exchange.h"

/* EXCHANGE_REQUESTING: sends what has come of the body, takes what has come of an answer. May end
 * the exchange, or bring it to another state. */
void relay_request(struct exchange *x);

/* EXCHANGE_RELAYING */
void relay_response(struct exchange *x);

/* EXCHANGE_TUNNEL */
void relay_tunnel(struct exchange *x);

#endif
