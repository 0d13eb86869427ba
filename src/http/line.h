/* Parses request and status lines (RFC 9112 3, 4), without their CRLF. Private to
 * http. */
#ifndef SRC_HTTP_LINE_H
#define SRC_HTTP_LINE_H

#include "http/head.h"

enum fault line_parse_request(struct head *h, struct slice line) MUST_USE;
enum fault line_parse_status(struct head *h, struct slice line) MUST_USE;

/* See host_valid(). */
bool line_authority_valid(struct slice authority);

#endif
