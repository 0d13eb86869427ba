/* A second try beside the first (retry.h), when that takes longer than most of the route's took
 * lately (latency.h). Only of what is safe and has no body; never to wait in a line, nor of a
 * server that is not asked in better times. */
#ifndef PROXY_HEDGE_H
#define PROXY_HEDGE_H

#include "retry.h"

/* The first try begins: when does it count as slow? */
void hedge_plan(struct retry *t);

/* It is slow. */
void hedge_begin(struct exchange *x);

/* There is a second one: looks whether it has an answer; then it is x->fetch. */
void hedge_step(struct exchange *x);

/* The second one is the one that counts. */
void hedge_promote(struct exchange *x);

void hedge_drop(struct retry *t);

/* An answer that is worth less than waiting for another one. */
bool hedge_rejects(const struct retry *t, int status);

#endif
