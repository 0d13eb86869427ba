/* A whole proxy on one tick of the simulated engine: its listener, its upstreams, and in
 * the same loop scripted clients, origins and a memcached.
 *
 * The origins do what the path of a request says (proxyrig.c has the list); the memcached
 * what the key says. Every exchange that ends writes a line to an access log that the
 * tests read back. */
#ifndef LIB_PROXYRIG_H
#define LIB_PROXYRIG_H

#include "front/listener.h"
#include "lib/simrig.h"
#include "proxy/proxy.h"

#define PROXYRIG_PORT 8080
#define PROXYRIG_ORIGIN 6000    /* and the next ones */
#define PROXYRIG_MEMCACHED 11212
#define PROXYRIG_ORIGINS 3
#define PROXYRIG_UPSTREAMS 8

struct proxyrig {
	struct simrig sim;
	struct config *config;
	struct worker_stats stats;
	struct upstream_stats upstream_stats[PROXYRIG_UPSTREAMS];
	struct registry *registries[PROXYRIG_UPSTREAMS];
	struct upstream_view upstream_views[PROXYRIG_UPSTREAMS];
	struct quota clients, descriptors, lines[PROXYRIG_UPSTREAMS];
	struct access access;
	struct proxy proxy;
	struct listener listener;
	struct host origins[PROXYRIG_ORIGINS], memcached;
	unsigned asked;      /* requests that any origin has read the head of */
	unsigned stale_close; /* and then ended its connection without an answer */
	unsigned ill;        /* so many of the next requests of /again/ are answered as … */
	const char *ill_path; /* … this one is */
	bool paths_strict;
};

struct proxyrig_options {
	uint64_t seed;
	uint32_t buffers;    /* 0: 32 */
	uint32_t clients;    /* 0: 1000 */
	uint32_t descriptors;
	const char *limits;  /* more lines of `limits:`, each indented by two */
	const char *upstream; /* more lines of the upstream "app", indented by four */
	bool nameless;       /* the upstream "nobody" has a name that stands for nothing */
	const char *again;   /* more lines of the route /again/, indented by four */
	bool paths_strict;   /* of the listener: `paths: strict` */
};

void proxyrig_open(struct proxyrig *r, const struct proxyrig_options *o);

/* Drains, ends, and asserts that nothing is left anywhere. */
void proxyrig_close(struct proxyrig *r);

/* The same for what the proxy has, cutting off what is left. */
/* What its servers are held to account for. */
uint64_t proxyrig_failures(const struct proxyrig *r, unsigned upstream);

void proxyrig_end(struct proxyrig *r);

/* What the access log says, and how often it says `text`. */
struct slice proxyrig_log(struct proxyrig *r);
unsigned proxyrig_logged(struct proxyrig *r, const char *text);

/* An answer as a client reads it. */
struct answer {
	int status;
	struct slice head, body; /* the body without its framing */
	bool close;              /* the head says so, or the body ends with the connection */
	char *room;              /* of a body that was chunked */
};

/* Reads the answers that a client has got; bit i of `heads` says that the i-th is to a HEAD.
 * 1xx are left out. Returns how many are whole, and sets *rest to what follows them. */
unsigned answers_read(const struct actor *a, struct answer *answers, unsigned max,
		      uint64_t heads, struct slice *rest);
void answers_free(struct answer *answers, unsigned n);
struct slice answer_field(const struct answer *a, const char *name);

/* The bytes that a body of the origins is made of. */
char proxyrig_pattern(size_t i);

#endif
