#include "base/utf8.h"

/* Overlong forms, surrogates, and what is above U+10FFFF. */
static bool is_excluded(unsigned char first, unsigned char second)
{
	return (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
	       (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f);
}

size_t utf8_bytes(struct slice s)
{
	const unsigned char *b = (const unsigned char *)s.ptr;
	size_t n;

	if (s.len == 0 || (b[0] >= 0x80 && b[0] < 0xc2) || b[0] > 0xf4)
		return 0;
	n = b[0] < 0x80 ? 1 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
	if (n > s.len || (n > 1 && is_excluded(b[0], b[1])))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((b[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool utf8_is_valid(struct slice s)
{
	for (size_t n; s.len > 0; s = slice_after(s, n)) {
		n = utf8_bytes(s);
		if (n == 0)
			return false;
	}
	return true;
}
