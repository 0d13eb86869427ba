#include "value.h"

#include <ctype.h>

#include "config/report.h"
#include "http/host.h"

static bool has_prefix(struct slice s, const char *prefix)
{
	return slice_starts(s, slice_of(prefix));
}

static bool is_hex(char c)
{
	return isxdigit((unsigned char)c) != 0;
}

/* The index of the first byte outside `low` … "~", or s.len. */
static size_t first_outside(struct slice s, char low)
{
	size_t i = 0;

	while (i < s.len && s.ptr[i] >= low && s.ptr[i] <= '~')
		i++;
	return i;
}

static const char *path_fault(const char *name, struct slice text, struct arena *memory)
{
	if (text.ptr[0] != '/')
		return arena_format(memory, "'%s' does not begin with '/'; write '/%.*s'",
				    name, REPORT_ARG(text));
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c == '?' || c == '#')
			return arena_format(
				memory,
				"'%s' contains '%c'; write only the part before it", name,
				c);
		if (c <= ' ' || c > '~')
			return arena_format(
				memory,
				"'%s' contains a byte that is not allowed in a path; write it as "
				"%%%02X",
				name, c);
		if (c == '%' && (text.len - i < 3 || !is_hex(text.ptr[i + 1]) ||
				 !is_hex(text.ptr[i + 2])))
			return arena_format(
				memory,
				"'%s' contains a '%%' without two hexadecimal digits; write '%%25' "
				"for a percent sign",
				name);
	}
	return NULL;
}

static const char *host_fault(const char *name, struct slice text, struct arena *memory)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if ((unsigned char)c >= 0x80)
			return arena_format(
				memory,
				"'%s' contains characters that are not ASCII, but requests contain "
				"A-labels instead; write 'xn--…', as `idn2 '%.*s'` prints it",
				name, (int)strcspn(text.ptr, ":"), text.ptr);
		if (!isalnum((unsigned char)c) && !memchr(".-_:[]", c, 6))
			return arena_format(memory,
					    "'%s' cannot be '%.*s'; write HOST or "
					    "HOST:PORT",
					    name, REPORT_ARG(text));
	}
	if (!host_valid(text))
		return arena_format(
			memory,
			"'%s' cannot be '%.*s'; write HOST or HOST:PORT, with an IPv6 "
			"address in brackets",
			name, REPORT_ARG(text));
	return NULL;
}

static const char *field_value_fault(const char *name, struct slice text,
				     struct arena *memory)
{
	if (first_outside(text, ' ') < text.len || slice_trim(text).len != text.len)
		return arena_format(
			memory,
			"'%s' is not a valid field value; write printable ASCII without "
			"leading or trailing spaces",
			name);
	return NULL;
}

static const char *uri_fault(const char *name, struct slice text, struct arena *memory)
{
	if (first_outside(text, '!') < text.len ||
	    !(has_prefix(text, "/") || has_prefix(text, "http://") ||
	      has_prefix(text, "https://")))
		return arena_format(memory,
				    "'%s' cannot be '%.*s'; write '/…', 'http://…' or "
				    "'https://…'",
				    name, REPORT_ARG(text));
	return NULL;
}

static const char *string_fault(const char *name, struct slice text, struct arena *memory)
{
	for (size_t i = 0; i < text.len; i++)
		if (iscntrl((unsigned char)text.ptr[i]))
			return arena_format(
				memory, "'%s' contains a control character; remove it",
				name);
	return NULL;
}

const char *value_text_fault(enum value_kind kind, struct slice name, struct slice text,
			     struct arena *memory)
{
	ASSERT(text.len > 0);
	switch (kind) {
	case KIND_STRING:
		return string_fault(name.ptr, text, memory);
	case KIND_PATH:
		return path_fault(name.ptr, text, memory);
	case KIND_HOST:
		return host_fault(name.ptr, text, memory);
	case KIND_VALUE:
		return field_value_fault(name.ptr, text, memory);
	case KIND_URI:
		return uri_fault(name.ptr, text, memory);
	case KIND_COUNT:
	case KIND_DURATION:
	case KIND_SIZE:
	case KIND_WORD:
	case KIND_NODE:
		break;
	}
	ASSERT(!"not a text");
	return NULL;
}
