/* Asks the admin address: a GET of HTTP/1.0 on a connection of its own, read to its end. Blocks,
 * for ASK_TIMEOUT_S at most without a byte.
 *
 * Owner: the caller, who frees the text. Limits: TOP_BYTES_MAX. Errors: NULL, and a reason. */
#ifndef SRC_TOP_ASK_H
#define SRC_TOP_ASK_H

#include "top/top.h"

#define ASK_TIMEOUT_S 3

/* The body of a 200, with a NUL behind it. NULL: *why says why not, in static memory. */
char *ask(const struct top_target *t, const char *path, const char **why);

#endif
