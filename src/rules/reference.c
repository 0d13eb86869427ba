#include "reference.h"

static bool is_end(struct slice s)
{
	return s.len == 0 || s.ptr[0] == '/' || s.ptr[0] == '?' || s.ptr[0] == '#';
}

static size_t authority_span(struct slice s)
{
	size_t n = 0;

	while (!is_end(slice_after(s, n)))
		n++;
	return n;
}

bool reference_parse(struct reference *r, struct slice text)
{
	size_t scheme = slice_starts_nocase(text, SLICE("https://")) ? sizeof("https") - 1
			: slice_starts_nocase(text, SLICE("http://")) ? sizeof("http") - 1
								      : 0;

	*r = (struct reference){ .scheme = { text.ptr, scheme }, .rest = text };
	if (scheme > 0)
		text = slice_after(text, scheme + 1);
	if (!slice_starts(text, SLICE("//")))
		return slice_starts(text, SLICE("/"));
	text = slice_after(text, 2);
	r->authority = (struct slice){ text.ptr, authority_span(text) };
	r->rest = slice_after(text, r->authority.len);
	return r->authority.len > 0;
}

/* ---- authorities ---------------------------------------------------------------- */

/* The port, which is removed; `preset`: there is none. */
static struct slice port_take(struct slice *authority, struct slice preset)
{
	struct slice port = { authority->ptr + authority->len, 0 };

	while (port.ptr > authority->ptr && port.ptr[-1] >= '0' && port.ptr[-1] <= '9') {
		port.ptr--;
		port.len++;
	}
	if (port.ptr == authority->ptr || port.ptr[-1] != ':')
		return preset;
	authority->len -= port.len + 1;
	return port.len > 0 ? port : preset;
}

bool authority_equal(struct slice a, struct slice b, struct slice scheme)
{
	struct slice preset = slice_equal_nocase(scheme, SLICE("https")) ? SLICE("443")
									 : SLICE("80");
	struct slice port_a = port_take(&a, preset), port_b = port_take(&b, preset);

	return slice_equal_nocase(a, b) && slice_equal(port_a, port_b);
}

/* ---- paths ---------------------------------------------------------------------- */

bool path_below(struct slice path, struct slice prefix, struct slice *below)
{
	if (prefix.len > 0 && prefix.ptr[prefix.len - 1] == '/')
		prefix.len--;
	if (!slice_starts(path, prefix) || !is_end(slice_after(path, prefix.len)))
		return false;
	*below = slice_after(path, prefix.len);
	return true;
}

/* Browsers take a backslash for a slash, and pass over blanks: "/\\host" would be an authority. */
static struct slice slashes_skip(struct slice s)
{
	while (s.len > 0 && memchr("/\\ \t", s.ptr[0], 4))
		s = slice_after(s, 1);
	return s;
}

void emit_path_below(struct emit *e, struct slice prefix, struct slice below)
{
	bool path = slice_starts(below, SLICE("/"));

	if (path && prefix.len > 0 && prefix.ptr[prefix.len - 1] == '/')
		prefix.len--;
	emit_slice(e, prefix);
	if (prefix.len == 0) {
		emit_slice(e, SLICE("/"));
		below = slashes_skip(below);
	}
	emit_slice(e, below);
}
