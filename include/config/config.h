/* The configuration: one file, read whole into one immutable struct.
 *
 * The schema is one table (keys.def): the reader, the defaults, --print and the
 * README's reference come from it. Every error is reported with file, line and
 * column, and with the remedy; reading goes on after an error so that all are seen
 * at once. Names in `servers` are resolved while reading, all together in a bounded time. One
 * that cannot be is an error where that is asked for; else it is told, and the rest is served.
 *
 * Owner: whoever called config_read(); all threads may read it. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/ip.h"
#include "base/slice.h"
#include "config/template.h"

#define CONFIG_ADDRESSES_MAX 1024 /* of one server name */
#define CONFIG_FILE_BYTES_MAX ((size_t)64 << 20)
#define CONFIG_LISTENS_MAX 64
#define CONFIG_UPSTREAMS_MAX 20000
#define CONFIG_SERVERS_MAX 4096 /* of one upstream */
#define CONFIG_ROUTES_MAX 100000
#define CONFIG_NAME_MAX 64

/* The one of IPv6 may be missing, where the kernel has none. */
enum config_half { CONFIG_WHOLE, CONFIG_HALF_IPV4, CONFIG_HALF_IPV6 };

struct config_address {
	const char *text; /* as written */
	struct sockaddr_storage sa;
	socklen_t len;
	uint16_t weight; /* of a server of a service (SRV), multiplies that of the name; 0: 1 */
	uint8_t half;    /* of "listen: PORT", which is both families: enum config_half */
	bool paths_strict; /* of `listen`: see path_is_unambiguous() */
};

/* Who may connect to a unix socket that is listened on: as written ("": not said), and what that
 * stands for. */
#define CONFIG_RIGHTS_KEEP UINT32_MAX /* as it comes */
struct config_rights {
	const struct config_address *address;
	const char *mode, *owner, *group;
	uint32_t bits, uid, gid;
	bool paths_strict; /* as written beside them; see config_address */
};

enum config_engine { CONFIG_ENGINE_AUTO, CONFIG_ENGINE_IO_URING, CONFIG_ENGINE_EPOLL };
enum config_log { CONFIG_LOG_OFF, CONFIG_LOG_COMBINED, CONFIG_LOG_JSON };
enum config_protocol { CONFIG_HTTP, CONFIG_MEMCACHED };
enum config_balance {
	CONFIG_ROUND_ROBIN,
	CONFIG_LEAST_CONNECTIONS,
	CONFIG_RANDOM,
	CONFIG_HASH,
};
/* Which requests may go out on a connection that was used before. */
enum config_reuse {
	CONFIG_REUSE_NEVER,
	CONFIG_REUSE_SAFE, /* all but the first of a client's connection, if not idempotent */
	CONFIG_REUSE_ALWAYS,
};
enum config_eject_on {
	CONFIG_EJECT_ON_CONNECTION, /* not opened, broken, or too late */
	CONFIG_EJECT_ON_GATEWAY,    /* and 502, 503, 504 */
	CONFIG_EJECT_ON_SERVER_ERROR, /* and any 5xx */
};

struct config_server {
	const char *name;    /* its `name`, else the address as written */
	const char *address; /* as written, "host:port" */
	const char *host;    /* to be resolved again; NULL: nothing of it can change */
	bool srv;            /* it is the name of a service, whose servers have their ports */
	uint16_t port;       /* of `host` */
	unsigned weight;     /* 1 … 1000 */
	bool backup;         /* asked when no other is well */
	bool unresolved;     /* its name could not be: `addresses` are what it stood for before */
	unsigned address_n;  /* >= 1, unless it is unresolved */
	struct config_address *addresses;
};

enum config_health_type {
	CONFIG_HEALTH_AUTO, /* never in what was read: it stands for one of the others */
	CONFIG_HEALTH_HTTP,
	CONFIG_HEALTH_TCP,
	CONFIG_HEALTH_MEMCACHED,
};

#define CONFIG_STATUSES_MAX 8
struct config_statuses {
	uint16_t first, last;
};

/* How its servers are asked whether they are well. */
struct config_health {
	bool on;
	enum config_health_type type;
	struct slice path;   /* HTTP */
	struct slice host;   /* HTTP; empty: the server as written */
	const char *status;  /* HTTP, as written: "200-299,404" */
	unsigned status_n;
	struct config_statuses statuses[CONFIG_STATUSES_MAX];
	uint32_t port;       /* 0: the server's own */
	uint32_t interval_ms;
	uint32_t jitter;     /* percent of the interval, more or less */
	uint32_t timeout_ms; /* for all of a probe */
	uint32_t rise, fall; /* results in a row that bring it up, or down */
};

struct config_upstream {
	const char *name;
	unsigned index; /* in config.upstreams */
	enum config_protocol protocol;
	unsigned server_n;
	struct config_server *servers;
	struct config_health health;
	/* HTTP */
	bool forwarded;     /* Forwarded (RFC 7239) is written */
	struct slice via;   /* our name in Via; empty: none is written */
	enum config_balance balance;
	struct template hash; /* of CONFIG_HASH: by what */
	uint8_t lenient;      /* what its responses are forgiven: http/lenient.h */
	uint32_t hash_balance_factor;   /* percent of its share of what is under way that a server takes at
				 most; 0: any */
	uint32_t slow_start_ms; /* until a server that came has its full weight */
	uint32_t connect_timeout_ms;
	uint32_t response_timeout_ms; /* from the end of the request to the head of the
					 answer, and between two reads of its body */
	uint32_t keepalive;           /* idle connections kept per worker and server */
	uint32_t idle_timeout_ms;     /* of one that is idle */
	enum config_reuse reuse;
	uint32_t connections; /* most per worker and server; 0: no limit of its own */
	uint32_t requests;    /* most at once per server, of all workers; 0: no limit */
	enum config_eject_on eject_on; /* what is a failure */
	uint32_t eject_failures; /* so many in a row eject a server; 0: never */
	uint32_t eject_rate;  /* so many percent do; 0: never */
	uint32_t eject_time_ms; /* the first time */
	uint32_t eject_max_percent; /* percent of the servers that may be ejected */
	uint32_t queue;       /* requests that may wait for a connection, per process */
	uint32_t queue_timeout_ms;
	/* memcached (keepalive, queue and queue_timeout as well, for links and calls) */
	uint32_t timeout_ms;
	uint32_t pipeline;  /* most calls in flight on one link */
	uint32_t links;     /* most links per worker and server */
	uint64_t value_max; /* bytes; a longer value is read off and answered 503 */
};

enum config_action {
	CONFIG_PROXY,
	CONFIG_MEMCACHED_GET,
	CONFIG_BLOCK, /* study */
	CONFIG_CPU,   /* study */
	CONFIG_JOIN,  /* study */
};

struct config_proxy {
	unsigned upstream;
	struct slice path; /* replaces the path; empty: as received */
	struct slice host; /* replaces Host; empty: as received */
};

struct config_memcached {
	unsigned upstream;
	struct template key;
	struct slice content_type; /* empty: none */
	bool meta;                 /* command: mg */
	bool miss_next;            /* miss: next */
};

struct config_block {
	const struct config_address *address;
	struct slice host, path; /* of the url */
};

struct config_cpu {
	uint32_t ms; /* 1 … 10,000; ?ms= overrides up to ms_max */
	uint32_t ms_max;
	bool on_pool;
};

/* check, then all parts at once, then one JSON answer made of them. */
#define CONFIG_PARTS_MAX 8
struct config_part {
	const char *name; /* its member in the JSON answer */
	bool is_memcached;
	struct config_memcached memcached;
	struct config_proxy proxy;
};

struct config_join {
	struct config_part *check; /* always memcached; a miss fails it; NULL: none */
	struct slice login;        /* where a failed check redirects to */
	unsigned part_n;
	struct config_part *parts;
};

/* How much more traffic than was asked for may reach an upstream; see proxy/budget.h. */
struct config_budget {
	uint32_t percent;    /* of the requests that the route was asked */
	uint32_t per_second; /* and worker: always allowed */
};

/* On what a request is sent again: bits of config_retry.on. */
enum config_retry_on {
#define RETRY_ON(name, word, status) CONFIG_RETRY_##name,
#include "config/retry.def"
#undef RETRY_ON
	CONFIG_RETRY_CONDITIONS,
};

/* The word for it, and its status: 0 if it is none. */
const char *config_retry_word(enum config_retry_on on);
int config_retry_status(enum config_retry_on on);

struct config_retry {
	uint32_t on;                 /* bits: 1 << enum config_retry_on */
	uint32_t tries;              /* all in all */
	uint32_t per_try_timeout_ms; /* 0: none */
	bool all_methods;
	struct config_budget budget;
	uint32_t body;               /* most bytes of a body that are kept to be sent again */
	uint32_t backoff_ms;
};

struct config_hedge {
	unsigned index; /* among all of the file */
	uint32_t percentile;
	struct config_budget budget;
};

struct config_route {
	struct slice path; /* exact or prefix; in normal form (http/path.h) */
	bool prefix;
	struct slice host; /* in normal form (http/host.h); empty: any */
	unsigned line;     /* where it stands in the file */
	bool half_close;   /* a client that has sent FIN is still answered */
	/* Of CONFIG_PROXY: */
	uint32_t deadline_ms;             /* 0: none */
	const struct config_retry *retry; /* NULL: no */
	const struct config_hedge *hedge; /* NULL: no */
	enum config_action action;
	union {
		struct config_proxy proxy;
		struct config_memcached memcached;
		struct config_block block;
		struct config_cpu cpu;
		struct config_join join;
	};
};

enum config_family { CONFIG_FAMILY_ANY, CONFIG_FAMILY_IPV4, CONFIG_FAMILY_IPV6 };

/* Who is asked what the names of servers stand for, and when again. */
#define CONFIG_NAMESERVERS_MAX 8
struct config_resolver {
	bool off;            /* names are resolved when the file is read, and not again */
	bool strict;         /* one that cannot be is an error in the file */
	const char *servers; /* "127.0.0.1:53,[::1]:53"; NULL: those of the system */
	uint32_t ttl_min_ms; /* an answer holds so long at least, */
	uint32_t ttl_max_ms; /* and at most */
	enum config_family family;
};

/* Peers whose word on who asks is taken: see http/forwarding.h. */
struct config_trust {
	bool unix_sockets;   /* who comes by a unix socket */
	unsigned range_n;
	struct ip_range *ranges; /* sorted */
	unsigned text_n;
	const char **texts;  /* as written */
};

/* Of the process, unless the name says otherwise. */
struct config_limits {
	uint32_t
		connections; /* client connections; 0: (descriptor limit - reserve) / 2 */
	uint32_t request_head; /* bytes; of an answer's head as well */
	uint32_t headers;
	uint64_t request_body; /* bytes; 0: any */
	uint32_t window;       /* bytes held per exchange and direction */
	uint64_t buffers;      /* bytes of receive buffers */
	uint32_t backlog;
	uint32_t header_timeout_ms;
	uint32_t idle_timeout_ms;    /* keep-alive, tunnels */
	uint32_t send_timeout_ms;    /* without the peer taking a byte */
	uint32_t receive_timeout_ms; /* without a byte of a request body */
	uint32_t drain_timeout_ms;
	uint32_t upgrade_timeout_ms;
};

struct config {
	const char *file;
	unsigned workers; /* 0: auto */
	enum config_engine engine;
	unsigned listen_n;
	struct config_address *listens;
	unsigned rights_n;
	struct config_rights *rights; /* of those addresses that have some */
	bool has_admin;
	struct config_address admin;
	bool has_control;
	struct config_address control; /* a path */
	enum config_log log_format;
	const char *log_path; /* "-": standard output */
	const char *user, *group; /* as written; group may be empty */
	uid_t uid;                /* what they stand for */
	gid_t gid;
	bool sandbox;
	bool study;
	struct config_resolver resolver;
	struct config_trust trust;
	unsigned upstream_n;
	struct config_upstream *upstreams;
	unsigned hedge_n; /* routes that have one */
	unsigned route_n;
	struct config_route *routes;
	struct config_limits limits;
	struct slice snapshot; /* what config_read_snapshot() takes, of malloc(); empty: not kept */
	void *memory; /* private: everything above lives there */
};

/* Reads and checks a file; root refuses one that everybody may write. Errors go to `errors` as
 * "FILE:LINE:COLUMN: what is wrong; what to write", one a line. Returns NULL if there
 * was any. */
struct config *config_read(const char *file, FILE *errors);

/* With what else is to be taken into account. */
struct config_options {
	bool strict;        /* a name that cannot be resolved is an error, whatever the file says */
	struct slice
		known_addresses; /* what names stood for before, for those that cannot be: as
			       config_write_addresses() wrote it */
};
struct config *config_read_with(const char *file, const struct config_options *how,
				FILE *errors);

/* Writes what names of servers stand for, "HOST:PORT WEIGHT ADDRESS:PORT" each; a name that
 * several upstreams have is there once. */
void config_write_addresses(const struct config *c, FILE *out);

/* The same from memory; `file` is the name used in errors. */
struct config *config_read_text(const char *file, struct slice text, FILE *errors);

/* The same once more from what was read and looked up for it (config->snapshot): opens no file
 * and asks nobody. Keeps no snapshot: see config_keep_snapshot(). */
struct config *config_read_snapshot(struct slice snapshot, FILE *errors);

/* Those of an address of this configuration; NULL: none. */
const struct config_rights *config_rights_of(const struct config *c,
					     const struct config_address *a);

/* The file was "-". */
bool config_is_from_input(const struct config *c);

/* The text of the file, as it was read. */
struct slice config_source(const struct config *c);

/* A copy of the snapshot that it was read from, to be handed on. */
void config_keep_snapshot(struct config *c, struct slice snapshot);

/* Writes a line for each key that differs and that only a restart changes; returns how many. */
unsigned config_restart_needed(const struct config *running, const struct config *wanted,
			       FILE *out);

void config_free(struct config *c);

/* Writes the effective configuration, all defaults filled in, as YAML that
 * config_read() would read to the same. */
void config_print(const struct config *c, FILE *out);

/* Writes the reference as Markdown: a table of all keys, one of all variables. */
void config_reference(FILE *out);

#endif
