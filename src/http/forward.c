#include "http/forward.h"

#include "http/forwarding.h"

/* ---- fields of our own -------------------------------------------------------- */

static void field_unless_empty(struct sink *s, struct slice name, struct slice value)
{
	if (value.len > 0)
		sink_field(s, name, value);
}

static void length_field(struct sink *s, uint64_t length)
{
	char digits[EMIT_DIGITS_MAX];

	sink_field(s, SLICE("Content-Length"), emit_digits(digits, length));
}

static void framing_field(struct sink *s, enum framing framing, uint64_t length)
{
	switch (framing) {
	case FRAMING_LENGTH:
		length_field(s, length);
		break;
	case FRAMING_CHUNKED:
		if (s->ops->connection_fields)
			sink_field(s, SLICE("Transfer-Encoding"), SLICE("chunked"));
		break;
	case FRAMING_NONE:
	case FRAMING_CLOSE:
		break;
	}
}

/* With the version that the message was received in (RFC 9110 7.6.3). */
static void via_field(struct sink *s, const struct head *h, struct slice name)
{
	if (name.len == 0)
		return;
	s->ops->begin(s, SLICE("Via"));
	emit_slice(&s->out, h->http2	   ? SLICE("2.0 ")
			    : h->minor == 0 ? SLICE("1.0 ")
					    : SLICE("1.1 "));
	emit_slice(&s->out, name);
	s->ops->finish(s);
}

/* Max-Forwards of OPTIONS and TRACE, decremented (RFC 9110 7.6.2). */
static void forwards_field(struct sink *s, const struct head *h)
{
	char digits[EMIT_DIGITS_MAX];

	if (h->forwards_limited && h->max_forwards > 0)
		sink_field(s, SLICE("Max-Forwards"),
			   emit_digits(digits, h->max_forwards - 1));
}

static bool own_field(const struct forward_field *own, unsigned n, struct slice name)
{
	for (unsigned i = 0; i < n; i++)
		if (slice_equal_nocase(own[i].name, name))
			return true;
	return false;
}

/* Of requests: CGI reads other spellings as the same field. */
static bool own_field_alike(const struct forward_field *own, unsigned n, struct slice name)
{
	for (unsigned i = 0; i < n; i++)
		if (field_names_alike(own[i].name, name))
			return true;
	return false;
}

static void own_fields(struct sink *s, const struct forward_field *own, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		field_unless_empty(s, own[i].name, own[i].value);
}

/* ---- requests ----------------------------------------------------------------- */

static void request_line(struct sink *s, const struct head *h,
			 const struct forward_request *r)
{
	bool replaced = r->path.len > 0 && !slice_equal(h->path, SLICE("*"));
	const struct sink_request line = {
		.method = h->method_token,
		.path = replaced ? r->path : h->path,
		.query = h->query,
		.authority = r->host.len > 0 ? r->host : h->authority,
	};

	s->ops->request(s, &line);
}

static bool request_field_goes_on(const struct head *h, const struct field *f,
				  const struct forward_request *r)
{
	const struct forwarding *forwarding = r->forwarding;

	if (f->per_hop || f->header == HEADER_HOST || !forwarding_keeps(forwarding, f) ||
	    (f->header == HEADER_MAX_FORWARDS && h->forwards_limited) ||
	    own_field_alike(r->own, r->own_n, f->name) ||
	    field_changes_hide(r->changes, f->name))
		return false;
	/* An HTTP/1.0 client cannot be sent a 100 (RFC 9110 10.1.1). */
	return f->header != HEADER_EXPECT || h->minor > 0;
}

/* Connection names the fields that are for the next hop only (RFC 9110 7.6.1). */
static void request_hop_fields(struct sink *s, const struct head *h, bool upgrade)
{
	static const struct slice options[2][2] = {
		{ { "", 0 }, { "TE", 2 } },
		{ { "upgrade", 7 }, { "upgrade, TE", 11 } },
	};
	bool connection = s->ops->connection_fields;

	upgrade = upgrade && connection;
	if (upgrade)
		sink_field(s, SLICE("Upgrade"), h->upgrade_token);
	if (h->te_trailers)
		sink_field(s, SLICE("TE"), SLICE("trailers"));
	if (connection)
		field_unless_empty(s, SLICE("Connection"),
				   options[upgrade][h->te_trailers]);
}

void forward_request(struct sink *s, const struct head *h,
		     const struct forward_request *r)
{
	struct change_sink changing;

	s = change_sink_begin(&changing, s, r->changes);
	request_line(s, h, r);
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (request_field_goes_on(h, f, r))
			sink_field(s, f->name, f->value);
	forwards_field(s, h);
	own_fields(s, r->own, r->own_n);
	framing_field(s, r->framing, r->length);
	via_field(s, h, r->via);
	forwarding_emit(s, h, r->forwarding, r->forwarded);
	request_hop_fields(s, h, r->upgrade && h->upgrade);
	s->ops->end(s);
}

size_t forward_request_max(const struct head *h, const struct forward_request *r)
{
	return h->bytes + h->authority.len + r->path.len + r->host.len + r->via.len +
	       forwarding_max(h, r->forwarding) + field_changes_max(r->changes) +
	       forward_own_max(r->own, r->own_n) +
	       FORWARD_EXTRA;
}

/* ---- responses ---------------------------------------------------------------- */

static void response_hop_fields(struct sink *s, bool close, bool keep_alive_1_0,
				struct slice upgrade)
{
	static const struct slice options[2][3] = {
		{ { "", 0 }, { "keep-alive", 10 }, { "close", 5 } },
		{ { "upgrade", 7 },
		  { "upgrade, keep-alive", 19 },
		  { "upgrade, close", 14 } },
	};

	if (!s->ops->connection_fields)
		return;
	field_unless_empty(s, SLICE("Upgrade"), upgrade);
	field_unless_empty(s, SLICE("Connection"),
			   options[upgrade.len > 0][close ? 2 : keep_alive_1_0]);
}

void forward_response(struct sink *s, const struct head *h,
		      const struct forward_response *r)
{
	bool dated = h->status < 200;
	struct change_sink changing;

	s = change_sink_begin(&changing, s, r->changes);
	s->ops->status(s, h->status, h->phrase);
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		if (f->per_hop || own_field(r->own, r->own_n, f->name))
			continue;
		dated |= f->header == HEADER_DATE;
		sink_field(s, f->name, f->value);
	}
	if (!dated)
		field_unless_empty(s, SLICE("Date"), r->date);
	own_fields(s, r->own, r->own_n);
	for (unsigned i = 0; i < COUNT(r->set_cookies); i++)
		field_unless_empty(s, SLICE("Set-Cookie"), r->set_cookies[i]);
	framing_field(s, r->framing, r->length);
	if (r->framing == FRAMING_NONE && r->keep_length && h->framing == FRAMING_LENGTH)
		length_field(s, h->length);
	via_field(s, h, r->via);
	response_hop_fields(s, r->close, r->keep_alive_1_0,
			    r->upgrade && h->upgrade ? h->upgrade_token : SLICE(""));
	s->ops->end(s);
}

static void proxy_status_field(struct sink *s, const struct forward_reply *r)
{
	if (r->proxy_name.len == 0)
		return;
	s->ops->begin(s, SLICE("Proxy-Status"));
	emit_slice(&s->out, r->proxy_name);
	if (r->proxy_status.len > 0)
		emit_slice(&s->out, SLICE("; error="));
	emit_slice(&s->out, r->proxy_status);
	s->ops->finish(s);
}

void forward_reply(struct sink *s, const struct forward_reply *r)
{
	struct change_sink changing;

	s = change_sink_begin(&changing, s, r->changes);
	s->ops->status(s, r->status, slice_of(status_phrase(r->status)));
	field_unless_empty(s, SLICE("Date"), r->date);
	field_unless_empty(s, SLICE("Content-Type"), r->content_type);
	if (r->chunked)
		framing_field(s, FRAMING_CHUNKED, 0);
	else if (r->has_body)
		length_field(s, r->length);
	field_unless_empty(s, SLICE("Location"), r->location);
	field_unless_empty(s, SLICE("Allow"), r->allow);
	field_unless_empty(s, SLICE("Retry-After"), r->retry_after);
	field_unless_empty(s, SLICE("WWW-Authenticate"), r->challenge);
	proxy_status_field(s, r);
	own_fields(s, r->own, r->own_n);
	response_hop_fields(s, r->close, r->keep_alive_1_0, SLICE(""));
	s->ops->end(s);
}

size_t forward_reply_max(const struct forward_reply *r)
{
	return r->content_type.len + r->date.len + r->proxy_name.len +
	       r->proxy_status.len + r->location.len + r->allow.len + r->retry_after.len +
	       r->challenge.len +
	       field_changes_max(r->changes) + forward_own_max(r->own, r->own_n) +
	       FORWARD_EXTRA;
}

void forward_trailers(struct sink *s, const struct head *h)
{
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if (!f->per_hop)
			sink_field(s, f->name, f->value);
	s->ops->end(s);
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
