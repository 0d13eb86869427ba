/* The certificates of a server by the names they are for: for each name the best one of each kind
 * of key, since the library chooses between these by what the client offers.
 *
 * Owner: the context, which owns the certificates as well. Immutable. Limits: those of
 * nametable.h. */
#ifndef TLS_CERTTABLE_H
#define TLS_CERTTABLE_H

#include "certificate.h"
#include "nametable.h"

/* Of one name, by kind; NULL: none of this kind. */
struct certset {
	const struct certificate *of[KEY_KINDS];
};

struct certtable {
	struct nametable names;
	struct certset *sets;
	size_t sets_n;
	struct certset first; /* for no name, or an unknown one */
};

/* n > 0. False: no memory. */
bool certtable_init(struct certtable *t, struct certificate *const *certificates,
		    size_t n);

/* NULL: no certificate is for this name. */
const struct certset *certtable_find(const struct certtable *t, struct slice name);

void certtable_done(struct certtable *t); /* of zeroes: nothing */

#endif
