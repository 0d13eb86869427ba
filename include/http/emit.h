/* Writes text into an area of fixed size: message heads (see http/sink.h), log lines.
 *
 * Owner: struct emit lives on the caller's stack. Errors: emit.overflow. Pure. */
#ifndef HTTP_EMIT_H
#define HTTP_EMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* The output area. A write that does not fit sets `overflow`; then nothing more is
 * written. */
struct emit {
	char *at, *end;
	bool overflow;
};

void emit_slice(struct emit *e, struct slice s);
void emit_number(struct emit *e, uint64_t n);

/* Writes text as part of a URI (RFC 3986): an octet that may not stand in a path or query is
 * percent-encoded. emit_uri(): of a target, so "%" and all delimiters stay. emit_uri_decoded(): of
 * decoded text, so "%" and the delimiters of queries and fragments are encoded as well. */
void emit_uri(struct emit *e, struct slice s);
void emit_uri_decoded(struct emit *e, struct slice s);

/* Writes text with quotes, backslashes, control characters and bytes beyond ASCII as `hex_prefix`
 * and two digits, so that a client can neither forge a line nor send control sequences to a
 * terminal. */
void emit_escaped(struct emit *e, struct slice s, const char *hex_prefix);

/* The decimal digits of n, in `text`. */
#define EMIT_DIGITS_MAX 20
struct slice emit_digits(char text[EMIT_DIGITS_MAX], uint64_t n);

#endif
