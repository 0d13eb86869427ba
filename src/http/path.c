#include "http/path.h"

#include "octet.h"

/* Handles the last segment of out: [start, n), after the "/" at start - 1. Returns the
 * new length: a normal segment stays, "." is removed with its "/", ".." removes the
 * previous segment too. */
static size_t segment_close(const char *out, size_t start, size_t n)
{
	struct slice segment = { out + start, n - start };

	if (slice_equal(segment, SLICE(".")))
		return start - 1;
	if (!slice_equal(segment, SLICE("..")))
		return n;
	n = start - 1;
	while (n > 0 && out[--n] != '/')
		;
	return n;
}

size_t path_normalize(char *out, struct slice path)
{
	size_t i = 0, n = 0;

	if (path.len == 0 || path.ptr[0] != '/') {
		if (path.len > 0)
			memcpy(out, path.ptr, path.len);
		return path.len;
	}
	while (i < path.len) {
		size_t start = n + 1, end;

		out[n++] = path.ptr[i++];
		while (i < path.len && path.ptr[i] != '/')
			n += octet_normalize(out + n, path, &i);
		end = segment_close(out, start, n);
		/* A final dot segment leaves a "/" (RFC 3986 5.2.4). */
		if (end != n && i == path.len)
			out[end++] = '/';
		n = end;
	}
	return n;
}

/* "." or ".." with at least one dot percent-encoded. */
static bool is_encoded_dot_segment(struct slice segment)
{
	size_t dots = 0, i = 0;

	while (i < segment.len) {
		int value = segment.ptr[i] == '%' ? octet_percent(segment, i) : segment.ptr[i];

		if (value != '.' || ++dots > 2)
			return false;
		i += segment.ptr[i] == '%' ? 3 : 1;
	}
	return dots > 0 && segment.len > dots;
}

static bool segment_is_unambiguous(struct slice segment)
{
	for (size_t i = 0; i < segment.len; i++) {
		int value = segment.ptr[i] == '%' ? octet_percent(segment, i) : segment.ptr[i];

		if (value < 0x20 || value == 0x7f || value == ';' || value == '\\' || value == '/')
			return false;
		i += segment.ptr[i] == '%' ? 2 : 0;
	}
	return !is_encoded_dot_segment(segment);
}

bool path_is_unambiguous(struct slice path)
{
	while (path.len > 0 && path.ptr[0] == '/') {
		struct slice rest = slice_after(path, 1);
		const char *slash = rest.len > 0 ? memchr(rest.ptr, '/', rest.len) : NULL;
		size_t n = slash ? (size_t)(slash - rest.ptr) : rest.len;

		/* The last segment may be empty: the path ends in "/". */
		if ((n == 0 && slash) ||
		    !segment_is_unambiguous((struct slice){ rest.ptr, n }))
			return false;
		path = slice_after(rest, n);
	}
	return true;
}

long path_decode(char *out, struct slice text, bool plus)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len;) {
		int value = (uint8_t)text.ptr[i];

		if (value == '%') {
			value = octet_percent(text, i);
			if (value < 0)
				return -1;
			i += 2;
		} else if (plus && value == '+') {
			value = ' ';
		}
		i++;
		out[n++] = (char)value;
	}
	return (long)n;
}
