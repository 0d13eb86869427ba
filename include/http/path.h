/* Normalises the path that routes are matched against: dot segments removed, unreserved
 * characters decoded (RFC 3986 6.2.2), so that no spelling of a path bypasses its route.
 * The server receives the original bytes. Owner: none. Pure. */
#ifndef HTTP_PATH_H
#define HTTP_PATH_H

#include <stdbool.h>

#include "base/slice.h"

/* Writes the normal form of `path` to `out` (space for path.len bytes) and returns its
 * length. `path` is valid (see head.h) and begins with "/"; anything else is copied.
 * Octets that stay percent-encoded get upper-case digits; an encoded slash stays encoded.
 * ".." never leads above "/". */
size_t path_normalize(char *out, struct slice path);

/* True: every server interprets the path in the same way (`paths: strict`). It has no
 * empty segment, and no ";", "\" or control character; none of these percent-encoded
 * either, nor an encoded "/", nor an encoded dot in a dot segment. Plain dot segments are
 * allowed: routes match the resolved path, and servers resolve them too. `path` is
 * valid. */
bool path_is_unambiguous(struct slice path);

/* Percent-decodes every octet; returns the length (<= text.len), or -1 for a malformed
 * "%". `plus`: "+" is decoded to a space (query strings). */
long path_decode(char *out, struct slice text, bool plus);

#endif
