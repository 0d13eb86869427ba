/* The keys of the action `join` (joinkeys.c), for its entry in join.c. */
#ifndef STUDY_JOIN_H
#define STUDY_JOIN_H

#include "config/action.h"
#include "study/study.h"

extern const struct section *const join_sections[];

/* See struct config_action. */
void join_read(struct config_reader *r, const struct node *n, struct config_route *route);
void join_print(FILE *out, const struct config *c, const struct config_route *route);

#endif
