/* A route's action: what is done with the requests that the route matched.
 *
 * Each action is one constant struct. `config_actions` (run/actions.c) lists all of them; nothing
 * else names one. An action decides in two places: start() when a request has been routed, and,
 * if it has work of its own, step() whenever the exchange's task runs.
 *
 *   start() ─▶ exchange_reply(), exchange_fail() …     at once
 *       │  ─▶ exchange_relay(), with a source          the exchange relays the response
 *       └─────▶ action_begin_work(): EXCHANGE_WORKING ─▶ step() … ─▶ exchange_reply() …
 *
 * Owner: none, actions are constant. The work of an action belongs to its exchange, whose release
 * calls drop(); its memory comes from a slab of the worker.
 * Errors: action_begin_work() ends the exchange if memory is lacking. */
#ifndef PROXY_ACTION_H
#define PROXY_ACTION_H

#include "base/check.h"
#include "config/action.h"
#include "proxy/exchange.h"

struct action {
	struct config_action config;
	bool reads_only; /* GET and HEAD; 405 for other methods */

	/* True: the request is not for this action, and goes on to the next route that matches.
	 * The route's `passes_on` is set. NULL: no request goes on before start(). */
	bool (*passes)(const struct request_view *view);
	/* Handles a request. view->route has this action, view and its head are valid for the
	 * call. May end the exchange: see x->ended. */
	void (*start)(struct exchange *x, const struct request_view *view);

	/* Of an action with work: bytes of a work, 0 for other actions. */
	size_t work_bytes;
	/* EXCHANGE_WORKING: handles the events recorded since the last step. May end the
	 * exchange; its work stays valid until drop(). */
	void (*step)(struct exchange *x);
	/* The exchange has ended: gives up x->work, and what it holds. The memory goes back to
	 * action_works(), now or when a thread has returned it. */
	void (*drop)(struct exchange *x);

	/* The queue_timeout of the upstream that the requests of the route wait for. NULL: the
	 * action has no upstream, or several. */
	uint32_t (*queue_timeout_ms)(const struct config *config,
				     const struct config_route *route);

	/* Of an action that needs threads or other things of the process: opens them before the
	 * process starts its workers and its sandbox, closes them after the workers have ended.
	 * Called only with `study: true`. open() returns false if memory or threads are lacking.
	 * Both may be NULL. */
	bool (*open)(void);
	void (*close)(void);
};

/* The action of a route. */
static inline const struct action *action_of(const struct config_route *route)
{
	return CONTAINER(route->action, const struct action, config);
}

/* Starts the action of view->route (NULL: no route matched, 404). May end the exchange: see
 * x->ended. */
void action_start(struct exchange *x, const struct request_view *view);

/* Gives the exchange a zeroed work of its action, x->work, and sets EXCHANGE_WORKING. NULL: no
 * memory, and the exchange has ended. */
void *action_begin_work(struct exchange *x) MUST_USE;

/* The slab that the worker's works of an action come from. */
struct slab *action_works(struct proxy *p, const struct action *a);

/* The slabs of all actions: proxy_init(), proxy_done() and proxy_trim(). */
void action_works_init(struct proxy *p);
void action_works_done(struct proxy *p);
void action_works_trim(struct proxy *p);

/* True: no work is left, also none whose exchange has ended. */
bool action_works_idle(const struct proxy *p);

/* open() and close() of all actions. actions_open(): false, and nothing is open, after an error. */
bool actions_open(void);
void actions_close(void);

/* The request head as sent to the server of a proxy action, with these changes (NULL: none). The
 * caller owns the reference. NULL: no memory. */
struct request_changes; /* proxy/rule.h */
struct buf *action_emit_request(struct exchange *x, const struct request_view *view,
				const struct config_proxy *proxy, const struct head *h,
				const struct request_changes *changes);

/* The hash of a template's value; 0: a variable has no value in this request. */
uint64_t action_hash_of(const struct template *t, const struct request_view *view);

/* By what the upstream chooses the server of this request: the value of its `hash`, or the server
 * that the cookie of its `sticky` names. 0: it has neither, or a variable has no value. */
uint64_t action_hash(const struct generation *g, const struct request_view *view,
		     unsigned upstream);

/* What a new connection to the upstream begins with: a header of the PROXY protocol that states the
 * client of the exchange, if the upstream has `proxy_protocol`; else NULL. The caller owns the
 * reference. False: no memory. */
bool action_preamble(struct exchange *x, unsigned upstream, struct buf **preamble) MUST_USE;

/* Writes the key of a memcached action to key[MEMCACHE_KEY_MAX]. False: no valid key. */
bool action_key(const struct request_view *view, const struct config_memcached *m, char *key,
		struct slice *result);

/* src/proxy: action.c, redirect.c; src/rules: respond.c. */
extern const struct action action_proxy, action_memcached, action_redirect, action_respond;

#endif
