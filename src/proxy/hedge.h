/* Hedging: a second attempt in parallel to the first, when the first takes longer than most of the
 * route's recent requests (latency.h). The first good head of a response decides which attempt is
 * used; the fetch ends the other one. If one fails, the other continues.
 *
 * Only for requests with a safe method and no body. A hedge never waits in a queue, and never goes
 * to a backup server. Its cost is limited by a budget.
 *
 * Owner: the decisions here are about a struct retry; the fetch begins and ends the hedge. */
#ifndef PROXY_HEDGE_H
#define PROXY_HEDGE_H

#include "retry.h"

/* At the start of the first attempt: sets r->hedge_due_ms, the time at which it counts as
 * slow; leaves it 0 if the request is not to be hedged or the route's latency is not known yet. */
void hedge_plan(struct retry *r);

/* The attempt is slow. True: a hedge may be begun, and is paid for. Not if the attempt has failed,
 * waits for a connection or for its client, or if budget or servers are lacking. */
bool hedge_permitted(struct retry *r, const struct attempt *a);

/* True: with this status it is better to wait for the other attempt's response. */
bool hedge_rejects(const struct retry *r, int status);

#endif
