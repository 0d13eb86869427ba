#include "interpret.h"

#include "http/forwarding.h"
#include "line.h"
#include "octet.h"

/* A head with more is refused: each option is searched in all fields. */
#define CONNECTION_OPTIONS_MAX 64

/* Fields of header.def in a head: their number, and the first of each. */
struct known_fields {
	const struct field *first[HEADER_OTHER + 1]; /* valid if the count is not 0 */
	uint16_t count[HEADER_OTHER + 1];
};

static void fields_count(const struct head *h, struct known_fields *known)
{
	memset(known->count, 0, sizeof(known->count));
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (known->count[f->header]++ == 0)
			known->first[f->header] = f;
}

/* Takes the next non-empty element of a comma-separated list. False: there is none. */
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

/* A field that Connection names is removed (RFC 9110 7.6.1), except Host: it is never
 * meant for one hop only, and removing it would let the client change the request. */
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

/* protocol-name ["/" protocol-version] (RFC 9110 7.8). False: malformed, or one of them
 * is h2c, which would let the client reach the server past our routes. */
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

static enum fault interpret_connection(struct head *h, const struct known_fields *known)
{
	struct options o = { 0 };

	for (uint32_t i = 0; i < h->field_n && known->count[HEADER_CONNECTION] > 0; i++)
		if (h->fields[i].header == HEADER_CONNECTION &&
		    !options_read(h, h->fields[i].value, &o))
			return FAULT_CONNECTION;
	h->keep_alive = !o.close && (h->minor > 0 || o.keep_alive);
	if (o.upgrade && h->minor > 0 && known->count[HEADER_UPGRADE] == 1 &&
	    upgrade_wanted(known->first[HEADER_UPGRADE]->value)) {
		h->upgrade = true;
		h->upgrade_token = known->first[HEADER_UPGRADE]->value;
	}
	return FAULT_NONE;
}

/* Digits only, up to INT64_MAX, so that sums do not overflow. */
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

/* "timeout=5, max=100" (RFC 2068 19.7.1): a hint, so malformed elements are ignored. */
static void interpret_keep_alive(struct head *h, const struct known_fields *known)
{
	struct slice list, element, name = SLICE("timeout=");
	uint64_t seconds;

	h->idle_s = UINT32_MAX;
	if (known->count[HEADER_KEEP_ALIVE] == 0)
		return;
	list = known->first[HEADER_KEEP_ALIVE]->value;
	while (element_take(&list, &element))
		if (element.len > name.len &&
		    slice_equal_nocase((struct slice){ element.ptr, name.len }, name) &&
		    length_parse(slice_after(element, name.len), &seconds) &&
		    seconds < h->idle_s)
			h->idle_s = (uint32_t)seconds;
}

static enum fault interpret_framing(struct head *h, const struct known_fields *known)
{
	const struct field *coding = known->first[HEADER_TRANSFER_ENCODING];
	uint16_t codings = known->count[HEADER_TRANSFER_ENCODING];
	uint16_t lengths = known->count[HEADER_CONTENT_LENGTH];

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
		if (!length_parse(known->first[HEADER_CONTENT_LENGTH]->value, &h->length))
			return FAULT_LENGTH;
	}
	return FAULT_NONE;
}

/* The authority of an absolute target overrides Host (RFC 9112 3.2.2). Without one, an
 * empty Host is refused: an http URI without a host is invalid (RFC 9110 4.2.1), and
 * there is no default authority (RFC 9112 3.3). */
static enum fault interpret_host(struct head *h, const struct known_fields *known)
{
	struct slice host;

	if (known->count[HEADER_HOST] == 0)
		return h->minor > 0 ? FAULT_HOST_MISSING : FAULT_NONE;
	if (known->count[HEADER_HOST] > 1)
		return FAULT_HOST_REPEATED;
	host = known->first[HEADER_HOST]->value;
	if (host.len > 0 && !line_authority_valid(host))
		return FAULT_HOST;
	if (h->target_form == TARGET_ABSOLUTE || h->target_form == TARGET_AUTHORITY)
		return FAULT_NONE;
	h->authority = host;
	return host.len > 0 ? FAULT_NONE : FAULT_HOST_EMPTY;
}

/* Ignored in HTTP/1.0, which has neither interim responses nor trailers. */
static void interpret_expect_te(struct head *h, const struct known_fields *known)
{
	struct slice list, element;

	if (h->minor == 0)
		return;
	h->expect_continue = known->count[HEADER_EXPECT] == 1 &&
			     slice_equal_nocase(known->first[HEADER_EXPECT]->value,
						SLICE("100-continue"));
	for (uint32_t i = 0; i < h->field_n && known->count[HEADER_TE] > 0; i++) {
		if (h->fields[i].header != HEADER_TE)
			continue;
		list = h->fields[i].value;
		while (element_take(&list, &element))
			if (slice_equal_nocase(element, SLICE("trailers")))
				h->te_trailers = true;
	}
}

/* A malformed value is refused, since it cannot be decremented (RFC 9110 7.6.2). */
static enum fault interpret_forwards(struct head *h, const struct known_fields *known)
{
	uint64_t n = 0;
	struct slice value;

	if (known->count[HEADER_MAX_FORWARDS] == 0 ||
	    (h->method != METHOD_OPTIONS && h->method != METHOD_TRACE))
		return FAULT_NONE;
	value = known->first[HEADER_MAX_FORWARDS]->value;
	if (known->count[HEADER_MAX_FORWARDS] > 1 || value.len == 0 ||
	    !octet_all(value, OCTET_DIGIT))
		return FAULT_MAX_FORWARDS;
	if (!length_parse(value, &n) || n > HEAD_FORWARDS_MAX)
		n = HEAD_FORWARDS_MAX;
	h->forwards_limited = true;
	h->max_forwards = (uint32_t)n;
	return FAULT_NONE;
}

enum fault interpret_request(struct head *h)
{
	struct known_fields known;
	enum fault fault;

	fields_count(h, &known);
	fault = interpret_connection(h, &known);
	if (!fault)
		fault = interpret_framing(h, &known);
	if (!fault)
		fault = interpret_host(h, &known);
	if (!fault)
		fault = interpret_forwards(h, &known);
	if (!fault)
		interpret_expect_te(h, &known);
	return fault;
}

enum fault interpret_response(struct head *h)
{
	struct known_fields known;
	enum fault fault;

	h->framing = FRAMING_CLOSE;
	fields_count(h, &known);
	interpret_keep_alive(h, &known);
	fault = interpret_connection(h, &known);
	return fault ? fault : interpret_framing(h, &known);
}

/* Fields for framing, routing, authentication or content encoding: a recipient that
 * merges trailers into the head must not change these afterwards. */
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

void interpret_trailers(struct head *h)
{
	for (struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		f->per_hop |= known_not_in_trailers[f->header] ||
			      forwarding_is_field(f->name);
		for (size_t i = 0; i < COUNT(not_in_trailers) && !f->per_hop; i++)
			f->per_hop = slice_equal_nocase(f->name, not_in_trailers[i]);
	}
}
