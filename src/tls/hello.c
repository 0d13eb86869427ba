/* A first version: hellos in one record. */
#include "hello.h"

#include <string.h>

static unsigned get(const uint8_t *at, unsigned width)
{
	unsigned n = 0;

	while (width-- > 0)
		n = n << 8 | *at++;
	return n;
}

static uint8_t byte_at(const struct iovec *iov, unsigned n, uint32_t at)
{
	for (unsigned i = 0; i < n; at -= (uint32_t)iov[i++].iov_len)
		if (at < iov[i].iov_len)
			return ((const uint8_t *)iov[i].iov_base)[at];
	return 0;
}

enum verdict hello_scan(struct hello_scan *s, const struct iovec *iov, unsigned n)
{
	uint32_t bytes = 0, record;

	for (unsigned i = 0; i < n; i++)
		bytes += (uint32_t)iov[i].iov_len;
	if (bytes > 0 && byte_at(iov, n, 0) != 22) {
		s->fault = byte_at(iov, n, 0) >= 'A' && byte_at(iov, n, 0) <= 'Z'
				   ? TLS_FAULT_PLAIN_HTTP
				   : TLS_FAULT_NOT_TLS;
		return VERDICT_BAD;
	}
	if (bytes < 9)
		return VERDICT_MORE;
	record = (uint32_t)byte_at(iov, n, 3) << 8 | byte_at(iov, n, 4);
	s->length = 4 + ((uint32_t)byte_at(iov, n, 7) << 8 | byte_at(iov, n, 8));
	if (byte_at(iov, n, 5) != 1 || record != s->length || byte_at(iov, n, 6) != 0) {
		s->fault = TLS_FAULT_HELLO;
		return VERDICT_BAD;
	}
	if (bytes < 5 + record)
		return VERDICT_MORE;
	s->at = 5 + record;
	return VERDICT_OK;
}

struct slice hello_in_place(const struct hello_scan *s, const struct iovec *iov,
			    unsigned n)
{
	if (n > 0 && iov[0].iov_len >= s->at)
		return (struct slice){ (const char *)iov[0].iov_base + 5, s->length };
	return (struct slice){ NULL, 0 };
}

void hello_gather(const struct hello_scan *s, const struct iovec *iov, unsigned n,
		  char *out)
{
	for (uint32_t i = 0; i < s->length; i++)
		out[i] = (char)byte_at(iov, n, 5 + i);
}

/* Takes a list with its length of `width` bytes. */
static bool list_take(struct slice *from, unsigned width, struct slice *list)
{
	if (from->len < width)
		return false;
	list->len = get((const uint8_t *)from->ptr, width);
	list->ptr = from->ptr + width;
	*from = slice_after(*from, width);
	if (from->len < list->len)
		return false;
	*from = slice_after(*from, list->len);
	return true;
}

static void extension_read(struct hello *h, unsigned type, struct slice content)
{
	struct slice list;

	if (type == 0 && list_take(&content, 2, &list) && list.len > 3) {
		h->has_name = true;
		h->name_n = (uint8_t)(list.len - 3);
		memcpy(h->name, list.ptr + 3, h->name_n);
	} else if (type == 16) {
		h->has_protocols = list_take(&content, 2, &h->protocols);
	} else if (type == 41) {
		h->ticket = true;
	} else if (type == 43) {
		(void)!list_take(&content, 1, &h->versions);
		for (size_t i = 0; i + 1 < h->versions.len; i += 2)
			if (get((const uint8_t *)h->versions.ptr + i, 2) == 0x0304)
				h->tls_1_3 = true;
	}
}

enum tls_fault hello_parse(struct slice message, struct hello *h)
{
	struct slice rest, skipped, extension, at;

	memset(h, 0, sizeof(*h));
	h->message = message;
	if (message.len < 38)
		return TLS_FAULT_HELLO;
	rest = slice_after(message, 38);
	h->legacy_version = 0x0303;
	h->tls_1_2 = true;
	if (!list_take(&rest, 1, &skipped) || !list_take(&rest, 2, &h->suites) ||
	    !list_take(&rest, 1, &skipped) || !list_take(&rest, 2, &h->extensions))
		return TLS_FAULT_HELLO;
	for (at = h->extensions; at.len > 0;) {
		unsigned type = at.len > 2 ? get((const uint8_t *)at.ptr, 2) : 0;

		if (at.len < 4)
			return TLS_FAULT_HELLO;
		at = slice_after(at, 2);
		if (!list_take(&at, 2, &extension))
			return TLS_FAULT_HELLO;
		extension_read(h, type, extension);
	}
	return TLS_FAULT_NONE;
}

bool hello_protocol(const struct hello *h, size_t *at, struct slice *protocol)
{
	struct slice rest = slice_after(h->protocols, *at);

	if (rest.len == 0 || !list_take(&rest, 1, protocol))
		return false;
	*at = h->protocols.len - rest.len;
	return true;
}
