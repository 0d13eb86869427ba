#include "lib/strict.h"

#include <arpa/inet.h>
#include <string.h>

static enum strict_verdict bad(const char **why, const char *what)
{
	*why = what;
	return STRICT_BAD;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int hex(char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)((at - digits) % 16) : -1;
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 9110 5.6.2 */
static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_alpha(s.ptr[i]) && !is_digit(s.ptr[i]) &&
		    (s.ptr[i] == '\0' || !strchr("!#$%&'*+-.^_`|~", s.ptr[i])))
			return false;
	return s.len > 0;
}

static bool is(struct slice s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* ---- lines ------------------------------------------------------------------ */

/* Takes a line from the front, without its CRLF. */
static enum strict_verdict cut_line(struct slice *s, struct slice *line, const char **why)
{
	for (size_t i = 0; i < s->len; i++) {
		unsigned char c = (unsigned char)s->ptr[i];

		if (c == '\r') {
			if (i + 1 == s->len)
				return STRICT_PART;
			if (s->ptr[i + 1] != '\n')
				return bad(why, "bare CR");
			*line = (struct slice){ s->ptr, i };
			*s = (struct slice){ s->ptr + i + 2, s->len - i - 2 };
			return STRICT_OK;
		}
		if (c == '\n')
			return bad(why, "bare LF");
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return bad(why, "control");
	}
	return STRICT_PART;
}

/* ---- URIs (RFC 3986) -------------------------------------------------------- */

static bool is_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (c == '%' && s.len - i > 2 && hex(s.ptr[i + 1]) >= 0 &&
		    hex(s.ptr[i + 2]) >= 0)
			i += 2;
		else if (c == '\0' || (!is_alpha(c) && !is_digit(c) &&
				       !strchr("-._~!$&'()*+,;=", c)))
			return false;
	}
	return s.len > 0;
}

static bool is_literal(struct slice s) /* IPv6, without its brackets */
{
	char text[64];
	struct in6_addr address;

	if (s.len >= sizeof(text) || memchr(s.ptr, '\0', s.len))
		return false;
	memcpy(text, s.ptr, s.len);
	text[s.len] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

bool strict_authority(struct slice s)
{
	const char *port;

	if (s.len == 0)
		return true;
	port = s.ptr + s.len;
	while (port > s.ptr && is_digit(port[-1]))
		port--;
	if (port > s.ptr && port[-1] == ':')
		s.len = (size_t)(port - 1 - s.ptr);
	if (s.len > 1 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']')
		return is_literal((struct slice){ s.ptr + 1, s.len - 2 });
	return is_name(s);
}

/* Up to the query; bytes that browsers do not escape are accepted. */
static bool is_path(struct slice s)
{
	for (size_t i = 0; i < s.len && s.ptr[i] != '?'; i++)
		if (s.ptr[i] == '%' &&
		    (s.len - i < 3 || hex(s.ptr[i + 1]) < 0 || hex(s.ptr[i + 2]) < 0))
			return false;
	return true;
}

/* RFC 9112 3.2 */
static enum strict_verdict target_read(struct strict_head *h)
{
	struct slice t = h->target;
	size_t scheme = 0, n;

	for (size_t i = 0; i < t.len; i++)
		if (t.ptr[i] < '!' || t.ptr[i] > '~' || t.ptr[i] == '#')
			return bad(&h->why, "octet in target");
	if (t.len == 0)
		return bad(&h->why, "no target");
	if (slice_equal(h->method, SLICE("CONNECT"))) {
		h->authority = t;
		return strict_authority(t) ? STRICT_OK : bad(&h->why, "target of CONNECT");
	}
	if (t.ptr[0] == '/')
		return is_path(t) ? STRICT_OK : bad(&h->why, "path");
	if (slice_equal(t, SLICE("*")))
		return slice_equal(h->method, SLICE("OPTIONS")) ? STRICT_OK
								: bad(&h->why, "asterisk");
	if (t.len > 7 && strncasecmp(t.ptr, "http://", 7) == 0)
		scheme = 7;
	else if (t.len > 8 && strncasecmp(t.ptr, "https://", 8) == 0)
		scheme = 8;
	if (scheme == 0)
		return bad(&h->why, "form of target");
	for (n = scheme; n < t.len && t.ptr[n] != '/' && t.ptr[n] != '?'; n++)
		;
	h->authority = (struct slice){ t.ptr + scheme, n - scheme };
	if (n == scheme || !strict_authority(h->authority) || !is_path(slice_after(t, n)))
		return bad(&h->why, "absolute target");
	h->not_canonical = "absolute target";
	return STRICT_OK;
}

/* ---- first lines ------------------------------------------------------------ */

static bool version_read(struct strict_head *h, struct slice s)
{
	if (s.len != 8 || memcmp(s.ptr, "HTTP/1.", 7) != 0 || !is_digit(s.ptr[7]))
		return false;
	h->minor = s.ptr[7] != '0';
	if (s.ptr[7] != '1')
		h->not_canonical = "version";
	return true;
}

static enum strict_verdict request_line(struct strict_head *h, struct slice line)
{
	const char *end = line.ptr + line.len, *first, *second;

	first = memchr(line.ptr, ' ', line.len);
	second = first ? memchr(first + 1, ' ', (size_t)(end - first - 1)) : NULL;
	if (!second || memchr(second + 1, ' ', (size_t)(end - second - 1)))
		return bad(&h->why, "not three words");
	h->method = (struct slice){ line.ptr, (size_t)(first - line.ptr) };
	h->target = (struct slice){ first + 1, (size_t)(second - first - 1) };
	if (!is_token(h->method))
		return bad(&h->why, "method");
	if (!version_read(h, (struct slice){ second + 1, (size_t)(end - second - 1) }))
		return bad(&h->why, "version");
	return target_read(h);
}

static enum strict_verdict status_line(struct strict_head *h, struct slice line)
{
	if (line.len < 12 || line.ptr[8] != ' ' ||
	    !version_read(h, (struct slice){ line.ptr, 8 }))
		return bad(&h->why, "version");
	for (int i = 9; i < 12; i++) {
		if (!is_digit(line.ptr[i]))
			return bad(&h->why, "status");
		h->status = h->status * 10 + line.ptr[i] - '0';
	}
	if (h->status < 100)
		return bad(&h->why, "status");
	if (line.len == 12) {
		h->not_canonical = "no space behind the status";
		return STRICT_OK;
	}
	if (line.ptr[12] != ' ')
		return bad(&h->why, "status");
	h->phrase = slice_after(line, 13);
	return STRICT_OK;
}

/* ---- fields ----------------------------------------------------------------- */

static enum strict_verdict field_read(struct strict_head *h, struct slice line)
{
	const char *colon = memchr(line.ptr, ':', line.len);
	struct strict_field *f = &h->fields[h->field_n];
	struct slice rest;

	if (!colon)
		return bad(&h->why, "no colon");
	if (h->field_n == STRICT_FIELDS_MAX)
		return bad(&h->why, "too many fields for this reader");
	f->name = (struct slice){ line.ptr, (size_t)(colon - line.ptr) };
	if (!is_token(f->name))
		return bad(&h->why, "field name");
	rest = slice_after(line, f->name.len + 1);
	f->value = slice_trim(rest);
	if (rest.len != f->value.len + 1 || rest.ptr[0] != ' ')
		h->not_canonical = "space around a value";
	h->field_n++;
	return STRICT_OK;
}

static enum strict_verdict fields_read(struct strict_head *h, struct slice *s)
{
	struct slice line;
	enum strict_verdict v;

	while ((v = cut_line(s, &line, &h->why)) == STRICT_OK) {
		if (line.len == 0)
			return STRICT_OK;
		v = field_read(h, line);
		if (v != STRICT_OK)
			return v;
	}
	return v;
}

unsigned strict_count(const struct strict_head *h, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->field_n; i++)
		n += is(h->fields[i].name, name);
	return n;
}

struct slice strict_find(const struct strict_head *h, const char *name)
{
	for (unsigned i = 0; i < h->field_n; i++)
		if (is(h->fields[i].name, name))
			return h->fields[i].value;
	return (struct slice){ NULL, 0 };
}

/* Takes the next element of a list; false: there are no more. */
static bool element_take(struct slice *list, struct slice *element)
{
	size_t n = 0;

	if (list->len == 0)
		return false;
	while (n < list->len && list->ptr[n] != ',')
		n++;
	*element = slice_trim((struct slice){ list->ptr, n });
	*list = slice_after(*list, n < list->len ? n + 1 : n);
	return true;
}

bool strict_lists(const struct strict_head *h, const char *name, struct slice element)
{
	struct slice list, e;

	for (unsigned i = 0; i < h->field_n; i++) {
		list = h->fields[i].value;
		while (is(h->fields[i].name, name) && element_take(&list, &e))
			if (slice_equal_nocase(e, element))
				return true;
	}
	return false;
}

static enum strict_verdict connection_read(struct strict_head *h)
{
	struct slice list, e;

	for (unsigned i = 0; i < h->field_n; i++) {
		list = h->fields[i].value;
		while (is(h->fields[i].name, "Connection") && element_take(&list, &e))
			if (e.len > 0 && !is_token(e))
				return bad(&h->why, "Connection");
	}
	h->close = strict_lists(h, "Connection", SLICE("close"));
	h->keep_alive = strict_lists(h, "Connection", SLICE("keep-alive"));
	h->upgrade = strict_lists(h, "Connection", SLICE("upgrade"));
	return STRICT_OK;
}

/* RFC 9112 6.1 to 6.3, without the exceptions for lenient recipients. */
static enum strict_verdict framing_read(struct strict_head *h)
{
	unsigned codings = strict_count(h, "Transfer-Encoding");
	unsigned lengths = strict_count(h, "Content-Length");
	struct slice n = strict_find(h, "Content-Length");

	if (codings + lengths > 1)
		return bad(&h->why, "framed twice");
	if (codings == 1) {
		if (h->minor == 0 || !is(strict_find(h, "Transfer-Encoding"), "chunked"))
			return bad(&h->why, "Transfer-Encoding");
		h->framing = STRICT_CHUNKED;
	}
	if (lengths == 0)
		return STRICT_OK;
	h->framing = STRICT_LENGTH;
	for (size_t i = 0; i < n.len; i++) {
		if (!is_digit(n.ptr[i]) ||
		    __builtin_mul_overflow(h->length, 10u, &h->length) ||
		    __builtin_add_overflow(h->length, (unsigned)(n.ptr[i] - '0'), &h->length))
			return bad(&h->why, "Content-Length");
	}
	if (n.len == 0 || h->length > INT64_MAX)
		return bad(&h->why, "Content-Length");
	if (n.len > 1 && n.ptr[0] == '0')
		h->not_canonical = "zeros before a length";
	return STRICT_OK;
}

static enum strict_verdict host_read(struct strict_head *h)
{
	struct slice host = strict_find(h, "Host");

	if (strict_count(h, "Host") > 1 || (!host.ptr && h->minor > 0))
		return bad(&h->why, "number of Hosts");
	if (!strict_authority(host))
		return bad(&h->why, "Host");
	if (!h->authority.ptr && host.ptr && host.len == 0)
		return bad(&h->why, "http without a host");
	if (!h->authority.ptr)
		h->authority = host.ptr ? host : SLICE("");
	return STRICT_OK;
}

/* ---- messages --------------------------------------------------------------- */

static enum strict_verdict head_read(struct strict_head *h, struct slice s, bool request)
{
	struct slice rest = s, line;
	enum strict_verdict v;

	*h = (struct strict_head){ .framing = request ? STRICT_NONE : STRICT_CLOSE };
	while (request && slice_starts(rest, SLICE("\r\n"))) {
		rest = slice_after(rest, 2);
		h->not_canonical = "empty line";
	}
	v = cut_line(&rest, &line, &h->why);
	if (v == STRICT_OK)
		v = request ? request_line(h, line) : status_line(h, line);
	if (v == STRICT_OK)
		v = fields_read(h, &rest);
	if (v != STRICT_OK)
		return v;
	h->bytes = s.len - rest.len;
	v = connection_read(h);
	if (v == STRICT_OK)
		v = framing_read(h);
	if (v == STRICT_OK && request)
		v = host_read(h);
	return v;
}

enum strict_verdict strict_request(struct strict_head *h, struct slice s)
{
	return head_read(h, s, true);
}

enum strict_verdict strict_response(struct strict_head *h, struct slice s)
{
	return head_read(h, s, false);
}

enum strict_verdict strict_section(struct strict_head *h, struct slice s)
{
	struct slice rest = s;
	enum strict_verdict v;

	*h = (struct strict_head){ .minor = 1 };
	v = fields_read(h, &rest);
	h->bytes = s.len - rest.len;
	return v;
}

enum strict_framing strict_response_framing(const struct strict_head *h,
					    struct slice method)
{
	if (slice_equal(method, SLICE("HEAD")) || h->status < 200 || h->status == 204 ||
	    h->status == 304)
		return STRICT_NONE;
	return h->framing;
}

/* ---- bodies ----------------------------------------------------------------- */

static size_t blanks(struct slice s)
{
	size_t n = 0;

	while (n < s.len && (s.ptr[n] == ' ' || s.ptr[n] == '\t'))
		n++;
	return n;
}

/* token / quoted-string (RFC 9110 5.6.4) at the front; 0: neither. */
static size_t word(struct slice s, bool may_be_quoted)
{
	size_t n = 0;

	if (may_be_quoted && s.len > 0 && s.ptr[0] == '"') {
		for (n = 1; n < s.len && s.ptr[n] != '"'; n++)
			if (s.ptr[n] == '\\' && ++n == s.len)
				return 0;
		return n < s.len ? n + 1 : 0;
	}
	while (n < s.len && is_token((struct slice){ s.ptr + n, 1 }))
		n++;
	return n;
}

/* *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ) (RFC 9112 7.1.1) of a line,
 * in which there are no controls. */
static bool are_extensions(struct slice s)
{
	while (s.len > 0) {
		struct slice rest;
		size_t n;

		s = slice_after(s, blanks(s));
		if (s.len == 0 || s.ptr[0] != ';')
			return false;
		s = slice_after(s, 1);
		s = slice_after(s, blanks(s));
		n = word(s, false);
		if (n == 0)
			return false;
		s = slice_after(s, n);
		rest = slice_after(s, blanks(s));
		if (rest.len == 0 || rest.ptr[0] != '=')
			continue;
		rest = slice_after(rest, 1);
		rest = slice_after(rest, blanks(rest));
		n = word(rest, true);
		if (n == 0)
			return false;
		s = slice_after(rest, n);
	}
	return true;
}

/* chunk-size [ chunk-ext ] (RFC 9112 7.1) */
static enum strict_verdict size_read(struct strict_body *b, struct slice line, uint64_t *size)
{
	size_t n = 0;

	*size = 0;
	for (; n < line.len && hex(line.ptr[n]) >= 0; n++) {
		if (*size >> 59)
			return bad(&b->why, "chunk too large");
		*size = *size * 16 + (unsigned)hex(line.ptr[n]);
		if (line.ptr[n] >= 'A' && line.ptr[n] <= 'F')
			b->not_canonical = "letters of a chunk size";
	}
	if (n == 0)
		return bad(&b->why, "no chunk size");
	if (n > 1 && line.ptr[0] == '0')
		b->not_canonical = "zeros before a chunk size";
	line = slice_after(line, n);
	if (line.len == 0)
		return STRICT_OK;
	b->not_canonical = "chunk extension";
	if (!are_extensions(line))
		return bad(&b->why, "behind a chunk size");
	return STRICT_OK;
}

static enum strict_verdict chunk_read(struct strict_body *b, struct slice *s, uint64_t *size)
{
	struct slice line;
	enum strict_verdict v = cut_line(s, &line, &b->why);

	if (v == STRICT_OK)
		v = size_read(b, line, size);
	if (v != STRICT_OK || *size == 0)
		return v;
	if (s->len < *size) {
		memcpy(b->data + b->data_n, s->ptr, s->len);
		b->data_n += s->len;
		return STRICT_PART;
	}
	memcpy(b->data + b->data_n, s->ptr, *size);
	b->data_n += *size;
	*s = slice_after(*s, *size);
	if (s->len > 0 && s->ptr[0] != '\r')
		return bad(&b->why, "end of a chunk");
	if (s->len > 1 && s->ptr[1] != '\n')
		return bad(&b->why, "end of a chunk");
	if (s->len < 2)
		return STRICT_PART;
	*s = slice_after(*s, 2);
	return STRICT_OK;
}

static enum strict_verdict chunks_read(struct strict_body *b, struct slice s)
{
	struct strict_head trailers;
	struct slice rest = s;
	uint64_t size = 0;
	enum strict_verdict v;

	do
		v = chunk_read(b, &rest, &size);
	while (v == STRICT_OK && size > 0);
	if (v != STRICT_OK)
		return v;
	b->trailers_at = s.len - rest.len;
	v = strict_section(&trailers, rest);
	if (v == STRICT_BAD)
		b->why = trailers.why;
	if (v == STRICT_OK && trailers.not_canonical)
		b->not_canonical = trailers.not_canonical;
	b->bytes = b->trailers_at + trailers.bytes;
	return v;
}

enum strict_verdict strict_read_body(struct strict_body *b, struct slice s,
				     enum strict_framing framing, uint64_t length, bool ended)
{
	size_t n = s.len;

	b->data_n = b->bytes = b->trailers_at = 0;
	b->why = b->not_canonical = NULL;
	if (framing == STRICT_CHUNKED)
		return chunks_read(b, s);
	if (framing == STRICT_NONE)
		n = 0;
	if (framing == STRICT_LENGTH && n > length)
		n = length;
	if (n > 0)
		memcpy(b->data, s.ptr, n);
	b->data_n = b->bytes = n;
	if (framing == STRICT_CLOSE)
		return ended ? STRICT_OK : STRICT_PART;
	return framing == STRICT_LENGTH && n < length ? STRICT_PART : STRICT_OK;
}
