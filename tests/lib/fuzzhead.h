/* Checks for fuzz targets: properties of every parsed or forwarded head, request or response. */
#ifndef LIB_FUZZHEAD_H
#define LIB_FUZZHEAD_H

#include "http/head.h"
#include "lib/strict.h"

typedef enum verdict fuzz_head_parser(struct head *h, const char *bytes, size_t n,
				      const struct head_limits *limits, uint32_t *scanned);

/* Parses s at once, and asserts that parsing it piece by piece gives the same. *h is the result
 * of parsing it at once. */
enum verdict fuzz_head(struct head *h, fuzz_head_parser *parse, struct slice s,
		       const struct head_limits *limits);

/* Both parsers found the same fields and framing. */
void fuzz_assert_read_alike(const struct head *h, const struct strict_head *strict);

/* `again` is `h` after it was forwarded: framing and end-to-end fields are the same, and there
 * are no others except those that a proxy adds. */
void fuzz_assert_same_message(const struct head *again, const struct head *h);

/* The field is for this hop only (RFC 9110 7.6.1). */
bool fuzz_is_per_hop(const struct strict_head *h, struct slice name);

/* Compares `out`, the request forwarded to an origin, with `in`, the request of a client with
 * this address; the strict parser has read both. Returns NULL, or what is wrong. Does not
 * compare the framing. */
const char *fuzz_forwarded_fault(const struct strict_head *out,
				 const struct strict_head *in, struct slice client);

/* The target in origin-form (RFC 9112 3.2.1). *slash: what must precede it, "/" or nothing. */
struct slice fuzz_origin_form(const struct strict_head *in, struct slice *slash);

#endif
