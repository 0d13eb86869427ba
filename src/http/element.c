#include "element.h"

#include "octet.h"

bool node_is_port(struct slice s)
{
	unsigned number = 0;

	for (size_t i = 0; i < s.len && s.len <= 5; i++)
		number = octet_is(s.ptr[i], OCTET_DIGIT)
				 ? number * 10 + (unsigned)(s.ptr[i] - '0')
				 : 65536;
	return s.len <= 5 && number >= 1 && number <= 65535;
}

/* Nothing, ":PORT" or ":_obfuscated" (RFC 7239 6.3). */
static bool is_node_port(struct slice s)
{
	if (s.len == 0)
		return true;
	if (s.ptr[0] != ':' || s.len == 1)
		return false;
	s = slice_after(s, 1);
	return s.ptr[0] == '_' ? octet_span(s, OCTET_UNRESERVED) == s.len
			       : node_is_port(s);
}

bool node_parse(struct slice s, struct ip *ip)
{
	const char *colon = s.len > 0 ? memchr(s.ptr, ':', s.len) : NULL, *end;

	if (s.len > 0 && s.ptr[0] == '[') {
		end = memchr(s.ptr, ']', s.len);
		return end && colon && colon < end &&
		       ip_parse(ip,
				(struct slice){ s.ptr + 1, (size_t)(end - s.ptr) - 1 }) &&
		       is_node_port(slice_after(s, (size_t)(end + 1 - s.ptr)));
	}
	if (!colon || memchr(colon + 1, ':', (size_t)(s.ptr + s.len - colon - 1)))
		return ip_parse(ip, s);
	return ip_parse(ip, (struct slice){ s.ptr, (size_t)(colon - s.ptr) }) &&
	       is_node_port(slice_after(s, (size_t)(colon - s.ptr)));
}

static void skip_blanks(struct slice *s)
{
	while (s->len > 0 && (s->ptr[0] == ' ' || s->ptr[0] == '\t'))
		*s = slice_after(*s, 1);
}

/* A value with ":" or "[" should be quoted; many senders omit the quotes, so that is
 * accepted. */
static bool take_value(struct slice *rest, struct slice *value)
{
	size_t n = 0;

	if (rest->len > 0 && rest->ptr[0] == '"') {
		for (n = 1; n < rest->len && rest->ptr[n] != '"'; n++)
			n += rest->ptr[n] == '\\';
		if (n >= rest->len)
			return false;
		*value = (struct slice){ rest->ptr + 1, n - 1 };
		*rest = slice_after(*rest, n + 1);
		return true;
	}
	while (n < rest->len && octet_is(rest->ptr[n], OCTET_VISIBLE) &&
	       !memchr("\",;=\\", rest->ptr[n], 5))
		n++;
	*value = (struct slice){ rest->ptr, n };
	*rest = slice_after(*rest, n);
	return n > 0;
}

static bool take_pair(struct slice *rest, struct element *e)
{
	size_t n = octet_span(*rest, OCTET_TOKEN);
	struct slice name = { rest->ptr, n }, value;
	struct slice *into = slice_equal_nocase(name, SLICE("for"))     ? &e->node
			     : slice_equal_nocase(name, SLICE("proto")) ? &e->proto
			     : slice_equal_nocase(name, SLICE("host"))  ? &e->host
									: NULL;

	if (n == 0 || n == rest->len || rest->ptr[n] != '=')
		return false;
	*rest = slice_after(*rest, n + 1);
	if (!take_value(rest, &value) || (into && into->ptr)) /* repeated parameter */
		return false;
	if (into)
		*into = value;
	return true;
}

/* Parses up to the comma or the end. False: malformed. */
static bool take_element(struct slice *rest, struct element *e)
{
	skip_blanks(rest);
	e->from = *rest;
	for (;;) {
		skip_blanks(rest);
		if (rest->len == 0 || rest->ptr[0] == ',')
			return true;
		if (rest->ptr[0] == ';') {
			*rest = slice_after(*rest, 1);
			continue;
		}
		if (!take_pair(rest, e))
			return false;
		skip_blanks(rest);
		if (rest->len > 0 && rest->ptr[0] != ';' && rest->ptr[0] != ',')
			return false;
	}
}

int element_next(const struct head *h, unsigned *field, struct slice *rest,
		 struct element *e)
{
	for (;;) {
		while (rest->len == 0) {
			if (++*field >= h->field_n)
				return 0;
			if (field_is_part(&h->fields[*field], HEADER_FORWARDED))
				*rest = h->fields[*field].value;
		}
		*e = (struct element){ .field = *field };
		if (!take_element(rest, e))
			return -1;
		if (rest->ptr != e->from.ptr)
			break;
		if (rest->len > 0)
			*rest = slice_after(*rest, 1);
	}
	if (rest->len > 0)
		*rest = slice_after(*rest, 1);
	return 1;
}
