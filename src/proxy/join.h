/* Several fetches for one request: an optional check first, then all parts at once, then one JSON
 * response made of them. For demonstration: the action requires `study: true`.
 *
 *   CHECKING ─▶ COLLECTING ─▶ (replied)
 *      └ no session: redirected to the login page
 *
 * The duration is that of the slowest part and not the sum of all.
 *
 * Owner: the exchange. Limits: CONFIG_PARTS_MAX parts; JOIN_PART_BYTES of each body. Errors: a
 * part that fails is reported by its status; a failed check ends the exchange. */
#ifndef PROXY_JOIN_H
#define PROXY_JOIN_H

#include "proxy/exchange.h"

/* Most bytes of one part's body in the JSON; the rest is dropped. */
#define JOIN_PART_BYTES 65536u

struct join;

/* Starts the check, or all parts if there is no check. May end the exchange: see x->ended. */
void join_start(struct exchange *x, const struct request_view *view);

/* Handles the events recorded since the last step. May end the exchange: see its `ended`. j stays
 * valid until exchange_settle() releases it. */
void join_step(struct join *j);

/* Size of a join in bytes, for its slab. */
size_t join_size(void);

/* Frees the join and the fetches still in flight. *slot may be NULL, and is NULL afterwards. */
void join_free(struct join **slot);

#endif
