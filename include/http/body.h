/* Message bodies: where they end, and which bytes are content (RFC 9112 6, 7.1).
 *
 * The chunked coding is parsed here and not by llhttp, which accepts bare LF: only CRLF
 * ends a line, sizes must not overflow, extensions must follow the grammar of RFC 9112
 * 7.1.1, are limited to 1024 bytes per chunk, and are dropped. Incremental: the result
 * does not depend on how the bytes are split.
 *
 * Owner: the reader it is embedded in. Errors: BODY_BAD with a fault. Pure, 16 bytes of
 * state. */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include "http/head.h"

enum body_event {
	BODY_DATA,     /* *data is content */
	BODY_MORE,     /* all bytes were used; more are needed */
	BODY_TRAILERS, /* the last chunk was read; a trailer section follows. The caller parses it
			  with head_parse_trailers() and then calls body_trailers_read() */
	BODY_END,      /* the body is complete; bytes after *used belong to the next message */
	BODY_BAD,      /* `fault` says why */
};

struct body {
	uint8_t framing; /* enum framing */
	uint8_t state;   /* private */
	uint8_t fault;   /* enum fault, with BODY_BAD */
	bool padding_allowed; /* blanks and zeros around chunk sizes (http/lenient.h); set after
				 body_init() */
	uint16_t line_bytes; /* private: length of the digits or extensions of a chunk line */
	uint16_t ignored; /* the reader's: bytes of empty lines before the head */
	uint64_t left;   /* bytes remaining: of the body (FRAMING_LENGTH) or of the chunk */
};

void body_init(struct body *b, enum framing framing, uint64_t length);

/* Reads from the n bytes. *used: how many were consumed; with BODY_DATA *data lies within
 * those. Call again for the rest. n may be 0: returns whether the body has ended. */
enum body_event body_next(struct body *b, const char *bytes, size_t n, size_t *used,
			  struct slice *data);

/* After BODY_TRAILERS: the trailer section was consumed. */
void body_trailers_read(struct body *b);

/* The connection has ended. BODY_END if that ends the body (FRAMING_CLOSE) or it is
 * complete; else BODY_BAD. */
enum body_event body_eof(struct body *b);

/* Writes the chunk line "SIZE CRLF" for n > 0 bytes of content; returns its length. */
#define BODY_CHUNK_LINE_MAX 18
size_t body_chunk_line(char line[BODY_CHUNK_LINE_MAX], uint64_t n);

#define BODY_STATE_END 255
static inline bool body_ended(const struct body *b)
{
	return b->state == BODY_STATE_END;
}

#endif
