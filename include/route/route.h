/* Chooses a request's route from its head. Pure. The first route that matches is taken. */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include "config/config.h"
#include "http/forwarding.h"
#include "http/host.h"

/* TLS of the client's connection, as variables, the log and servers see it. Empty: not known. */
struct client_tls {
	struct slice version, cipher, sni, alpn, ja4, resumed;
	struct slice subject, issuer, san, serial, fingerprint; /* of its certificate */
};

/* The request as routes and variables see it. It points into the head and into scratch memory
 * of the worker; valid as long as the head. */
struct request_view {
	const struct head *head;
	struct slice path;                /* normal form (http/path.h) */
	struct slice host;                /* normal form (http/host.h), without port */
	struct slice client;              /* address text: the peer, or what a trusted peer names */
	struct slice request_id, trace_id; /* empty: none */
	struct slice user;                /* of basic_auth; empty: none */
	const struct client_tls *tls;     /* NULL: the connection does not use TLS */
	const struct forwarding *forwarding; /* for requests to servers; the caller sets it */
	const struct config_route *route; /* once matched; for ${path.rest} */
	bool undecided;                   /* route_match() could not tell */
};

/* Fills path and host; `scratch` has head->path.len + head->authority.len + HOST_GROWTH bytes. */
void request_view_init(struct request_view *v, const struct head *h, struct slice client,
		       char *scratch);

/* The first route at or after index `from` that matches, or NULL. NULL and v->undecided: nobody
 * knows whether a condition of a route holds, so no later route may be taken either.
 * Bound: one search of the index for each route of this host and path whose conditions fail. */
const struct config_route *route_match(const struct config *c, struct request_view *v,
				       unsigned from);

#endif
