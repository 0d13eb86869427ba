/* UTF-8 (RFC 3629). Pure. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>

#include "base/slice.h"

/* The bytes of the character that `s` begins with; 0: it begins with none, or is empty. */
size_t utf8_bytes(struct slice s);

bool utf8_is_valid(struct slice s);

#endif
