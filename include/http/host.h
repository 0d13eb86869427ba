/* Normalises the authority that routes are matched against: the host alone, in one form
 * for all spellings of the same name (RFC 3986 6.2.2, 6.2.3; RFC 5952 for IPv6), so that
 * no spelling of a name misses its route. The server receives the original bytes.
 *
 * Without the port, since a route applies to all ports of a host (including 80, which
 * http omits); in lower case; with unreserved characters decoded; without the final dot
 * of a fully qualified name. An IPv6 address is written as in RFC 5952. An IPv4 address
 * is compared as written: URIs allow one spelling of it (RFC 3986 3.2.2). Names are
 * expected in A-labels, as in HTTP: U-labels are not valid octets of a Host.
 *
 * Owner, errors: none. Pure. */
#ifndef HTTP_HOST_H
#define HTTP_HOST_H

#include <stdbool.h>

#include "base/slice.h"

/* The syntax is uri-host [":" port] (RFC 9110 7.2), and the host is not empty. */
bool host_valid(struct slice authority);

/* Writes the normal form of the host of a valid or empty authority; returns its length.
 * An IPv6 address may grow: `out` has space for authority.len + HOST_GROWTH bytes. */
#define HOST_GROWTH 48
size_t host_normalize(char *out, struct slice authority);

#endif
