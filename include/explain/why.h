/* What happened to a request: from a json access log, with the explanation of its route.
 *
 * A worker keeps nothing about requests that have ended, so that they cost nothing: what it knows
 * of one is in its line of the log. The route is explained as the configuration is now
 * (explain.h), by what the log has of the request.
 * Owner: none. Limits: WHY_FOUND_MAX requests are printed, the last ones.
 * Errors: a log that cannot be read is reported on `errors`. */
#ifndef EXPLAIN_WHY_H
#define EXPLAIN_WHY_H

#include "config/config.h"

#define WHY_FOUND_MAX 5

/* `what`: the id of a request, or a URL, or a path with its query. Returns how many were found. */
unsigned why(const struct config *c, const char *what, const char *log, FILE *out, FILE *errors);

#endif
