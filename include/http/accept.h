/* Content negotiation by Accept (RFC 9110 12.5.1). Pure. */
#ifndef HTTP_ACCEPT_H
#define HTTP_ACCEPT_H

#include "http/head.h"

/* How much a media type, such as "text/html; charset=utf-8", is wanted: 0 (not acceptable) to 1000
 * (the weight times 1000). That of the most specific range counts; parameters of a range other than
 * its weight are ignored. Without Accept everything is wanted equally: 1000. A malformed range is
 * passed over. */
unsigned accept_weight(const struct head *h, struct slice type);

#endif
