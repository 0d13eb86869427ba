/* Addresses of IPv4 and IPv6 without port and scope, and sets of them.
 *
 * One of IPv4 that is written as IPv6 (::ffff:192.0.2.1) is one of IPv4. Pure. */
#ifndef BASE_IP_H
#define BASE_IP_H

#include "base/check.h"
#include "base/slice.h"

/* Compared as bytes: what `bytes` has beyond those of the family is 0. */
struct ip {
	uint8_t family; /* 4, 6; 0: none */
	uint8_t bytes[16];
};

/* Longest text, with its NUL. */
#define IP_TEXT_MAX 46

/* "192.0.2.1" or "2001:db8::1", nothing around it. False: it is neither. */
bool ip_parse(struct ip *ip, struct slice text) MUST_USE;

/* Writes it in the form of RFC 5952, NUL-terminated; returns its length. Not of family 0. */
size_t ip_text(const struct ip *ip, char text[IP_TEXT_MAX]);

static inline int ip_compare(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a));
}

/* `first` to `last`, both of one family. */
struct ip_range {
	struct ip first, last;
};

/* The addresses that share so many leading bits with `ip`. bits <= 32 or 128. */
struct ip_range ip_network(const struct ip *ip, unsigned bits);

/* Sorts, and joins those that overlap; returns how many are left. */
unsigned ip_ranges_sort(struct ip_range *ranges, unsigned n);

/* Is it in one of the ranges, which are sorted? By halves: 12 steps for 4,096 ranges. */
bool ip_ranges_contain(const struct ip_range *ranges, unsigned n, const struct ip *ip);

#endif
