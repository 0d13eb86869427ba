/* Request heads. The strict parser reads each accepted head the same; the result does not depend
 * on where the head is cut; the forwarded head is canonical and means the same; and a head that was
 * kept is forwarded as the same bytes. */
#include <stdlib.h>

#include "http/forward.h"
#include "http/forwarding.h"
#include "http/kepthead.h"
#include "lib/fuzz.h"
#include "lib/fuzzhead.h"
#include "lib/strict.h"

static const struct slice client = { "192.0.2.1", 9 };

static void check_kept(const struct head *h, struct forward_request r,
		       struct slice forwarded)
{
	static struct head restored;
	struct forwarding forwarding;
	struct kept_choice choice;
	struct kept_head *k;
	char *text = malloc(forwarded.len);
	struct sink sink = sink_http1(text, forwarded.len);

	kept_head_choose(&choice, h, KEPT_ALL);
	k = malloc(choice.bytes);
	kept_head_write(k, &choice);
	kept_head_restore(k, &restored);
	forwarding_read(&forwarding, &restored, r.forwarding->peer);
	r.forwarding = &forwarding;
	forward_request(&sink, &restored, &r);
	ASSERT(!sink.out.overflow && sink.out.at == sink.out.end);
	ASSERT(forwarded.len == 0 || memcmp(text, forwarded.ptr, forwarded.len) == 0);
	ASSERT(slice_equal(kept_head_line(k), h->line));
	ASSERT(restored.bytes == h->bytes && restored.target_form == h->target_form);
	free(k);
	free(text);
}

static void check_forwarded(const struct head *h, const struct strict_head *in, bool upgrade)
{
	static struct strict_head out;
	static struct head again;
	const struct head_limits all = { 1 << 20, HEAD_FIELDS_MAX, 0 };
	const struct forwarding_peer peer = { .text = client };
	struct forwarding forwarding;
	struct forward_request r = { .framing = h->framing,
				     .length = h->length,
				     .upgrade = upgrade,
				     .forwarding = &forwarding,
				     .via = SLICE("fairlead"),
				     /* as action.c does for an HTTP/1.0 client */
				     .host = h->authority.len > 0 ? SLICE("")
								  : SLICE("o") };
	size_t room;
	char *text;
	struct sink sink;
	uint32_t scanned = 0;
	struct slice s;

	forwarding_read(&forwarding, h, &peer);
	room = forward_request_max(h, &r);
	text = malloc(room);
	sink = sink_http1(text, room);
	forward_request(&sink, h, &r);
	ASSERT(!sink.out.overflow);
	s = (struct slice){ text, (size_t)(sink.out.at - text) };
	check_kept(h, r, s);
	ASSERT(strict_request(&out, s) == STRICT_OK);
	ASSERT(!out.not_canonical && out.bytes == s.len);
	ASSERT(out.framing == in->framing && out.length == in->length);
	ASSERT(out.upgrade == (upgrade && h->upgrade));
	ASSERT(!fuzz_forwarded_fault(&out, in, client));
	if (h->field_n + 7u <= HEAD_FIELDS_MAX) {
		ASSERT(head_parse_request(&again, text, s.len, &all, &scanned) == VERDICT_OK);
		fuzz_assert_same_message(&again, h);
		ASSERT(slice_equal(again.path, h->path) && slice_equal(again.query, h->query));
		ASSERT(slice_equal(again.authority,
				   h->authority.len > 0 ? h->authority : r.host));
		ASSERT(again.keep_alive && again.upgrade == out.upgrade);
		ASSERT(again.te_trailers == h->te_trailers);
		ASSERT(again.expect_continue == h->expect_continue);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct strict_head strict;
	static struct head h;
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned mode = fuzz_octet(&f);
	struct head_limits limits = { mode & 1 ? 200 : 16384, mode & 2 ? 5 : 100, 0 };
	enum verdict v = fuzz_head(&h, head_parse_request, fuzz_rest(&f), &limits);

	if (v != VERDICT_OK)
		return 0;
	ASSERT(strict_request(&strict, fuzz_rest(&f)) == STRICT_OK);
	ASSERT(slice_equal(h.method_token, strict.method));
	ASSERT(slice_equal(h.target, strict.target));
	ASSERT(slice_equal(h.authority, strict.authority));
	fuzz_assert_read_alike(&h, &strict);
	if (h.method != METHOD_CONNECT) /* gets a 405 */
		check_forwarded(&h, &strict, mode & 4);
	return 0;
}
