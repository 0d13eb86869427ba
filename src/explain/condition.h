/* Conditions of a route in words. Pure. */
#ifndef SRC_EXPLAIN_CONDITION_H
#define SRC_EXPLAIN_CONDITION_H

#include "route/match.h"

/* "header X-Canary is \"1\"", and in brackets what the request has instead. */
void condition_print(FILE *out, const struct config_condition *c,
		     const struct request_view *v);

#endif
