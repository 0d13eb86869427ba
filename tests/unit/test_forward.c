#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/forward.h"
#include "http/forwarding.h"
#include "lib/guard.h"

static const struct head_limits limits = { 16384, HEAD_FIELDS_MAX, 0 };
static const struct forwarding_peer peer = { .text = { "192.0.2.1", 9 } };
static struct forwarding forwarding;
static struct head head, again;
static char out[8192];

/* A second, maximally strict parser: START-LINE CRLF *(TOKEN ": " VALUE CRLF) CRLF, with
 * one space, no space around the value, and nothing after the empty line. */
static bool canonical(const char *p, const char *end)
{
	const char *line = memmem(p, (size_t)(end - p), "\r\n", 2);

	while (line && line + 2 < end) {
		const char *next, *value;

		p = line + 2;
		if (p + 2 == end && memcmp(p, "\r\n", 2) == 0)
			return true;
		next = memmem(p, (size_t)(end - p), "\r\n", 2);
		value = memmem(p, (size_t)(end - p), ": ", 2);
		if (!next || !value || value > next || value == p ||
		    memchr(p, ' ', (size_t)(value - p)))
			return false;
		value += 2;
		if (value < next &&
		    (*value == ' ' || next[-1] == ' ' || next[-1] == '\t'))
			return false;
		for (const char *c = p; c < next; c++)
			if ((uint8_t)*c < 0x20 && *c != '\t')
				return false;
		line = next;
	}
	return false;
}

static void parse_request(struct head *h, const char *text, size_t n)
{
	uint32_t scanned = 0;

	if (head_parse_request(h, text, n, &limits, &scanned) != VERDICT_OK)
		fail_msg("%.*s: %s", (int)n, text, fault_text(h->fault));
	assert_int_equal(h->bytes, n);
}

static void parse_response(struct head *h, const char *text, size_t n)
{
	uint32_t scanned = 0;

	if (head_parse_response(h, text, n, &limits, &scanned) != VERDICT_OK)
		fail_msg("%.*s: %s", (int)n, text, fault_text(h->fault));
	assert_int_equal(h->bytes, n);
}

static void expect(const struct sink *s, const char *text)
{
	size_t n = (size_t)(s->out.at - out);

	assert_false(s->out.overflow);
	if (n != strlen(text) || memcmp(out, text, n) != 0)
		fail_msg("is\n%.*s\nnot\n%s", (int)n, out, text);
	if (!canonical(out, s->out.at))
		fail_msg("not canonical:\n%.*s", (int)n, out);
}

static struct sink start(size_t size)
{
	memset(out, 0xa5, sizeof(out));
	return sink_http1(out, size);
}

#define FORWARDED                                                                          \
	"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n" \
	"X-Forwarded-Port: 80\r\n"

/* A request, what replaces its parts, and what is written. */
static const struct {
	const char *in, *path, *host;
	enum framing framing;
	uint64_t length;
	bool upgrade;
	const char *out;
} requests[] = {
	{ "GET /a?b HTTP/1.1\r\nhost:  h\r\n\r\n", "", "", FRAMING_NONE, 0, false,
	  "GET /a?b HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	/* Order and unknown fields are kept; hop-by-hop fields are removed. */
	{ "QUERY /%2e HTTP/1.1\r\nb:2\r\nHost: h\r\nA:\t1 \r\nConnection: close, C\r\nB: 3\r\n"
	  "C: 4\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: x\r\n"
	  "Expect: 100-continue\r\nTrailer: T\r\n\r\n",
	  "", "", FRAMING_NONE, 0, false,
	  "QUERY /%2e HTTP/1.1\r\nHost: h\r\nb: 2\r\nA: 1\r\nB: 3\r\nExpect: 100-continue\r\n"
	  "Trailer: T\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	/* Path and Host replaced by the route; the query is kept. */
	{ "GET /a?b=/c HTTP/1.1\r\nHost: h\r\n\r\n", "/x", "o:1", FRAMING_NONE, 0, false,
	  "GET /x?b=/c HTTP/1.1\r\nHost: o:1\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	/* Absolute form. */
	{ "GET http://h?q HTTP/1.1\r\nHost: other\r\n\r\n", "", "", FRAMING_NONE, 0,
	  false,
	  "GET /?q HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	{ "OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", "/x", "", FRAMING_NONE, 0,
	  false,
	  "OPTIONS * HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	{ "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "", "", FRAMING_NONE, 0, false,
	  "OPTIONS * HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	/* Max-Forwards is decremented for the methods that define it. */
	{ "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards:0010\r\nA: b\r\n\r\n", "", "",
	  FRAMING_NONE, 0, false,
	  "TRACE / HTTP/1.1\r\nHost: h\r\nA: b\r\nMax-Forwards: 9\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	{ "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 1\r\nConnection: max-forwards\r\n\r\n",
	  "", "", FRAMING_NONE, 0, false,
	  "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	{ "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", "", "", FRAMING_NONE, 0,
	  false,
	  "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	/* HTTP/1.0: our Host and version; Expect is removed. */
	{ "GET / HTTP/1.0\r\nExpect: 100-continue\r\nTE: trailers\r\n\r\n", "", "o:1",
	  FRAMING_NONE, 0, false,
	  "GET / HTTP/1.1\r\nHost: o:1\r\nVia: 1.0 fairlead\r\nX-Forwarded-For: 192.0.2.1\r\n"
	  "X-Forwarded-Proto: http\r\n\r\n" },
	/* Framing fields are written from the parsed framing. */
	{ "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\n", "", "",
	  FRAMING_LENGTH, 7, false,
	  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	{ "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: CHUNKED\r\n\r\n", "", "",
	  FRAMING_CHUNKED, 0, false,
	  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	{ "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "", "",
	  FRAMING_LENGTH, 0, false,
	  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	/* Via is kept and ours is added; X-Forwarded-* is replaced. */
	{ "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.0 a, 1.1 b\r\nX-Forwarded-For: a, b\r\n"
	  "X-Forwarded-Proto: https\r\nx-forwarded-for:\r\nX-Forwarded-Host: evil\r\n"
	  "x-forwarded-for: c\r\nVia: 1.1 c\r\n\r\n",
	  "", "", FRAMING_NONE, 0, false,
	  "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.0 a, 1.1 b\r\nVia: 1.1 c\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
	/* Upgrade, if both the client and we want it; TE. */
	{ "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\n"
	  "TE: trailers, deflate\r\n\r\n",
	  "", "", FRAMING_NONE, 0, true,
	  "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "Upgrade: websocket\r\nTE: trailers\r\nConnection: upgrade, TE\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	  "", "", FRAMING_NONE, 0, false,
	  "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	{ "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	  "HTTP2-Settings: A\r\n\r\n",
	  "", "", FRAMING_NONE, 0, true,
	  "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 fairlead\r\n" FORWARDED "\r\n" },
	/* Connection cannot remove Host or the framing. */
	{ "POST / HTTP/1.1\r\nHost: h\r\nConnection: Host, Content-Length\r\nContent-Length: 1\r\n"
	  "\r\n",
	  "", "", FRAMING_LENGTH, 1, false,
	  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nVia: 1.1 fairlead\r\n" FORWARDED
	  "\r\n" },
};

static struct forward_request request_of(size_t i)
{
	return (struct forward_request){
		.path = slice_of(requests[i].path),
		.host = slice_of(requests[i].host),
		.framing = requests[i].framing,
		.length = requests[i].length,
		.upgrade = requests[i].upgrade,
		.forwarding = &forwarding,
		.via = SLICE("fairlead"),
	};
}

/* Emitting into any smaller area sets overflow, and writes nothing beyond it. */
static void sizes_check(const struct forward_request *r, const struct forward_response *a,
			size_t n)
{
	for (size_t size = 0; size < n; size++) {
		char *p = guard_copy(out, size);
		struct sink s = sink_http1(p, size);

		if (r)
			forward_request(&s, &head, r);
		else
			forward_response(&s, &head, a);
		assert_true(s.out.overflow && s.out.at <= s.out.end);
		guard_free(p);
	}
}

static void requests_emitted(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++) {
		struct forward_request r = request_of(i);
		struct sink s;

		parse_request(&head, requests[i].in, strlen(requests[i].in));
		forwarding_read(&forwarding, &head, &peer);
		s = start(forward_request_max(&head, &r));
		forward_request(&s, &head, &r);
		expect(&s, requests[i].out);
		sizes_check(&r, NULL, strlen(requests[i].out));
	}
}

/* Host is moved to the front and Max-Forwards decremented: the texts compare these. */
static bool is_compared(const struct head *h, const struct field *f)
{
	return !f->per_hop && f->header != HEADER_HOST &&
	       !(h->forwards_limited && f->header == HEADER_MAX_FORWARDS);
}

static bool fields_equal(const struct head *a, const struct head *b)
{
	const struct field *f = a->fields, *g = b->fields;
	const struct field *f_end = f + a->field_n, *g_end = g + b->field_n;

	for (;; f++, g++) {
		while (f < f_end && !is_compared(a, f))
			f++;
		while (g < g_end && !is_compared(b, g))
			g++;
		if (f == f_end || g == g_end)
			return f == f_end && g == g_end;
		if (!slice_equal(f->name, g->name) || !slice_equal(f->value, g->value))
			return false;
	}
}

static bool via_ours(const struct field *f)
{
	return f->header == HEADER_VIA && (slice_equal(f->value, SLICE("1.1 fairlead")) ||
					   slice_equal(f->value, SLICE("1.0 fairlead")));
}

/* Parsing the written request gives the same message, plus our fields. */
static void requests_are_parsed_as_the_same(void **state)
{
	static char sent[8192];

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++) {
		struct forward_request r = request_of(i);
		struct sink s = start(sizeof(out));
		size_t n;

		parse_request(&head, requests[i].in, strlen(requests[i].in));
		forwarding_read(&forwarding, &head, &peer);
		forward_request(&s, &head, &r);
		n = (size_t)(s.out.at - out);
		memcpy(sent, out, n);
		parse_request(&again, sent, n);
		assert_true(slice_equal(again.method_token, head.method_token));
		assert_true(slice_equal(again.query, head.query));
		assert_int_equal(again.framing, head.framing);
		assert_int_equal(again.length, head.length);
		assert_int_equal(again.upgrade, head.upgrade && r.upgrade);
		assert_int_equal(again.te_trailers, head.te_trailers);
		assert_int_equal(again.expect_continue, head.expect_continue);
		/* Our fields are last; the others are those received. */
		while (again.field_n > 0 && !via_ours(&again.fields[--again.field_n]))
			;
		for (int k = 0; k < head.field_n; k++)
			if (head.fields[k].header >= HEADER_X_FORWARDED_FOR &&
			    head.fields[k].header <= HEADER_X_FORWARDED_PROTO)
				head.fields[k].per_hop = true;
			else if (head.minor == 0 &&
				 head.fields[k].header == HEADER_EXPECT)
				head.fields[k].per_hop = true;
		assert_true(fields_equal(&head, &again));
	}
}

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
#define OK_1_1 "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *in;
	struct forward_response response;
	const char *out;
} responses[] = {
	{ OK_1_1 "b:1\r\nA: 2\r\nContent-Length: 05\r\nB: 3\r\n\r\n",
	  { .framing = FRAMING_LENGTH, .length = 5 },
	  OK_1_1 "b: 1\r\nA: 2\r\nB: 3\r\nDate: " DATE "\r\nContent-Length: 5\r\n"
		 "Via: 1.1 fairlead\r\n\r\n" },
	{ "HTTP/1.0 404\r\nDate: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: close\r\n"
	  "Via: 1.0 a\r\n\r\n",
	  { .framing = FRAMING_CHUNKED },
	  "HTTP/1.1 404 \r\nDate: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nVia: 1.0 a\r\n"
	  "Transfer-Encoding: chunked\r\nVia: 1.0 fairlead\r\n\r\n" },
	{ OK_1_1
	  "Date:x\r\nConnection: date, foo\r\nFoo: 1\r\nTransfer-Encoding: chunked\r\n"
	  "Trailer: T\r\nProxy-Status: p\r\n\r\n",
	  { .framing = FRAMING_CLOSE, .close = true },
	  OK_1_1 "Trailer: T\r\nProxy-Status: p\r\nDate: " DATE
		 "\r\nVia: 1.1 fairlead\r\n"
		 "Connection: close\r\n\r\n" },
	/* Responses to HEAD, 304. */
	{ OK_1_1 "Date: x\r\nContent-Length: 7\r\n\r\n",
	  { .keep_length = true },
	  OK_1_1 "Date: x\r\nContent-Length: 7\r\nVia: 1.1 fairlead\r\n\r\n" },
	{ OK_1_1 "Date: x\r\nContent-Length: 7\r\n\r\n",
	  { .keep_length = false },
	  OK_1_1 "Date: x\r\nVia: 1.1 fairlead\r\n\r\n" },
	{ OK_1_1 "Date: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	  { .keep_length = true },
	  OK_1_1 "Date: x\r\nVia: 1.1 fairlead\r\n\r\n" },
	/* An HTTP/1.0 client. */
	{ OK_1_1 "Date: x\r\nContent-Length: 1\r\n\r\n",
	  { .framing = FRAMING_LENGTH, .length = 1, .keep_alive_1_0 = true },
	  OK_1_1 "Date: x\r\nContent-Length: 1\r\nVia: 1.1 fairlead\r\n"
		 "Connection: keep-alive\r\n\r\n" },
	/* No Date is added to interim responses. */
	{ "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
	  { .framing = FRAMING_NONE },
	  "HTTP/1.1 103 Early Hints\r\nLink: a\r\nVia: 1.1 fairlead\r\n\r\n" },
	{ "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nA: b\r\n\r\n",
	  { .upgrade = true },
	  "HTTP/1.1 101 S\r\nA: b\r\nVia: 1.1 fairlead\r\nUpgrade: websocket\r\n"
	  "Connection: upgrade\r\n\r\n" },
};

static void responses_emitted(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(responses); i++) {
		struct forward_response r = responses[i].response;
		size_t n = strlen(responses[i].out);
		struct sink s;

		r.date = SLICE(DATE);
		r.via = SLICE("fairlead");
		parse_response(&head, responses[i].in, strlen(responses[i].in));
		s = start(forward_response_max(&head, &r));
		forward_response(&s, &head, &r);
		expect(&s, responses[i].out);
		parse_response(&again, out, n);
		assert_int_equal(again.status, head.status);
		assert_true(slice_equal(again.phrase, head.phrase));
		assert_int_equal(again.framing,
				 r.framing == FRAMING_NONE && !r.keep_length
					 ? FRAMING_CLOSE
					 : again.framing);
		sizes_check(NULL, &r, n);
	}
}

/* The largest growth of a head is within FORWARD_EXTRA. */
static void the_largest_growth(void **state)
{
	static char in[8192];
	struct forward_request r = { .framing = FRAMING_LENGTH,
				     .length = INT64_MAX,
				     .upgrade = true,
				     .forwarding = &forwarding,
				     .forwarded = true,
				     .via = SLICE("fairlead") };
	struct sink s;
	size_t n;

	(void)state;
	n = (size_t)sprintf(
		in, "GET / HTTP/1.1\r\nHost:hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\r\n"
		    "TE:trailers\r\nUpgrade:a\r\nConnection:upgrade\r\n");
	for (int i = 4; i < HEAD_FIELDS_MAX; i++)
		n += (size_t)sprintf(in + n, "a:\r\n");
	n += (size_t)sprintf(in + n, "\r\n");
	parse_request(&head, in, n);
	forwarding_read(&forwarding, &head, &peer);
	s = start(forward_request_max(&head, &r));
	forward_request(&s, &head, &r);
	assert_false(s.out.overflow);
	assert_true(canonical(out, s.out.at));
}

static void replies(void **state)
{
	struct sink s = start(sizeof(out));

	(void)state;
	forward_reply(&s, &(struct forward_reply){
				  .status = 502,
				  .date = SLICE(DATE),
				  .close = true,
				  .content_type = SLICE("text/plain"),
				  .has_body = true,
				  .length = 12,
				  .proxy_name = SLICE("fairlead"),
				  .proxy_status = SLICE("connection_refused") });
	expect(&s,
	       "HTTP/1.1 502 Bad Gateway\r\nDate: " DATE
	       "\r\nContent-Type: text/plain\r\n"
	       "Content-Length: 12\r\nProxy-Status: fairlead; error=connection_refused\r\n"
	       "Connection: close\r\n\r\n");
	s = start(sizeof(out));
	forward_reply(&s, &(struct forward_reply){ .status = 302,
						   .date = SLICE(DATE),
						   .location = SLICE("/login/"),
						   .has_body = true,
						   .keep_alive_1_0 = true });
	expect(&s, "HTTP/1.1 302 Found\r\nDate: " DATE "\r\nContent-Length: 0\r\n"
		   "Location: /login/\r\nConnection: keep-alive\r\n\r\n");
	s = start(sizeof(out));
	forward_reply(&s, &(struct forward_reply){ .status = 405,
						   .date = SLICE(DATE),
						   .allow = SLICE("GET, HEAD"),
						   .retry_after = SLICE("1") });
	expect(&s,
	       "HTTP/1.1 405 Method Not Allowed\r\nDate: " DATE "\r\nAllow: GET, HEAD\r\n"
	       "Retry-After: 1\r\n\r\n");
	s = start(sizeof(out));
	forward_reply(&s,
		      &(struct forward_reply){ .status = 404, .proxy_name = SLICE("x") });
	expect(&s, "HTTP/1.1 404 Not Found\r\nProxy-Status: x\r\n\r\n");
	s = start(sizeof(out));
	forward_reply(&s, &(struct forward_reply){ .status = 100 });
	expect(&s, "HTTP/1.1 100 Continue\r\n\r\n");
}

static void trailers(void **state)
{
	static const char in[] =
		"a:1\r\nHost: h\r\nContent-Length: 1\r\nB:  2\r\nTE: x\r\n\r\n";
	struct sink s = start(sizeof(out));
	uint32_t scanned = 0;

	(void)state;
	assert_int_equal(
		head_parse_trailers(&head, in, sizeof(in) - 1, &limits, &scanned),
		VERDICT_OK);
	emit_slice(&s.out, SLICE("0\r\n"));
	forward_trailers(&s, &head);
	expect(&s, "0\r\na: 1\r\nB: 2\r\n\r\n");
}

/* A sink that is not HTTP/1, as HTTP/2 and a cache will be: names and values, one after the other. */
static void list_request(struct sink *s, const struct sink_request *r)
{
	emit_slice(&s->out, r->method);
	emit_slice(&s->out, SLICE(" "));
	emit_slice(&s->out, r->authority);
	emit_slice(&s->out, r->path);
	emit_slice(&s->out, r->query);
}

static void list_status(struct sink *s, int status, struct slice phrase)
{
	(void)phrase;
	emit_number(&s->out, (uint64_t)status);
}

static void list_begin(struct sink *s, struct slice name)
{
	emit_slice(&s->out, SLICE("|"));
	emit_slice(&s->out, name);
	emit_slice(&s->out, SLICE("="));
}

static void list_field(struct sink *s, struct slice name, struct slice value)
{
	list_begin(s, name);
	emit_slice(&s->out, value);
}

static void list_finish(struct sink *s)
{
	(void)s;
}

static void list_end(struct sink *s)
{
	emit_slice(&s->out, SLICE("."));
}

static const struct sink_ops list_ops = {
	.connection_fields = false,
	.request = list_request,
	.status = list_status,
	.field = list_field,
	.begin = list_begin,
	.finish = list_finish,
	.end = list_end,
};

static struct sink list_start(void)
{
	struct sink s = start(sizeof(out));

	s.ops = &list_ops;
	return s;
}

static void expect_list(const struct sink *s, const char *text)
{
	assert_false(s->out.overflow);
	assert_int_equal(s->out.at - out, strlen(text));
	assert_memory_equal(out, text, strlen(text));
}

static void a_request_as_a_list(const char *in, const char *text)
{
	struct forward_request r = { .upgrade = true,
				     .forwarding = &forwarding,
				     .via = SLICE("fairlead") };
	struct sink s = list_start();

	parse_request(&head, in, strlen(in));
	forwarding_read(&forwarding, &head, &peer);
	r.framing = head.framing;
	r.length = head.length;
	forward_request(&s, &head, &r);
	expect_list(&s, text);
}

/* Fields of an HTTP/1 connection are not given to a sink that has none (RFC 9113 8.2.2). */
static void lists(void **state)
{
	static const char response[] = "HTTP/1.0 200 OK\r\nDate: x\r\nA: b\r\n\r\n";
	static const char trailer[] = "A: b\r\nTE: x\r\n\r\n";
	struct sink s = list_start();
	uint32_t scanned = 0;

	(void)state;
	a_request_as_a_list(
		"POST /a?b HTTP/1.1\r\nHost: h\r\nA: b\r\nTE: trailers\r\nUpgrade: w\r\n"
		"Connection: upgrade, te\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST h/a?b|A=b|Via=1.1 fairlead|X-Forwarded-For=192.0.2.1|"
		"X-Forwarded-Proto=http|X-Forwarded-Host=h|X-Forwarded-Port=80|"
		"TE=trailers.");
	a_request_as_a_list(
		"OPTIONS * HTTP/1.0\r\nHost: h\r\nMax-Forwards: 2\r\n"
		"Content-Length: 3\r\n\r\n",
		"OPTIONS h*|Max-Forwards=1|Content-Length=3|Via=1.0 fairlead|"
		"X-Forwarded-For=192.0.2.1|X-Forwarded-Proto=http|X-Forwarded-Host=h|"
		"X-Forwarded-Port=80.");
	parse_response(&head, response, sizeof(response) - 1);
	forward_response(&s, &head,
			 &(struct forward_response){ .framing = FRAMING_CHUNKED,
						     .close = true,
						     .via = SLICE("v") });
	expect_list(&s, "200|Date=x|A=b|Via=1.0 v.");
	s = list_start();
	forward_reply(&s, &(struct forward_reply){ .status = 502,
						   .close = true,
						   .proxy_name = SLICE("f"),
						   .proxy_status = SLICE("e") });
	expect_list(&s, "502|Proxy-Status=f; error=e.");
	s = list_start();
	assert_int_equal(head_parse_trailers(&head, trailer, sizeof(trailer) - 1, &limits,
					     &scanned),
			 VERDICT_OK);
	forward_trailers(&s, &head);
	expect_list(&s, "|A=b.");
}

static void phrases(void **state)
{
	(void)state;
	assert_string_equal(status_phrase(404), "Not Found");
	assert_string_equal(status_phrase(299), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_emitted),
		cmocka_unit_test(requests_are_parsed_as_the_same),
		cmocka_unit_test(responses_emitted),
		cmocka_unit_test(the_largest_growth),
		cmocka_unit_test(replies),
		cmocka_unit_test(trailers),
		cmocka_unit_test(lists),
		cmocka_unit_test(phrases),
	};

	return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
