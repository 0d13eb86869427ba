/* What a route does with a request. A new action is a case in action_start(), its struct in the
 * configuration, and the state it needs in the exchange. */
#ifndef PROXY_ACTION_H
#define PROXY_ACTION_H

#include "proxy/exchange.h"

/* Starts the action of view->route (NULL: no route matched, 404). May end the exchange: see
 * x->ended. */
void action_start(struct exchange *x, const struct request_view *view);

/* The request head as sent to the server of a proxy action. The caller owns the reference.
 * NULL: no memory. */
struct buf *action_emit_request(struct exchange *x, const struct request_view *view,
				const struct config_proxy *proxy, const struct head *h);

/* The value of the upstream's `hash` for this request; 0: the upstream has none, or a variable
 * has no value. */
uint64_t action_hash(const struct generation *g, const struct request_view *view,
		     unsigned upstream);

/* Writes the key of a memcached action to key[MEMCACHE_KEY_MAX]. False: no valid key. */
bool action_key(const struct request_view *view, const struct config_memcached *m, char *key,
		struct slice *result);

/* EXCHANGE_BURNING: if the thread has finished the job, sends the response and ends the
 * exchange. */
void action_cpu_step(struct exchange *x);

/* Detaches a job from its exchange; its memory is freed when its thread has returned it. *slot
 * may be NULL, and is NULL afterwards. */
void action_abandon_job(struct job **slot);

#endif
