#include "line.h"

#include "octet.h"

/* " HTTP/1.1" */
#define VERSION_BYTES 9

static enum method method_of(struct slice token)
{
#define METHOD(name, text, safe, idempotent)                                          \
	if (token.len == sizeof(text) - 1 && memcmp(token.ptr, text, token.len) == 0) \
		return METHOD_##name;
#include "http/method.def"
#undef METHOD
	return METHOD_OTHER;
}

/* Skips one to four hex digits. False: malformed. */
static bool group_skip(struct slice *s)
{
	size_t n = octet_span(*s, OCTET_HEX);

	*s = slice_after(*s, n);
	return n >= 1 && n <= 4;
}

static bool ipv4_valid(struct slice s)
{
	for (int part = 0; part < 4; part++) {
		size_t n = octet_span(s, OCTET_DIGIT);
		unsigned value = 0;

		if (n < 1 || n > 3 || (n > 1 && s.ptr[0] == '0'))
			return false;
		for (size_t i = 0; i < n; i++)
			value = value * 10 + (unsigned)(s.ptr[i] - '0');
		s = slice_after(s, n);
		if (value > 255 || (part < 3 && (s.len == 0 || s.ptr[0] != '.')))
			return false;
		if (part < 3)
			s = slice_after(s, 1);
	}
	return s.len == 0;
}

/* IPv6address (RFC 3986 3.2.2): eight groups, or fewer with one "::"; the last two may be
 * written as an IPv4 address. */
static bool ipv6_valid(struct slice s)
{
	int groups = 0;
	bool gap = false;

	if (s.len >= 1 && s.ptr[0] == ':' && !slice_starts(s, SLICE("::")))
		return false;
	while (s.len > 0) {
		if (slice_starts(s, SLICE("::"))) {
			if (gap)
				return false;
			gap = true;
			s = slice_after(s, 2);
			if (s.len > 0 && s.ptr[0] == ':')
				return false;
			continue;
		}
		if (groups > 0 && s.ptr[0] == ':')
			s = slice_after(s, 1);
		if (memchr(s.ptr, '.', s.len) && !memchr(s.ptr, ':', s.len))
			return ipv4_valid(s) && (gap ? groups <= 5 : groups == 6);
		if (++groups > 8 || !group_skip(&s) || (s.len > 0 && s.ptr[0] != ':'))
			return false;
	}
	return gap ? groups <= 7 : groups == 8;
}

static bool port_valid(struct slice port)
{
	unsigned value = 0;

	if (port.len > 5 || !octet_all(port, OCTET_DIGIT))
		return false;
	for (size_t i = 0; i < port.len; i++)
		value = value * 10 + (unsigned)(port.ptr[i] - '0');
	return value <= 65535;
}

/* The length of the host at the front of s: a bracketed IPv6 address, a name or an IPv4
 * address. 0: none of these. */
static size_t host_span(struct slice s)
{
	size_t n = 0;

	if (s.len > 0 && s.ptr[0] == '[') {
		const char *close = memchr(s.ptr, ']', s.len);

		n = close ? (size_t)(close - s.ptr) : 0;
		return n && ipv6_valid((struct slice){ s.ptr + 1, n - 1 }) ? n + 1 : 0;
	}
	for (;;) {
		n += octet_span(slice_after(s, n), OCTET_HOST);
		if (n == s.len || s.ptr[n] != '%' || octet_percent(s, n) < 0)
			return n;
		n += 3;
	}
}

bool line_authority_valid(struct slice authority)
{
	size_t n = host_span(authority);
	struct slice port = slice_after(authority, n);

	if (n == 0)
		return false;
	if (port.len == 0)
		return true;
	return port.ptr[0] == ':' && port_valid(slice_after(port, 1));
}

/* Splits path and query. False: a malformed "%" in the path. */
static bool path_split(struct head *h, struct slice s)
{
	const char *mark = memchr(s.ptr, '?', s.len);
	size_t n = mark ? (size_t)(mark - s.ptr) : s.len;

	h->path = (struct slice){ s.ptr, n };
	h->query = slice_after(s, n);
	for (const char *at = s.ptr, *end = s.ptr + n;; at++) {
		at = memchr(at, '%', (size_t)(end - at));
		if (!at)
			return true;
		if (octet_percent(h->path, (size_t)(at - s.ptr)) < 0)
			return false;
	}
}

/* `rest` follows "scheme://". */
static bool absolute_parse(struct head *h, struct slice rest)
{
	size_t n = 0;

	h->target_form = TARGET_ABSOLUTE;
	while (n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?')
		n++;
	h->authority = (struct slice){ rest.ptr, n };
	if (!line_authority_valid(h->authority) || !path_split(h, slice_after(rest, n)))
		return false;
	/* OPTIONS with an authority alone is about the server as a whole (RFC 9112
	 * 3.2.4). */
	if (h->path.len == 0)
		h->path = h->method == METHOD_OPTIONS && h->query.len == 0 ? SLICE("*")
									   : SLICE("/");
	return true;
}

static bool authority_parse(struct head *h, struct slice s)
{
	h->target_form = TARGET_AUTHORITY;
	h->authority = s;
	/* The port is mandatory here (RFC 9112 3.2.3). */
	return line_authority_valid(s) && octet_is(s.ptr[s.len - 1], OCTET_DIGIT) &&
	       host_span(s) < s.len;
}

static bool starts_nocase(struct slice s, struct slice prefix)
{
	return s.len >= prefix.len &&
	       slice_equal_nocase((struct slice){ s.ptr, prefix.len }, prefix);
}

/* Octets that browsers do not encode ("|", "{") are accepted. Octets that are in no URI,
 * and at which other parsers may stop, are refused. */
static bool target_parse(struct head *h, struct slice s)
{
	if (!octet_all(s, OCTET_VISIBLE) || memchr(s.ptr, '#', s.len))
		return false;
	if (h->method == METHOD_CONNECT)
		return authority_parse(h, s);
	if (s.ptr[0] == '/') {
		h->target_form = TARGET_ORIGIN;
		return path_split(h, s);
	}
	if (starts_nocase(s, SLICE("http://")))
		return absolute_parse(h, slice_after(s, 7));
	if (starts_nocase(s, SLICE("https://")))
		return absolute_parse(h, slice_after(s, 8));
	h->target_form = TARGET_ASTERISK;
	h->path = s;
	return h->method == METHOD_OPTIONS && slice_equal(s, SLICE("*"));
}

/* "HTTP/x.y"; `malformed`: the fault for any other syntax. */
static enum fault version_parse(struct head *h, const char *at, enum fault malformed)
{
	if (memcmp(at, "HTTP/", 5) != 0 || !octet_is(at[5], OCTET_DIGIT) ||
	    at[6] != '.' || !octet_is(at[7], OCTET_DIGIT))
		return malformed;
	h->minor = at[7] == '0' ? 0 : 1;
	return at[5] == '1' ? FAULT_NONE : FAULT_VERSION;
}

enum fault line_parse_request(struct head *h, struct slice line)
{
	size_t n = octet_span(line, OCTET_TOKEN);
	const char *version;
	enum fault fault;

	if (n < line.len && line.ptr[n] != ' ')
		return FAULT_METHOD;
	if (n == 0 || line.len < n + 2 + VERSION_BYTES)
		return FAULT_REQUEST_LINE;
	version = line.ptr + line.len - VERSION_BYTES;
	if (version[0] != ' ')
		return FAULT_REQUEST_LINE;
	h->line = line;
	h->method_token = (struct slice){ line.ptr, n };
	h->method = method_of(h->method_token);
	h->target = (struct slice){ line.ptr + n + 1, line.len - n - 1 - VERSION_BYTES };
	if (memchr(h->target.ptr, ' ', h->target.len))
		return FAULT_REQUEST_LINE;
	/* Before the target, so that "PRI * HTTP/2.0" is refused for its version. */
	fault = version_parse(h, version + 1, FAULT_REQUEST_LINE);
	if (fault)
		return fault;
	return target_parse(h, h->target) ? FAULT_NONE : FAULT_TARGET;
}

/* "HTTP/1.1 200", then nothing, or SP and a possibly empty phrase. */
enum fault line_parse_status(struct head *h, struct slice line)
{
	const char *code = line.ptr + VERSION_BYTES;
	enum fault fault;

	if (line.len < VERSION_BYTES + 3 || code[-1] != ' ')
		return FAULT_STATUS_LINE;
	fault = version_parse(h, line.ptr, FAULT_STATUS_LINE);
	if (fault)
		return fault;
	for (int i = 0; i < 3; i++) {
		if (!octet_is(code[i], OCTET_DIGIT))
			return FAULT_STATUS_LINE;
		h->status = h->status * 10 + (code[i] - '0');
	}
	line = slice_after(line, VERSION_BYTES + 3);
	if (h->status < 100 || (line.len > 0 && line.ptr[0] != ' '))
		return FAULT_STATUS_LINE;
	h->phrase = line.len > 0 ? slice_after(line, 1) : line;
	return FAULT_NONE;
}
