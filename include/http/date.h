/* The date of a message (RFC 9110 5.6.7). Pure. */
#ifndef HTTP_DATE_H
#define HTTP_DATE_H

#include <stdint.h>

/* IMF-fixdate, 29 bytes and a NUL; wall_ms: since 1970. */
#define DATE_TEXT_MAX 30
void date_text(char text[DATE_TEXT_MAX], uint64_t wall_ms);

#endif
