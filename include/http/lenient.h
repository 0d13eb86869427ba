/* Heads of responses that the strict parser refuses and a proxy may read all the same, or must
 * (RFC 9112). There is one parser: what is forgiven is first written as it should have been, and
 * then parsed as any other head. So nothing that was forgiven goes on as it came, and a head
 * that is not refused costs nothing here.
 *
 * A space before the colon is always forgiven (RFC 9112 5.1: a proxy MUST remove it from a
 * response); the rest is a choice of the upstream. Requests are forgiven nothing. Pure. */
#ifndef HTTP_LENIENT_H
#define HTTP_LENIENT_H

#include "http/head.h"

/* Bits of head_limits.lenient and config_upstream.lenient: 1 << enum lenient. */
enum lenient {
#define LENIENT(name, word) LENIENT_##name,
#include "http/lenient.def"
#undef LENIENT
	LENIENTS,
	LENIENT_COLON = LENIENTS, /* in no configuration: of each response */
};

const char *lenient_word(enum lenient l);

/* A head that was refused for this fault may be good when it is written anew. */
bool lenient_may_help(enum fault f, unsigned lenient);

/* How many of the bytes are the head (or the trailer section), by its empty line; 0: not all of
 * it is there. */
size_t lenient_span(struct slice bytes, bool trailers, unsigned lenient);

/* Writes a head of that span anew, as far as `lenient` goes, in at most
 * LENIENT_BYTES_MAX(head.len) bytes; returns how many. What is not forgiven stays as it is, for the
 * parser to refuse. */
#define LENIENT_BYTES_MAX(n) (2 * (n))
size_t lenient_write(char *out, struct slice head, bool trailers, unsigned lenient);

#endif
