#include "logline.h"

#include <stdlib.h>

/* Behind the string that begins at `at`; line.len: it does not end. */
static size_t string_end(struct slice line, size_t at)
{
	for (at++; at < line.len && line.ptr[at] != '"'; at++)
		at += line.ptr[at] == '\\';
	return at < line.len ? at + 1 : line.len;
}

/* Behind the value that begins at `at`. */
static size_t value_end(struct slice line, size_t at)
{
	unsigned depth = 0;

	while (at < line.len) {
		char c = line.ptr[at];

		if (depth == 0 && (c == ',' || c == '}'))
			break;
		depth += c == '{';
		depth -= c == '}';
		at = c == '"' ? string_end(line, at) : at + 1;
		if (depth == 0 && (c == '"' || c == '}'))
			break;
	}
	return at;
}

bool logline_member(struct slice line, const char *name, struct slice *value)
{
	size_t at = 1;

	if (line.len == 0 || line.ptr[0] != '{')
		return false;
	while (at < line.len && line.ptr[at] == '"') {
		size_t key_end = string_end(line, at), end = value_end(line, key_end + 1);
		struct slice key = { line.ptr + at + 1, key_end - at - 2 };

		if (key_end >= line.len || line.ptr[key_end] != ':')
			return false;
		*value = (struct slice){ line.ptr + key_end + 1, end - key_end - 1 };
		if (value->len >= 2 && value->ptr[0] == '"')
			*value = (struct slice){ value->ptr + 1, value->len - 2 };
		if (slice_equal(key, slice_of(name)))
			return true;
		at = end + 1;
	}
	return false;
}

/* The byte of an escape, whose length is *used. */
static char unescaped(struct slice s, size_t *used)
{
	char digits[5] = "";

	*used = 2;
	if (s.len < 2 || s.ptr[1] != 'u' || s.len < 6) {
		*used = s.len < 2 ? s.len : 2;
		return s.len < 2 ? '\\' : s.ptr[1];
	}
	*used = 6;
	memcpy(digits, s.ptr + 2, 4);
	return (char)strtoul(digits, NULL, 16);
}

void logline_text(struct slice value, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0, used; i < value.len && n + 1 < size; i += used, n++) {
		used = 1;
		out[n] = value.ptr[i] == '\\' ? unescaped(slice_after(value, i), &used)
					      : value.ptr[i];
	}
	out[n] = '\0';
}
