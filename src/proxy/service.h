/* What proxy.c and generation.c upstream_view: services, and what is left of generations. */
#ifndef PROXY_SERVICE_H
#define PROXY_SERVICE_H

#include "proxy/proxy.h"

/* ---- proxy.c ---------------------------------------------------------------- */

/* NULL: no memory. */
struct upstream *proxy_open_upstream(struct proxy *p, const struct config *config,
				     const struct config_upstream *u,
				     const struct upstream_view *upstream_view);
struct memcache *proxy_open_memcache(struct proxy *p, const struct config_upstream *u,
				     const struct upstream_view *upstream_view);

/* ---- generation.c ----------------------------------------------------------- */

void service_close(struct service *s);
bool service_idle(const struct service *s);
bool service_evict(struct service *s);
void service_dispatch(struct service *s);
void service_trim(struct service *s);

/* It becomes the current one: its services go by its configuration. */
void generation_activate(struct generation *g);

/* Frees generations that have ended, and services that nobody knows any more; tells once more
 * those that lacked memory to follow the newest. False: something is left for later. */
bool generations_sweep(struct proxy *p);

/* Frees all that is left; all services are idle. */
void generations_done(struct proxy *p);

#endif
