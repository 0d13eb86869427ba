/* A second parser of HTTP/1.1 messages, for tests: what does a strict recipient read?
 *
 * It is written from RFC 9112, 9110 and 3986 alone and shares no code with src/http. It parses
 * bytes that are all there, allocates nothing, and is not fast. A message that any two
 * recipients could read differently is STRICT_BAD; except where the headers of src/http say that
 * it accepts more: there this parser does, too.
 *
 * `not_canonical`: the message is valid, but not in the one form in which fairlead forwards
 * messages. */
#ifndef LIB_STRICT_H
#define LIB_STRICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define STRICT_FIELDS_MAX 600

enum strict_verdict { STRICT_OK, STRICT_PART, STRICT_BAD };

enum strict_framing { STRICT_NONE, STRICT_LENGTH, STRICT_CHUNKED, STRICT_CLOSE };

struct strict_field {
	struct slice name, value;
};

struct strict_head {
	struct slice method, target; /* of a request */
	struct slice authority;      /* of its target, else of its Host */
	int status;                  /* of a response */
	struct slice phrase;
	int minor;                   /* 0 or 1 */
	size_t bytes;                /* with the empty line */
	enum strict_framing
		framing; /* of a response: as to a GET, see strict_response_framing() */
	uint64_t length;
	bool close, keep_alive, upgrade; /* by Connection */
	unsigned field_n;
	struct strict_field fields[STRICT_FIELDS_MAX];
	const char *why;           /* STRICT_BAD: what is wrong */
	const char *not_canonical; /* STRICT_OK: what is not; NULL: it is canonical */
};

enum strict_verdict strict_request(struct strict_head *h, struct slice s);
enum strict_verdict strict_response(struct strict_head *h, struct slice s);

/* A field section with its empty line, without a first line: trailers. */
enum strict_verdict strict_section(struct strict_head *h, struct slice s);

/* The framing of this response to a request of that method (RFC 9112 6.3). */
enum strict_framing strict_response_framing(const struct strict_head *h,
					    struct slice method);

struct strict_body {
	char *data; /* the caller's buffer, as long as what is to be read */
	size_t data_n;
	size_t bytes; /* of the message, framing included */
	size_t trailers_at; /* where the trailer section begins */
	const char *why, *not_canonical;
};

/* Parses the body at the front of s, by its framing. `ended`: nothing follows s. */
enum strict_verdict strict_read_body(struct strict_body *b, struct slice s,
				     enum strict_framing framing, uint64_t length,
				     bool ended);

unsigned strict_count(const struct strict_head *h, const char *name);
/* The first field of that name; ptr NULL: the head has none. */
struct slice strict_find(const struct strict_head *h, const char *name);

/* One of the elements of the lists in all fields of that name. */
bool strict_lists(const struct strict_head *h, const char *name, struct slice element);

/* host [":" port], or empty (RFC 9110 4.2, 7.2). */
bool strict_authority(struct slice s);

#endif
