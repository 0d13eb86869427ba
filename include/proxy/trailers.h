/* Trailers that do not go on because of the route's rules: a field that a rule removes or sets must
 * not come back behind the body. */
#ifndef PROXY_TRAILERS_H
#define PROXY_TRAILERS_H

#include <stdbool.h>

struct config_rules;
struct head;
struct log_record;

/* Marks such trailers as hop-by-hop. `rules` and `record` may be NULL. `of_request`: they are those
 * of a request to an upstream, which also gets none that looks like a field of ours. */
void trailers_hide(struct head *trailers, const struct config_rules *rules,
		   const struct log_record *record, bool of_request);

#endif
