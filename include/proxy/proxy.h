/* The proxy of one worker: takes clients' connections and decides what happens to each request.
 *
 * An exchange (exchange.h) is one request and its response, as the client sees them.
 * A fetch (fetch.h) gets the response of an upstream for it, with as many attempts as that takes.
 * This struct holds what all exchanges of the worker share. It decides about its own worker only.
 *
 * Owner: the worker; one thread. Limits: the quotas in proxy_options and the configuration's.
 * Errors: -ENOMEM from proxy_init(); later failures end single exchanges (ending.def). */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "base/exemplar.h"
#include "base/limittable.h"
#include "base/names.h"
#include "base/phases.h"
#include "base/quota.h"
#include "base/random.h"
#include "config/rule.h"
#include "front/client.h"
#include "http/change.h"
#include "http/date.h"
#include "http/forward.h"
#include "proxy/access.h"
#include "proxy/exporter.h"
#include "proxy/generation.h"

#define ACTIONS_MAX 8

enum ending {
#define ENDING(name, status, proxy_error, text) ENDING_##name,
#include "proxy/ending.def"
#undef ENDING
};

/* The columns of ending.def. */
int ending_status(enum ending e);
const char *ending_proxy_error(enum ending e);
const char *ending_text(enum ending e);

struct proxy {
	struct tick *tick;
	struct worker_stats *stats;
	struct front front;
	struct http2_thread http2;
	struct generation *generation; /* the current one: new requests begin under it */
	struct list generations;       /* the current one, and older ones that have users */
	struct list services;          /* of all generations, and those that are closing */
	struct names by_name;          /* services that are not closing */
	struct task sweeper;           /* frees unused generations and services */
	struct timer sweep;            /* runs the sweeper again for services not idle yet */
	struct access_set logs;        /* of the configuration of `generation` */
	struct quota *descriptor_quota;
	struct limits *limits;         /* of the process */
	struct phase_table *route_phases; /* likewise; NULL: nothing is counted by route */
	unsigned worker;               /* see proxy_options */
	struct timer descriptor_timer; /* retries connects that lacked a descriptor */
	void (*evict_elsewhere)(void *owner, uint32_t n); /* see proxy_options */
	void *owner;
	struct slab exchanges, fetches, attempts, retries, values, records;
	struct random random;          /* of ids */
	struct exporter exporter;      /* of spans */
	struct exemplars exemplars;    /* of stats->request_seconds: `tracing.exemplars` */
	struct slab works[ACTIONS_MAX]; /* of the actions that have work: see action.h */
	struct slab rules;              /* struct rules_at_work */
	struct list verifications;      /* of passwords, in progress: rules/basicauth.c */
	struct limit_sharing {
		struct tls_digester *digester; /* NULL: not used yet */
		uint64_t logged_ms;            /* the last line; 0: none */
		uint32_t skipped;              /* failures since then without one */
	} limit_sharing; /* rules/sharedrate.h */
	struct list mirrors;            /* requests that are mirrored: rules/mirror.h */
	struct slab rule_works[RULES_MAX]; /* of the rules that have work: see rule.h */
	struct slab origins;            /* of all upstreams */
	struct slab budgets, latencies; /* of all retry states */
	struct head request, response;  /* scratch, valid during one step */
	struct field_changes changes;   /* of the head that is written; scratch as well */
	struct handshake_lines {
		uint64_t second;  /* of the last line; 0: none */
		uint32_t skipped; /* failures since then without one */
	} handshake_lines[TLS_FAULTS]; /* handshakelog.h */
	uint64_t date_s;                /* the second that `date` shows */
	char date[DATE_TEXT_MAX];
};

struct proxy_options {
	struct tick *tick;
	struct generation_options generation; /* the first */
	struct worker_stats *stats;
	struct quota *clients, *descriptors;
	struct limits *limits; /* NULL: no route has a rule that limits */
	struct phase_table *route_phases; /* NULL: nothing is counted by route */
	struct access_set logs; /* of the configuration of `generation` */
	unsigned worker; /* index of this worker in registries */
	uint64_t seed;   /* of ids: differs between all workers of all machines */
	/* Called when n descriptors are needed and this worker has no idle connection left to
	 * close: the other workers should call proxy_evict_origin(). May be NULL. */
	void (*evict_elsewhere)(void *owner, uint32_t n);
	void *owner;
};

/* Returns 0 or -ENOMEM. */
int proxy_init(struct proxy *p, const struct proxy_options *options);

/* Closes one idle connection to a server or cache to free its descriptor. False: none is idle. */
bool proxy_evict_origin(struct proxy *p);

/* New requests begin under this generation; exchanges in flight keep theirs. */
void proxy_adopt(struct proxy *p, struct generation *g);

/* Replaces the access logs; right before the generation of their configuration is adopted. The
 * previous ones are the caller's again. */
void proxy_change_logs(struct proxy *p, const struct access_set *logs);

/* Results of the control thread's DNS queries and health checks: a server name's addresses, and
 * whether one of them is up. `upstream` and `server` are indices in `config`; ignored unless that
 * is the current configuration. proxy_resolved() returns false if memory was lacking for some of
 * the addresses: call it again later. */
bool proxy_resolved(struct proxy *p, const struct config *config, unsigned upstream,
		    unsigned server, const struct config_address *addresses, unsigned n);
/* Orders about some servers have changed: see registry_entry. */
void proxy_ordered(struct proxy *p);

void proxy_probed(struct proxy *p, const struct config *config, unsigned upstream,
		  unsigned server, const struct config_address *address, bool up);

/* What the address of a listener says of connections that are accepted there. */
struct accept_settings {
	bool paths_strict;       /* `paths: strict` */
	bool http2; /* clients without TLS may use HTTP/2 */
	struct tls_context *tls; /* NULL: no TLS */
	/* Peers that send a header of the PROXY protocol first; NULL: none do. */
	const struct config_addresses *proxy_protocol;
};

/* Takes over an accepted socket. */
void proxy_accepted(struct proxy *p, int fd, const struct peer *peer,
		    const struct accept_settings *settings);

/* Closes an idle client connection: see front_evict_idle(). */
bool proxy_evict_client(struct proxy *p);

/* Finishes the exchanges in flight and takes no further requests. */
void proxy_drain(struct proxy *p);

/* As proxy_drain(), but an idle connection may send one more request. The next response on each
 * connection says `Connection: close`. */
void proxy_drain_gracefully(struct proxy *p);

/* Aborts the exchanges that are still in flight. */
void proxy_close(struct proxy *p);

/* True: no client, origin connection, cache link, work of an action or unwritten log line is left.
 * For shutdown only: once no client is left, a call closes all services and flushes the access
 * log. */
bool proxy_idle(struct proxy *p);

/* Frees everything. proxy_idle() must be true. */
void proxy_done(struct proxy *p);

/* Returns unused slab memory to the system. */
void proxy_trim(struct proxy *p);

/* The value of the Date field for the current second. Valid until the next call. */
struct slice proxy_date(struct proxy *p);

#endif
