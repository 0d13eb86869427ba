/* Bytes written as hexadecimal digits, for test vectors; spaces are allowed between bytes. */
#ifndef LIB_HEX_H
#define LIB_HEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

static inline unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) & 15;
}

/* Returns the number of bytes: `max` at most. */
static inline size_t hex_read(const char *hex, uint8_t *out, size_t max)
{
	size_t n = 0;

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		ASSERT(n < max && hex[1]);
		out[n++] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
		hex++;
	}
	return n;
}

#endif
