/* What the deciders of one worker share, and the front door of the folder.
 *
 * An exchange is one request and its answer, as the client sees it; a fetch is one question
 * to an origin or a cache, made on behalf of an exchange. Nothing else decides. */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "back/memcache.h"
#include "back/upstream.h"
#include "base/quota.h"
#include "config/config.h"
#include "front/client.h"
#include "http/emit.h"
#include "proxy/access.h"
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
	const struct config *config;
	struct worker_stats *stats;
	struct front front;
	struct upstream **upstreams;  /* by index; NULL for memcached */
	struct memcache **memcaches;  /* by index; NULL for HTTP */
	struct access *access;        /* NULL: no access log */
	struct pool *pool;            /* NULL: no route needs it */
	struct quota *descriptor_quota;
	struct timer descriptors;     /* until some may have come free */
	unsigned evict_next;          /* the upstream that gives way next */
	void (*ask_others)(void *owner, uint32_t n); /* … for descriptors; see proxy_options */
	void *owner;
	struct desk *desk;            /* see desk.h */
	struct slab exchanges, fetches, tries, joins, jobs;
	struct head request, answer;  /* scratch of the step at hand */
	char *path_scratch;           /* limits.request_head bytes, for routing */
	uint64_t date_s;              /* the second that `date` tells */
	char date[EMIT_DATE_MAX];
};

struct proxy_options {
	struct tick *tick;
	const struct config *config;
	struct worker_stats *stats;
	struct upstream_stats *upstream_stats; /* by index */
	struct quota *clients, *descriptors;
	struct access *access;
	struct pool *pool;
	struct quota *lines; /* by upstream: who may wait, process-wide */
	struct roster **rosters; /* by upstream; NULL: each worker for itself */
	unsigned worker;     /* which of them this is */
	/* n descriptors are wanted and nothing of this worker is idle: the others should call
	 * proxy_evict(). May be NULL. */
	void (*ask_others)(void *owner, uint32_t n);
	void *owner;
};

/* Returns 0 or -ENOMEM. */
int proxy_init(struct proxy *p, const struct proxy_options *options);

/* Ends an idle connection to an origin or cache, so that another may be opened; false: none
 * is idle. */
bool proxy_evict(struct proxy *p);

/* A body of so many bytes is more than the configuration allows. */
static inline bool proxy_refuses_body(const struct proxy *p, uint64_t bytes)
{
	return p->config->limits.request_body > 0 && bytes > p->config->limits.request_body;
}

/* A connection was accepted. */
void proxy_accepted(struct proxy *p, int fd, const struct peer *peer);

/* Finishes what is in flight and takes no more requests. */
void proxy_drain(struct proxy *p);

/* Cuts off what is left. */
void proxy_close(struct proxy *p);

/* Nothing is left: neither clients nor origins nor links. */
bool proxy_idle(struct proxy *p);
void proxy_done(struct proxy *p);

void proxy_trim(struct proxy *p);

/* The Date field of this second. */
struct slice proxy_date(struct proxy *p);

#endif
