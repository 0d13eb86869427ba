/* Divides the requests of a route between upstreams (`split`).
 *
 * Each request has a place among all, of 32 bits: of its key, of the client's cookie, or a random
 * one. The upstreams have consecutive parts of these places, in the order of the file and in
 * proportion to their weights, so that a change of a weight moves only the places at the borders.
 * Owner: none. Errors: none; what a client writes into its cookie only chooses an upstream. */
#ifndef SRC_PROXY_SPLIT_H
#define SRC_PROXY_SPLIT_H

#include "base/random.h"
#include "proxy/cookie.h"
#include "route/route.h"

/* The upstream of the part that has a place. */
unsigned split_part(const struct config_split *s, uint32_t place);

/* Chooses the upstream of a request. *cookie is the one to be set with the response; its name is
 * NULL if none is to be set. */
unsigned split_choose(const struct config_proxy *p, const struct request_view *view,
		      struct random *random, struct place_cookie *cookie);

#endif
