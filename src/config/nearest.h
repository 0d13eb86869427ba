/* What somebody may have meant. */
#ifndef CONFIG_NEAREST_H
#define CONFIG_NEAREST_H

#include <stdbool.h>

#include "base/slice.h"

/* The best candidate so far; start with {word}. */
struct nearest {
	struct slice word;
	struct slice best; /* empty: none is near */
	unsigned distance;
};

/* Near is: at most two letters added, dropped, changed or swapped (one, in words of
 * up to three), or one is the beginning of the other. */
void nearest_offer(struct nearest *n, struct slice candidate);

#endif
