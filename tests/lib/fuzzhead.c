#include "lib/fuzzhead.h"

#include <ctype.h>

#include "lib/fuzz.h"

static void assert_same_fields(const struct head *a, const struct head *b)
{
	ASSERT(a->field_n == b->field_n);
	for (unsigned i = 0; i < a->field_n; i++) {
		ASSERT(a->fields[i].name.ptr == b->fields[i].name.ptr);
		ASSERT(a->fields[i].name.len == b->fields[i].name.len);
		ASSERT(a->fields[i].value.ptr == b->fields[i].value.ptr);
		ASSERT(a->fields[i].value.len == b->fields[i].value.len);
		ASSERT(a->fields[i].per_hop == b->fields[i].per_hop);
	}
}

enum verdict fuzz_head(struct head *h, fuzz_head_parser *parse, struct slice s,
		       const struct head_limits *limits)
{
	static struct head piecemeal;
	uint32_t scanned = 0;
	enum verdict v, cut = VERDICT_MORE;
	const char *end = s.ptr + s.len;

	for (size_t n = 0; cut == VERDICT_MORE; n = fuzz_cut(n, s.len)) {
		fuzz_forbid(s.ptr + n, end);
		cut = parse(&piecemeal, s.ptr, n, limits, &scanned);
		fuzz_allow(s.ptr + n, end);
		ASSERT(cut != VERDICT_MORE || n < limits->bytes);
		ASSERT(scanned <= n);
		if (n == s.len)
			break;
	}
	scanned = 0;
	v = parse(h, s.ptr, s.len, limits, &scanned);
	ASSERT(v == cut);
	if (v == VERDICT_BAD)
		ASSERT(h->fault != FAULT_NONE && h->fault == piecemeal.fault);
	if (v != VERDICT_OK)
		return v;
	ASSERT(h->bytes == piecemeal.bytes && h->bytes <= s.len);
	assert_same_fields(h, &piecemeal);
	/* And once more with exactly the bytes of the head. */
	ASSERT(parse(&piecemeal, s.ptr, h->bytes, limits, &scanned) == VERDICT_OK);
	ASSERT(h->bytes == piecemeal.bytes);
	assert_same_fields(h, &piecemeal);
	return v;
}

void fuzz_assert_read_alike(const struct head *h, const struct strict_head *strict)
{
	static const enum strict_framing framings[] = {
		[FRAMING_NONE] = STRICT_NONE,
		[FRAMING_LENGTH] = STRICT_LENGTH,
		[FRAMING_CHUNKED] = STRICT_CHUNKED,
		[FRAMING_CLOSE] = STRICT_CLOSE,
	};

	ASSERT(h->bytes == strict->bytes && h->minor == strict->minor);
	ASSERT(framings[h->framing] == strict->framing);
	ASSERT(h->framing != FRAMING_LENGTH || h->length == strict->length);
	ASSERT(h->keep_alive == (!strict->close && (h->minor || strict->keep_alive)));
	ASSERT(!h->upgrade || strict->upgrade);
	ASSERT(h->field_n == strict->field_n);
	for (unsigned i = 0; i < h->field_n; i++) {
		ASSERT(slice_equal(h->fields[i].name, strict->fields[i].name));
		ASSERT(slice_equal(h->fields[i].value, strict->fields[i].value));
		ASSERT(h->fields[i].per_hop ==
		       fuzz_is_per_hop(strict, strict->fields[i].name));
	}
}

bool fuzz_is_per_hop(const struct strict_head *h, struct slice name)
{
	/* The proxy writes Transfer-Encoding and Content-Length itself. */
	static const char *const known[] = {
		"Connection", "Content-Length", "HTTP2-Settings", "Keep-Alive",
		"Proxy-Connection", "TE", "Transfer-Encoding", "Upgrade",
	};

	for (size_t i = 0; i < COUNT(known); i++)
		if (slice_equal_nocase(name, slice_of(known[i])))
			return true;
	return !slice_equal_nocase(name, SLICE("Host")) && strict_lists(h, "Connection", name) &&
	       !slice_equal_nocase(name, SLICE("close")) &&
	       !slice_equal_nocase(name, SLICE("keep-alive"));
}

static bool is_one_of(struct slice name, const char *const *names)
{
	for (; *names; names++)
		if (slice_equal_nocase(name, slice_of(*names)))
			return true;
	return false;
}

/* It claims the client's address or scheme, compared as CGI compares names; no peer here is
 * trusted to send it. */
static bool is_forwarding(struct slice name)
{
	char plain[26];
	size_t i = 0;

	for (; i < name.len && i < sizeof(plain) - 1; i++)
		plain[i] = isalnum((unsigned char)name.ptr[i]) ? name.ptr[i] : '-';
	plain[i] = '\0';
	if (strncasecmp(plain, "Forwarded-", 10) == 0 ||
	    strncasecmp(plain, "X-Forwarded-", 12) == 0 ||
	    strncasecmp(plain, "X-Original-Forwarded-", 21) == 0)
		return true;
	return name.len == i &&
	       is_one_of(slice_of(plain), (const char *const[]){
		       "Forwarded", "X-Forwarded", "X-Original-Forwarded", "X-Real-IP",
		       "X-Client-IP", "X-Cluster-Client-IP", "X-Envoy-External-Address",
		       "X-Remote-Addr", "X-Remote-IP", "X-Scheme", "X-Url-Scheme",
		       "CF-Connecting-IP", "Client-IP", "Fastly-Client-IP", "Front-End-Https",
		       "True-Client-IP", NULL });
}

static bool is_added(const struct field *f)
{
	return f->per_hop || f->header == HEADER_HOST || f->header == HEADER_VIA ||
	       f->header == HEADER_DATE || f->header == HEADER_EXPECT || is_forwarding(f->name);
}

void fuzz_assert_same_message(const struct head *again, const struct head *h)
{
	unsigned i = 0, o = 0;

	ASSERT(again->minor == 1);
	ASSERT(slice_equal(again->method_token, h->method_token));
	ASSERT(again->method == h->method && again->status == h->status);
	ASSERT(again->framing == h->framing && again->length == h->length);
	for (;; i++, o++) {
		while (i < h->field_n && is_added(&h->fields[i]))
			i++;
		while (o < again->field_n && is_added(&again->fields[o]))
			o++;
		if (i == h->field_n || o == again->field_n)
			break;
		ASSERT(slice_equal(again->fields[o].name, h->fields[i].name));
		ASSERT(slice_equal(again->fields[o].value, h->fields[i].value));
	}
	ASSERT(i == h->field_n && o == again->field_n);
}

/* ---- forwarded requests ----------------------------------------------------- */

/* RFC 9112 3.2.1, 3.2.4 */
struct slice fuzz_origin_form(const struct strict_head *in, struct slice *slash)
{
	struct slice t = in->target;

	*slash = SLICE("");
	if (t.ptr[0] == '/' || t.len == 1)
		return t;
	t = slice_after(t, t.ptr[4] == ':' ? 7 : 8);
	while (t.len > 0 && t.ptr[0] != '/' && t.ptr[0] != '?')
		t = slice_after(t, 1);
	if (t.len == 0 && slice_equal(in->method, SLICE("OPTIONS")))
		return SLICE("*");
	if (t.len == 0 || t.ptr[0] == '?')
		*slash = SLICE("/");
	return t;
}

static bool target_is_correct(const struct strict_head *out, const struct strict_head *in)
{
	struct slice slash, rest = fuzz_origin_form(in, &slash);

	return out->target.len == slash.len + rest.len &&
	       slice_starts(out->target, slash) &&
	       slice_equal(slice_after(out->target, slash.len), rest);
}

/* Fields that the proxy writes itself: not compared one by one. */
static bool is_written_by_proxy(struct slice name)
{
	return is_one_of(name, (const char *const[]){ "Host", "X-Forwarded-For",
						      "X-Forwarded-Proto", "X-Forwarded-Host",
						      "X-Forwarded-Port",
						      "Content-Length", "Transfer-Encoding",
						      "Connection", "Upgrade", "TE",
						      "Max-Forwards", NULL });
}

/* The origin must not get this field as the client sent it. */
static bool is_not_forwarded(const struct strict_head *in, struct slice name)
{
	return is_written_by_proxy(name) || is_forwarding(name) ||
	       fuzz_is_per_hop(in, name) ||
	       (in->minor == 0 && slice_equal_nocase(name, SLICE("Expect")));
}

/* The client's end-to-end fields, in their order, then one Via. */
static const char *fields_fault(const struct strict_head *out,
				const struct strict_head *in)
{
	struct slice via = in->minor ? SLICE("1.1 fairlead") : SLICE("1.0 fairlead");
	unsigned o = 0;

	for (unsigned i = 0; i <= in->field_n; i++) {
		const struct strict_field ours = { SLICE("Via"), via };
		const struct strict_field *f = i < in->field_n ? &in->fields[i] : &ours;

		if (i < in->field_n && is_not_forwarded(in, f->name))
			continue;
		while (o < out->field_n && is_written_by_proxy(out->fields[o].name))
			o++;
		if (o == out->field_n || !slice_equal(out->fields[o].name, f->name) ||
		    !slice_equal(out->fields[o].value, f->value))
			return "a field is missing or changed";
		o++;
	}
	while (o < out->field_n && is_written_by_proxy(out->fields[o].name))
		o++;
	return o == out->field_n ? NULL : "there is an additional field";
}

static const char *written_fields_fault(const struct strict_head *out,
					const struct strict_head *in, struct slice client)
{
	bool upgrade = strict_count(out, "Upgrade") == 1, te = strict_count(out, "TE") == 1;

	if (!slice_equal(out->fields[0].name, SLICE("Host")) ||
	    (in->authority.len > 0 && !slice_equal(out->fields[0].value, in->authority)) ||
	    out->fields[0].value.len == 0)
		return "Host";
	if (strict_count(out, "X-Forwarded-For") != 1 ||
	    !slice_equal(strict_find(out, "X-Forwarded-For"), client))
		return "X-Forwarded-For";
	if (strict_count(out, "X-Forwarded-Proto") != 1)
		return "X-Forwarded-Proto";
	if (strict_count(out, "X-Forwarded-Host") != (in->authority.len > 0) ||
	    (in->authority.len > 0 &&
	     !slice_equal(strict_find(out, "X-Forwarded-Host"), in->authority)))
		return "X-Forwarded-Host";
	if (strict_count(out, "X-Forwarded-Port") != (in->authority.len > 0))
		return "X-Forwarded-Port";
	if (strict_count(out, "Connection") != (upgrade || te) || out->close ||
	    out->keep_alive || out->upgrade != upgrade)
		return "Connection";
	if (upgrade && (!in->upgrade || !slice_equal(strict_find(out, "Upgrade"),
						     strict_find(in, "Upgrade"))))
		return "Upgrade";
	if (strict_count(out, "TE") && (!slice_equal(strict_find(out, "TE"), SLICE("trailers")) ||
					!strict_lists(in, "TE", SLICE("trailers"))))
		return "TE";
	return NULL;
}

const char *fuzz_forwarded_fault(const struct strict_head *out,
				 const struct strict_head *in, struct slice client)
{
	const char *wrong = fields_fault(out, in);

	if (!slice_equal(out->method, in->method))
		return "method";
	if (!target_is_correct(out, in))
		return "target";
	return wrong ? wrong : written_fields_fault(out, in, client);
}
