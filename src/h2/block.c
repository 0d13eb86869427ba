#include "h2/block.h"

#include <string.h>

#include "base/check.h"

/* The first size of a text: most heads fit. */
#define TEXT_BYTES 1024
/* What RFC 9113 6.5.2 adds to the length of each field. */
#define FIELD_EXTRA 32

enum {
	SEEN_METHOD = 1,
	SEEN_SCHEME = 2,
	SEEN_AUTHORITY = 4,
	SEEN_PATH = 8,
	SEEN_STATUS = 16
};

static const struct {
	struct slice name;
	uint8_t bit, kind;
} pseudo_fields[] = {
	{ { ":method", 7 }, SEEN_METHOD, BLOCK_REQUEST },
	{ { ":scheme", 7 }, SEEN_SCHEME, BLOCK_REQUEST },
	{ { ":authority", 10 }, SEEN_AUTHORITY, BLOCK_REQUEST },
	{ { ":path", 5 }, SEEN_PATH, BLOCK_REQUEST },
	{ { ":status", 7 }, SEEN_STATUS, BLOCK_RESPONSE },
};

/* tchar (RFC 9110 5.6.2) without upper case, which RFC 9113 8.2.1 forbids: the bits of the octets
 * 0x20 to 0x7f. */
static const uint32_t name_octets[] = { 0x03ff6cfa, 0xc0000000, 0x57ffffff };

static bool name_valid(struct slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = (uint8_t)name.ptr[i];

		if (c < 0x20 || c > 0x7f || !(name_octets[(c >> 5) - 1] >> (c & 31) & 1))
			return false;
	}
	return name.len > 0;
}

/* No octet that would end a line, and none that HTTP/1 refuses anyway. */
static bool value_valid(struct slice value)
{
	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = (uint8_t)value.ptr[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

void block_begin(struct block *b, struct buf_pool *pool, enum block_kind kind,
		 const struct head_limits *limits, bool secured)
{
	*b = (struct block){
		.pool = pool,
		.kind = (uint8_t)kind,
		.list_max = limits->bytes,
		.fields_max = limits->fields,
		.secured = secured,
	};
}

static void block_refuse(struct block *b, enum fault fault)
{
	if (!b->fault)
		b->fault = (uint8_t)fault;
	buf_put(b->text);
	buf_put(b->cookies);
	b->text = b->cookies = NULL;
}

/* Makes space for n bytes at the end of *text. */
static bool text_grow(struct block *b, struct buf **text, size_t n)
{
	struct buf *old = *text, *new;
	size_t used = old ? old->end : 0, size = old ? old->size : TEXT_BYTES;

	if (old && old->size - used >= n)
		return true;
	while (size - used < n)
		size *= 2;
	new = buf_new(b->pool, size);
	if (!new) {
		block_refuse(b, FAULT_NO_MEMORY);
		return false;
	}
	if (old) {
		memcpy(new->data, old->data, used);
		new->begin = old->begin;
		new->end = old->end;
		buf_put(old);
	}
	*text = new;
	return true;
}

static void text_put(struct buf *text, struct slice s)
{
	if (s.len > 0)
		memcpy(text->data + text->end, s.ptr, s.len);
	text->end += (uint32_t)s.len;
}

static void text_put_field(struct block *b, struct slice name, struct slice value)
{
	if (!text_grow(b, &b->text, name.len + value.len + 4))
		return;
	text_put(b->text, name);
	text_put(b->text, SLICE(": "));
	text_put(b->text, value);
	text_put(b->text, SLICE("\r\n"));
}

/* ---- pseudo-fields ------------------------------------------------------------ */

/* One of the values at the beginning of the text. */
static struct slice pseudo_value(const struct block *b, uint8_t bit)
{
	uint32_t at = 0, len = b->method;

	if (bit > SEEN_METHOD) {
		at += b->method;
		len = b->scheme;
	}
	if (bit > SEEN_SCHEME) {
		at += b->scheme;
		len = b->authority;
	}
	if (bit > SEEN_AUTHORITY) {
		at += b->authority;
		len = b->path;
	}
	return (struct slice){ b->text->data + at, len };
}

/* Puts a value where the order of the bits wants it: they may come in any order. */
static void pseudo_put(struct block *b, uint8_t bit, struct slice value)
{
	uint32_t *const len[] = { &b->method, &b->scheme, &b->authority, &b->path };
	uint32_t at = 0, n = (uint32_t)value.len;

	if (!text_grow(b, &b->text, n))
		return;
	for (unsigned i = 0; 1u << i < bit; i++)
		at += *len[i];
	memmove(b->text->data + at + n, b->text->data + at, b->text->end - at);
	if (n > 0)
		memcpy(b->text->data + at, value.ptr, n);
	b->text->end += n;
	*len[__builtin_ctz(bit)] = n;
}

static void block_pseudo(struct block *b, struct slice name, struct slice value)
{
	for (size_t i = 0; i < sizeof(pseudo_fields) / sizeof(pseudo_fields[0]); i++) {
		if (!slice_equal(name, pseudo_fields[i].name))
			continue;
		if (pseudo_fields[i].kind != b->kind || b->seen & pseudo_fields[i].bit ||
		    b->line_written)
			break;
		b->seen |= pseudo_fields[i].bit;
		if (b->kind == BLOCK_RESPONSE) {
			/* Three digits, or head_parse_response() refuses the line. */
			if (text_grow(b, &b->text, value.len))
				text_put(b->text, value);
		} else {
			pseudo_put(b, pseudo_fields[i].bit, value);
		}
		return;
	}
	block_refuse(b, FAULT_REQUEST_LINE);
}

/* The method is a token, and the path one of origin or asterisk form: an absolute one would
 * override the authority. */
static enum fault request_fault(const struct block *b)
{
	struct slice method = pseudo_value(b, SEEN_METHOD);
	struct slice scheme = pseudo_value(b, SEEN_SCHEME);
	struct slice path = pseudo_value(b, SEEN_PATH);

	if (slice_equal(method, SLICE("CONNECT")))
		return b->seen == (SEEN_METHOD | SEEN_AUTHORITY) ? FAULT_NONE
								 : FAULT_TARGET;
	if ((b->seen & (SEEN_METHOD | SEEN_SCHEME | SEEN_PATH)) !=
	    (SEEN_METHOD | SEEN_SCHEME | SEEN_PATH))
		return FAULT_REQUEST_LINE;
	if (method.len == 0 || memchr(method.ptr, ' ', method.len))
		return FAULT_METHOD;
	if (!slice_equal_nocase(scheme, b->secured ? SLICE("https") : SLICE("http")))
		return FAULT_TARGET;
	if (path.len == 0 || (path.ptr[0] != '/' && !slice_equal(path, SLICE("*"))))
		return FAULT_TARGET;
	return FAULT_NONE;
}

/* Behind the values of the pseudo-fields, which are no part of the text. */
static void request_line_write(struct block *b)
{
	struct slice authority;
	uint32_t begin;
	enum fault fault = request_fault(b);

	if (fault) {
		block_refuse(b, fault);
		return;
	}
	begin = b->text->end;
	/* CONNECT writes the authority twice: nothing below moves the text. */
	if (!text_grow(b, &b->text, 2 * (size_t)begin + 48))
		return;
	authority = pseudo_value(b, SEEN_AUTHORITY);
	text_put(b->text, pseudo_value(b, SEEN_METHOD));
	text_put(b->text, SLICE(" "));
	text_put(b->text, b->seen & SEEN_PATH ? pseudo_value(b, SEEN_PATH) : authority);
	text_put(b->text, SLICE(" HTTP/1.1\r\n"));
	b->text->begin = begin;
	if (b->seen & SEEN_AUTHORITY)
		text_put_field(b, SLICE("host"), authority);
}

static void status_line_write(struct block *b)
{
	struct slice status;
	uint32_t begin;

	if (!(b->seen & SEEN_STATUS)) {
		block_refuse(b, FAULT_STATUS_LINE);
		return;
	}
	begin = b->text->end;
	if (!text_grow(b, &b->text, begin + 16))
		return;
	status = (struct slice){ b->text->data, begin };
	text_put(b->text, SLICE("HTTP/1.1 "));
	text_put(b->text, status);
	text_put(b->text, SLICE(" \r\n"));
	b->text->begin = begin;
}

/* Before the first regular field, or at the end. */
static void line_write(struct block *b)
{
	b->line_written = true;
	if (b->kind == BLOCK_TRAILERS || (b->kind == BLOCK_REQUEST && !b->seen)) {
		if (b->kind == BLOCK_REQUEST)
			block_refuse(b, FAULT_REQUEST_LINE);
		else
			text_grow(b, &b->text, 2);
		return;
	}
	if (b->kind == BLOCK_REQUEST)
		request_line_write(b);
	else
		status_line_write(b);
}

/* ---- fields -------------------------------------------------------------------- */

/* Beside an :authority that says the same but for case, it is dropped (RFC 9113 8.3.1). */
static void block_host(struct block *b, struct slice name, struct slice value)
{
	if (!(b->seen & SEEN_AUTHORITY))
		text_put_field(b, name, value);
	else if (!slice_equal_nocase(value, pseudo_value(b, SEEN_AUTHORITY)))
		block_refuse(b, FAULT_HOST_REPEATED);
}

static void block_cookie(struct block *b, struct slice value)
{
	bool first = !b->cookies;

	if (!text_grow(b, &b->cookies, value.len + 2))
		return;
	if (!first)
		text_put(b->cookies, SLICE("; "));
	text_put(b->cookies, value);
}

void block_field(struct block *b, struct slice name, struct slice value)
{
	if (b->fault)
		return;
	b->list_bytes += (uint32_t)(name.len + value.len) + FIELD_EXTRA;
	if (b->list_bytes > b->list_max) {
		block_refuse(b, FAULT_HEAD_LARGE);
		return;
	}
	if (!value_valid(value)) {
		block_refuse(b, FAULT_CONTROL);
		return;
	}
	if (name.len > 0 && name.ptr[0] == ':') {
		block_pseudo(b, name, value);
		return;
	}
	if (!name_valid(name)) {
		block_refuse(b, FAULT_FIELD_NAME);
		return;
	}
	if (!b->line_written)
		line_write(b);
	if (b->fault)
		return;
	if (++b->fields > b->fields_max)
		block_refuse(b, FAULT_HEAD_FIELDS);
	else if (b->kind == BLOCK_REQUEST && slice_equal(name, SLICE("host")))
		block_host(b, name, value);
	else if (b->kind == BLOCK_REQUEST && slice_equal(name, SLICE("cookie")))
		block_cookie(b, value);
	else
		text_put_field(b, name, value);
}

struct buf *block_end(struct block *b)
{
	struct buf *text;

	if (!b->fault && !b->line_written)
		line_write(b);
	if (!b->fault && b->cookies)
		text_put_field(b, SLICE("cookie"), buf_bytes(b->cookies));
	if (!b->fault && text_grow(b, &b->text, 2))
		text_put(b->text, SLICE("\r\n"));
	text = b->text;
	b->text = NULL;
	block_drop(b);
	return text;
}

void block_drop(struct block *b)
{
	buf_put(b->text);
	buf_put(b->cookies);
	b->text = b->cookies = NULL;
}

/* ---- to be sent ---------------------------------------------------------------- */

#define ENTRY_HEAD (2 * sizeof(uint16_t))

static void lengths_put(char *at, size_t name, size_t value)
{
	uint16_t lengths[2] = { (uint16_t)name, (uint16_t)value };

	memcpy(at, lengths, sizeof(lengths));
}

/* Writes the lengths and the name, in lower case. Returns where the value begins; NULL: it does
 * not fit. */
static char *entry_begin(struct sink *s, struct slice name, size_t value)
{
	char *at = s->out.at;

	if (s->out.overflow ||
	    (size_t)(s->out.end - at) < ENTRY_HEAD + name.len + value ||
	    name.len > UINT16_MAX || value > UINT16_MAX) {
		s->out.overflow = true;
		return NULL;
	}
	lengths_put(at, name.len, value);
	at += ENTRY_HEAD;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		*at++ = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	s->out.at = at + value;
	return at;
}

static void http2_field(struct sink *s, struct slice name, struct slice value)
{
	char *at = entry_begin(s, name, value.len);

	if (at && value.len > 0)
		memcpy(at, value.ptr, value.len);
}

static void http2_request(struct sink *s, const struct sink_request *r)
{
	char *at;

	http2_field(s, SLICE(":method"), r->method);
	http2_field(s, SLICE(":scheme"), r->secured ? SLICE("https") : SLICE("http"));
	http2_field(s, SLICE(":authority"), r->authority);
	at = entry_begin(s, SLICE(":path"), r->path.len + r->query.len);
	if (!at)
		return;
	if (r->path.len > 0)
		memcpy(at, r->path.ptr, r->path.len);
	if (r->query.len > 0)
		memcpy(at + r->path.len, r->query.ptr, r->query.len);
}

static void http2_status(struct sink *s, int status, struct slice phrase)
{
	const char digits[3] = { (char)('0' + status / 100),
				 (char)('0' + status / 10 % 10),
				 (char)('0' + status % 10) };

	(void)phrase; /* HTTP/2 has none (RFC 9113 8.3.2) */
	ASSERT(status >= 100 && status <= 999);
	http2_field(s, SLICE(":status"), (struct slice){ digits, sizeof(digits) });
}

static void http2_begin(struct sink *s, struct slice name)
{
	s->entry = s->out.at;
	entry_begin(s, name, 0);
}

static void http2_finish(struct sink *s)
{
	uint16_t lengths[2];
	size_t value;

	if (s->out.overflow)
		return;
	memcpy(lengths, s->entry, sizeof(lengths));
	value = (size_t)(s->out.at - s->entry) - ENTRY_HEAD - lengths[0];
	if (value > UINT16_MAX)
		s->out.overflow = true;
	else
		lengths_put(s->entry, lengths[0], value);
}

static void http2_end(struct sink *s)
{
	(void)s;
}

const struct sink_ops sink_http2_ops = {
	.connection_fields = false,
	.request = http2_request,
	.status = http2_status,
	.field = http2_field,
	.begin = http2_begin,
	.finish = http2_finish,
	.end = http2_end,
};

bool block_next(struct slice *block, struct slice *name, struct slice *value)
{
	uint16_t lengths[2];

	if (block->len == 0)
		return false;
	ASSERT(block->len >= ENTRY_HEAD);
	memcpy(lengths, block->ptr, sizeof(lengths));
	*block = slice_after(*block, ENTRY_HEAD);
	ASSERT(block->len >= (size_t)lengths[0] + lengths[1]);
	*name = (struct slice){ block->ptr, lengths[0] };
	*value = (struct slice){ block->ptr + lengths[0], lengths[1] };
	*block = slice_after(*block, (size_t)lengths[0] + lengths[1]);
	return true;
}
