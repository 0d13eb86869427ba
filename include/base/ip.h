/* IPv4 and IPv6 addresses without port and scope, and sorted sets of address ranges.
 *
 * An IPv4-mapped IPv6 address (::ffff:192.0.2.1) is an IPv4 address. Pure functions. */
#ifndef BASE_IP_H
#define BASE_IP_H

#include "base/check.h"
#include "base/slice.h"

/* Compared with memcmp(): the bytes that the family does not use are 0. */
struct ip {
	uint8_t family; /* 4 or 6; 0: no address */
	uint8_t bytes[16];
};

/* Longest text, with its NUL. */
#define IP_TEXT_MAX 46

/* Parses "192.0.2.1" or "2001:db8::1", with nothing before or after it. False: the text
 * is neither; *ip is then undefined. */
bool ip_parse(struct ip *ip, struct slice text) MUST_USE;

/* Writes the address in the form of RFC 5952, NUL-terminated; returns its length. The
 * family must not be 0. */
size_t ip_text(const struct ip *ip, char text[IP_TEXT_MAX]);

static inline int ip_compare(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a));
}

/* From `first` to `last`, both included and of the same family. */
struct ip_range {
	struct ip first, last;
};

/* The addresses that share their first `bits` bits with `ip`; bits <= 32 (IPv4) or
 * 128. */
struct ip_range ip_network(const struct ip *ip, unsigned bits);

/* Sorts the ranges and merges overlapping ones; returns how many remain. */
unsigned ip_ranges_sort(struct ip_range *ranges, unsigned n);

/* Whether one of the ranges, as left by ip_ranges_sort(), contains `ip`. Binary
 * search. */
bool ip_ranges_contain(const struct ip_range *ranges, unsigned n, const struct ip *ip);

#endif
