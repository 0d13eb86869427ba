/* Tests the further conditions of a route. Pure. */
#ifndef ROUTE_MATCH_H
#define ROUTE_MATCH_H

#include "config/match.h"
#include "route/route.h"

enum match_result {
	MATCH_FAILS,
	MATCH_HOLDS,
	MATCH_UNDECIDED, /* a regular expression gave up (base/pattern.h), or a value is longer than
			    PATTERN_SUBJECT_MAX */
};

/* If a condition fails, the others are not tested. */
enum match_result match_test(const struct config_match *m, const struct request_view *v);

/* The first condition that fails or is undecided; NULL: all hold. */
const struct config_condition *match_failed(const struct config_match *m,
					    const struct request_view *v);

#endif
