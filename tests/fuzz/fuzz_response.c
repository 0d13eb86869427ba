/* Response heads, to any method: the checks of fuzz_request.c, and lenient.h. */
#include <stdlib.h>

#include "http/forward.h"
#include "http/head.h"
#include "http/lenient.h"
#include "lib/fuzz.h"
#include "lib/fuzzhead.h"
#include "lib/strict.h"

static const struct slice date = { "Thu, 01 Jan 1970 00:00:00 GMT", 29 };

static bool is_rewritten(struct slice name)
{
	return slice_equal_nocase(name, SLICE("Content-Length")) ||
	       slice_equal_nocase(name, SLICE("Transfer-Encoding")) ||
	       slice_equal_nocase(name, SLICE("Connection")) ||
	       slice_equal_nocase(name, SLICE("Upgrade"));
}

/* All end-to-end fields of `in`, in their order, and then those that the proxy adds. */
static void check_fields(const struct strict_head *out, const struct strict_head *in)
{
	bool dated = in->status < 200;
	unsigned o = 0;

	for (unsigned i = 0; i < in->field_n; i++) {
		if (fuzz_is_per_hop(in, in->fields[i].name))
			continue;
		dated |= slice_equal_nocase(in->fields[i].name, SLICE("Date"));
		ASSERT(o < out->field_n);
		ASSERT(slice_equal(out->fields[o].name, in->fields[i].name));
		ASSERT(slice_equal(out->fields[o].value, in->fields[i].value));
		o++;
	}
	if (!dated)
		ASSERT(slice_equal(out->fields[o++].value, date));
	while (is_rewritten(out->fields[o].name))
		o++;
	ASSERT(slice_equal(out->fields[o].name, SLICE("Via")));
	ASSERT(slice_equal(out->fields[o].value, in->minor ? SLICE("1.1 fairlead")
							   : SLICE("1.0 fairlead")));
	for (o++; o < out->field_n; o++)
		ASSERT(is_rewritten(out->fields[o].name));
}

static void check_forwarded(const struct head *h, const struct strict_head *in,
			    struct forward_response *r, struct slice method)
{
	static struct strict_head out;
	static struct head again;
	const struct head_limits all = { 1 << 20, HEAD_FIELDS_MAX, 0 };
	size_t room = forward_response_max(h, r);
	char *text = malloc(room);
	struct sink sink = sink_http1(text, room);
	bool kept = r->framing == FRAMING_NONE && r->keep_length &&
		    h->framing == FRAMING_LENGTH;
	uint32_t scanned = 0;
	struct slice s;

	forward_response(&sink, h, r);
	ASSERT(!sink.out.overflow);
	s = (struct slice){ text, (size_t)(sink.out.at - text) };
	ASSERT(strict_response(&out, s) == STRICT_OK);
	ASSERT(!out.not_canonical && out.bytes == s.len && out.status == in->status);
	ASSERT(slice_equal(out.phrase, in->phrase));
	ASSERT(strict_response_framing(&out, method) ==
	       strict_response_framing(in, method));
	ASSERT(out.close == r->close);
	ASSERT(out.upgrade == (r->upgrade && h->upgrade));
	ASSERT(strict_count(&out, "Upgrade") == out.upgrade);
	if (r->framing == FRAMING_LENGTH || kept)
		ASSERT(out.length == in->length && strict_count(&out, "Content-Length") == 1);
	else
		ASSERT(strict_count(&out, "Content-Length") == 0);
	check_fields(&out, in);
	if (h->field_n + 6u <= HEAD_FIELDS_MAX) {
		ASSERT(head_parse_response(&again, text, s.len, &all, &scanned) == VERDICT_OK);
		ASSERT(slice_equal(again.phrase, h->phrase));
		if (r->framing == h->framing)
			fuzz_assert_same_message(&again, h);
		ASSERT(again.keep_alive == !r->close);
	}
	free(text);
}

/* A head that lenient.h corrects is canonical afterwards, for the strict parser too; correcting
 * it again changes nothing. */
static void check_lenient(struct slice s, unsigned lenient)
{
	const struct head_limits all = { 1 << 20, HEAD_FIELDS_MAX, 0 };
	static struct strict_head strict;
	static struct head h;
	size_t n = lenient_span(s, false, lenient), written;
	char *out = malloc(LENIENT_BYTES_MAX(n) + 1), *again;
	uint32_t scanned = 0;

	written = n > 0 ? lenient_write(out, (struct slice){ s.ptr, n }, false, lenient) : 0;
	if (written > 0 && head_parse_response(&h, out, written, &all, &scanned) == VERDICT_OK) {
		ASSERT(h.bytes == written);
		ASSERT(strict_response(&strict, (struct slice){ out, written }) == STRICT_OK);
		fuzz_assert_read_alike(&h, &strict);
		again = malloc(LENIENT_BYTES_MAX(written));
		n = lenient_write(again, (struct slice){ out, written }, false, lenient);
		ASSERT(n == written && memcmp(again, out, n) == 0);
		free(again);
	}
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const enum method methods[] = { METHOD_GET, METHOD_HEAD, METHOD_POST,
					       METHOD_OTHER };
	static struct strict_head strict;
	static struct head h;
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned mode = fuzz_octet(&f);
	struct head_limits limits = { mode & 1 ? 200 : 16384, mode & 2 ? 5 : 100, 0 };
	enum method method = methods[mode >> 2 & 3];
	struct slice token = method == METHOD_HEAD ? SLICE("HEAD") : SLICE("GET");
	struct forward_response r = { .close = mode & 16,
				      .date = date,
				      .upgrade = mode & 32,
				      .via = SLICE("fairlead") };

	check_lenient(fuzz_rest(&f), 1u << LENIENT_COLON);
	check_lenient(fuzz_rest(&f), (1u << (LENIENT_COLON + 1)) - 1);
	if (fuzz_head(&h, head_parse_response, fuzz_rest(&f), &limits) != VERDICT_OK)
		return 0;
	ASSERT(strict_response(&strict, fuzz_rest(&f)) == STRICT_OK);
	ASSERT(h.status == strict.status && slice_equal(h.phrase, strict.phrase));
	fuzz_assert_read_alike(&h, &strict);
	r.framing = head_response_framing(&h, method);
	ASSERT((unsigned)r.framing == (unsigned)strict_response_framing(&strict, token));
	r.length = h.length;
	r.keep_length = h.framing == FRAMING_LENGTH && h.status != 204 && h.status >= 200;
	check_forwarded(&h, &strict, &r, token);
	return 0;
}
