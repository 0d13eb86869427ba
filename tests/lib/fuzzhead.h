/* What holds of every head, of requests as of answers. */
#ifndef LIB_FUZZHEAD_H
#define LIB_FUZZHEAD_H

#include "http/head.h"
#include "lib/strict.h"

typedef enum verdict fuzz_head_parser(struct head *h, const char *bytes, size_t n,
				      const struct head_limits *limits, uint32_t *scanned);

/* Parses it whole; asserts that it comes to the same cut anywhere. The head is the one that
 * was read whole. */
enum verdict fuzz_head(struct head *h, fuzz_head_parser *parse, struct slice s,
		       const struct head_limits *limits);

/* Both readers found the same fields and framing. */
void fuzz_assert_read_alike(const struct head *h, const struct strict_head *strict);

/* `again` is `h` after it was forwarded: framing and the fields for everyone are as they
 * were, and but for what a proxy adds there are no others. */
void fuzz_assert_same_message(const struct head *again, const struct head *h);

/* Is for this hop only (RFC 9110 7.6.1). */
bool fuzz_is_per_hop(const struct strict_head *h, struct slice name);

/* Both strictly read: `out` is what is to be made of `in` for an origin, if `client` has sent
 * it. Returns what is not so, or NULL. Framing is the caller's to compare. */
const char *fuzz_forwarded(const struct strict_head *out, const struct strict_head *in,
			   struct slice client);

/* The target in the form that an origin is to be asked in. `slash` gets what has to go before
 * it, "/" or nothing. */
struct slice fuzz_origin_form(const struct strict_head *in, struct slice *slash);

#endif
