/* Which server a key lives on, placed as libmemcached's KETAMA_WEIGHTED does: MD5,
 * 160 points for a server of average weight, four to a digest. Servers are told apart
 * by name, not by address, so a server may move; a dead one is not re-hashed.
 *
 * A server whose weight is a small part of the average may get no point, and then no
 * key: so it is there as well. Owner: one thread, as the digest in hand is shared by
 * all calls. */
#ifndef BACK_KETAMA_H
#define BACK_KETAMA_H

#include <stdint.h>

#include "base/slice.h"

struct ketama; /* does not change */

/* name: its `name`, else "host:port" as written, without the port if it is 11211; at
 * most 300 bytes. weight >= 1. */
struct ketama_server {
	struct slice name;
	unsigned weight;
};

/* Keeps nothing of `servers`. NULL: no memory, or a libcrypto without MD5. */
struct ketama *ketama_new(const struct ketama_server *servers, unsigned n);
void ketama_free(struct ketama *k);

/* Index of the key's server. */
unsigned ketama_server(const struct ketama *k, struct slice key);

#endif
