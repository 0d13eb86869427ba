/* The copy of an authority that routes are matched against: the host alone, in one form
 * for all spellings that name the same (RFC 3986 6.2.2, 6.2.3; RFC 5952 for IPv6), so that
 * no spelling of a name misses its route. The origin is sent the original bytes. Pure.
 *
 * Without port, since a route is for all ports of a host (80, which http leaves out, among
 * them); in lower case; unreserved characters decoded; without the dot that ends a name which
 * is fully qualified. An IPv6 address is written as RFC 5952 has it. An IPv4 address is
 * compared as it is written: URIs have one spelling of it (RFC 3986 3.2.2). Names are in
 * A-labels, as HTTP has them: U-labels are not octets of a Host. */
#ifndef HTTP_HOST_H
#define HTTP_HOST_H

#include <stdbool.h>

#include "base/slice.h"

/* uri-host [":" port] (RFC 9110 7.2) with a host that is not empty. */
bool host_valid(struct slice authority);

/* Writes the normal form of the host of a valid or empty authority; returns its length.
 * An IPv6 address may grow: `out` has room for authority.len + HOST_GROWTH bytes. */
#define HOST_GROWTH 48
size_t host_normalize(char *out, struct slice authority);

#endif
