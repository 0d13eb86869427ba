/* Values of ${...} for a request. Pure. */
#ifndef ROUTE_VARIABLE_H
#define ROUTE_VARIABLE_H

#include "route/route.h"

/* Evaluates a template into out. Returns the length, or -1: a variable has no value
 * in this request (no such cookie, malformed "%"), or -2: longer than `size`. */
long variable_expand(const struct template *t, const struct request_view *v, char *out,
		     size_t size);

/* One variable: its value points into the request or into out (room `size`). False:
 * it has none. */
bool variable_value(enum variable id, struct slice argument, const struct request_view *v,
		    char *out, size_t size, struct slice *value);

#endif
