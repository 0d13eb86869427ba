/* Names as the DNS and HTTP have them. */
#ifndef CONFIG_ALABEL_H
#define CONFIG_ALABEL_H

#include "arena.h"

/* A name in UTF-8 with its U-labels written as A-labels (RFC 5890, RFC 3492), "xn--…"; NULL:
 * what they are depends on more of Unicode than is known here. */
const char *alabel_name(struct slice name, struct arena *memory);

#endif
