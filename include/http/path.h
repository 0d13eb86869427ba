/* The copy of a path that routes are matched against: dot segments removed,
 * unreserved characters decoded (RFC 3986 6.2.2), so that no spelling of a path
 * gets around a route. The origin is sent the original bytes. Pure. */
#ifndef HTTP_PATH_H
#define HTTP_PATH_H

#include <stdbool.h>

#include "base/slice.h"

/* Writes the normal form of `path` to `out` (room for path.len bytes) and returns
 * its length. `path` is valid (see head.h) and begins with "/" (anything else is
 * copied). Percent-encoded bytes that stay encoded get upper-case digits; an encoded
 * slash stays encoded. A path never climbs above "/". */
size_t path_normalize(char *out, struct slice path);

/* Every server reads the path in the same way (`paths: strict`): no empty segment, no ";" or "\",
 * no control character; encoded none of these, no "/", and no dot of a dot segment. Dot segments
 * that are written as such are no matter: routes see what they come to, and so do servers.
 * `path` is valid. */
bool path_is_plain(struct slice path);

/* Percent-decodes everything; returns the length (<= text.len), or -1 at a malformed
 * "%". `plus`: "+" becomes a space (query strings). */
long path_decode(char *out, struct slice text, bool plus);

#endif
