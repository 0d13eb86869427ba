/* When the server of an attempt is late: the deadline of its stream.
 *
 * The send timeout counts from the last bytes that the server took, the response timeout from the
 * end of the request or the last bytes of the response, the idle timeout of a tunnel from the last
 * bytes in either direction. No time counts while the client is waited for.
 *
 * Owner: the attempt, whose lease has the stream. Limits: those of the route, the upstream and the
 * configuration. Errors: none; a deadline that has passed sets `timed_out` and runs the waiter, and
 * attempt_step() fails the attempt. */
#ifndef PROXY_LATENESS_H
#define PROXY_LATENESS_H

#include "proxy/attempt.h"

/* For deadline_own(); the owner is the attempt. */
extern const struct deadline_rules lateness_rules;

/* What is awaited of the server has changed: the deadline is no later than that for this. */
void lateness_begin(struct attempt *a);

#endif
