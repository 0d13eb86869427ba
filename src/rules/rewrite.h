/* What other rules need to know of the rule `rewrite`. */
#ifndef RULES_REWRITE_H
#define RULES_REWRITE_H

#include "config/rule.h"

/* The rule puts *add in the place of *strip at the front of a path. Both are empty if the route has
 * no such rule, or one with a pattern or with `replace`, which have no inverse. */
void rewrite_prefixes(const struct config_route *route, struct slice *strip,
		      struct slice *add);

#endif
