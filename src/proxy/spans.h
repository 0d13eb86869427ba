/* Writes the spans of a sampled trace for the exporter (proxy/exporter.h): one of the exchange
 * (SERVER), and one of each attempt (CLIENT), which is its child. Attributes are those of
 * OpenTelemetry's semantic conventions for HTTP spans, 1.23 and later.
 *
 * The head of a request names the span of the attempt as the parent of what its server does. All
 * attempts have the same head, so every attempt but the first sends a copy with its own id.
 * A request that is sent again on another connection because an idle one was stale is one attempt.
 *
 * Queries are left out: they may hold secrets.
 *
 * Owner: none. Limits: a span is SPAN_BYTES_MAX at most; long values are cut. Errors: a span that
 * cannot be written is counted as dropped. */
#ifndef PROXY_SPANS_H
#define PROXY_SPANS_H

#include "proxy/attempt.h"

struct exchange;

/* After attempt_begin(). number: of the attempts before it. Without a record nothing is done, here
 * and below. */
void span_begin_try(struct attempt *a, unsigned number);

/* The head to send: a reference for the caller. */
struct buf *span_head(struct attempt *a);

/* The attempt has ended; called while it has its lease, if there is one. error: why; NULL: with a
 * whole response. Later calls do nothing. */
void span_end_try(struct attempt *a, const char *error);

/* The exchange has ended, and so have its attempts. */
void span_end_request(struct exchange *x, enum ending ending);

#endif
