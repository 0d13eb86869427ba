/* Finds routes that are never reached, because an earlier route matches all their requests.
 *
 * Routes are indexed by host and path, because a prefix route covers a path if its prefix is a
 * prefix of that path. The time of a check is proportional to the length of the route's path (the
 * hash of each beginning continues that of the one before) and of the prefixes that cover it. The
 * number of routes does not matter.
 * Owner: the caller; reach_done() frees the index, the entries live in `memory`. */
#ifndef CONFIG_REACH_H
#define CONFIG_REACH_H

#include "base/names.h"
#include "config/arena.h"
#include "config/config.h"

/* The routes of one host. */
struct reach_host {
	struct names_entry entry;
	struct names paths, prefixes;
	struct reach_host *next; /* in reach.list */
};

/* Initialize with { .memory = … }. */
struct reach {
	struct arena *memory;
	struct reach_host any;   /* routes without a host */
	struct names hosts;      /* of struct reach_host */
	struct reach_host *list; /* all hosts */
};

/* Returns the first earlier route that matches requests of `route`, if earlier ones match all of
 * them: there is one for each of its hosts. NULL: there is not, and `route` is added. Routes must
 * not move: they are compared by address. A route with an empty path is invalid and is ignored. */
const struct config_route *reach_add(struct reach *r, const struct config_route *route);

void reach_done(struct reach *r);

#endif
