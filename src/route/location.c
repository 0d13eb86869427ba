#include "route/location.h"

#include "base/check.h"
#include "http/emit.h"
#include "route/variable.h"

/* Most bytes of one decoded value. */
#define SCRATCH_BYTES LOCATION_MAX

/* ---- configuration ---------------------------------------------------------- */

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Of a host and its port, as they are in a Location. */
static bool is_host_char(char c)
{
	return is_alnum(c) || memchr("-._:[]", c, 6);
}

static const char *text_fault(struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c == '#')
			return "a redirect has no fragment; remove the part from '#' on: browsers "
			       "keep that of the original URL";
		if (c <= ' ' || c > '~' || memchr("\"<>\\^`{|}", c, 9))
			return "this contains a byte that is not allowed in a URL; write it as "
			       "%XX";
	}
	return NULL;
}

/* The length of "https://" or "http://" at the front; 0: neither. */
static size_t scheme_length(struct slice text)
{
	if (slice_starts(text, SLICE("https://")))
		return sizeof("https://") - 1;
	return slice_starts(text, SLICE("http://")) ? sizeof("http://") - 1 : 0;
}

/* How many octets at the front belong to the authority. */
static size_t authority_span(struct slice text)
{
	size_t n = 0;

	while (n < text.len && text.ptr[n] != '/' && text.ptr[n] != '?')
		n++;
	return n;
}

/* The authority ends in text or before ${path}, which begins with "/". */
static const char *authority_fault(const struct template *t, size_t scheme)
{
	bool empty = true;

	for (unsigned i = 0; i < t->part_n; i++) {
		const struct template_part *part = &t->parts[i];
		struct slice text = slice_after(part->text, i == 0 ? scheme : 0);
		size_t n;

		if (part->variable == VARIABLE_HOST) {
			empty = false;
			continue;
		}
		if (part->variable == VARIABLE_PATH)
			break;
		if (part->variable != VARIABLE_NONE)
			return "only ${host} may be in the host of a redirect, as the request "
			       "decides on every other variable; write the host as text";
		n = authority_span(text);
		for (size_t j = 0; j < n; j++)
			if (!is_host_char(text.ptr[j]))
				return "the host of a redirect has only letters, digits, '-', '.' "
				       "and a port; write https://HOST/…";
		empty = empty && n == 0;
		if (n < text.len)
			break;
	}
	return empty ? "this has no host; write https://HOST${path}, or ${host} for that of "
		       "the request"
		     : NULL;
}

const char *location_fault(const struct template *t)
{
	struct slice first = t->part_n > 0 && t->parts[0].variable == VARIABLE_NONE
				     ? t->parts[0].text
				     : SLICE("");
	size_t scheme = scheme_length(first);

	for (unsigned i = 0; i < t->part_n; i++) {
		const char *fault = t->parts[i].variable == VARIABLE_NONE
					    ? text_fault(t->parts[i].text)
					    : NULL;

		if (fault)
			return fault;
	}
	if (scheme > 0)
		return authority_fault(t, scheme);
	if (slice_starts(first, SLICE("/")) && !slice_starts(first, SLICE("//")))
		return NULL;
	return "a redirect leads to a URL or a path; write 'https', or text that begins with "
	       "'https://HOST', 'http://HOST' or '/'";
}

/* ---- requests ---------------------------------------------------------------- */

/* ${path} and the query are URI text already. */
static bool emit_part(struct emit *e, const struct template_part *part,
		      const struct request_view *v)
{
	char scratch[SCRATCH_BYTES];
	struct slice value;

	if (!variable_value(part->variable, part->text, v, scratch, sizeof(scratch),
			    &value))
		return false;
	if (part->variable == VARIABLE_NONE || part->variable == VARIABLE_HOST)
		emit_slice(e, value);
	else if (part->variable == VARIABLE_PATH)
		emit_uri(e, value);
	else
		emit_uri_decoded(e, value);
	return true;
}

/* ${host} elsewhere than in the authority is as harmless with these characters only. */
static bool host_is_plain(struct slice host)
{
	for (size_t i = 0; i < host.len; i++)
		if (!is_host_char(host.ptr[i]))
			return false;
	return true;
}

static bool has_host(const struct template *t)
{
	for (unsigned i = 0; i < t->part_n; i++)
		if (t->parts[i].variable == VARIABLE_HOST)
			return true;
	return false;
}

static void emit_query(struct emit *e, const char *begin, struct slice query)
{
	if (query.len == 0)
		return;
	if (memchr(begin, '?', (size_t)(e->at - begin))) {
		emit_slice(e, SLICE("&"));
		query = slice_after(query, 1);
	}
	emit_uri(e, query);
}

/* Whatever the template and the request are: the authority is one. */
static bool leads_where_it_says(struct slice location)
{
	size_t scheme = scheme_length(location);
	struct slice rest = slice_after(location, scheme);

	if (scheme == 0)
		return true;
	rest.len = authority_span(rest);
	return rest.len > 0 && host_is_plain(rest);
}

/* A path is no authority: of several slashes at its front one is left. Returns the length. */
static size_t slashes_collapse(char *out, size_t n)
{
	size_t more = 0;

	while (more + 1 < n && out[more] == '/' && out[more + 1] == '/')
		more++;
	memmove(out, out + more, n - more);
	return n - more;
}

long location_write(const struct template *t, bool keep_query,
		    const struct request_view *v, char *out)
{
	struct emit e = { out, out + LOCATION_MAX, false };

	if (has_host(t) && !host_is_plain(v->host))
		return -1;
	for (unsigned i = 0; i < t->part_n; i++)
		if (!emit_part(&e, &t->parts[i], v))
			return -1;
	if (keep_query)
		emit_query(&e, out, v->head->query);
	if (e.overflow ||
	    !leads_where_it_says((struct slice){ out, (size_t)(e.at - out) }))
		return -1;
	return (long)slashes_collapse(out, (size_t)(e.at - out));
}
