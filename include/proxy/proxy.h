/* What the deciders of one worker upstream_view, and the front worker_listener of the folder.
 *
 * An exchange is one request and its answer, as the client sees it; a fetch is one question
 * to an origin or a cache, made on behalf of an exchange. Nothing else decides. */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "base/names.h"
#include "base/quota.h"
#include "front/client.h"
#include "http/emit.h"
#include "proxy/access.h"
#include "proxy/generation.h"
#include "proxy/pool.h"

enum ending {
#define ENDING(name, status, proxy_error, text) ENDING_##name,
#include "proxy/ending.def"
#undef ENDING
};

int ending_status(enum ending e);
const char *ending_proxy_error(enum ending e);
const char *ending_text(enum ending e);

struct proxy {
	struct tick *tick;
	struct worker_stats *stats;
	struct front front;
	struct generation *generation; /* that requests begin under */
	uint32_t generations_made;    /* that were made, ever */
	struct list generations;      /* this one, and those that still have users */
	struct list services;         /* of all of them, and those that are closing */
	struct names by_name;         /* those that are not closing */
	struct task sweeper;          /* frees what nobody knows any more */
	struct timer sweep;           /* … what was not idle yet */
	struct access *access;        /* NULL: no access log */
	struct pool *pool;            /* NULL: no route needs it */
	struct quota *descriptor_quota;
	unsigned worker;
	struct timer descriptor_timer; /* until some may have come free */
	void (*evict_elsewhere)(void *owner, uint32_t n); /* … for descriptors; see proxy_options */
	void *owner;
	struct slab exchanges, fetches, retries, joins, jobs;
	struct slab origins;          /* of all upstreams */
	struct slab budgets, latencies; /* of all desks */
	struct head request, response; /* scratch of the step at hand */
	uint64_t date_s;              /* the second that `date` tells */
	char date[EMIT_DATE_MAX];
};

struct proxy_options {
	struct tick *tick;
	struct generation_options generation; /* the first */
	struct worker_stats *stats;
	struct quota *clients, *descriptors;
	struct access *access;
	struct pool *pool;
	unsigned worker; /* whose this is, in registries */
	/* n descriptors are wanted and nothing of this worker is idle: the others should call
	 * proxy_evict(). May be NULL. */
	void (*evict_elsewhere)(void *owner, uint32_t n);
	void *owner;
};

/* Returns 0 or -ENOMEM. */
int proxy_init(struct proxy *p, const struct proxy_options *options);

/* Ends an idle connection to an origin or cache, so that another may be opened; false: none
 * is idle. */
bool proxy_evict(struct proxy *p);

/* Requests begin under this generation from now on; what is in flight stays with its own. */
void proxy_adopt(struct proxy *p, struct generation *g);

/* Lines go there from now on; NULL: no access log. The one before is the caller's again. */
struct access *proxy_change_access(struct proxy *p, struct access *access);

/* What a configured server's name stands for now, and whether one of its addresses is well:
 * by their indices in this configuration. One that is not in force is not meant. False: no
 * memory for all of it; to be called again. */
bool proxy_resolved(struct proxy *p, const struct config *config, unsigned upstream,
		    unsigned server, const struct config_address *addresses, unsigned n);
void proxy_probed(struct proxy *p, const struct config *config, unsigned upstream,
		  unsigned server, const struct config_address *address, bool up);

/* A connection was accepted, where `paths: strict` is written or not. */
void proxy_accepted(struct proxy *p, int fd, const struct peer *peer, bool paths_strict);

/* See front_evict_idle(). */
bool proxy_evict_idle(struct proxy *p);

/* Finishes what is in flight and takes no more requests. */
void proxy_drain(struct proxy *p);

/* The same, but who is connected may ask once more, and only then is told to go elsewhere. */
void proxy_drain_gracefully(struct proxy *p);

/* Cuts off what is left. */
void proxy_close(struct proxy *p);

/* Nothing is left: neither clients nor origins nor links. */
bool proxy_idle(struct proxy *p);
void proxy_done(struct proxy *p);

void proxy_trim(struct proxy *p);

/* The Date field of this second. */
struct slice proxy_date(struct proxy *p);

#endif
