/* Hedging: a second attempt in parallel to the first (retry.h), when the first takes longer than
 * most of the route's recent requests (latency.h).
 *
 * Only for requests with a safe method and no body. A hedge never waits in a queue, and never goes
 * to a backup server. Its cost is limited by a budget.
 *
 * Owner: the retry, as r->hedge. */
#ifndef PROXY_HEDGE_H
#define PROXY_HEDGE_H

#include "retry.h"

/* At the start of the first attempt: sets r->hedge_due_ms, the time at which it counts as
 * slow; leaves it 0 if the request is not to be hedged or the route's latency is not known yet. */
void hedge_plan(struct retry *r);

/* The first attempt is slow: starts the hedge. Not if the first attempt waits for a connection or
 * for its client, or if budget, servers or memory are lacking. */
void hedge_begin(struct exchange *x);

/* Reads the hedge's responses. A good final head makes it x->fetch. Frees a failed hedge. */
void hedge_step(struct exchange *x);

/* Frees x->fetch and puts the hedge in its place. */
void hedge_promote(struct exchange *x);

/* Frees the hedge, if there is one, and counts its attempts. */
void hedge_drop(struct retry *r);

/* True: with this status it is better to wait for the other attempt's response. */
bool hedge_rejects(const struct retry *r, int status);

#endif
