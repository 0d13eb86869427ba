/* The values by which cookies name the servers of an upstream (`sticky`).
 *
 * The value of a server is a keyed hash of its name and address: it stays the same in a reload and
 * on each worker, and tells nothing of either. Owner: the upstream. Limits: UPSTREAM_SERVERS_MAX; a
 * search reads 8 bytes for each server. Errors: without memory no cookie names a server. */
#ifndef SRC_BACK_STICKY_H
#define SRC_BACK_STICKY_H

#include "server.h"

/* Called when the servers or the configuration have changed. */
void sticky_build(struct upstream *u);
void sticky_done(struct upstream *u);

/* The server that a lease is for, by lease.hash: if it is available and was not tried. NULL: none,
 * or it is full. */
struct server *sticky_choose(const struct upstream *u, const struct lease *l);

#endif
