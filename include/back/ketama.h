/* Maps keys to servers as libmemcached's KETAMA_WEIGHTED does: MD5, 160 points for a
 * server of average weight, four to a digest. Points are derived from the server's name,
 * not its address, so an address may change; the keys of a dead server do not move.
 *
 * A server whose weight is a very small part of the average may get no point, and then no
 * key, as with libmemcached. Owner: one thread, because all calls share a digest context. */
#ifndef BACK_KETAMA_H
#define BACK_KETAMA_H

#include <stdint.h>

#include "base/slice.h"

struct ketama; /* immutable */

/* name: the configured `name`, else "host:port" as configured, without the port if it is
 * 11211; at most 300 bytes. weight >= 1. */
struct ketama_server {
	struct slice name;
	unsigned weight;
};

/* `servers` is copied. NULL: no memory, or libcrypto has no MD5. */
struct ketama *ketama_new(const struct ketama_server *servers, unsigned n);
void ketama_free(struct ketama *k);

/* The index of the key's server. */
unsigned ketama_server(const struct ketama *k, struct slice key);

#endif
