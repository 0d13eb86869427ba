/* The mirror of a sim world: a second upstream that requests are sent to as well, and its server.
 *
 * What must hold: no origin and no client notices it, whatever its server does; what it gets is the
 * whole request, marked, at most once (twice after a stale connection); no client can mark a request.
 *
 * Owner: struct simworld. Whether a run has a mirror, and all choices here, are not drawn from its
 * random numbers: what the seed draws otherwise is the same. */
#ifndef LIB_SIMMIRROR_H
#define LIB_SIMMIRROR_H

#include "base/slice.h"

struct simworld;
struct sim_request;
struct strbuf;

void simmirror_open(struct simworld *w);

/* The rule of a route, and the upstream. */
void simmirror_add_rule(const struct simworld *w, struct strbuf *x);
void simmirror_add_upstream(const struct simworld *w, struct strbuf *x);

/* Fields of a client that would mark its request. */
void simmirror_add_fields(const struct simworld *w, struct strbuf *x,
			  const struct sim_request *r);

/* Of a head that has reached an origin: simworld_fail() if it is marked. */
void simmirror_check_request(struct simworld *w, const struct sim_request *r,
			     struct slice h);

/* At the end of a run. */
void simmirror_check(struct simworld *w);

#endif
