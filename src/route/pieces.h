/* Parameters of a query, and cookies, by name. Pure. */
#ifndef SRC_ROUTE_PIECES_H
#define SRC_ROUTE_PIECES_H

#include <stdbool.h>

#include "base/slice.h"

/* The next parameter with this name in *rest, which is all of a query with its "?" at first. *value
 * is as received; a parameter without "=" is empty. False: there is none. */
bool query_next(struct slice *rest, struct slice name, struct slice *value);

/* The next cookie with this name in *rest, which is all of a Cookie field at first (RFC 6265 4.2).
 * False: there is none. */
bool cookie_next(struct slice *rest, struct slice name, struct slice *value);

/* Decodes the first byte of `text`, `plus` to a space; *used: its encoded length. -1: malformed. */
int decoded_byte(struct slice text, bool plus, size_t *used);

#endif
