#include "base/uuid.h"

#include <string.h>

void hex_text(char *text, const uint8_t *bytes, unsigned n)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < n; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
}

void uuid_text(char text[UUID_TEXT], struct random *r, uint64_t wall_ms)
{
	/* Bytes of each group of the text. */
	static const uint8_t groups[] = { 4, 2, 2, 2, 6 };
	const uint64_t halves[2] = { random_next(r), random_next(r) };
	uint8_t bytes[16];
	unsigned at = 0;

	memcpy(bytes, halves, sizeof(bytes));
	for (unsigned i = 0; i < 6; i++)
		bytes[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
	bytes[6] = (uint8_t)(0x70 | (bytes[6] & 0x0f)); /* version 7 */
	bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f)); /* variant of RFC 9562 4.1 */
	for (unsigned g = 0; g < COUNT(groups); g++) {
		if (g > 0)
			*text++ = '-';
		hex_text(text, bytes + at, groups[g]);
		text += 2 * groups[g];
		at += groups[g];
	}
}
