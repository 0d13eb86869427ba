/* Randomized test of a whole worker: one proxy on the simulated engine, and around it clients,
 * origins and caches with their behaviors and faults, all drawn by one seed, in virtual time.
 * The same seed gives the same run, to the byte and the microsecond.
 *
 * Owner: one run, simworld_run(). Files: simworld.c starts the parts, causes faults and checks
 * limits; simconfig.c, simclient.c, simserver.c, simcounters.c, simrules.c, simmirror.c, simpacer.c
 * and simwatch.c are the parts. A violated rule ends the process (simworld_fail()) with the seed and
 * the time. */
#ifndef LIB_SIMWORLD_H
#define LIB_SIMWORLD_H

#include "config/upstreamtls.h"
#include "front/listener.h"
#include "lib/simcrypto.h"
#include "lib/simmirror.h"
#include "lib/simrig.h"
#include "lib/simrules.h"
#include "lib/simtls.h"
#include "lib/wire.h"
#include "proxy/proxy.h"

#define SIMWORLD_PROXY_PORT 8080
#define SIMWORLD_ORIGIN_PORT 6000 /* and the next ports */
#define SIMWORLD_CACHE_PORT 11212
#define SIMWORLD_AUTH_PORT 9090
#define SIMWORLD_MIRROR_PORT 9191
#define SIMWORLD_UPSTREAMS 3
/* The upstreams by number, then the cache, "spare", which some configurations have, "auth" and
 * "mirror". */
#define SIMWORLD_SERVICES (SIMWORLD_UPSTREAMS + 4)
#define SIMWORLD_SERVERS 2        /* of an upstream, at most */
#define SIMWORLD_MOVED_PORTS 1000 /* from a server's port to its second address's port */
#define SIMWORLD_CLIENTS 40
#define SIMWORLD_REQUESTS 8       /* of a client, at most */
#define SIMWORLD_SOCKETS 4096

/* What an origin does with a request. The order matters: see RESPONSE_FAULTY and below. */
enum origin_response {
	/* A complete response. */
	RESPONSE_LENGTH,
	RESPONSE_CHUNKED,
	RESPONSE_UNTIL_CLOSE,
	RESPONSE_SAYS_CLOSE,    /* Connection: close, and the origin does not close */
	RESPONSE_SLOW,
	RESPONSE_INTERIM,
	RESPONSE_EMPTY,         /* 204 or 304 */
	RESPONSE_EARLY,         /* before the request is complete */
	RESPONSE_BUSY,          /* 503 */
	/* A complete response, and then a fault. */
	RESPONSE_CLOSES_IDLE,
	RESPONSE_UNSOLICITED,   /* another one, while the connection is idle */
	RESPONSE_TWICE,
	RESPONSE_LONGER,        /* more bytes than its length */
	RESPONSE_REJECTS,       /* early, and reads no more */
	/* The response begins and stays incomplete. */
	RESPONSE_SHORT,
	RESPONSE_RESET_BODY,
	RESPONSE_BAD_CHUNK,
	RESPONSE_STALL,
	/* There is no valid response head. */
	RESPONSE_BAD_HEAD,
	RESPONSE_FLOOD,         /* of 1xx */
	RESPONSE_CLOSES,
	RESPONSE_RESETS,
	RESPONSE_HALF_HEAD,
	RESPONSE_SILENT,
	RESPONSE_STOPS_READING,
	RESPONSES,
};
#define RESPONSE_FAULTY RESPONSE_CLOSES_IDLE /* this one and all after it */
#define RESPONSE_INCOMPLETE RESPONSE_SHORT
#define RESPONSE_MISSING RESPONSE_BAD_HEAD

/* What a cache does with a query. */
enum cache_reply {
	REPLY_HIT,
	REPLY_MISS,
	REPLY_SLOW,
	REPLY_FAULTY,
	REPLY_ERROR = REPLY_FAULTY,
	REPLY_BAD,
	REPLY_OTHER_KEY,
	REPLY_CUT,
	REPLY_CLOSES,
	REPLY_SILENT,
	REPLIES,
};

enum request_goal { GOAL_ORIGIN, GOAL_CACHE, GOAL_CACHE_THEN_ORIGIN };

struct sim_request {
	uint32_t id;
	enum request_goal goal;
	unsigned upstream, method, minor;
	enum origin_response response;
	enum origin_response first_response; /* to the first `first_n` times it arrives */
	unsigned first_n;
	enum cache_reply reply;
	unsigned bad_head;      /* 0, or the index of the defect + 1 */
	bool bad_body, chunked, closes, expects;
	bool waits;             /* sends its body after a 100, or a while later */
	bool hop_fields;        /* has fields of its connection that must not be forwarded */
	bool ntlm;              /* its response authenticates the origin's connection */
	unsigned number;        /* of its client */
	uint32_t up_bytes, down_bytes, pad_bytes;
	unsigned heads, complete; /* how often its head, and all of it, reached an origin */
	unsigned cache_queries; /* how often it reached a cache */
	bool after_unsolicited; /* came on a connection on which unsolicited bytes were sent */
	bool first_of_client;
	struct sim_client *client;
	enum simtls_end ending; /* secured, and its client cuts it: how */
	bool paced_up, paced_down; /* it, or its response, is sent by a pacer */
	uint64_t up_got;        /* bytes of its body that its origin has */
	bool up_in_chunk;       /* … and they end inside of a chunk */
	bool answered;          /* its client has the whole response */
	int status;
	struct sim_ruling ruling;
	unsigned mirrored; /* how often all of it has reached the mirror */
};

/* What a client does. */
enum client_behavior {
	BEHAVIOR_GOOD,
	BEHAVIOR_SLOW_READER,
	BEHAVIOR_FIN_AT_END,    /* behind the last request; see half_close */
	BEHAVIOR_FAULTY,        /* this one and all after it */
	BEHAVIOR_CUT_FIN = BEHAVIOR_FAULTY, /* in the middle of a request */
	BEHAVIOR_CUT_RESETS,
	BEHAVIOR_CUT_STALLS,
	BEHAVIOR_RESETS,        /* at any time */
	BEHAVIOR_CLOSES,
	BEHAVIOR_FIN_EARLY,
	BEHAVIORS,
};

/* A growing buffer. */
struct strbuf {
	char *data;
	size_t len, capacity;
};

/* Sends a message element by element, with pauses: see simpacer.c. text.data NULL: unused. */
struct pacer {
	struct simworld *world;
	struct sim_request *request;
	struct sim_peer *peer;  /* the sender */
	enum wire_way way;
	struct strbuf text;     /* the message */
	size_t at;              /* bytes sent */
	bool in_body, chunked;
	unsigned interims;      /* 1xx sent */
	uint64_t body_sent;     /* bytes of the body sent, without framing */
	struct timer timer;
};

struct sim_client {
	struct simworld *world;
	unsigned number, n, sent, answered; /* requests: all, sent, with a whole response */
	unsigned pipeline_depth;
	struct sim_request *requests[SIMWORLD_REQUESTS];
	enum client_behavior behavior;
	unsigned cut_request;   /* number of the request that BEHAVIOR_CUT_… cuts */
	struct sim_peer *peer;
	struct timer start, fault, body;
	struct sim_request *body_held; /* its head was sent, its body waits for a 100 */
	bool in_body;           /* of the current response */
	bool closing;           /* the last head said that the connection ends */
	struct wire wire;
	unsigned interims;      /* 1xx before the current response */
	struct pacer pacer;
	bool fault_done, over;
};

/* What the routes to an upstream say of retries and hedges. */
struct retry_policy {
	unsigned tries;    /* 0: no `retry` */
	bool all_methods, all_conditions, hedged;
	uint32_t body;     /* largest body kept for a retry */
	bool ample_budget;
	unsigned percent, per_second;
};

enum server_mode { SERVER_LISTENS, SERVER_REFUSES, SERVER_NEVER_ACCEPTS };

/* An origin or a cache. */
struct simworld_server {
	struct simworld *world;
	struct sim_server listening;
	enum server_mode mode;
	unsigned upstream, port;
};

/* What goes wrong in this run, or is scarce. */
struct simworld_faults {
	bool scarce;         /* few connections, queue slots, descriptors */
	bool few_buffers;
	bool small_sockets;
	bool faulty_origins, faulty_caches, faulty_clients;
	bool late_segments;  /* some are delayed */
	bool accept_faults;  /* some accepts fail */
	bool drain, memory;  /* a drain at any time; allocations that fail */
	bool same_start;     /* all clients start in the same millisecond */
	bool reloads;        /* the configuration changes again and again */
	bool watched;        /* servers' names change their addresses, servers are probed */
	bool flaps;          /* origins stop listening and listen again */
	bool moves;          /* addresses, health and configuration of servers are set directly */
};

#define SIMWORLD_COUNTERS 1024

struct simworld {
	struct simrig sim;
	uint64_t seed, hash;
	bool verbose;
	struct simworld_faults faults;
	unsigned upstream_n, server_n[SIMWORLD_UPSTREAMS], cache_n;
	uint32_t connections[SIMWORLD_UPSTREAMS], requests_max[SIMWORLD_UPSTREAMS];
	uint32_t links, pipeline;
	struct retry_policy policies[SIMWORLD_UPSTREAMS];
	enum config_reuse reuse[SIMWORLD_UPSTREAMS];
	struct simworld_server servers[SIMWORLD_UPSTREAMS][SIMWORLD_SERVERS];
	struct simworld_server caches[SIMWORLD_SERVERS];
	struct sim_server auth; /* see simrules.c */
	struct sim_server mirror; /* see simmirror.c */
	/* On the servers' second addresses, if `watched`. */
	struct simworld_server moved[SIMWORLD_UPSTREAMS][SIMWORLD_SERVERS];
	struct simworld_watch *watch; /* NULL: not `watched` */
	struct sim_client clients[SIMWORLD_CLIENTS];
	struct sim_request requests[SIMWORLD_CLIENTS * SIMWORLD_REQUESTS];
	unsigned client_n, request_n;
	struct list origin_conns;
	struct timer drain, cut_off, shortage, flap, move, reload;
	struct list live_configs; /* configurations that the proxy may still read */
	unsigned reloads_n;
	bool half_close;    /* routes say `half_close: allow`: a client that sent FIN waits */
	/* By socket: since when its client has sent FIN and is owed nothing; 0: it is not so. */
	uint64_t left_ms[SIMWORLD_SOCKETS];
	uint64_t opened_s;
	bool draining, cut; /* the proxy was told to drain, and then to abort */
	bool has_pacer;     /* one message of this run is sent by a pacer */
	bool closing;       /* the servers were freed */
	bool cache_closed_link; /* see cache_closes_link() */
	unsigned counter_commands; /* that caches have received: simcounters.c */
	struct simworld_counter {
		uint64_t hash, n;
	} counters[SIMWORLD_COUNTERS];
	bool proxied; /* clients come through a proxy that sends a header of the PROXY protocol */
	/* The proxy's clients use TLS, by sessions of `peers`; without cryptography, unless
	 * simworld_has_library(). */
	bool secured;
	struct tls_context *server_context, *client_context;
	/* Bit i: the servers of service i use TLS as well. Reloads change the settings between two
	 * contexts and two names. */
	uint32_t secured_upstreams;
	struct tls_context *other_context;
	struct config_upstream_tls probed; /* of health checks */
	struct tls_thread *peers;
	struct quota handshakes;
	struct worker_stats stats;
	struct upstream_stats upstream_stats[SIMWORLD_SERVICES];
	struct quota queue_quotas[SIMWORLD_SERVICES];
	struct registry *registries[SIMWORLD_SERVICES];
	struct quota client_quota, descriptors;
	struct limits limits;
	struct access access;
	struct proxy proxy;
	struct listener listener;
};

/* simcounters.c: whether a line that a cache has received is about a counter of a shared limit, and
 * the reply to it. False: the connection is not read on. */
bool simworld_is_counter(struct slice line);
bool simworld_counter_reply(struct simworld *w, struct sim_peer *a, struct slice line);

/* One seed in 64: TLS in its run is the library's, with certificates. */
bool simworld_has_library(uint64_t seed);

/* Runs one seed from beginning to end. Returns the hash of all that happened; adds the number
 * of requests to *exchanges. */
uint64_t simworld_run(uint64_t seed, bool verbose, uint64_t *exchanges);

/* ---- simworld.c ------------------------------------------------------------- */

/* A number below n; true once in `one_in`; a number of body bytes. */
uint64_t simworld_draw(struct simworld *w, uint64_t n);
bool simworld_chance(struct simworld *w, unsigned one_in);
uint32_t simworld_draw_size(struct simworld *w);

/* A number below n, always the same for this number. Not drawn: what is drawn does not depend on
 * whether a run has TLS. */
unsigned simworld_choice(const struct simworld *w, uint32_t number, unsigned n);

/* One line with the time, if verbose. */
void simworld_log(struct simworld *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Prints the seed, the time and the message, and aborts the process. */
_Noreturn void simworld_fail(struct simworld *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Add to the run's hash. */
void simworld_hash(struct simworld *w, uint64_t value);
void simworld_hash_bytes(struct simworld *w, struct slice bytes);

/* No fault of this run excuses a missing response to a good request of a good client. */
bool simworld_must_succeed(const struct simworld *w);

const char *sim_request_method(const struct sim_request *r);
bool sim_request_idempotent(const struct sim_request *r);

void strbuf_addf(struct strbuf *x, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Bytes of a body (see wire.h); a chunk of it. */
void strbuf_add_body(struct strbuf *x, uint32_t id, enum wire_way way, uint64_t from, size_t n);
void strbuf_add_chunk(struct strbuf *x, uint32_t id, enum wire_way way, uint64_t from, size_t n,
		      const char *extension);

/* Whether the servers of an upstream, or of another service, use TLS. */
static inline bool simworld_secures(const struct simworld *w, unsigned upstream)
{
	return w->secured_upstreams >> upstream & 1;
}

/* ---- simconfig.c ------------------------------------------------------------ */

/* Draws what reloads do not change: upstreams, limits, retry policies. */
void simworld_draw_upstreams(struct simworld *w);

/* Routes to this upstream may have a rate_limit or a concurrency_limit. */
void simworld_add_key_limits(struct simworld *w, struct strbuf *x, unsigned u);

/* They have. */
bool simworld_limits(const struct simworld *w, unsigned u);

/* Draws a configuration; the caller frees it. */
struct config *simworld_draw_config(struct simworld *w);

/* ---- simwatch.c ------------------------------------------------------------- */

struct simworld_watch *simworld_watch_open(struct simworld *w);
void simworld_watch_stop(struct simworld_watch *m);
bool simworld_watch_idle(const struct simworld_watch *m);
void simworld_watch_free(struct simworld_watch *m);

/* ---- simpacer.c ------------------------------------------------------------- */

/* Decides whether this request, or its response, is sent by a pacer. */
void pacer_choose(struct simworld *w, struct sim_client *c, struct sim_request *r);

/* Takes over the text. */
void pacer_start(struct pacer *p, struct sim_request *r, struct sim_peer *peer,
		 enum wire_way way, struct strbuf *text);
void pacer_stop(struct pacer *p);

/* It has elements left to send. */
static inline bool pacer_active(const struct pacer *p)
{
	return p->text.data && p->at < p->text.len;
}

/* ---- simclient.c ------------------------------------------------------------ */

void sim_client_init(struct sim_client *c, struct simworld *w, unsigned number);

/* Ends the client if its connect failed or its socket was closed: no callback tells of that. */
void sim_client_check_socket(struct sim_client *c);
void sim_client_end(struct sim_client *c);

/* simworld_fail() for a client that still waits at the end of the run. */
_Noreturn void sim_client_fail_stuck(struct sim_client *c);

/* ---- simserver.c ------------------------------------------------------------ */

void simworld_server_open(struct simworld_server *s, struct simworld *w, unsigned upstream,
			  unsigned port, bool cache);
void simworld_servers_close(struct simworld *w);

/* An origin that listens stops listening, and perhaps resets its last connection; one that
 * has stopped listens again. */
void simworld_server_flap(struct simworld_server *s);

#endif
