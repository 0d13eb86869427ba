/* Whether a route can be reached at all: none before it matches whatever it matches.
 *
 * Routes are found by host and path, so that a file with very many is read in time: a prefix
 * covers a path where the prefix is one of the path's own beginnings. */
#ifndef CONFIG_REACH_H
#define CONFIG_REACH_H

#include "arena.h"
#include "base/names.h"
#include "config/config.h"

/* The routes of one host. */
struct reach_host {
	struct names_entry entry;
	struct names paths, prefixes;
	struct reach_host *next; /* in the list of all */
};

/* All zero but for `memory`: no route. */
struct reach {
	struct arena *memory;
	struct reach_host any; /* those without a host */
	struct names hosts;
	struct reach_host *list; /* of all hosts */
};

/* The first route before it that covers this one; NULL: none, and now it is one of those. The
 * routes stay where they are. A path without a byte is faulty, and compared with nothing. */
const struct config_route *reach_add(struct reach *r, const struct config_route *route);

void reach_done(struct reach *r);

#endif
