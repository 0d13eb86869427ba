/* A second parser of HTTP/1.1, independent of the one under test: strict and simple. The clients
 * and origins of the simulation use it.
 *
 * Each byte of a body is a function of its request, its direction and its position. So a byte of
 * another body, or of another position, is noticed. */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum wire_way { WIRE_ANY, WIRE_UP, WIRE_DOWN, WIRE_CACHED };

/* Byte i of a body. Parts of a body look like requests. */
char wire_byte(uint32_t id, enum wire_way way, uint64_t i);
void wire_fill(char *to, uint32_t id, enum wire_way way, uint64_t from, size_t n);

/* The head at the beginning of these bytes, up to and including the empty line; empty: it is
 * incomplete. */
struct slice wire_head(struct slice bytes);

/* NULL, or what is wrong: each line must end with CRLF, each name must be a token directly before
 * its colon, there must be no control characters, and at most one field may frame the body. */
const char *wire_head_fault(struct slice head);

struct slice wire_line(struct slice head); /* the first line, without CRLF */

/* The n-th (0: first) value of a field; ptr NULL: the head has no such field. */
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

/* Prepares for the body after this head. `none`: there is no body, whatever the head says.
 * `open_ended`: without framing fields it ends with the connection. */
void wire_begin(struct wire *w, struct slice head, bool none, bool open_ended, uint32_t id,
		enum wire_way way);

/* Returns NULL, or what is wrong. Sets *used to the number of bytes it consumed; 0 after
 * WIRE_WHOLE. */
const char *wire_feed(struct wire *w, struct slice bytes, size_t *used);

#endif
