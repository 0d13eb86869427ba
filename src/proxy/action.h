/* What a route does with a request. A new action is a case here, its struct in the
 * configuration, and whatever state it needs in the exchange. */
#ifndef PROXY_ACTION_H
#define PROXY_ACTION_H

#include "exchange.h"

/* Starts what view->route says (NULL: nobody wants it), or ends the exchange. */
void action_start(struct exchange *x, const struct request_view *view);

/* The head as it goes to the origin of a proxy action; NULL: no memory. */
struct buf *action_emit_request(struct exchange *x, const struct request_view *view,
				const struct config_proxy *proxy, const struct head *h);

/* What the upstream's `hash` comes to for this request; 0: it has none. */
uint64_t action_hash(const struct generation *g, const struct request_view *view,
		     unsigned upstream);

/* The key of a memcached action, into key[MEMCACHE_KEY_MAX]. False: there is none. */
bool action_key(const struct request_view *view, const struct config_memcached *m, char *key,
		struct slice *result);

/* A fact while a job is in the pool: answers if it has come back. */
void action_cpu_step(struct exchange *x);

/* Lets a job go on without anybody waiting for it. */
void action_abandon_job(struct job **slot);

#endif
