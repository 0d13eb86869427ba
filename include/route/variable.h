/* Values of ${...} for a request. Pure. */
#ifndef ROUTE_VARIABLE_H
#define ROUTE_VARIABLE_H

#include "route/route.h"

/* Evaluates a template into out[size]. Returns the length; -1: a variable has no value in this
 * request (no such cookie, malformed "%"); -2: the result is longer than `size`. */
long variable_expand(const struct template *t, const struct request_view *v, char *out,
		     size_t size);

/* Evaluates one variable. The value points into the request or into out[size]. False: it has no
 * value, or does not fit. */
bool variable_value(enum variable id, struct slice argument, const struct request_view *v,
		    char *out, size_t size, struct slice *value);

/* True: the request has several values of this variable (cookies, fields, query parameters of that
 * name), of which variable_value() takes the first and a server perhaps another one. Fields whose
 * names differ in "-" and "_" are one, as they are to CGI and WSGI. Values are compared as
 * received. */
bool variable_is_ambiguous(enum variable id, struct slice argument,
			   const struct request_view *v);

#endif
