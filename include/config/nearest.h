/* The most similar of several words, to suggest it for a misspelled one. */
#ifndef CONFIG_NEAREST_H
#define CONFIG_NEAREST_H

#include <stdbool.h>

#include "base/slice.h"

/* Initialize with { .word = … }; `best` is the most similar candidate so far. */
struct nearest {
	struct slice word;
	struct slice best; /* empty: no candidate is similar */
	unsigned distance;
};

/* Compares a candidate. Similar: at most two letters are added, removed, replaced or swapped (one
 * in words of up to three letters), or one word is a prefix of the other. Words longer than 64
 * bytes are ignored. */
void nearest_offer(struct nearest *n, struct slice candidate);

#endif
