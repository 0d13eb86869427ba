/* A request as routes, rules and variables see it: made of its head when it was received, and again
 * later of the head that was kept.
 *
 * Owner: the stack frame that looks at the request; valid within the step. It uses the worker's
 * scratch: one view at a time, but a second one of the same request is the same. */
#ifndef PROXY_VIEW_H
#define PROXY_VIEW_H

#include "clienttls.h"
#include "http/kepthead.h"
#include "proxy/exchange.h"
#include "realip.h"

struct exchange_view {
	struct request_view view;
	struct client_tls tls;
	struct realip realip;
};

/* The head that the exchange keeps. NULL: none. */
static inline const struct kept_head *kept_head_of(const struct exchange *x)
{
	return x->kept_head ? (const void *)x->kept_head->data : NULL;
}

/* True: the whole head was kept. */
static inline bool exchange_keeps_all(const struct exchange *x)
{
	return x->kept_head && kept_head_of(x)->whole;
}

/* The view of a head. The route is not set. */
void exchange_view_read(struct exchange_view *v, struct exchange *x,
			const struct head *h);

/* The view of the head that was kept whole, with the exchange's route. */
const struct request_view *exchange_view_restore(struct exchange_view *v,
						 struct exchange *x);

#endif
