/* Bodies: where they end, and what of the bytes is body (RFC 9112 6, 7.1).
 *
 * The chunked coding is read by us and not by llhttp, which lets bare LF pass: only
 * CRLF ends a line, sizes may not overflow, extensions follow the grammar of RFC 9112
 * 7.1.1, are bounded, and are dropped. Works on whatever is at hand: cut anywhere gives
 * the same. 24 bytes of state. Pure. */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include "http/head.h"

enum body_event {
	BODY_DATA,     /* `data` is body */
	BODY_MORE,     /* all was used; more must come */
	BODY_TRAILERS, /* the last chunk was read; a trailer section follows, which the
			  caller reads with head_parse_trailers(), then
			  body_trailers_read() */
	BODY_END,      /* nothing after `used` belongs to this message */
	BODY_BAD,      /* `fault` says why */
};

struct body {
	uint8_t framing; /* enum framing */
	uint8_t state;   /* private */
	uint8_t fault;   /* enum fault */
	bool padded;     /* blanks and zeros around chunk sizes are forgiven (http/lenient.h);
			    set after body_init() */
	uint16_t line_bytes; /* private: digits, then extensions, of this chunk line */
	uint16_t ignored; /* its reader's: bytes of empty lines before the head */
	uint64_t left;   /* of the length, or of the chunk */
};

void body_init(struct body *b, enum framing framing, uint64_t length);

/* Looks at the first of n bytes: *used of them are dealt with; with BODY_DATA
 * *data lies within those. Call again for the rest. n may be 0: tells whether the
 * end has been reached. */
enum body_event body_next(struct body *b, const char *bytes, size_t n, size_t *used,
			  struct slice *data);

void body_trailers_read(struct body *b);

/* The connection ended: BODY_END where that is the end of the body, else BODY_BAD. */
enum body_event body_eof(struct body *b);

static inline bool body_ended(const struct body *b);

/* Writes the chunk line "SIZE CRLF" of n > 0 bytes; returns its length. */
#define BODY_CHUNK_LINE_MAX 18
size_t body_chunk_line(char line[BODY_CHUNK_LINE_MAX], uint64_t n);

#define BODY_STATE_END 255
static inline bool body_ended(const struct body *b)
{
	return b->state == BODY_STATE_END;
}

#endif
