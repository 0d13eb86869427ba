#include "http/lenient.h"

#include "octet.h"

static bool has(unsigned lenient, enum lenient l)
{
	return lenient >> l & 1;
}

const char *lenient_word(enum lenient l)
{
	static const char *const words[] = {
#define LENIENT(name, word) word,
#include "http/lenient.def"
#undef LENIENT
	};

	return words[l];
}

bool lenient_may_help(enum fault f, unsigned lenient)
{
	if (f == FAULT_BARE_LF)
		return has(lenient, LENIENT_LF);
	if (f == FAULT_FIELD_FOLD)
		return has(lenient, LENIENT_FOLDING);
	if (f == FAULT_FIELD_COLON)
		return has(lenient, LENIENT_COLON);
	if (f == FAULT_CODING)
		return has(lenient, LENIENT_DUPLICATE_TE);
	if (f == FAULT_LENGTH || f == FAULT_LENGTH_REPEATED)
		return has(lenient, LENIENT_DUPLICATE_LENGTH);
	return f == FAULT_TRAILER && lenient != 0; /* which does not say what it was */
}

/* A line off the front, without its CRLF, or its LF if that may be; false: there is none. */
static bool line_take(struct slice *s, struct slice *line, unsigned lenient)
{
	size_t n = 0;

	for (;; n++) {
		const char *lf = memchr(s->ptr + n, '\n', s->len - n);

		if (!lf)
			return false;
		n = (size_t)(lf - s->ptr);
		if ((n > 0 && lf[-1] == '\r') || has(lenient, LENIENT_LF))
			break;
	}
	*line = (struct slice){ s->ptr, n > 0 && s->ptr[n - 1] == '\r' ? n - 1 : n };
	*s = slice_after(*s, n + 1);
	return true;
}

size_t lenient_span(struct slice bytes, bool trailers, unsigned lenient)
{
	struct slice rest = bytes, line;

	for (bool first = !trailers; line_take(&rest, &line, lenient); first = false)
		if (line.len == 0 && !first)
			return bytes.len - rest.len;
	return 0;
}

/* ---- lines ------------------------------------------------------------------ */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static size_t put(char *out, size_t n, struct slice s)
{
	if (s.len > 0)
		memcpy(out + n, s.ptr, s.len);
	return n + s.len;
}

/* "name: value", without blanks before the colon. */
static size_t field_put(char *out, size_t n, struct slice line, unsigned lenient)
{
	size_t name = octet_span(line, OCTET_TOKEN), colon = name;

	while (colon < line.len && is_blank(line.ptr[colon]))
		colon++;
	if (name == 0 || colon == name || colon == line.len || line.ptr[colon] != ':' ||
	    !has(lenient, LENIENT_COLON))
		return put(out, n, line);
	n = put(out, n, (struct slice){ line.ptr, name });
	return put(out, n, slice_after(line, colon));
}

/* A line that goes on the one before: each fold is one space (RFC 9112 5.2). out[n - 2] is
 * where that one ends. */
static size_t fold_put(char *out, size_t n, struct slice line)
{
	n -= 2;
	while (is_blank(out[n - 1]))
		n--;
	out[n++] = ' ';
	return put(out, n, slice_trim(line));
}

static size_t lines_write(char *out, struct slice head, bool trailers, unsigned lenient)
{
	struct slice line;
	bool has_field = false; /* else a fold goes on nothing */
	size_t n = 0;

	if (!trailers && line_take(&head, &line, lenient)) {
		n = put(out, n, line);
		n = put(out, n, SLICE("\r\n"));
	}
	while (line_take(&head, &line, lenient)) {
		bool fold = line.len > 0 && is_blank(line.ptr[0]);

		if (fold && has_field && has(lenient, LENIENT_FOLDING))
			n = fold_put(out, n, line);
		else
			n = field_put(out, n, line, lenient);
		has_field |= !fold;
		n = put(out, n, SLICE("\r\n"));
	}
	return n;
}

/* ---- what is said twice -------------------------------------------------------- */

/* The one element that all of a list are; empty: there is none. */
static struct slice only_element(struct slice list, bool nocase)
{
	struct slice only = { NULL, 0 };

	while (list.len > 0) {
		const char *comma = memchr(list.ptr, ',', list.len);
		size_t n = comma ? (size_t)(comma - list.ptr) : list.len;
		struct slice element = slice_trim((struct slice){ list.ptr, n });

		list = slice_after(list, comma ? n + 1 : n);
		if (element.len == 0)
			continue;
		if (only.len > 0 && !(nocase ? slice_equal_nocase(only, element) :
					       slice_equal(only, element)))
			return (struct slice){ NULL, 0 };
		if (only.len == 0)
			only = element;
	}
	return only;
}

/* A field of which equal values count once. */
struct once {
	struct slice name;
	bool nocase;
	struct slice value; /* the first */
};

/* How a line of this field is written: as it is, with one element for its list, or, if it
 * says what was said, not at all. */
static size_t once_put(char *out, size_t n, struct slice line, struct once *o)
{
	struct slice list = slice_trim(slice_after(line, o->name.len + 1));
	struct slice only = only_element(list, o->nocase);

	if (only.len > 0 && o->value.len > 0 &&
	    (o->nocase ? slice_equal_nocase(only, o->value) : slice_equal(only, o->value)))
		return n;
	if (only.len > 0 && o->value.len == 0) {
		/* The line's bytes are behind those written: they may overlap. */
		memmove(out + n, line.ptr, o->name.len + 1);
		n += o->name.len + 1;
		memmove(out + n, only.ptr, only.len);
		o->value = (struct slice){ out + n, only.len };
		n += only.len;
	} else {
		memmove(out + n, line.ptr, line.len);
		n += line.len;
	}
	out[n++] = '\r';
	out[n++] = '\n';
	return n;
}

/* In place: nothing becomes longer. */
static size_t once_write(char *out, size_t size, struct once *o)
{
	struct slice rest = { out, size }, line;
	size_t n = 0;

	while (line_take(&rest, &line, 0)) {
		if (line.len > o->name.len && line.ptr[o->name.len] == ':' &&
		    slice_equal_nocase((struct slice){ line.ptr, o->name.len }, o->name)) {
			n = once_put(out, n, line, o);
			continue;
		}
		memmove(out + n, line.ptr, line.len + 2);
		n += line.len + 2;
	}
	return n;
}

size_t lenient_write(char *out, struct slice head, bool trailers, unsigned lenient)
{
	struct once length = { SLICE("Content-Length"), false, { NULL, 0 } };
	struct once coding = { SLICE("Transfer-Encoding"), true, { NULL, 0 } };
	size_t n = lines_write(out, head, trailers, lenient);

	ASSERT(n <= LENIENT_BYTES_MAX(head.len));
	if (!trailers && has(lenient, LENIENT_DUPLICATE_LENGTH))
		n = once_write(out, n, &length);
	if (!trailers && has(lenient, LENIENT_DUPLICATE_TE))
		n = once_write(out, n, &coding);
	return n;
}
