/* Interprets the fields of a parsed head for a proxy: framing, connection options, Host,
 * Expect, TE, Max-Forwards. Sets the corresponding members of struct head. Private to
 * http. */
#ifndef SRC_HTTP_INTERPRET_H
#define SRC_HTTP_INTERPRET_H

#include "http/head.h"

enum fault interpret_request(struct head *h) MUST_USE;
enum fault interpret_response(struct head *h) MUST_USE;

/* Marks fields that are not allowed in trailers as per_hop (RFC 9110 6.5.1). */
void interpret_trailers(struct head *h);

#endif
