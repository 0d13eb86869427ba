#include "digest.h"

#include "http/forwarding.h"
#include "line.h"
#include "octet.h"

/* More are refused: each is looked up among the fields. */
#define CONNECTION_OPTIONS_MAX 64

/* Known fields of a head: how often each came, and where first. */
struct seen {
	const struct field *first[HEADER_OTHER + 1]; /* set where the count is not 0 */
	uint16_t count[HEADER_OTHER + 1];
};

static void fields_see(const struct head *h, struct seen *seen)
{
	memset(seen->count, 0, sizeof(seen->count));
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (seen->count[f->header]++ == 0)
			seen->first[f->header] = f;
}

/* Takes the next element that is not empty off a comma-separated list. */
static bool element_take(struct slice *list, struct slice *element)
{
	while (list->len > 0) {
		const char *comma = memchr(list->ptr, ',', list->len);
		size_t n = comma ? (size_t)(comma - list->ptr) : list->len;

		*element = slice_trim((struct slice){ list->ptr, n });
		*list = slice_after(*list, comma ? n + 1 : n);
		if (element->len > 0)
			return true;
	}
	return false;
}

/* RFC 9110 7.6.1 has every named field removed. Host is kept: it is not for this
 * hop in any reading, and what it names was chosen by the client anyway. */
static void fields_strip(struct head *h, struct slice name)
{
	for (struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (f->header != HEADER_HOST && slice_equal_nocase(f->name, name))
			f->per_hop = true;
}

struct options {
	bool close, keep_alive, upgrade;
	int count;
};

static bool options_read(struct head *h, struct slice list, struct options *o)
{
	struct slice option;

	while (element_take(&list, &option)) {
		if (!octet_all(option, OCTET_TOKEN) ||
		    ++o->count > CONNECTION_OPTIONS_MAX)
			return false;
		if (slice_equal_nocase(option, SLICE("close")))
			o->close = true;
		else if (slice_equal_nocase(option, SLICE("keep-alive")))
			o->keep_alive = true;
		else if (slice_equal_nocase(option, SLICE("upgrade")))
			o->upgrade = true;
		else
			fields_strip(h, option);
	}
	return true;
}

/* protocol-name ["/" protocol-version] (RFC 9110 7.8), of which h2c is a door into
 * the origin around us. */
static bool upgrade_wanted(struct slice list)
{
	struct slice protocol;
	bool any = false;

	while (element_take(&list, &protocol)) {
		for (size_t i = 0; i < protocol.len; i++)
			if (!octet_is(protocol.ptr[i], OCTET_TOKEN) &&
			    protocol.ptr[i] != '/')
				return false;
		if (slice_equal_nocase(protocol, SLICE("h2c")))
			return false;
		any = true;
	}
	return any;
}

static enum fault connection_digest(struct head *h, const struct seen *seen)
{
	struct options o = { 0 };

	for (uint32_t i = 0; i < h->field_n && seen->count[HEADER_CONNECTION] > 0; i++)
		if (h->fields[i].header == HEADER_CONNECTION &&
		    !options_read(h, h->fields[i].value, &o))
			return FAULT_CONNECTION;
	h->keep_alive = !o.close && (h->minor > 0 || o.keep_alive);
	if (o.upgrade && h->minor > 0 && seen->count[HEADER_UPGRADE] == 1 &&
	    upgrade_wanted(seen->first[HEADER_UPGRADE]->value)) {
		h->upgrade = true;
		h->upgrade_token = seen->first[HEADER_UPGRADE]->value;
	}
	return FAULT_NONE;
}

/* Digits only; beyond INT64_MAX nobody means it, and sums of it stay safe. */
static bool length_parse(struct slice digits, uint64_t *length)
{
	uint64_t value = 0;

	if (digits.len == 0 || !octet_all(digits, OCTET_DIGIT))
		return false;
	for (size_t i = 0; i < digits.len; i++) {
		uint64_t digit = (uint64_t)(digits.ptr[i] - '0');

		if (value > (INT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*length = value;
	return true;
}

/* "timeout=5, max=100": a hint (RFC 2068 19.7.1), so what makes no sense says nothing. */
static void idle_digest(struct head *h, const struct seen *seen)
{
	struct slice list, element, name = SLICE("timeout=");
	uint64_t seconds;

	h->idle_s = UINT32_MAX;
	if (seen->count[HEADER_KEEP_ALIVE] == 0)
		return;
	list = seen->first[HEADER_KEEP_ALIVE]->value;
	while (element_take(&list, &element))
		if (element.len > name.len &&
		    slice_equal_nocase((struct slice){ element.ptr, name.len }, name) &&
		    length_parse(slice_after(element, name.len), &seconds) &&
		    seconds < h->idle_s)
			h->idle_s = (uint32_t)seconds;
}

static enum fault framing_digest(struct head *h, const struct seen *seen)
{
	const struct field *coding = seen->first[HEADER_TRANSFER_ENCODING];
	uint16_t codings = seen->count[HEADER_TRANSFER_ENCODING];
	uint16_t lengths = seen->count[HEADER_CONTENT_LENGTH];

	if (codings > 0) {
		if (h->minor == 0)
			return FAULT_CODING_1_0;
		if (lengths > 0)
			return FAULT_LENGTH_CODING;
		if (codings > 1 || !slice_equal_nocase(coding->value, SLICE("chunked")))
			return FAULT_CODING;
		h->framing = FRAMING_CHUNKED;
		return FAULT_NONE;
	}
	if (lengths > 1)
		return FAULT_LENGTH_REPEATED;
	if (lengths == 1) {
		h->framing = FRAMING_LENGTH;
		if (!length_parse(seen->first[HEADER_CONTENT_LENGTH]->value, &h->length))
			return FAULT_LENGTH;
	}
	return FAULT_NONE;
}

/* The authority of an absolute target beats Host (RFC 9112 3.2.2). Without one an empty Host
 * makes a URI of http that has no host, which is none (RFC 9110 4.2.1), and there is no authority
 * to put in its place (RFC 9112 3.3). */
static enum fault host_digest(struct head *h, const struct seen *seen)
{
	struct slice host;

	if (seen->count[HEADER_HOST] == 0)
		return h->minor > 0 ? FAULT_HOST_MISSING : FAULT_NONE;
	if (seen->count[HEADER_HOST] > 1)
		return FAULT_HOST_REPEATED;
	host = seen->first[HEADER_HOST]->value;
	if (host.len > 0 && !line_authority_valid(host))
		return FAULT_HOST;
	if (h->target_form == TARGET_ABSOLUTE || h->target_form == TARGET_AUTHORITY)
		return FAULT_NONE;
	h->authority = host;
	return host.len > 0 ? FAULT_NONE : FAULT_HOST_EMPTY;
}

/* HTTP/1.0 knows neither interim responses nor trailers. */
static void wishes_digest(struct head *h, const struct seen *seen)
{
	struct slice list, element;

	if (h->minor == 0)
		return;
	h->expect_continue = seen->count[HEADER_EXPECT] == 1 &&
			     slice_equal_nocase(seen->first[HEADER_EXPECT]->value,
						SLICE("100-continue"));
	for (uint32_t i = 0; i < h->field_n && seen->count[HEADER_TE] > 0; i++) {
		if (h->fields[i].header != HEADER_TE)
			continue;
		list = h->fields[i].value;
		while (element_take(&list, &element))
			if (slice_equal_nocase(element, SLICE("trailers")))
				h->te_trailers = true;
	}
}

/* What cannot be read cannot be counted down (RFC 9110 7.6.2). */
static enum fault forwards_digest(struct head *h, const struct seen *seen)
{
	uint64_t n = 0;
	struct slice value;

	if (seen->count[HEADER_MAX_FORWARDS] == 0 ||
	    (h->method != METHOD_OPTIONS && h->method != METHOD_TRACE))
		return FAULT_NONE;
	value = seen->first[HEADER_MAX_FORWARDS]->value;
	if (seen->count[HEADER_MAX_FORWARDS] > 1 || value.len == 0 ||
	    !octet_all(value, OCTET_DIGIT))
		return FAULT_MAX_FORWARDS;
	if (!length_parse(value, &n) || n > HEAD_FORWARDS_MAX)
		n = HEAD_FORWARDS_MAX;
	h->forwards_limited = true;
	h->max_forwards = (uint32_t)n;
	return FAULT_NONE;
}

enum fault digest_request(struct head *h)
{
	struct seen seen;
	enum fault fault;

	fields_see(h, &seen);
	fault = connection_digest(h, &seen);
	if (!fault)
		fault = framing_digest(h, &seen);
	if (!fault)
		fault = host_digest(h, &seen);
	if (!fault)
		fault = forwards_digest(h, &seen);
	if (!fault)
		wishes_digest(h, &seen);
	return fault;
}

enum fault digest_response(struct head *h)
{
	struct seen seen;
	enum fault fault;

	h->framing = FRAMING_CLOSE;
	fields_see(h, &seen);
	idle_digest(h, &seen);
	fault = connection_digest(h, &seen);
	return fault ? fault : framing_digest(h, &seen);
}

/* Fields that frame, route, authenticate or say how to read the content; what a
 * recipient merges into its head must not change any of these afterwards. */
static const struct slice not_in_trailers[] = {
	{ "Authorization", 13 },
	{ "Cache-Control", 13 },
	{ "Content-Encoding", 16 },
	{ "Content-Range", 13 },
	{ "Proxy-Authorization", 19 },
	{ "Range", 5 },
	{ "Set-Cookie", 10 },
	{ "WWW-Authenticate", 16 },
	{ "If-Match", 8 },
	{ "If-None-Match", 13 },
	{ "If-Modified-Since", 17 },
	{ "If-Unmodified-Since", 19 },
	{ "If-Range", 8 },
};

static const bool known_not_in_trailers[HEADER_OTHER + 1] = {
	[HEADER_CONTENT_TYPE] = true,
	[HEADER_COOKIE] = true,
	[HEADER_DATE] = true,
	[HEADER_EXPECT] = true,
	[HEADER_HOST] = true,
	[HEADER_LOCATION] = true,
	[HEADER_MAX_FORWARDS] = true,
	[HEADER_TRAILER] = true,
	[HEADER_PROXY_AUTHENTICATE] = true,
	[HEADER_VIA] = true,
};

void digest_trailers(struct head *h)
{
	for (struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		f->per_hop |= known_not_in_trailers[f->header] || forwarding_names(f->name);
		for (size_t i = 0; i < COUNT(not_in_trailers) && !f->per_hop; i++)
			f->per_hop = slice_equal_nocase(f->name, not_in_trailers[i]);
	}
}
