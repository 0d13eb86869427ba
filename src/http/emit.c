#include "http/emit.h"

#include <string.h>

#include "base/check.h"
#include "http/sink.h"
#include "octet.h"

/* Reserves n bytes of output. NULL: they do not fit. */
static inline char *space_take(struct emit *e, size_t n)
{
	char *at = e->at;

	if (e->overflow || n > (size_t)(e->end - at)) {
		e->overflow = true;
		return NULL;
	}
	e->at += n;
	return at;
}

void emit_slice(struct emit *e, struct slice s)
{
	char *at = space_take(e, s.len);

	if (at)
		slice_append(at, s);
}

struct slice emit_digits(char text[EMIT_DIGITS_MAX], uint64_t n)
{
	size_t at = EMIT_DIGITS_MAX;

	do
		text[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	return (struct slice){ text + at, EMIT_DIGITS_MAX - at };
}

void emit_number(struct emit *e, uint64_t n)
{
	char digits[EMIT_DIGITS_MAX];

	emit_slice(e, emit_digits(digits, n));
}

/* Writes the octets as they are that are unreserved (RFC 3986 2.3) or in `also`. */
static void emit_encoded(struct emit *e, struct slice s, struct slice also)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		const char code[3] = { '%', digits[c >> 4], digits[c & 15] };

		if (octet_is((char)c, OCTET_UNRESERVED) || memchr(also.ptr, c, also.len))
			emit_slice(e, (struct slice){ s.ptr + i, 1 });
		else
			emit_slice(e, (struct slice){ code, sizeof(code) });
	}
}

void emit_uri(struct emit *e, struct slice s)
{
	emit_encoded(e, s, SLICE("%/?:@!$&'()*+,;=[]"));
}

void emit_uri_decoded(struct emit *e, struct slice s)
{
	emit_encoded(e, s, SLICE("/:@!$'()*,"));
}

void emit_escaped(struct emit *e, struct slice s, const char *hex_prefix)
{
	static const char digits[] = "0123456789abcdef";
	size_t from = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char b = (unsigned char)s.ptr[i];
		char escape[2] = { digits[b >> 4], digits[b & 15] };

		if (b >= 0x20 && b < 0x7f && b != '"' && b != '\\')
			continue;
		emit_slice(e, (struct slice){ s.ptr + from, i - from });
		emit_slice(e, slice_of(hex_prefix));
		emit_slice(e, (struct slice){ escape, 2 });
		from = i + 1;
	}
	emit_slice(e, (struct slice){ s.ptr + from, s.len - from });
}

/* ---- HTTP/1.1 (RFC 9112 2.1) --------------------------------------------------
 * Each function reserves its bytes at once and appends literals, which are a store or two. */

static void http1_request(struct sink *s, const struct sink_request *r)
{
	const struct slice version = SLICE(" HTTP/1.1\r\nHost: "), crlf = SLICE("\r\n");
	char *at = space_take(&s->out, r->method.len + 1 + r->path.len + r->query.len +
					       version.len + r->authority.len + crlf.len);

	if (!at)
		return;
	at = slice_append(at, r->method);
	*at++ = ' ';
	at = slice_append(slice_append(at, r->path), r->query);
	at = slice_append(slice_append(at, version), r->authority);
	slice_append(at, crlf);
}

static void http1_status(struct sink *s, int status, struct slice phrase)
{
	const struct slice version = SLICE("HTTP/1.1 "), crlf = SLICE("\r\n");
	char *at = space_take(&s->out, version.len + 4 + phrase.len + crlf.len);

	ASSERT(status >= 100 && status <= 999);
	if (!at)
		return;
	at = slice_append(at, version);
	*at++ = (char)('0' + status / 100);
	*at++ = (char)('0' + status / 10 % 10);
	*at++ = (char)('0' + status % 10);
	*at++ = ' ';
	slice_append(slice_append(at, phrase), crlf);
}

static void http1_field(struct sink *s, struct slice name, struct slice value)
{
	const struct slice colon = SLICE(": "), crlf = SLICE("\r\n");
	char *at = space_take(&s->out, name.len + colon.len + value.len + crlf.len);

	if (at)
		slice_append(
			slice_append(slice_append(slice_append(at, name), colon), value),
			crlf);
}

static void http1_begin(struct sink *s, struct slice name)
{
	const struct slice colon = SLICE(": ");
	char *at = space_take(&s->out, name.len + colon.len);

	if (at)
		slice_append(slice_append(at, name), colon);
}

/* Ends a field, and the empty line that ends a section. */
static void http1_crlf(struct sink *s)
{
	const struct slice crlf = SLICE("\r\n");
	char *at = space_take(&s->out, crlf.len);

	if (at)
		slice_append(at, crlf);
}

const struct sink_ops sink_http1_ops = {
	.connection_fields = true,
	.request = http1_request,
	.status = http1_status,
	.field = http1_field,
	.begin = http1_begin,
	.finish = http1_crlf,
	.end = http1_crlf,
};
