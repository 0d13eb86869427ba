/* What the fields of a head mean to a proxy. Private to http. */
#ifndef SRC_HTTP_DIGEST_H
#define SRC_HTTP_DIGEST_H

#include "http/head.h"

enum fault digest_request(struct head *h) MUST_USE;
enum fault digest_response(struct head *h) MUST_USE;

/* Marks what a trailer may not have (RFC 9110 6.5.1). */
void digest_trailers(struct head *h);

#endif
