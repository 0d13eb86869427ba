/* A hash table of objects by name. Its entries are members of the named objects.
 *
 * names_put() cannot fail: if there is no memory for a larger table, lookups take longer.
 * A table of up to 8 entries allocates nothing. The text of a name belongs to the caller
 * and must stay valid as long as the entry is in the table.
 *
 * Owner: one thread, or the holder of the lock that protects the surrounding object. */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stdint.h>

#include "base/slice.h"

struct names_entry {
	struct names_entry *next; /* in the same bucket */
	uint64_t hash;
	struct slice name;
};

/* All zero is an empty table. */
struct names {
	struct names_entry **buckets; /* NULL: `only` is the only bucket */
	struct names_entry *only;
	size_t bucket_n, n; /* buckets; entries */
};

/* A name may be in the table more than once; names_find() returns its oldest entry. */
void names_put(struct names *s, struct names_entry *e, struct slice name);

/* NULL: no entry has this name. */
struct names_entry *names_find(const struct names *s, struct slice name);

/* As names_find(), for a caller who has the hash_bytes() of the name: who looks up each beginning
 * of a text has it without reading the text each time. */
struct names_entry *names_find_hashed(const struct names *s, struct slice name,
				      uint64_t hash);

/* The entry must be in the table. */
void names_remove(struct names *s, struct names_entry *e);

/* Frees the table. Entries are not touched. */
void names_done(struct names *s);

#endif
