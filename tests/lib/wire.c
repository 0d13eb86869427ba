#include "lib/wire.h"

#include <stdlib.h>
#include <string.h>

#define PERIOD 128
#define SIZE_LINE_MAX 40

static const char decoy[] = "\r\n\r\nGET /u0/99999 HTTP/1.1\r\nHost: decoy\r\n\r\n";

char wire_byte(uint32_t id, enum wire_way way, uint64_t i)
{
	uint64_t z = (i / PERIOD + 1) * 0x9e3779b97f4a7c15u + id * 0xbf58476d1ce4e5b9u + way;

	if (i / PERIOD % 2 == 1 && i % PERIOD < sizeof(decoy) - 1)
		return decoy[i % PERIOD];
	z ^= z >> 29;
	return (char)((z * (i % PERIOD * 2 + 1)) >> 23);
}

void wire_fill(char *to, uint32_t id, enum wire_way way, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = wire_byte(id, way, from + i);
}

/* ---- heads ------------------------------------------------------------------ */

struct slice wire_head(struct slice bytes)
{
	const char *end = memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4);

	if (!end)
		return (struct slice){ bytes.ptr, 0 };
	return (struct slice){ bytes.ptr, (size_t)(end + 4 - bytes.ptr) };
}

struct slice wire_line(struct slice head)
{
	const char *end = memmem(head.ptr, head.len, "\r\n", 2);

	return (struct slice){ head.ptr, (size_t)(end - head.ptr) };
}

/* The line after this one, without CRLF; empty: it was the last. */
static struct slice next_line(struct slice head, struct slice line)
{
	const char *at = line.ptr + line.len + 2, *end = head.ptr + head.len;

	return at >= end ? (struct slice){ end, 0 } :
			   wire_line((struct slice){ at, (size_t)(end - at) });
}

static bool token(struct slice s)
{
	static const char also[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			     (c >= 'A' && c <= 'Z');

		if (!alnum && (c == '\0' || !strchr(also, c)))
			return false;
	}
	return s.len > 0;
}

static bool controls(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
			return true;
	return false;
}

static const char *lengths_fault(struct slice head)
{
	struct slice length = wire_field(head, "Content-Length", 0);

	if (wire_field(head, "Content-Length", 1).ptr)
		return "two lengths";
	if (wire_field(head, "Transfer-Encoding", 1).ptr)
		return "two codings";
	if (length.ptr && wire_has(head, "Transfer-Encoding"))
		return "a length and a coding";
	if (wire_has(head, "Transfer-Encoding") && !wire_is(head, "Transfer-Encoding", "chunked"))
		return "a coding other than chunked";
	for (size_t i = 0; i < length.len; i++)
		if (length.ptr[i] < '0' || length.ptr[i] > '9')
			return "a length that is no number";
	return length.ptr && length.len == 0 ? "an empty length" : NULL;
}

const char *wire_head_fault(struct slice head)
{
	struct slice line = wire_line(head);

	if (controls(line))
		return "a control character in the first line";
	for (line = next_line(head, line); line.len > 0; line = next_line(head, line)) {
		const char *colon = memchr(line.ptr, ':', line.len);

		if (!colon || !token((struct slice){ line.ptr, (size_t)(colon - line.ptr) }))
			return "a field name that is none";
		if (controls(line))
			return "a control character in a field";
	}
	if (line.ptr + line.len + 2 != head.ptr + head.len)
		return "an empty line within the head";
	return lengths_fault(head);
}

struct slice wire_field(struct slice head, const char *name, unsigned n)
{
	size_t len = strlen(name);

	for (struct slice l = next_line(head, wire_line(head)); l.len > 0;
	     l = next_line(head, l)) {
		if (l.len <= len || l.ptr[len] != ':' || strncasecmp(l.ptr, name, len) != 0 ||
		    n-- > 0)
			continue;
		l.ptr += len + 1;
		l.len -= len + 1;
		while (l.len > 0 && *l.ptr == ' ') {
			l.ptr++;
			l.len--;
		}
		return l;
	}
	return (struct slice){ NULL, 0 };
}

bool wire_has(struct slice head, const char *name)
{
	return wire_field(head, name, 0).ptr != NULL;
}

bool wire_is(struct slice head, const char *name, const char *value)
{
	struct slice s = wire_field(head, name, 0);

	return s.ptr && s.len == strlen(value) && strncasecmp(s.ptr, value, s.len) == 0;
}

/* ---- bodies ----------------------------------------------------------------- */

void wire_begin(struct wire *w, struct slice head, bool none, bool open_ended, uint32_t id,
		enum wire_way way)
{
	struct slice length = wire_field(head, "Content-Length", 0);

	*w = (struct wire){ .id = id, .way = way };
	if (none) {
		w->state = WIRE_WHOLE;
	} else if (wire_has(head, "Transfer-Encoding")) {
		w->state = WIRE_SIZE;
	} else if (length.ptr || !open_ended) {
		w->left = length.ptr ? strtoull(length.ptr, NULL, 10) : 0;
		w->state = w->left > 0 ? WIRE_LENGTH : WIRE_WHOLE;
	} else {
		w->state = WIRE_CLOSE;
	}
}

static const char *body_bytes(struct wire *w, struct slice bytes, size_t *used)
{
	size_t n = bytes.len;

	if (w->state != WIRE_CLOSE && n > w->left)
		n = (size_t)w->left;
	for (size_t i = 0; i < n && w->way != WIRE_ANY; i++)
		if (bytes.ptr[i] != wire_byte(w->id, w->way, w->got + i))
			return "a byte that does not belong here";
	w->got += n;
	w->left -= n;
	*used = n;
	if (w->left == 0 && w->state != WIRE_CLOSE)
		w->state = w->state == WIRE_CHUNK ? WIRE_CHUNK_END : WIRE_WHOLE;
	return NULL;
}

static const char *size_line(struct wire *w, struct slice line)
{
	uint64_t size = 0;

	if (line.len == 0 || line.len > 15)
		return "a chunk without a size";
	for (size_t i = 0; i < line.len; i++) {
		const char *digits = "0123456789abcdef", *at = strchr(digits, line.ptr[i] | 32);

		if (!at || line.ptr[i] == '\0')
			return "a chunk size that is no number";
		size = size * 16 + (uint64_t)(at - digits);
	}
	w->left = size;
	w->state = size > 0 ? WIRE_CHUNK : WIRE_TRAILERS;
	return NULL;
}

static const char *frame_line(struct wire *w, struct slice bytes, size_t *used)
{
	const char *end = memmem(bytes.ptr, bytes.len, "\r\n", 2);
	struct slice line;

	if (!end)
		return bytes.len > SIZE_LINE_MAX && w->state != WIRE_TRAILERS ?
			       "a chunk line without an end" : NULL;
	line = (struct slice){ bytes.ptr, (size_t)(end - bytes.ptr) };
	*used = line.len + 2;
	if (w->state == WIRE_SIZE)
		return size_line(w, line);
	if (w->state == WIRE_CHUNK_END) {
		w->state = WIRE_SIZE;
		return line.len > 0 ? "a chunk that is longer than its size" : NULL;
	}
	if (line.len == 0)
		w->state = WIRE_WHOLE;
	return controls(line) ? "a control character in a trailer" : NULL;
}

const char *wire_feed(struct wire *w, struct slice bytes, size_t *used)
{
	const char *fault = NULL;
	size_t n = 1;

	*used = 0;
	while (!fault && w->state != WIRE_WHOLE && n > 0 && *used < bytes.len) {
		struct slice rest = { bytes.ptr + *used, bytes.len - *used };

		n = 0;
		if (w->state == WIRE_LENGTH || w->state == WIRE_CHUNK || w->state == WIRE_CLOSE)
			fault = body_bytes(w, rest, &n);
		else
			fault = frame_line(w, rest, &n);
		*used += n;
	}
	return fault;
}
