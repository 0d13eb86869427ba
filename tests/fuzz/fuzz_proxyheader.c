/* Headers of the PROXY protocol. An input is the header. The verdict is the same wherever it is cut;
 * no byte behind the cut is read; what is read of it lies in the header and is printable; written
 * again, in version 2, it reads to the same. */
#include <stdlib.h>

#include "lib/fuzz.h"
#include "lib/guard.h"
#include "net/proxyheader.h"

static void check_text(const struct proxy_header *h, const char *bytes, struct slice text)
{
	if (text.len == 0)
		return;
	ASSERT(text.ptr > bytes && text.ptr + text.len <= bytes + h->bytes);
	for (size_t i = 0; i < text.len; i++)
		ASSERT(text.ptr[i] >= ' ' && text.ptr[i] <= '~');
}

static bool same(const struct peer *a, const struct peer *b)
{
	return a->family == b->family && a->port == b->port &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

static void check_written(const struct proxy_header *h)
{
	char out[PROXY_HEADER_WRITE_MAX];
	size_t n = proxy_header_write_v2(h, out);
	bool ip = !h->local && h->source.family != AF_UNIX &&
		  h->source.family == h->destination.family;
	struct proxy_header again;

	ASSERT(proxy_header_parse(&again, out, n) == VERDICT_OK && again.bytes == n);
	ASSERT(again.local == !ip);
	if (!ip)
		return;
	ASSERT(same(&again.source, &h->source) &&
	       same(&again.destination, &h->destination));
	ASSERT(again.tls == h->tls);
	ASSERT(again.alpn.len == 0 || slice_equal(again.alpn, h->alpn));
	ASSERT(again.authority.len == 0 || slice_equal(again.authority, h->authority));
	n = proxy_header_write_v1(h, out);
	ASSERT(n <= PROXY_HEADER_V1_MAX);
	ASSERT(proxy_header_parse(&again, out, n) == VERDICT_OK && again.bytes == n);
	ASSERT(same(&again.source, &h->source) &&
	       same(&again.destination, &h->destination));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *copy = guard_copy((const char *)bytes, n);
	struct proxy_header h, part;
	enum verdict whole = proxy_header_parse(&h, copy, n);
	size_t end = whole == VERDICT_OK ? h.bytes : n;

	ASSERT(whole != VERDICT_OK || (h.bytes <= n && h.bytes <= PROXY_HEADER_MAX));
	ASSERT(whole != VERDICT_MORE || n < PROXY_HEADER_MAX);
	for (size_t cut = 0; cut < end; cut++) {
		char *front = guard_copy(copy, cut);
		enum verdict v = proxy_header_parse(&part, front, cut);

		ASSERT(v == VERDICT_MORE || (v == VERDICT_BAD && whole == VERDICT_BAD));
		guard_free(front);
		if (cut == 256)
			break; /* the kernel maps memory for each */
	}
	if (whole == VERDICT_OK) {
		check_text(&h, copy, h.alpn);
		check_text(&h, copy, h.authority);
		check_text(&h, copy, h.version);
		check_text(&h, copy, h.cipher);
		check_text(&h, copy, h.subject);
		check_written(&h);
	}
	guard_free(copy);
	return 0;
}
