/* Shared by proxy.c and generation.c: services, and the end of generations. */
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

/* Each calls the corresponding function of the service's upstream or memcache. */
void service_close(struct service *s);
bool service_idle(const struct service *s);
bool service_evict(struct service *s);
void service_dispatch(struct service *s);
void service_trim(struct service *s);

/* Makes it the current generation: its services follow its configuration. */
void generation_activate(struct generation *g);

/* Frees unused generations and services, and applies the current configuration to services that
 * lacked memory for it. False: something is left; call again later. */
bool generations_sweep(struct proxy *p);

/* Frees all generations and services. All services must be idle. */
void generations_done(struct proxy *p);

#endif
