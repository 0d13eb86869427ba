#include "spans.h"

#include <string.h>

#include "clienttls.h"
#include "http/kepthead.h"
#include "proxy/exchange.h"
#include "proxy/logrecord.h"
#include "view.h"

enum span_kind { SPAN_SERVER = 2, SPAN_CLIENT = 3 };

/* Bytes of a value, as written. */
#define VALUE_BYTES 256
#define PATH_BYTES 1024

/* Of trace flags: what is known of the parent (opentelemetry/proto/trace/v1, SpanFlags). */
#define FLAG_HAS_REMOTE 0x100
#define FLAG_REMOTE 0x200

struct span {
	struct emit e;
	struct proxy *proxy;
	bool has_attribute;
};

struct span_start {
	const struct log_record *record;
	enum span_kind kind;
	const char *id, *parent; /* parent: NULL: none */
	uint64_t began_us;
	struct slice method, route; /* of the name; route may be empty */
};

/* ---- JSON --------------------------------------------------------------------- */

/* Cut to about `max` bytes: an octet that is escaped takes 6. */
static void put_cut(struct emit *e, struct slice text, size_t max)
{
	size_t n = 0, bytes = 0;

	while (n < text.len && bytes < max) {
		unsigned char b = (unsigned char)text.ptr[n++];

		bytes += b >= 0x20 && b < 0x7f && b != '"' && b != '\\' ? 1 : 6;
	}
	emit_escaped(e, (struct slice){ text.ptr, n }, "\\u00");
}

static void begin_attribute(struct span *s, const char *key, const char *type)
{
	emit_slice(&s->e,
		   s->has_attribute ? SLICE(",{\"key\":\"") : SLICE("{\"key\":\""));
	s->has_attribute = true;
	emit_slice(&s->e, slice_of(key));
	emit_slice(&s->e, SLICE("\",\"value\":{\""));
	emit_slice(&s->e, slice_of(type));
	emit_slice(&s->e, SLICE("\":\""));
}

static void end_attribute(struct span *s)
{
	emit_slice(&s->e, SLICE("\"}}"));
}

/* Without a value there is no attribute. */
static void put_string(struct span *s, const char *key, struct slice value, size_t max)
{
	if (value.len == 0)
		return;
	begin_attribute(s, key, "stringValue");
	put_cut(&s->e, value, max);
	end_attribute(s);
}

/* 64-bit integers are strings in the JSON form of Protocol Buffers. */
static void put_integer(struct span *s, const char *key, uint64_t n)
{
	begin_attribute(s, key, "intValue");
	emit_number(&s->e, n);
	end_attribute(s);
}

static void put_time(struct span *s, const char *member, uint64_t us)
{
	const struct tick *tick = s->proxy->tick;

	emit_slice(&s->e, slice_of(member));
	emit_number(&s->e, (tick->wall_ms * 1000 - (tick->now_us - us)) * 1000);
	emit_slice(&s->e, SLICE("\""));
}

static void put_id(struct span *s, const char *before, const char *id, size_t n)
{
	emit_slice(&s->e, slice_of(before));
	emit_slice(&s->e, (struct slice){ id, n });
}

/* False: spans are not exported any more, or there is no space. */
static bool span_begin(struct span *s, struct proxy *p, const struct span_start *h)
{
	const struct log_record *r = h->record;
	unsigned flags = r->trace.flags | FLAG_HAS_REMOTE;

	*s = (struct span){ .proxy = p };
	if (!exporter_begin(&p->exporter, &s->e))
		return false;
	if (h->kind == SPAN_SERVER && r->has_parent)
		flags |= FLAG_REMOTE;
	put_id(s, "{\"traceId\":\"", r->trace.trace_id, TRACE_ID_TEXT);
	put_id(s, "\",\"spanId\":\"", h->id, SPAN_ID_TEXT);
	if (h->parent)
		put_id(s, "\",\"parentSpanId\":\"", h->parent, SPAN_ID_TEXT);
	emit_slice(&s->e, SLICE("\",\"flags\":"));
	emit_number(&s->e, flags);
	emit_slice(&s->e, SLICE(",\"name\":\""));
	put_cut(&s->e, h->method, VALUE_BYTES);
	if (h->route.len > 0) {
		emit_slice(&s->e, SLICE(" "));
		put_cut(&s->e, h->route, VALUE_BYTES);
	}
	emit_slice(&s->e, SLICE("\",\"kind\":"));
	emit_number(&s->e, h->kind);
	put_time(s, ",\"startTimeUnixNano\":\"", h->began_us);
	put_time(s, ",\"endTimeUnixNano\":\"", p->tick->now_us);
	emit_slice(&s->e, SLICE(",\"attributes\":["));
	return true;
}

/* error: `error.type`, and the status of the span; empty: none. */
static void span_end(struct span *s, struct slice error)
{
	put_string(s, "error.type", error, VALUE_BYTES);
	emit_slice(&s->e, SLICE("],\"status\":{"));
	if (error.len > 0)
		emit_slice(&s->e, SLICE("\"code\":2"));
	emit_slice(&s->e, SLICE("}}"));
	exporter_end(&s->proxy->exporter, &s->e);
}

/* ---- attributes ----------------------------------------------------------------- */

/* Methods that are not known are _OTHER, so that their number is bounded. */
static struct slice known_method(enum method m)
{
	static const struct slice names[] = {
#define METHOD(name, token, safe, idempotent) \
	[METHOD_##name] = { token, sizeof(token) - 1 },
#include "http/method.def"
#undef METHOD
	};

	return m == METHOD_OTHER ? SLICE("_OTHER") : names[m];
}

/* "host:port", "[IPv6]:port" or "host". A name that is none of these is taken whole. */
static void put_server(struct span *s, struct slice authority)
{
	const char *colon = authority.len > 0 ? memrchr(authority.ptr, ':', authority.len)
					      : NULL;
	struct slice host = authority, port = { "", 0 };
	uint64_t n = 0;

	if (colon && authority.ptr[0] != '/' && authority.ptr[authority.len - 1] != ']') {
		host.len = (size_t)(colon - authority.ptr);
		port = slice_after(authority, host.len + 1);
	}
	for (size_t i = 0; i < port.len; i++) {
		if (port.ptr[i] < '0' || port.ptr[i] > '9' || i >= 5) {
			put_string(s, "server.address", authority, VALUE_BYTES);
			return;
		}
		n = n * 10 + (uint64_t)(port.ptr[i] - '0');
	}
	if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		host = (struct slice){ host.ptr + 1, host.len - 2 };
	put_string(s, "server.address", host, VALUE_BYTES);
	if (port.len > 0)
		put_integer(s, "server.port", n);
}

/* The path of a request line "METHOD TARGET VERSION"; the target may be a whole URL. */
static struct slice line_path(struct slice line)
{
	const char *begin = line.len > 0 ? memchr(line.ptr, ' ', line.len) : NULL, *end;
	struct slice s;

	if (!begin)
		return SLICE("");
	s = slice_after(line, (size_t)(begin + 1 - line.ptr));
	end = s.len > 0 ? memchr(s.ptr, ' ', s.len) : NULL;
	s.len = end ? (size_t)(end - s.ptr) : s.len;
	end = s.len > 0 ? memchr(s.ptr, '?', s.len) : NULL;
	s.len = end ? (size_t)(end - s.ptr) : s.len;
	if (s.len > 0 && s.ptr[0] != '/') {
		const char *authority = memmem(s.ptr, s.len, "://", 3);
		const char *path =
			authority ? memchr(authority + 3, '/',
					   (size_t)(s.ptr + s.len - authority - 3))
				  : NULL;

		s = path ? slice_after(s, (size_t)(path - s.ptr)) : SLICE("");
	}
	return s;
}

static struct slice status_text(char text[EMIT_DIGITS_MAX], int status)
{
	return emit_digits(text, (uint64_t)status);
}

/* ---- attempts --------------------------------------------------------------------- */

static struct proxy *attempt_proxy(const struct attempt *a)
{
	return a->request->generation->proxy;
}

void span_begin_try(struct attempt *a, unsigned number)
{
	if (!a->request->record)
		return;
	a->span_open = true;
	a->span_number = (uint8_t)number;
	if (number == 0)
		memcpy(a->span_id, a->request->span_id, sizeof(a->span_id));
	else
		log_record_span_id(a->span_id, &attempt_proxy(a)->random);
}

/* A copy of the head in which this attempt is the parent. The id in the head is random: where it
 * is, it was written. A rule may have removed it. NULL: no memory. */
static struct buf *own_head(const struct attempt *a)
{
	const struct buf *head = a->request->head;
	struct buf *copy = buf_new(io_bufs(a->request->tick->loop), head->end);
	char *id;

	if (!copy)
		return NULL;
	memcpy(copy->data, head->data, head->end);
	copy->end = head->end;
	id = memmem(copy->data, copy->end, a->request->span_id, SPAN_ID_TEXT);
	if (id)
		memcpy(id, a->span_id, SPAN_ID_TEXT);
	return copy;
}

struct buf *span_head(struct attempt *a)
{
	struct buf *own;

	if (!a->span_open)
		return buf_ref(a->request->head);
	buf_put(a->span_head);
	own = a->span_number > 0 ? own_head(a) : NULL;
	a->span_head = own ? own : buf_ref(a->request->head);
	return buf_ref(a->span_head);
}

/* "http://server/path" */
static void put_url(struct span *s, const struct attempt *a, struct slice server)
{
	struct slice head = { a->span_head->data, a->span_head->end };
	const char *line_end = memchr(head.ptr, '\r', head.len);

	begin_attribute(s, "url.full", "stringValue");
	emit_slice(&s->e, a->request->config->tls ? SLICE("https://") : SLICE("http://"));
	put_cut(&s->e, server, VALUE_BYTES);
	if (line_end)
		put_cut(&s->e,
			line_path((struct slice){ head.ptr,
						  (size_t)(line_end - head.ptr) }),
			PATH_BYTES);
	end_attribute(s);
}

static void write_try(struct attempt *a, const char *error)
{
	const struct attempt_request *q = a->request;
	struct slice method = known_method((enum method)q->method);
	struct slice server = a->lease.origin ? slice_of(lease_server(&a->lease))
					      : SLICE("");
	char text[EMIT_DIGITS_MAX];
	struct span s;

	if (!span_begin(&s, attempt_proxy(a),
			&(struct span_start){ .record = q->record,
					      .kind = SPAN_CLIENT,
					      .id = a->span_id,
					      .parent = q->record->trace.span_id,
					      .began_us = a->lease.times->asked,
					      .method = method }))
		return;
	put_string(&s, "http.request.method", method, VALUE_BYTES);
	put_server(&s, server.len > 0 ? server : slice_of(q->config->name));
	if (server.len > 0 && a->span_head)
		put_url(&s, a, server);
	put_string(&s, "fairlead.upstream", slice_of(q->config->name), VALUE_BYTES);
	if (a->span_number > 0)
		put_integer(&s, "http.request.resend_count", a->span_number);
	if (a->status > 0)
		put_integer(&s, "http.response.status_code", a->status);
	span_end(&s, a->status >= 400 ? status_text(text, a->status)
		     : error          ? slice_of(error)
				      : SLICE(""));
}

void span_end_try(struct attempt *a, const char *error)
{
	if (!a->span_open)
		return;
	a->span_open = false;
	write_try(a, error);
	buf_put(a->span_head);
	a->span_head = NULL;
}

/* ---- exchanges -------------------------------------------------------------------- */

static void put_request(struct span *s, struct exchange *x)
{
	const struct kept_head *kept = kept_head_of(x);
	struct client_tls tls;

	put_string(s, "url.scheme",
		   client_tls_read(&tls, x->client) ? SLICE("https") : SLICE("http"),
		   VALUE_BYTES);
	if (!kept)
		return;
	put_string(s, "url.path", line_path(kept_head_line(kept)), PATH_BYTES);
	put_server(s, kept_head_authority(kept));
	put_string(s, "user_agent.original", kept_head_value(kept, HEADER_USER_AGENT),
		   VALUE_BYTES);
}

static void put_addresses(struct span *s, const struct exchange *x)
{
	char text[SOCK_TEXT_MAX];
	size_t n = peer_text(&x->client_addr, text, sizeof(text));

	put_string(s, "client.address", (struct slice){ text, n }, VALUE_BYTES);
	n = peer_text(&x->client->peer, text, sizeof(text));
	put_string(s, "network.peer.address", (struct slice){ text, n }, VALUE_BYTES);
	put_string(s, "network.protocol.version",
		   x->client->is_multiplexed ? SLICE("2")
		   : x->relay.http_1_0	     ? SLICE("1.0")
					     : SLICE("1.1"),
		   VALUE_BYTES);
}

/* What went wrong, as seen by the operator; a 4xx is no error of the server. */
static struct slice error_of(const struct exchange *x, enum ending ending,
			     char text[EMIT_DIGITS_MAX])
{
	if (x->relay.status >= 500)
		return status_text(text, x->relay.status);
	if (x->relay.status == 0 || ending == ENDING_CLIENT_SLOW ||
	    ending == ENDING_SHUT_DOWN || ending == ENDING_ORIGIN_TRUNCATED)
		return slice_of(ending_text(ending));
	return SLICE("");
}

void span_end_request(struct exchange *x, enum ending ending)
{
	const struct log_record *r = x->relay.record;
	struct slice method = known_method((enum method)x->relay.method);
	char route[VALUE_BYTES] = "", text[EMIT_DIGITS_MAX];
	struct emit e = { route, route + sizeof(route) - 1, false };
	struct span s;

	if (!r || !r->exported)
		return;
	if (x->route) {
		emit_slice(&e, x->route->path);
		emit_slice(&e, x->route->prefix ? SLICE("*") : SLICE(""));
	}
	if (!span_begin(
		    &s, x->proxy,
		    &(struct span_start){ .record = r,
					  .kind = SPAN_SERVER,
					  .id = r->trace.span_id,
					  .parent = r->has_parent ? r->parent_id : NULL,
					  .began_us = x->started_us,
					  .method = method,
					  .route = { route, (size_t)(e.at - route) } }))
		return;
	put_string(&s, "http.request.method", method, VALUE_BYTES);
	put_string(&s, "http.route", (struct slice){ route, (size_t)(e.at - route) },
		   VALUE_BYTES);
	put_request(&s, x);
	put_addresses(&s, x);
	if (x->relay.status > 0)
		put_integer(&s, "http.response.status_code", (uint64_t)x->relay.status);
	put_string(&s, "fairlead.ending", slice_of(ending_text(ending)), VALUE_BYTES);
	put_string(&s, "fairlead.request_id", log_record_id(r), VALUE_BYTES);
	span_end(&s, error_of(x, ending, text));
}
