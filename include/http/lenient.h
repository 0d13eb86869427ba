/* Corrects response heads that the strict parser refuses but that a proxy may or must
 * accept (RFC 9112).
 *
 * There is one parser: the allowed deviations are first rewritten into correct syntax,
 * then the result is parsed like any other head. So no deviation is ever forwarded, and a
 * head that is not refused costs nothing here.
 *
 * A space before the colon is always corrected (RFC 9112 5.1: a proxy MUST remove it from
 * a response); the rest is configured per upstream. Requests are never corrected.
 * Pure. */
#ifndef HTTP_LENIENT_H
#define HTTP_LENIENT_H

#include "http/head.h"

/* Bits of head_limits.lenient and config_upstream.lenient: 1 << enum lenient. */
enum lenient {
#define LENIENT(name, word) LENIENT_##name,
#include "http/lenient.def"
#undef LENIENT
	LENIENTS,
	LENIENT_COLON = LENIENTS, /* not configurable: for every response */
};

/* Its word in the configuration. */
const char *lenient_word(enum lenient l);

/* A head that was refused for this fault may be valid after lenient_write(). */
bool lenient_may_help(enum fault f, unsigned lenient);

/* The length of the head (or trailer section) at the front of `bytes`, including its
 * empty line. 0: it is incomplete. */
size_t lenient_span(struct slice bytes, bool trailers, unsigned lenient);

/* Rewrites a head of lenient_span() bytes with the deviations in `lenient` corrected.
 * Returns the length, at most LENIENT_BYTES_MAX(head.len). Other deviations stay as they
 * are: the parser refuses them. */
#define LENIENT_BYTES_MAX(n) (2 * (n))
size_t lenient_write(char *out, struct slice head, bool trailers, unsigned lenient);

#endif
