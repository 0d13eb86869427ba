/* UUIDs of version 7 (RFC 9562 5.7): 48 bits of wall clock in milliseconds, then 74 random bits.
 * Their texts sort by time.
 *
 * Not a secret: whoever knows one can compute the next (base/random.h). Owner: none. No errors. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/random.h"

#define UUID_TEXT 36

/* Writes the text of a new one, in lower case, without NUL. */
void uuid_text(char text[UUID_TEXT], struct random *r, uint64_t wall_ms);

/* Writes n bytes as 2n lower-case hexadecimal digits. */
void hex_text(char *text, const uint8_t *bytes, unsigned n);

#endif
