/* Character classes of HTTP/1.1 and URIs, in one table. Private to http. */
#ifndef SRC_HTTP_OCTET_H
#define SRC_HTTP_OCTET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define OCTET_DIGIT 1u
#define OCTET_HEX 2u
#define OCTET_TOKEN 4u       /* tchar, RFC 9110 5.6.2 */
#define OCTET_VISIBLE 8u     /* 0x21-0x7e */
#define OCTET_UNRESERVED 16u /* RFC 3986 2.3 */
#define OCTET_HOST 32u       /* reg-name: unreserved and sub-delims */

#define OCTET_IN(c, low, high) ((c) >= (low) && (c) <= (high))
#define OCTET_IS_ALPHA(c) (OCTET_IN(c, 'a', 'z') || OCTET_IN(c, 'A', 'Z'))
#define OCTET_IS_HEX(c) \
	(OCTET_IN(c, '0', '9') || OCTET_IN(c, 'a', 'f') || OCTET_IN(c, 'A', 'F'))
#define OCTET_IS_ALNUM(c) (OCTET_IS_ALPHA(c) || OCTET_IN(c, '0', '9'))
#define OCTET_IS_UNRESERVED(c) \
	(OCTET_IS_ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define OCTET_IS_TOKEN(c)                                                                \
	(OCTET_IS_UNRESERVED(c) || OCTET_IN(c, '#', '\'') || (c) == '!' || (c) == '*' || \
	 (c) == '+' || (c) == '^' || (c) == '`' || (c) == '|')
#define OCTET_IS_HOST(c)                                                                \
	(OCTET_IS_UNRESERVED(c) || OCTET_IN(c, '&', ',') || (c) == '!' || (c) == '$' || \
	 (c) == ';' || (c) == '=')

#define OCTET_CLASS(c)                                                                   \
	((OCTET_IN(c, '0', '9') ? OCTET_DIGIT : 0) | (OCTET_IS_HEX(c) ? OCTET_HEX : 0) | \
	 (OCTET_IS_TOKEN(c) ? OCTET_TOKEN : 0) |                                         \
	 (OCTET_IN(c, 0x21, 0x7e) ? OCTET_VISIBLE : 0) |                                 \
	 (OCTET_IS_UNRESERVED(c) ? OCTET_UNRESERVED : 0) |                               \
	 (OCTET_IS_HOST(c) ? OCTET_HOST : 0))

#define OCTET_4(c) \
	OCTET_CLASS(c), OCTET_CLASS(c + 1), OCTET_CLASS(c + 2), OCTET_CLASS(c + 3)
#define OCTET_16(c) OCTET_4(c), OCTET_4(c + 4), OCTET_4(c + 8), OCTET_4(c + 12)

/* Octets above 0x7f are in no class. */
static const uint8_t octet_class[256] = {
	OCTET_16(0x00), OCTET_16(0x10), OCTET_16(0x20), OCTET_16(0x30),
	OCTET_16(0x40), OCTET_16(0x50), OCTET_16(0x60), OCTET_16(0x70),
};

static inline bool octet_is(char c, unsigned class)
{
	return (octet_class[(uint8_t)c] & class) != 0;
}

/* The number of octets at the front that are in the class. */
static inline size_t octet_span(struct slice s, unsigned class)
{
	size_t n = 0;

	while (n < s.len && octet_is(s.ptr[n], class))
		n++;
	return n;
}

static inline bool octet_all(struct slice s, unsigned class)
{
	return octet_span(s, class) == s.len;
}

/* The value of a character in OCTET_HEX. */
static inline unsigned octet_hex_value(char c)
{
	return octet_is(c, OCTET_DIGIT) ? (unsigned)(c - '0')
					: (unsigned)((c | 0x20) - 'a') + 10;
}

/* The octet encoded by "%XX" at s.ptr[i]; -1: malformed. */
static inline int octet_percent(struct slice s, size_t i)
{
	if (s.len - i < 3 || !octet_is(s.ptr[i + 1], OCTET_HEX) ||
	    !octet_is(s.ptr[i + 2], OCTET_HEX))
		return -1;
	return (int)(octet_hex_value(s.ptr[i + 1]) << 4 | octet_hex_value(s.ptr[i + 2]));
}

/* Writes the normal form (RFC 3986 6.2.2) of the octet at s.ptr[*i], one to three bytes;
 * returns their number and advances *i. */
static inline size_t octet_normalize(char *out, struct slice s, size_t *i)
{
	static const char digits[] = "0123456789ABCDEF";
	int value = s.ptr[*i] == '%' ? octet_percent(s, *i) : -1;

	if (value < 0) {
		out[0] = s.ptr[(*i)++];
		return 1;
	}
	*i += 3;
	if (octet_is((char)value, OCTET_UNRESERVED)) {
		out[0] = (char)value;
		return 1;
	}
	out[0] = '%';
	out[1] = digits[value >> 4];
	out[2] = digits[value & 15];
	return 3;
}

#endif
