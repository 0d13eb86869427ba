/* Things found by name, however many there are: a hash table whose entries are part of what they
 * name.
 *
 * names_put() cannot fail: where the system has no memory for a larger table, finding takes
 * longer. A table of a few allocates nothing. The text of a name is its owner's, and outlives
 * the entry's stay.
 *
 * Owner: one thread, or whoever holds the lock of what it is part of. */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stdint.h>

#include "base/slice.h"

struct names_entry {
	struct names_entry *next; /* in its bucket */
	uint64_t hash;
	struct slice name;
};

/* All zero: empty. */
struct names {
	struct names_entry **buckets; /* NULL: `few` is the only one */
	struct names_entry *few;
	size_t bucket_n, n;
};

/* A name may be there more than once; the one that was put first is found. */
void names_put(struct names *s, struct names_entry *e, struct slice name);

/* NULL: it is not there. */
struct names_entry *names_find(const struct names *s, struct slice name);

/* It is there. */
void names_remove(struct names *s, struct names_entry *e);

/* Forgets all entries, which are not touched. */
void names_done(struct names *s);

#endif
