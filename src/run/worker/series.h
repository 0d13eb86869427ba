/* Which series of /metrics exist by route, upstream and server: each has a slot of a table of
 * histograms (base/phases.h), at most limits.metric_series of each kind.
 *
 * A route is named as in the access log: first host and path, with `*` behind a prefix. Of routes
 * with the same name the second is NAME#2, and so on. Its counters belong to its name
 * (route_shared), so they continue after a reload.
 *
 * Owner: the control thread. Limits: names of ROUTE_NAME_MAX bytes, longer ones are cut. Errors:
 * out of memory. */
#ifndef RUN_WORKER_SERIES_H
#define RUN_WORKER_SERIES_H

#include "run/worker/configversion.h"

/* False: no memory. */
bool series_init(struct phase_tables *t, unsigned workers, uint32_t slots);
void series_done(struct phase_tables *t);

/* Takes slots for the routes of a new version, and gives them back. */
bool series_open_routes(struct config_version *version);
void series_close_routes(struct config_version *version);

/* Likewise for an upstream, whose registry has no entry yet. */
void series_open_upstream(struct config_versions *all, struct upstream_shared *shared);
void series_close_upstream(struct config_versions *all, struct upstream_shared *shared);

#endif
