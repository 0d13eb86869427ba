#include "http/lenient.h"

#include "octet.h"

static bool is_allowed(unsigned lenient, enum lenient l)
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
		return is_allowed(lenient, LENIENT_LF);
	if (f == FAULT_FIELD_FOLD)
		return is_allowed(lenient, LENIENT_FOLDING);
	if (f == FAULT_FIELD_COLON)
		return is_allowed(lenient, LENIENT_COLON);
	if (f == FAULT_CODING)
		return is_allowed(lenient, LENIENT_DUPLICATE_TE);
	if (f == FAULT_LENGTH || f == FAULT_LENGTH_REPEATED)
		return is_allowed(lenient, LENIENT_DUPLICATE_LENGTH);
	/* In a trailer section each of these is reported as FAULT_TRAILER. */
	return f == FAULT_TRAILER && lenient != 0;
}

/* Takes a line off the front, without its CRLF (or LF, if allowed). False: no complete
 * line. */
static bool line_take(struct slice *s, struct slice *line, unsigned lenient)
{
	size_t n = 0;

	for (;; n++) {
		const char *lf = memchr(s->ptr + n, '\n', s->len - n);

		if (!lf)
			return false;
		n = (size_t)(lf - s->ptr);
		if ((n > 0 && lf[-1] == '\r') || is_allowed(lenient, LENIENT_LF))
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

static size_t slice_copy(char *out, size_t n, struct slice s)
{
	if (s.len > 0)
		memcpy(out + n, s.ptr, s.len);
	return n + s.len;
}

/* Writes a field line, without blanks before the colon. */
static size_t field_write(char *out, size_t n, struct slice line, unsigned lenient)
{
	size_t name = octet_span(line, OCTET_TOKEN), colon = name;

	while (colon < line.len && is_blank(line.ptr[colon]))
		colon++;
	if (name == 0 || colon == name || colon == line.len || line.ptr[colon] != ':' ||
	    !is_allowed(lenient, LENIENT_COLON))
		return slice_copy(out, n, line);
	n = slice_copy(out, n, (struct slice){ line.ptr, name });
	return slice_copy(out, n, slice_after(line, colon));
}

/* Appends a continuation line to the previous one, whose CRLF is at out[n - 2]: the fold
 * becomes one space (RFC 9112 5.2). */
static size_t fold_write(char *out, size_t n, struct slice line)
{
	n -= 2;
	while (is_blank(out[n - 1]))
		n--;
	out[n++] = ' ';
	return slice_copy(out, n, slice_trim(line));
}

static size_t lines_write(char *out, struct slice head, bool trailers, unsigned lenient)
{
	struct slice line;
	bool has_field = false; /* a continuation needs a previous field line */
	size_t n = 0;

	if (!trailers && line_take(&head, &line, lenient)) {
		n = slice_copy(out, n, line);
		n = slice_copy(out, n, SLICE("\r\n"));
	}
	while (line_take(&head, &line, lenient)) {
		bool fold = line.len > 0 && is_blank(line.ptr[0]);

		if (fold && has_field && is_allowed(lenient, LENIENT_FOLDING))
			n = fold_write(out, n, line);
		else
			n = field_write(out, n, line, lenient);
		has_field |= !fold;
		n = slice_copy(out, n, SLICE("\r\n"));
	}
	return n;
}

/* ---- repeated values --------------------------------------------------------- */

/* The element, if all elements of a list are equal; else, or without one, empty. */
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

/* A field whose repeated equal values are reduced to one. */
struct single_field {
	struct slice name;
	bool nocase;
	struct slice value; /* the first */
};

/* Writes a line of this field: not at all if it repeats the first value; with one element
 * if its list repeats one; else as it is. */
static size_t single_field_write(char *out, size_t n, struct slice line,
				 struct single_field *o)
{
	struct slice list = slice_trim(slice_after(line, o->name.len + 1));
	struct slice only = only_element(list, o->nocase);

	if (only.len > 0 && o->value.len > 0 &&
	    (o->nocase ? slice_equal_nocase(only, o->value) : slice_equal(only, o->value)))
		return n;
	if (only.len > 0 && o->value.len == 0) {
		/* In place: source and destination may overlap. */
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

/* Rewrites a head in place: no line becomes longer. */
static size_t single_fields_write(char *out, size_t size, struct single_field *o)
{
	struct slice rest = { out, size }, line;
	size_t n = 0;

	while (line_take(&rest, &line, 0)) {
		if (line.len > o->name.len && line.ptr[o->name.len] == ':' &&
		    slice_equal_nocase((struct slice){ line.ptr, o->name.len }, o->name)) {
			n = single_field_write(out, n, line, o);
			continue;
		}
		memmove(out + n, line.ptr, line.len + 2);
		n += line.len + 2;
	}
	return n;
}

size_t lenient_write(char *out, struct slice head, bool trailers, unsigned lenient)
{
	struct single_field length = { SLICE("Content-Length"), false, { NULL, 0 } };
	struct single_field coding = { SLICE("Transfer-Encoding"), true, { NULL, 0 } };
	size_t n = lines_write(out, head, trailers, lenient);

	ASSERT(n <= LENIENT_BYTES_MAX(head.len));
	if (!trailers && is_allowed(lenient, LENIENT_DUPLICATE_LENGTH))
		n = single_fields_write(out, n, &length);
	if (!trailers && is_allowed(lenient, LENIENT_DUPLICATE_TE))
		n = single_fields_write(out, n, &coding);
	return n;
}
