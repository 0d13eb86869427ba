/* A second reader of HTTP/1.1, apart from the one that is tested: strict, and plain enough to
 * be believed. The peers of the simulation stand on it.
 *
 * Every body is a function of the request that it belongs to, of the way it goes and of the
 * place in it: one byte of another body, or of another place, does not pass. */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum wire_way { WIRE_ANY, WIRE_UP, WIRE_DOWN, WIRE_CACHED };

/* Byte i of a body. Much of it looks like requests. */
char wire_byte(uint32_t id, enum wire_way way, uint64_t i);
void wire_fill(char *to, uint32_t id, enum wire_way way, uint64_t from, size_t n);

/* The head that these bytes begin with: up to and with the empty line, or empty if it is not
 * all there. */
struct slice wire_head(struct slice bytes);

/* NULL, or what is wrong with it: each line ends with CRLF, each name is a token right before
 * its colon, there are no control characters, and nothing says twice how long the body is. */
const char *wire_head_fault(struct slice head);

struct slice wire_line(struct slice head); /* the first, without its end */

/* The n-th (0: first) value of a field; ptr NULL: there is none. */
struct slice wire_field(struct slice head, const char *name, unsigned n);
bool wire_has(struct slice head, const char *name);
bool wire_is(struct slice head, const char *name, const char *value);

enum wire_state {
	WIRE_LENGTH,
	WIRE_SIZE,     /* of a chunk */
	WIRE_CHUNK,
	WIRE_CHUNK_END,
	WIRE_TRAILERS,
	WIRE_CLOSE,    /* until the connection ends */
	WIRE_WHOLE,
};

struct wire {
	enum wire_state state;
	enum wire_way way;
	uint32_t id;
	uint64_t left, got;
};

/* The body after this head; none: it has no body although the head says how long it is.
 * `open_ended`: without a length it goes on until the end of the connection. */
void wire_begin(struct wire *w, struct slice head, bool none, bool open_ended, uint32_t id,
		enum wire_way way);

/* NULL, or what is wrong. *used of the bytes are dealt with; after WIRE_WHOLE none. */
const char *wire_feed(struct wire *w, struct slice bytes, size_t *used);

#endif
