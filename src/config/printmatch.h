/* Prints the conditions of a route, so that they are read again as they are. Pure. */
#ifndef SRC_CONFIG_PRINTMATCH_H
#define SRC_CONFIG_PRINTMATCH_H

#include "config/match.h"

/* The keys of `match`, indented by `depth`. */
void print_match(FILE *out, const struct config_match *m, unsigned depth);

#endif
