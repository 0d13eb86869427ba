/* Test fixture: a whole proxy (listener, clients, exchanges, upstreams) on one tick of the
 * simulated engine; in the same loop simulated clients, origins and a memcached.
 *
 * Owner: one test. The path of a request says how the origins respond (proxyrig.c has the
 * list), the key says how the memcached replies. Each exchange writes one line to an access
 * log in memory, see proxyrig_log(). Errors are failed assertions. */
#ifndef LIB_PROXYRIG_H
#define LIB_PROXYRIG_H

#include "config/upstreamtls.h"
#include "front/listener.h"
#include "lib/simrig.h"
#include "proxy/proxy.h"

#define PROXYRIG_PORT 8080
#define PROXYRIG_ORIGIN 6000 /* and the next ports */
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
	struct limits limits;
	struct access access;
	struct proxy proxy;
	struct listener listener;
	struct config_upstream_tls tls; /* of all upstreams, with tls_origins */
	struct tls_context *origin_context;
	struct sim_server origins[PROXYRIG_ORIGINS], memcached;
	unsigned requests;    /* whose heads the origins have received */
	unsigned stale_close; /* of them: the origin closed or reset without a response */
	unsigned fail_next; /* the next requests, so many, with a path under /again/ … */
	const char *fail_path; /* … get the response of this path instead */
	/* Counters of shared limits, which the memcached has under the keys that it is asked for. */
	struct proxyrig_counter {
		char key[128];
		uint64_t n;
	} counters[16];
	unsigned counter_n, counter_commands;
	const char *counter_reply; /* to each command about them; NULL: what is right */
	bool counters_silent;      /* no reply */
	struct accept_settings settings; /* of the listener */
	struct config_addresses proxies;     /* settings.proxy_protocol */
	struct ip_range proxies_range;
};

struct proxyrig_options {
	uint64_t seed;
	uint32_t buffers;     /* 0: 32 */
	uint32_t clients;     /* 0: 1000 */
	uint32_t descriptors; /* 0: 1000 */
	const char *limits;   /* more lines of `limits:`, each indented by two */
	const char *upstream; /* more lines of the upstream "app", indented by four */
	bool nameless; /* the server of the upstream "nobody" is a name without address */
	const char *again; /* more lines of the route /again/, indented by four */
	bool paths_strict; /* of the listener: `paths: strict` */
	bool strange_clients; /* clients are not trusted proxies */
	bool tls_origins; /* TLS without cryptography to all servers, also of memcached */
	uint8_t proxy_protocol; /* of the listener: from 127.0.0.0/8 if it is 127; 0: not set */
};

void proxyrig_open(struct proxyrig *r, const struct proxyrig_options *o);

/* proxyrig_end(), frees everything, and asserts that no connection, exchange, socket or
 * buffer is left. */
void proxyrig_close(struct proxyrig *r);

/* Only drains the proxy, and after 3 s aborts what is left. */
void proxyrig_end(struct proxyrig *r);

/* The failures that an upstream's servers are charged with. */
uint64_t proxyrig_failures(const struct proxyrig *r, unsigned upstream);

/* The access log so far, and how often `text` occurs in it. */
struct slice proxyrig_log(struct proxyrig *r);
unsigned proxyrig_logged(struct proxyrig *r, const char *text);

/* A response as a client reads it. */
struct client_response {
	int status;
	struct slice head, body; /* the body without its framing */
	bool close;              /* the head says so, or the body ends with the connection */
	char *room;              /* memory of a body that was chunked */
};

/* Parses the responses that a client has received; bit i of `heads` says that the i-th one is
 * to a HEAD. 1xx are left out, except 101. Returns how many are complete, and sets *rest to
 * the bytes after them. */
unsigned client_responses_read(const struct sim_peer *p,
			       struct client_response *responses, unsigned max,
			       uint64_t heads, struct slice *rest);
void client_responses_free(struct client_response *responses, unsigned n);

/* The value of a field; ptr NULL: the response has none. */
struct slice client_response_field(const struct client_response *r, const char *name);

/* Byte i of every body that the origins send. */
char proxyrig_pattern(size_t i);

#endif
