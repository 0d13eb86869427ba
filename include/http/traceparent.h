/* The field traceparent (W3C Trace Context, Level 1, 3.2): which trace a request belongs to.
 *
 *   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *      version, trace id, id of the parent span, flags
 *
 * A newer version is read as version 00 as far as that goes (3.2.2.4), and written as 00.
 * Owner: the caller. Errors: traceparent_parse() returns false. Pure. */
#ifndef HTTP_TRACEPARENT_H
#define HTTP_TRACEPARENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define TRACE_ID_TEXT 32
#define SPAN_ID_TEXT 16
#define TRACEPARENT_TEXT 55
#define TRACE_SAMPLED 0x01

struct traceparent {
	char trace_id[TRACE_ID_TEXT]; /* lower-case hexadecimal digits, not all 0 */
	char span_id[SPAN_ID_TEXT];   /* likewise */
	uint8_t flags;
};

/* False: malformed, and the request begins a trace of its own (4.2). */
bool traceparent_parse(struct traceparent *t, struct slice value);

void traceparent_text(const struct traceparent *t, char text[TRACEPARENT_TEXT]);

#endif
