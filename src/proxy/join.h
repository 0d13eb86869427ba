/* Concurrency within a request: a check first, then several questions at once, then one JSON
 * answer made of all.
 *
 *   CHECKING ─▶ GATHERING ─▶ (answered)
 *      └ no session: sent to the login page
 *
 * The slowest fetch_request decides how long it takes, not their sum. */
#ifndef PROXY_JOIN_H
#define PROXY_JOIN_H

#include "exchange.h"

/* Most bytes of one answer that go into the JSON. */
#define JOIN_PART_BYTES 65536u

struct join;

/* Starts the check, or all parts where there is none. */
void join_start(struct exchange *x, const struct request_view *view);

/* Goes on as far as facts allow; may end the exchange. */
void join_step(struct join *j);

/* Bytes of a join, for its slab. */
size_t join_size(void);

/* Lets go of what is still asked. */
void join_free(struct join **slot);

#endif
