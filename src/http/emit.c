#include "http/emit.h"

#include "http/forwarding.h"

/* Reserves n bytes of output. NULL: they do not fit. */
static inline char *space_take(struct emit *e, size_t n)
{
	char *at = e->at;

	if (e->overflow || n > (size_t)(e->end - at)) {
		e->overflow = true;
		return NULL;
	}
	e->at += n;
	return at;
}

/* Inline, because most slices of a head are literals, whose copy is then a store or
 * two. */
static inline void slice_put(struct emit *e, struct slice s)
{
	char *at = space_take(e, s.len);

	if (at && s.len > 0)
		memcpy(at, s.ptr, s.len);
}

static inline void crlf_put(struct emit *e)
{
	slice_put(e, SLICE("\r\n"));
}

void emit_slice(struct emit *e, struct slice s)
{
	slice_put(e, s);
}

void emit_number(struct emit *e, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	slice_put(e, (struct slice){ digits + at, sizeof(digits) - at });
}

void emit_field(struct emit *e, struct slice name, struct slice value)
{
	char *at = space_take(e, name.len + 2 + value.len + 2);

	if (!at)
		return;
	at = mempcpy(at, name.ptr, name.len);
	*at++ = ':';
	*at++ = ' ';
	if (value.len > 0)
		at = mempcpy(at, value.ptr, value.len);
	*at++ = '\r';
	*at = '\n';
}

static void field_unless_empty(struct emit *e, struct slice name, struct slice value)
{
	if (value.len > 0)
		emit_field(e, name, value);
}

static void framing_fields(struct emit *e, enum framing framing, uint64_t length)
{
	switch (framing) {
	case FRAMING_LENGTH:
		slice_put(e, SLICE("Content-Length: "));
		emit_number(e, length);
		crlf_put(e);
		break;
	case FRAMING_CHUNKED:
		emit_field(e, SLICE("Transfer-Encoding"), SLICE("chunked"));
		break;
	case FRAMING_NONE:
	case FRAMING_CLOSE:
		break;
	}
}

/* With the version that the message was received in (RFC 9110 7.6.3). */
static void via_field(struct emit *e, const struct head *h, struct slice name)
{
	if (name.len == 0)
		return;
	slice_put(e, h->minor == 0 ? SLICE("Via: 1.0 ") : SLICE("Via: 1.1 "));
	slice_put(e, name);
	crlf_put(e);
}

/* "Connection" with these options; no field for n = 0. */
static void connection_field(struct emit *e, const struct slice *options, size_t n)
{
	if (n == 0)
		return;
	slice_put(e, SLICE("Connection: "));
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			slice_put(e, SLICE(", "));
		slice_put(e, options[i]);
	}
	crlf_put(e);
}

static void request_line(struct emit *e, const struct head *h,
			 const struct emit_request *r)
{
	bool asterisk = slice_equal(h->path, SLICE("*"));

	slice_put(e, h->method_token);
	slice_put(e, SLICE(" "));
	slice_put(e, r->path.len > 0 && !asterisk ? r->path : h->path);
	slice_put(e, h->query);
	slice_put(e, SLICE(" HTTP/1.1\r\n"));
}

/* Max-Forwards of OPTIONS and TRACE, decremented (RFC 9110 7.6.2). */
static void forwards_field(struct emit *e, const struct head *h)
{
	if (!h->forwards_limited || h->max_forwards == 0)
		return;
	slice_put(e, SLICE("Max-Forwards: "));
	emit_number(e, h->max_forwards - 1);
	crlf_put(e);
}

static bool request_field_kept(const struct head *h, const struct field *f,
			       const struct forwarding *forwarding)
{
	if (f->per_hop || f->header == HEADER_HOST || !forwarding_keeps(forwarding, f) ||
	    (f->header == HEADER_MAX_FORWARDS && h->forwards_limited))
		return false;
	/* An HTTP/1.0 client cannot be sent a 100 (RFC 9110 10.1.1). */
	return f->header != HEADER_EXPECT || h->minor > 0;
}

static void request_hop_fields(struct emit *e, const struct head *h, bool upgrade)
{
	struct slice options[2];
	size_t n = 0;

	if (upgrade) {
		emit_field(e, SLICE("Upgrade"), h->upgrade_token);
		options[n++] = SLICE("upgrade");
	}
	if (h->te_trailers) {
		emit_field(e, SLICE("TE"), SLICE("trailers"));
		options[n++] = SLICE("TE");
	}
	connection_field(e, options, n);
}

size_t emit_request_max(const struct head *h, const struct emit_request *r)
{
	return h->bytes + h->authority.len + r->path.len + r->host.len + r->via.len +
	       forwarding_max(h, r->forwarding) + EMIT_EXTRA;
}

void emit_request(struct emit *e, const struct head *h, const struct emit_request *r)
{
	request_line(e, h, r);
	emit_field(e, SLICE("Host"), r->host.len > 0 ? r->host : h->authority);
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (request_field_kept(h, f, r->forwarding))
			emit_field(e, f->name, f->value);
	forwards_field(e, h);
	framing_fields(e, r->framing, r->length);
	via_field(e, h, r->via);
	forwarding_emit(e, h, r->forwarding, r->forwarded);
	request_hop_fields(e, h, r->upgrade && h->upgrade);
	crlf_put(e);
}

static void status_line(struct emit *e, int status, struct slice phrase)
{
	slice_put(e, SLICE("HTTP/1.1 "));
	emit_number(e, (uint64_t)status);
	slice_put(e, SLICE(" "));
	slice_put(e, phrase);
	crlf_put(e);
}

static void response_hop_fields(struct emit *e, const struct head *h,
				const struct emit_response *r)
{
	struct slice options[2];
	size_t n = 0;

	if (r->upgrade && h->upgrade) {
		emit_field(e, SLICE("Upgrade"), h->upgrade_token);
		options[n++] = SLICE("upgrade");
	}
	if (r->close)
		options[n++] = SLICE("close");
	else if (r->keep_alive_1_0)
		options[n++] = SLICE("keep-alive");
	connection_field(e, options, n);
}

void emit_response(struct emit *e, const struct head *h, const struct emit_response *r)
{
	bool dated = h->status < 200;

	status_line(e, h->status, h->phrase);
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		if (f->per_hop)
			continue;
		dated |= f->header == HEADER_DATE;
		emit_field(e, f->name, f->value);
	}
	if (!dated)
		field_unless_empty(e, SLICE("Date"), r->date);
	framing_fields(e, r->framing, r->length);
	if (r->framing == FRAMING_NONE && r->keep_length && h->framing == FRAMING_LENGTH)
		framing_fields(e, FRAMING_LENGTH, h->length);
	via_field(e, h, r->via);
	response_hop_fields(e, h, r);
	crlf_put(e);
}

void emit_reply(struct emit *e, const struct emit_reply *r)
{
	status_line(e, r->status, slice_of(status_phrase(r->status)));
	field_unless_empty(e, SLICE("Date"), r->date);
	field_unless_empty(e, SLICE("Content-Type"), r->content_type);
	if (r->chunked)
		framing_fields(e, FRAMING_CHUNKED, 0);
	else if (r->has_body)
		framing_fields(e, FRAMING_LENGTH, r->length);
	field_unless_empty(e, SLICE("Location"), r->location);
	field_unless_empty(e, SLICE("Allow"), r->allow);
	field_unless_empty(e, SLICE("Retry-After"), r->retry_after);
	if (r->proxy_name.len > 0) {
		slice_put(e, SLICE("Proxy-Status: "));
		slice_put(e, r->proxy_name);
		if (r->proxy_status.len > 0)
			slice_put(e, SLICE("; error="));
		slice_put(e, r->proxy_status);
		crlf_put(e);
	}
	if (r->close)
		emit_field(e, SLICE("Connection"), SLICE("close"));
	else if (r->keep_alive_1_0)
		emit_field(e, SLICE("Connection"), SLICE("keep-alive"));
	crlf_put(e);
}

void emit_trailers(struct emit *e, const struct head *h)
{
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (!f->per_hop)
			emit_field(e, f->name, f->value);
	crlf_put(e);
}

const char *status_phrase(int status)
{
	switch (status) {
#define STATUS(code, phrase) \
	case code:           \
		return phrase;
#include "http/status.def"
#undef STATUS
	}
	return "";
}

static void two_digits(char *at, unsigned n)
{
	at[0] = (char)('0' + n / 10);
	at[1] = (char)('0' + n % 10);
}

/* The Gregorian date of a day counted from 1970-01-01. Computed in years that begin in
 * March, so that the leap day is the last day of its year. */
static void date_of_day(uint64_t day, unsigned *year, unsigned *month, unsigned *mday)
{
	uint64_t d = day + 719468, era = d / 146097;
	unsigned in_era = (unsigned)(d % 146097);
	unsigned y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	unsigned in_year = in_era - (365 * y + y / 4 - y / 100);
	unsigned m = (5 * in_year + 2) / 153;

	*mday = in_year - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 2 : m - 10;
	*year = (unsigned)(era * 400) + y + (m >= 10 ? 1 : 0);
}

void emit_date(char text[EMIT_DATE_MAX], uint64_t wall_ms)
{
	uint64_t seconds = wall_ms / 1000, day = seconds / 86400;
	unsigned clock = (unsigned)(seconds % 86400), year, month, mday;

	date_of_day(day, &year, &month, &mday);
	ASSERT(year <= 9999);
	memcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT", EMIT_DATE_MAX);
	memcpy(text, &"ThuFriSatSunMonTueWed"[day % 7 * 3], 3);
	two_digits(text + 5, mday);
	memcpy(text + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[(size_t)month * 3], 3);
	two_digits(text + 12, year / 100);
	two_digits(text + 14, year % 100);
	two_digits(text + 17, clock / 3600);
	two_digits(text + 20, clock / 60 % 60);
	two_digits(text + 23, clock % 60);
}
