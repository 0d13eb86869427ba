/* What access logs and histograms have of an exchange: what is kept of its request for them, its
 * record (proxy/logrecord.h), its times, and its line in each log of its route.
 *
 * An exchange that no log wants, and whose configuration asks for nothing else, keeps nothing.
 * Owner: none; the exchange has what is kept. Errors: out of memory. */
#ifndef PROXY_EXCHANGELOG_H
#define PROXY_EXCHANGELOG_H

#include "proxy/exchange.h"

/* Keeps what the logs of the exchange need of its head; of the route, if there is one already.
 * False: no memory. */
bool exchange_keep_for_logs(struct exchange *x, const struct head *h) MUST_USE;

/* Begins the record, if the configuration asks for one, and sets the id in the view. False: no
 * memory. */
bool exchange_begin_record(struct exchange *x, struct request_view *view, bool trusted) MUST_USE;

/* After a step: what has happened in it. */
void exchange_note(struct exchange *x);

/* Adds the times of an exchange that has ended to the histograms of the process and its route. */
void exchange_count(struct exchange *x);

/* Writes the lines of an exchange that has ended, and of a request that there is no exchange of. */
void exchange_log(struct exchange *x, enum ending ending);
void refusal_log(struct proxy *p, const struct peer *peer, const struct relay *r,
		 const char *ending);

#endif
