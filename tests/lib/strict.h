/* A second reading of HTTP/1.1 messages, to tell whether what was written is what was meant.
 *
 * Written from RFC 9112, 9110 and 3986 alone; it shares no code with src/http. It reads what
 * lies there whole, allocates nothing and takes its time. Strict: a message that any two
 * recipients could read differently is BAD. Where src/http says in its headers that it lets
 * something pass, so does this.
 *
 * `odd` tells of a message that is right, but not as we write: the one form in which
 * everything is forwarded. */
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
	size_t bytes;                /* the empty line included */
	enum strict_framing framing; /* of a response: as if to a GET, see strict_answer() */
	uint64_t length;
	bool close, keep_alive, upgrade; /* Connection says so */
	unsigned field_n;
	struct strict_field fields[STRICT_FIELDS_MAX];
	const char *why; /* STRICT_BAD */
	const char *odd; /* STRICT_OK: what is not as we write; NULL: nothing */
};

enum strict_verdict strict_request(struct strict_head *h, struct slice s);
enum strict_verdict strict_response(struct strict_head *h, struct slice s);

/* Only a field section with its empty line: trailers. */
enum strict_verdict strict_section(struct strict_head *h, struct slice s);

/* The framing of this answer to a request of that method (RFC 9112 6.3). */
enum strict_framing strict_answer(const struct strict_head *h, struct slice method);

struct strict_body {
	char *data; /* room for all that there is to read, given by the caller */
	size_t data_n;
	size_t bytes; /* of the message, framing included */
	size_t trailers_at; /* where in what was read the trailer section begins */
	const char *why, *odd;
};

/* Reads a body that is framed so at the front of s. `ended`: nothing follows s. */
enum strict_verdict strict_read_body(struct strict_body *b, struct slice s,
				     enum strict_framing framing, uint64_t length,
				     bool ended);

unsigned strict_count(const struct strict_head *h, const char *name);
/* The first field of that name; ptr is NULL: there is none. */
struct slice strict_find(const struct strict_head *h, const char *name);

/* One of the elements of all fields of that name. */
bool strict_lists(const struct strict_head *h, const char *name, struct slice element);

/* host [":" port], or empty (RFC 9110 4.2, 7.2). */
bool strict_authority(struct slice s);

#endif
