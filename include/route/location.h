/* The Location of a redirect (RFC 9110 10.2.2), made of a template and a request. Pure.
 *
 * The template begins with "https://", "http://" or "/" (location_fault()). What a request brings
 * into it can neither end the field nor lead to another host:
 *
 *   - each octet that may not stand in a URI is percent-encoded; in values that were decoded (all
 *     but ${path}) also those with a meaning of their own, such as "?", "&" and "%"
 *   - of the authority only ${host} may be a part: the host that the routes were matched with,
 *     which has only letters, digits, "-", ".", "_", or is an IPv6 address
 *   - a Location that begins with "/" never begins with "//": one slash is left
 *
 * Limits: LOCATION_MAX bytes. Errors: see the functions. */
#ifndef ROUTE_LOCATION_H
#define ROUTE_LOCATION_H

#include "route/route.h"

#define LOCATION_MAX 8192

/* NULL: the template can be used. Else what is wrong, and the remedy. */
const char *location_fault(const struct template *t);

/* Writes the Location to out[LOCATION_MAX]. keep_query: the request's query is added. Returns the
 * length; -1: there is none for this request, since a variable has no value, the host is not one
 * of the above, or the Location is too long. */
long location_write(const struct template *t, bool keep_query,
		    const struct request_view *v, char *out);

#endif
