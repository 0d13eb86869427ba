/* Message heads: bytes to meaning (RFC 9112 2–6, RFC 9110 5–7).
 *
 * A head is parsed in one go out of contiguous bytes; until all of it is there
 * the verdict is MORE, so where the bytes are cut makes no difference. Request
 * and status lines are read by us, because llhttp knows a fixed set of methods;
 * the field section is read by us and by llhttp: a head is good only if both find
 * exactly the same fields, and what llhttp lets pass (folded lines, a space before
 * the colon, a missing Host) is refused here. The same strict rules hold for
 * requests and responses: a proxy that reads a message in two ways is how requests
 * get smuggled.
 *
 * What was decided where the RFCs leave a choice: bytes that browsers leave
 * unencoded in a target ("|", "{") pass, fragments and non-ASCII do not. Host is never
 * empty, but beside a target that has an authority of its own; an HTTP/1.0 request
 * without Host has none (RFC 9112 3.3). Content-Length is one field of one number up to
 * INT64_MAX. Connection may name any field away but Host; at most 64 options. Upgrade
 * counts if it is one field of well-formed protocols and none is h2c. An HTTP/1.0
 * message has neither Expect nor TE nor Upgrade. Max-Forwards of OPTIONS and TRACE is
 * one field of digits; of other methods it is not read.
 *
 * All slices point into the parsed bytes. Owner: the worker's scratch; a head
 * lives no longer than the step that parsed it. Pure: no allocation, no I/O. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/slice.h"
#include "base/verdict.h"

enum method {
#define METHOD(name, token, safe, idempotent) METHOD_##name,
#include "http/method.def"
#undef METHOD
	METHOD_OTHER,
};

enum header {
#define HEADER(name, field, per_hop) HEADER_##name,
#include "http/header.def"
#undef HEADER
	HEADER_OTHER,
};

enum fault {
	FAULT_NONE,
#define FAULT(name, status, text) FAULT_##name,
#include "http/fault.def"
#undef FAULT
};

/* The answer to a request with this fault, and what is wrong, for logs. */
int fault_status(enum fault f);
const char *fault_text(enum fault f);

/* RFC 9110 9.2.1 and 9.2.2. */
bool method_safe(enum method m);
bool method_idempotent(enum method m);

/* A larger Max-Forwards is read as this one. */
#define HEAD_FORWARDS_MAX 1000000u

/* Hard ceiling of limits.headers. */
#define HEAD_FIELDS_MAX 256

struct field {
	struct slice name, value; /* the value without surrounding OWS */
	uint8_t header;           /* enum header */
	bool per_hop;             /* not to be forwarded: by its nature, or because
				     Connection names it (RFC 9110 7.6.1) */
};

/* How the end of the body is known (RFC 9112 6.3). */
enum framing {
	FRAMING_NONE,    /* no body */
	FRAMING_LENGTH,  /* `length` bytes */
	FRAMING_CHUNKED,
	FRAMING_CLOSE,   /* until the connection ends; responses only */
};

/* Form of the request target (RFC 9112 3.2). */
enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_AUTHORITY, TARGET_ASTERISK };

struct head {
	/* Request line. */
	struct slice method_token, target;
	enum method method;
	enum target_form target_form;
	struct slice path;      /* of the target, as received, without the query; "*" for
				   TARGET_ASTERISK, empty for TARGET_AUTHORITY; where an
				   absolute form has none "/", but "*" for OPTIONS without
				   query (RFC 9112 3.2.4) */
	struct slice query;     /* with its "?", or empty */
	struct slice authority; /* of an absolute target, else the Host value:
				   valid, possibly empty */
	/* Status line. */
	int status;
	struct slice phrase;

	int minor;       /* HTTP/1.minor; versions above 1.1 are read as 1.1 */
	uint32_t bytes;  /* of the whole head, the empty line included */
	enum framing framing; /* of a request; of a response before method and status
				 are looked at: see head_response_framing() */
	uint64_t length; /* FRAMING_LENGTH */
	bool keep_alive; /* what version and Connection say (RFC 9112 9.3) */
	bool upgrade;    /* Upgrade with Connection: upgrade, on HTTP/1.1, not h2c */
	bool expect_continue;
	bool te_trailers;
	uint32_t idle_s; /* of a response: how long its sender leaves the connection open while
			    it is idle, by Keep-Alive; UINT32_MAX: it does not say */
	bool forwards_limited; /* OPTIONS or TRACE with Max-Forwards (RFC 9110 7.6.2) */
	uint32_t max_forwards; /* how often it may still be forwarded, HEAD_FORWARDS_MAX at most */
	struct slice upgrade_token;

	uint16_t field_n;
	struct field fields[HEAD_FIELDS_MAX];

	enum fault fault; /* with VERDICT_BAD */
};

struct head_limits {
	uint32_t bytes;  /* of the whole head */
	uint32_t fields; /* <= HEAD_FIELDS_MAX */
	uint8_t lenient; /* what is forgiven a response: http/lenient.h; 0 for requests */
};

/* `scanned` is the caller's memory between calls for one head (start with 0): how
 * far the end was looked for, so that a head that drips in is scanned once. After
 * VERDICT_OK it may be kept to parse the same bytes again without looking for the
 * end. Empty lines before a request line are part of the head (RFC 9112 2.2).
 * VERDICT_MORE never comes with n >= limits->bytes. A fault of the first line, and an
 * octet that no head may have, is told as soon as it is there and not only when the
 * head is complete; which fault is told does not depend on where bytes were cut. */
enum verdict head_parse_request(struct head *h, const char *bytes, size_t n,
				const struct head_limits *limits, uint32_t *scanned) MUST_USE;
enum verdict head_parse_response(struct head *h, const char *bytes, size_t n,
				 const struct head_limits *limits, uint32_t *scanned) MUST_USE;

/* A trailer section (RFC 9112 7.1.2), the empty line included: fills fields,
 * field_n and bytes. Its faults are TRAILER and TRAILER_LARGE. Fields that a trailer may
 * not have (framing, routing,
 * Connection …: RFC 9110 6.5.1) are marked per_hop. */
enum verdict head_parse_trailers(struct head *h, const char *bytes, size_t n,
				 const struct head_limits *limits, uint32_t *scanned) MUST_USE;

/* The framing of a response to `method` (RFC 9112 6.3: HEAD, 1xx, 204, 304). */
enum framing head_response_framing(const struct head *h, enum method method);

/* The first field of that kind, or NULL. */
const struct field *head_find(const struct head *h, enum header id);
const struct field *head_find_name(const struct head *h, struct slice name);

#endif
