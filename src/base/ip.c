#include "base/ip.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* ::ffff:0:0/96, the prefix of IPv4-mapped addresses (RFC 4291 2.5.5.2). */
static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool ip_parse(struct ip *ip, struct slice text)
{
	char copy[IP_TEXT_MAX];
	uint8_t bytes[16];

	if (text.len >= sizeof(copy) ||
	    (text.len > 0 && memchr(text.ptr, '\0', text.len)))
		return false;
	memset(ip, 0, sizeof(*ip));
	if (text.len > 0)
		memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	if (inet_pton(AF_INET, copy, ip->bytes) == 1) {
		ip->family = 4;
		return true;
	}
	if (inet_pton(AF_INET6, copy, bytes) != 1)
		return false;
	if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		ip->family = 4;
		memcpy(ip->bytes, bytes + sizeof(mapped), 4);
		return true;
	}
	ip->family = 6;
	memcpy(ip->bytes, bytes, sizeof(bytes));
	return true;
}

size_t ip_text(const struct ip *ip, char text[IP_TEXT_MAX])
{
	const char *written = inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes,
					text, IP_TEXT_MAX);

	ASSERT(ip->family != 0 && written);
	return strlen(text);
}

struct ip_range ip_network(const struct ip *ip, unsigned bits)
{
	unsigned size = ip->family == 4 ? 4 : 16;
	struct ip_range r = { *ip, *ip };

	ASSERT(ip->family != 0 && bits <= size * 8);
	for (unsigned i = 0; i < size; i++) {
		unsigned kept = bits > i * 8 ? bits - i * 8 : 0;
		uint8_t free = kept >= 8 ? 0 : (uint8_t)(0xff >> kept);

		r.first.bytes[i] &= (uint8_t)~free;
		r.last.bytes[i] |= free;
	}
	return r;
}

static int range_compare(const void *a, const void *b)
{
	const struct ip_range *x = a, *y = b;

	return ip_compare(&x->first, &y->first);
}

unsigned ip_ranges_sort(struct ip_range *ranges, unsigned n)
{
	unsigned kept = 0;

	if (n > 1)
		qsort(ranges, n, sizeof(ranges[0]), range_compare);
	for (unsigned i = 0; i < n; i++) {
		struct ip_range *last = &ranges[kept > 0 ? kept - 1 : 0];

		if (kept == 0 || ip_compare(&ranges[i].first, &last->last) > 0)
			ranges[kept++] = ranges[i];
		else if (ip_compare(&ranges[i].last, &last->last) > 0)
			last->last = ranges[i].last;
	}
	return kept;
}

bool ip_ranges_contain(const struct ip_range *ranges, unsigned n, const struct ip *ip)
{
	unsigned low = 0;

	/* Ranges before `low` begin at or before the address; ranges from `n` on after
	 * it. */
	while (low < n) {
		unsigned middle = low + (n - low) / 2;

		if (ip_compare(&ranges[middle].first, ip) <= 0)
			low = middle + 1;
		else
			n = middle;
	}
	return low > 0 && ip_compare(ip, &ranges[low - 1].last) <= 0;
}
