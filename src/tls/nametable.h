/* Host names, exact or `*.rest`, each with a number: a hash table. A host is found by its exact
 * name, else by `*.rest` for its first label; never by a wildcard for two labels (RFC 9525 6.3).
 *
 * Owner: one object, which keeps the names' bytes. After the last nametable_add() any thread may
 * search. Limits: 2^31 names; 24 bytes and 8 to 16 of places for each. */
#ifndef TLS_NAMETABLE_H
#define TLS_NAMETABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct nametable {
	struct nametable_row {
		struct slice name;
		uint32_t value;
		uint32_t hash;
	} * rows;
	size_t n, room;
	uint32_t *places; /* row + 1; 0: free. A power of two, half of them free */
	size_t places_mask;
};

/* Adds a name (lower case) that is not there yet. False: no memory. */
bool nametable_add(struct nametable *t, struct slice name, uint32_t value);

/* The value of exactly this name; NULL: it is not there. */
uint32_t *nametable_at(const struct nametable *t, struct slice name);

/* The value for a host (lower case; one dot at its end is left out). False: there is none. */
bool nametable_find(const struct nametable *t, struct slice host, uint32_t *value);

void nametable_free(struct nametable *t); /* of zeroes: nothing */

#endif
