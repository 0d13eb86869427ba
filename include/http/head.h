/* Parses message heads (RFC 9112 2–6, RFC 9110 5–7).
 *
 * A head is parsed as a whole, from contiguous bytes. The verdict is MORE until it is
 * complete, so the result does not depend on how the bytes are split. Request and status
 * lines are parsed here, because llhttp knows a fixed set of methods. The field section
 * is parsed here and by llhttp: a head is valid only if both find exactly the same
 * fields, and what llhttp accepts (folded lines, a space before the colon, a missing
 * Host) is refused here. The same strict rules apply to requests and responses: requests
 * are smuggled where two parsers disagree.
 *
 * Decisions where the RFCs leave a choice: octets that browsers do not encode in a target
 * ("|", "{") are accepted, fragments and non-ASCII are not. Host must not be empty,
 * unless the target has an authority of its own; an HTTP/1.0 request may have no Host
 * (RFC 9112 3.3). Content-Length is one field with one number up to INT64_MAX. Connection
 * may name any field for removal except Host; at most 64 options. Upgrade counts if it is
 * one field of well-formed protocols, none of them h2c. In an HTTP/1.0 message Expect, TE
 * and Upgrade are ignored. Max-Forwards of OPTIONS and TRACE is one field of digits; with
 * other methods it is not parsed.
 *
 * All slices point into the parsed bytes. Owner: the worker's scratch; a head is valid
 * only within the step that parsed it. Limits: struct head_limits. Errors: VERDICT_BAD
 * with a fault. Pure: no allocation, no I/O. */
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

/* The status of the response to a request with this fault, and its text for logs. */
int fault_status(enum fault f);
const char *fault_text(enum fault f);

/* RFC 9110 9.2.1 and 9.2.2. */
bool method_safe(enum method m);
bool method_idempotent(enum method m);

/* Larger values of Max-Forwards are reduced to this one. */
#define HEAD_FORWARDS_MAX 1000000u

/* Upper bound of head_limits.fields. */
#define HEAD_FIELDS_MAX 256

struct field {
	struct slice name, value; /* the value without surrounding OWS */
	uint8_t header;           /* enum header */
	bool per_hop;             /* hop-by-hop, not forwarded: by header.def, or because
				     Connection names it (RFC 9110 7.6.1) */
};

/* How the end of a body is determined (RFC 9112 6.3). */
enum framing {
	FRAMING_NONE,    /* no body */
	FRAMING_LENGTH,  /* `length` bytes */
	FRAMING_CHUNKED,
	FRAMING_CLOSE,   /* close-delimited: until the connection ends; responses only */
};

/* Form of the request target (RFC 9112 3.2). */
enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_AUTHORITY, TARGET_ASTERISK };

struct head {
	/* Request line. */
	struct slice line; /* as received, for logs. Another version of HTTP writes one */
	struct slice method_token, target; /* parts of it */
	enum method method;
	enum target_form target_form;
	struct slice path;      /* of the target, as received, without the query; "*" for
				   TARGET_ASTERISK, empty for TARGET_AUTHORITY. An absolute
				   form without a path has "/", or "*" for OPTIONS without
				   a query (RFC 9112 3.2.4) */
	struct slice query;     /* with its "?", or empty */
	struct slice authority; /* of an absolute target, else the value of Host: valid,
				   possibly empty */
	/* Status line. */
	int status;
	struct slice phrase;

	int minor;       /* HTTP/1.minor; versions above 1.1 are read as 1.1 */
	bool http2;      /* received over HTTP/2; `minor` is 1 then */
	uint32_t bytes;  /* of the whole head, the empty line included */
	enum framing framing; /* of a request; for a response by its fields alone, see
				 head_response_framing() */
	uint64_t length; /* FRAMING_LENGTH */
	bool keep_alive; /* by version and Connection (RFC 9112 9.3) */
	bool upgrade;    /* Upgrade with Connection: upgrade, in HTTP/1.1, not to h2c */
	bool expect_continue;
	bool te_trailers;
	uint32_t idle_s; /* of a response: its sender closes the connection after this idle time,
			    in seconds (Keep-Alive: timeout=N); UINT32_MAX: not stated */
	bool forwards_limited; /* OPTIONS or TRACE with Max-Forwards (RFC 9110 7.6.2) */
	uint32_t max_forwards; /* remaining forwards, at most HEAD_FORWARDS_MAX */
	struct slice upgrade_token;

	uint16_t field_n;
	struct field fields[HEAD_FIELDS_MAX];

	enum fault fault; /* with VERDICT_BAD */
};

struct head_limits {
	uint32_t bytes;  /* size of the whole head */
	uint32_t fields; /* <= HEAD_FIELDS_MAX */
	uint8_t lenient; /* deviations accepted in responses: http/lenient.h; 0 for requests */
};

/* *scanned keeps state between the calls for one head (initially 0): how far the end was
 * searched, so that a head that arrives in many parts is scanned once. After VERDICT_OK
 * it may be kept to parse the same bytes again without that search. Empty lines before a
 * request line are part of the head (RFC 9112 2.2). VERDICT_MORE is never returned for n
 * >= limits->bytes. A fault in the first line, and an octet that is not allowed in any
 * head, are reported as soon as they are received, before the head is complete; which
 * fault is reported does not depend on how the bytes are split. */
enum verdict head_parse_request(struct head *h, const char *bytes, size_t n,
				const struct head_limits *limits, uint32_t *scanned) MUST_USE;
enum verdict head_parse_response(struct head *h, const char *bytes, size_t n,
				 const struct head_limits *limits, uint32_t *scanned) MUST_USE;

/* A trailer section (RFC 9112 7.1.2) with its empty line: sets fields, field_n and bytes.
 * Its faults are TRAILER and TRAILER_LARGE. Fields that are not allowed in trailers
 * (framing, routing, Connection …: RFC 9110 6.5.1) are marked per_hop. */
enum verdict head_parse_trailers(struct head *h, const char *bytes, size_t n,
				 const struct head_limits *limits, uint32_t *scanned) MUST_USE;

/* The framing of a response to `method` (RFC 9112 6.3): none for HEAD, 1xx, 204, 304, and
 * 2xx to CONNECT. */
enum framing head_response_framing(const struct head *h, enum method method);

/* The first field of this name, or NULL. */
const struct field *head_find(const struct head *h, enum header id);
const struct field *head_find_name(const struct head *h, struct slice name);

#endif
