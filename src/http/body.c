#include "http/body.h"

#include "octet.h"

/* Longest extensions of one chunk line, bytes. */
#define EXTENSION_BYTES_MAX 1024
#define SIZE_DIGITS_MAX 16

enum state {
	IDENTITY,  /* FRAMING_LENGTH or FRAMING_CLOSE: everything is content */
	SIZE,      /* the first digit of a chunk size */
	SIZE_MORE, /* further digits, or the end of the size */
	PADDING,   /* blanks after a size, if padding_allowed */
	/* Extensions (RFC 9112 7.1.1). */
	BLANKS_ENDED, /* blanks after a size or value: only ";" may follow */
	NAME_START,   /* blanks after ";" */
	NAME,
	NAME_ENDED,  /* blanks after a name: ";" or "=" may follow */
	VALUE_START, /* blanks after "=" */
	VALUE,
	QUOTED,
	ESCAPED,
	QUOTED_END,
	LINE_LF, /* after the CR of the chunk line */
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILERS,
	BROKEN,
	END = BODY_STATE_END,
};

void body_init(struct body *b, enum framing framing, uint64_t length)
{
	*b = (struct body){ .framing = (uint8_t)framing };
	switch (framing) {
	case FRAMING_NONE:
		b->state = END;
		break;
	case FRAMING_LENGTH:
		b->left = length;
		b->state = length > 0 ? IDENTITY : END;
		break;
	case FRAMING_CHUNKED:
		b->state = SIZE;
		break;
	case FRAMING_CLOSE:
		b->left = UINT64_MAX;
		b->state = IDENTITY;
		break;
	}
}

static void fault_set(struct body *b, enum fault fault)
{
	b->state = BROKEN;
	b->fault = (uint8_t)fault;
}

static void size_digit_read(struct body *b, char c)
{
	unsigned digits_max = b->padding_allowed ? EXTENSION_BYTES_MAX : SIZE_DIGITS_MAX;

	/* Up to INT64_MAX, so that sums of sizes do not overflow. */
	if (b->line_bytes >= digits_max || b->left > (uint64_t)INT64_MAX >> 4) {
		fault_set(b, FAULT_CHUNK_LARGE);
		return;
	}
	b->line_bytes++;
	b->left = b->left << 4 | octet_hex_value(c);
	b->state = SIZE_MORE;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* An octet before the digits of a size. */
static void padding_read(struct body *b, char c)
{
	if (!b->padding_allowed || !is_blank(c))
		fault_set(b, FAULT_CHUNK_SIZE);
	else if (++b->line_bytes > EXTENSION_BYTES_MAX)
		fault_set(b, FAULT_CHUNK_LARGE);
}

static void size_end_read(struct body *b, char c)
{
	b->line_bytes = 0;
	if (c == '\r')
		b->state = LINE_LF;
	else if (c == ';')
		b->state = NAME_START;
	else if (is_blank(c))
		b->state = b->padding_allowed ? PADDING : BLANKS_ENDED;
	else
		fault_set(b, c == '\n' ? FAULT_BARE_LF : FAULT_CHUNK_SIZE);
}

/* In a quoted-string: HTAB, SP, visible and non-ASCII octets (RFC 9110 5.6.4). */
static enum state quoted_next(enum state state, char c)
{
	if (c == '\x7f' || ((uint8_t)c < 0x20 && c != '\t'))
		return BROKEN;
	if (state == ESCAPED)
		return QUOTED;
	return c == '"' ? QUOTED_END : c == '\\' ? ESCAPED : QUOTED;
}

/* After a name or a value. Blanks may follow, but then the line must not end. */
static enum state end_next(enum state blanks, char c)
{
	if (c == '\r')
		return LINE_LF;
	if (c == ';')
		return NAME_START;
	return is_blank(c) ? blanks : BROKEN;
}

/* The next state within an extension; BROKEN: c is not allowed here. */
static enum state extension_next(enum state state, char c)
{
	bool token = octet_is(c, OCTET_TOKEN);

	switch (state) {
	case PADDING:
		return end_next(state, c);
	case BLANKS_ENDED:
		return c == '\r' ? BROKEN : end_next(state, c);
	case NAME_START:
		return token ? NAME : is_blank(c) ? state : BROKEN;
	case NAME:
		return token ? NAME : c == '=' ? VALUE_START : end_next(NAME_ENDED, c);
	case NAME_ENDED:
		return c == '=' ? VALUE_START : c == '\r' ? BROKEN : end_next(state, c);
	case VALUE_START:
		return token ? VALUE : c == '"' ? QUOTED : is_blank(c) ? state : BROKEN;
	case VALUE:
		return token ? VALUE : end_next(BLANKS_ENDED, c);
	case QUOTED_END:
		return end_next(BLANKS_ENDED, c);
	case QUOTED:
	case ESCAPED:
		return quoted_next(state, c);
	case IDENTITY:
	case SIZE:
	case SIZE_MORE:
	case LINE_LF:
	case DATA:
	case DATA_CR:
	case DATA_LF:
	case TRAILERS:
	case BROKEN:
	case END:
		break;
	}
	return BROKEN;
}

static void extension_read(struct body *b, char c)
{
	enum state next = extension_next((enum state)b->state, c);

	if (c == '\n')
		fault_set(b, FAULT_BARE_LF);
	else if (next == BROKEN ||
		 (next != LINE_LF && ++b->line_bytes > EXTENSION_BYTES_MAX))
		fault_set(b, FAULT_CHUNK_EXTENSION);
	else
		b->state = (uint8_t)next;
}

static void line_lf_read(struct body *b, char c)
{
	if (c != '\n') {
		fault_set(b, FAULT_BARE_CR);
		return;
	}
	b->line_bytes = 0;
	b->state = b->left > 0 ? DATA : TRAILERS;
}

static void data_end_read(struct body *b, char c)
{
	if (c != (b->state == DATA_CR ? '\r' : '\n'))
		fault_set(b, FAULT_CHUNK_END);
	else
		b->state = b->state == DATA_CR ? DATA_LF : SIZE;
}

/* One octet outside the content: of a chunk line, or of the CRLF after a chunk. */
static void octet_read(struct body *b, char c)
{
	switch ((enum state)b->state) {
	case SIZE:
	case SIZE_MORE:
		if (octet_is(c, OCTET_HEX))
			size_digit_read(b, c);
		else if (b->state == SIZE)
			padding_read(b, c);
		else
			size_end_read(b, c);
		break;
	case PADDING:
	case BLANKS_ENDED:
	case NAME_START:
	case NAME:
	case NAME_ENDED:
	case VALUE_START:
	case VALUE:
	case QUOTED:
	case ESCAPED:
	case QUOTED_END:
		extension_read(b, c);
		break;
	case LINE_LF:
		line_lf_read(b, c);
		break;
	case DATA_CR:
	case DATA_LF:
		data_end_read(b, c);
		break;
	case IDENTITY:
	case DATA:
	case TRAILERS:
	case BROKEN:
	case END:
		ASSERT(false);
	}
}

static enum body_event data_take(struct body *b, const char *bytes, size_t n,
				 size_t *used, struct slice *data)
{
	size_t take = n < b->left ? n : (size_t)b->left;

	if (take == 0)
		return BODY_MORE;
	*data = (struct slice){ bytes, take };
	*used += take;
	if (b->framing != FRAMING_CLOSE)
		b->left -= take;
	if (b->left == 0)
		b->state = b->state == DATA ? DATA_CR : END;
	return BODY_DATA;
}

enum body_event body_next(struct body *b, const char *bytes, size_t n, size_t *used,
			  struct slice *data)
{
	*used = 0;
	for (;;) {
		switch ((enum state)b->state) {
		case IDENTITY:
		case DATA:
			return data_take(b, bytes + *used, n - *used, used, data);
		case TRAILERS:
			return BODY_TRAILERS;
		case BROKEN:
			return BODY_BAD;
		case END:
			return BODY_END;
		case SIZE:
		case SIZE_MORE:
		case PADDING:
		case BLANKS_ENDED:
		case NAME_START:
		case NAME:
		case NAME_ENDED:
		case VALUE_START:
		case VALUE:
		case QUOTED:
		case ESCAPED:
		case QUOTED_END:
		case LINE_LF:
		case DATA_CR:
		case DATA_LF:
			if (*used == n)
				return BODY_MORE;
			octet_read(b, bytes[(*used)++]);
		}
	}
}

void body_trailers_read(struct body *b)
{
	ASSERT(b->state == TRAILERS);
	b->state = END;
}

enum body_event body_eof(struct body *b)
{
	if (b->framing == FRAMING_CLOSE)
		b->state = END;
	if (b->state != END && b->state != BROKEN)
		fault_set(b, FAULT_BODY_SHORT);
	return b->state == END ? BODY_END : BODY_BAD;
}

size_t body_chunk_line(char line[BODY_CHUNK_LINE_MAX], uint64_t n)
{
	size_t digits = (size_t)(64 - __builtin_clzll(n) + 3) / 4;

	ASSERT(n > 0);
	for (size_t i = digits; i > 0; i--, n >>= 4)
		line[i - 1] = "0123456789abcdef"[n & 15];
	line[digits] = '\r';
	line[digits + 1] = '\n';
	return digits + 2;
}
