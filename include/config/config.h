/* The configuration: one YAML file, read into one immutable struct.
 *
 * The schema is one table (keys.def): the parser, the defaults, --print and the reference in
 * docs/configuration.md are generated from it. Names in `servers` are resolved while reading, all
 * together, within 5 s (lookups.c).
 * Owner: the caller of config_read(), which frees it with config_free(). All threads may read it.
 * Limits: the CONFIG_*_MAX below.
 * Errors: reported with file, line, column and remedy; reading continues after an error, so that
 * all are reported at once. A name that cannot be resolved is an error if `strict` says so, and
 * otherwise a warning. */
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
#include "config/routeindex.h"
#include "config/template.h"

#define CONFIG_ADDRESSES_MAX 1024 /* per server name */
#define CONFIG_FILE_BYTES_MAX ((size_t)64 << 20)
#define CONFIG_LISTENS_MAX 64
#define CONFIG_UPSTREAMS_MAX 20000
#define CONFIG_SERVERS_MAX 4096 /* per upstream */
#define CONFIG_ROUTES_MAX 100000
#define CONFIG_HOSTS_MAX 10000 /* per route; of all: ROUTE_INDEX_KEYS_MAX */
#define CONFIG_NAME_MAX 64 /* bytes of a name, with the NUL */
#define CONFIG_TLS_NAME_MAX 256 /* of a name in a certificate, with the NUL: DIAL_NAME_MAX + 1 */

/* `listen: PORT` opens two sockets, one per address family. That of IPv6 may fail to open, if the
 * kernel has no IPv6. */
enum config_half { CONFIG_WHOLE, CONFIG_HALF_IPV4, CONFIG_HALF_IPV6 };

struct config_addresses;

struct config_address {
	const char *text; /* as written */
	struct sockaddr_storage sa;
	socklen_t len;
	/* from an SRV record, multiplies that of the server; 0: none, as 1 */
	uint16_t weight;
	uint8_t half;      /* enum config_half */
	bool paths_strict; /* of `listen`: see path_is_unambiguous() */
	bool http1, http2; /* of `listen`: versions that clients may use */
	/* of `listen`: peers that begin with a header of the PROXY protocol; NULL: none do */
	const struct config_addresses *proxy_protocol;
};

/* Permissions of a unix socket to listen on: the texts as written ("": not set), and their
 * values. */
#define CONFIG_RIGHTS_KEEP UINT32_MAX /* not set: leave it unchanged */
struct config_rights {
	const struct config_address *address;
	const char *mode, *owner, *group;
	uint32_t bits, uid, gid;
	bool paths_strict; /* of the same map; copied to config_address */
};

enum config_affinity { CONFIG_AFFINITY_OFF, CONFIG_AFFINITY_PIN, CONFIG_AFFINITY_STEER };
enum config_engine { CONFIG_ENGINE_AUTO, CONFIG_ENGINE_IO_URING, CONFIG_ENGINE_EPOLL };
enum config_log { CONFIG_LOG_OFF, CONFIG_LOG_COMBINED, CONFIG_LOG_JSON, CONFIG_LOG_TEMPLATE };

#define CONFIG_LOGS_MAX 8 /* sets of logs are bits of a uint8_t */
#define CONFIG_SAMPLE_ALL 1000000u

enum config_log_target { CONFIG_LOG_FILE, CONFIG_LOG_SYSLOG, CONFIG_LOG_JOURNALD };

struct config_access_log {
	const char *name; /* for routes; empty: none */
	enum config_log_target target;
	const char *path; /* a file; "-": standard output */
	const struct config_address *address; /* of syslog or journald */
	enum config_log format;
	struct template template; /* of CONFIG_LOG_TEMPLATE */
	bool all_routes;          /* also of routes that name no log */
	bool errors_only;
	uint32_t slower_than_ms;
	uint32_t sample;          /* of CONFIG_SAMPLE_ALL requests */
	unsigned facility;        /* of syslog (RFC 5424 6.2.1) and journald */
	const char *tag;          /* likewise: APP-NAME, SYSLOG_IDENTIFIER */
};

#define CONFIG_ERROR_LOGS_MAX 4

/* An output of the error log. `level` and `format` are those of base/errorlog.h, from 0. */
struct config_error_log {
	enum config_log_target target;
	const char *path; /* a file; "-": standard error */
	const struct config_address *address; /* of syslog or journald */
	unsigned level, format;
	uint32_t rate;     /* lines of each kind of event in ERRORLOG_WINDOW_MS; 0: all */
	unsigned facility; /* of syslog and journald */
	const char *tag;   /* likewise */
};
enum config_protocol { CONFIG_HTTP, CONFIG_MEMCACHED };
enum config_proxy_protocol { CONFIG_PROXY_OFF, CONFIG_PROXY_V1, CONFIG_PROXY_V2 };
enum config_balance {
	CONFIG_ROUND_ROBIN,
	CONFIG_LEAST_CONNECTIONS,
	CONFIG_RANDOM,
	CONFIG_HASH,
};
/* Which requests may use a kept-alive connection. */
enum config_reuse {
	CONFIG_REUSE_NEVER,
	CONFIG_REUSE_SAFE, /* all but a non-idempotent first request of a client connection */
	CONFIG_REUSE_ALWAYS,
};
enum config_eject_on {
	CONFIG_EJECT_ON_CONNECTION,   /* not opened, closed early, or timed out */
	CONFIG_EJECT_ON_GATEWAY,      /* also 502, 503, 504 */
	CONFIG_EJECT_ON_SERVER_ERROR, /* also all other 5xx */
};

struct config_server {
	const char *name;    /* `name`; default: the address as written */
	const char *address; /* as written, "host:port" */
	const char *host; /* name to resolve again at run time; NULL: fixed addresses */
	bool srv;         /* `host` has SRV records, which contain the ports */
	uint16_t port;    /* of `host`, unless srv */
	unsigned weight;     /* 1 … 1000 */
	bool backup;         /* used only if no other server is healthy */
	const char *tls_name; /* that its certificate must have; NULL: no TLS, or not verified
				 and not known */
	bool unresolved; /* the lookup failed: `addresses` are the known ones, or none */
	unsigned address_n; /* >= 1, unless unresolved */
	struct config_address *addresses;
};

enum config_health_type {
	CONFIG_HEALTH_AUTO, /* while reading only: replaced by one of the others */
	CONFIG_HEALTH_HTTP,
	CONFIG_HEALTH_TCP,
	CONFIG_HEALTH_MEMCACHED,
};

#define CONFIG_STATUSES_MAX 8
struct config_statuses {
	uint16_t first, last;
};

/* Active health checks of an upstream. */
struct config_health {
	bool on;
	enum config_health_type type;
	struct slice path;   /* HTTP */
	struct slice host;   /* HTTP; empty: the server address as written */
	const char *status;  /* HTTP, as written: "200-299,404" */
	unsigned status_n;
	struct config_statuses statuses[CONFIG_STATUSES_MAX];
	uint32_t port; /* 0: the port of the server */
	uint32_t interval_ms;
	uint32_t jitter;     /* percent of the interval, more or less */
	uint32_t timeout_ms; /* of a whole check */
	uint32_t rise, fall; /* consecutive results that mark a server up, or down */
};

/* A cookie that fairlead sets, so that a client stays with its server (`sticky`). */
#define CONFIG_COOKIE_MAX 64 /* bytes of its name */
#define CONFIG_COOKIE_PATH_MAX 256
enum config_same_site {
	CONFIG_SAME_SITE_LAX,
	CONFIG_SAME_SITE_STRICT,
	CONFIG_SAME_SITE_NONE,
};
struct config_sticky {
	bool on;
	const char *cookie;
	struct slice path;
	enum config_same_site same_site;
	uint64_t max_age_ms; /* 0: until the browser ends */
	const char *key;     /* as written; empty: made at the start */
	/* What the values of the cookie derive from: of `key` and the upstream's name. */
	uint8_t secret[32];
};

struct config_upstream {
	const char *name;
	unsigned index; /* in config.upstreams */
	enum config_protocol protocol;
	unsigned server_n;
	struct config_server *servers;
	struct config_health health;
	struct config_upstream_tls *tls; /* config/upstreamtls.h; NULL: no TLS */
	/* HTTP */
	struct config_sticky sticky;
	bool forwarded;     /* Forwarded (RFC 7239) is written */
	struct slice via;   /* name in Via; empty: no Via */
	enum config_balance balance;
	struct template hash; /* of CONFIG_HASH: the hash key */
	uint8_t lenient;      /* accepted protocol violations: bits of http/lenient.h */
	/* percent of its share of requests in flight that a server gets at most; 0: off */
	uint32_t hash_balance_factor;
	uint32_t slow_start_ms; /* 0: off */
	uint32_t connect_timeout_ms;
	/* from the end of the request to the response head, and between two reads of the body */
	uint32_t response_timeout_ms;
	uint32_t keepalive;           /* idle connections kept per worker and server */
	uint32_t idle_timeout_ms;     /* of an idle connection */
	enum config_reuse reuse;
	/* Each connection begins with a header, and is for one client connection. */
	enum config_proxy_protocol proxy_protocol;
	uint32_t connections; /* maximum per worker and server; 0: no limit of its own */
	uint32_t requests; /* maximum in flight per server, of all workers; 0: no limit */
	enum config_eject_on eject_on; /* what counts as a failure */
	uint32_t eject_failures;    /* consecutive failures that eject a server; 0: off */
	uint32_t eject_rate;        /* percent of failures that ejects a server; 0: off */
	uint32_t eject_time_ms;     /* of the first ejection */
	uint32_t eject_max_percent; /* of the servers that may be ejected at once */
	uint32_t queue;       /* requests that may wait for a connection, per process */
	uint32_t queue_timeout_ms;
	/* memcached; keepalive, queue and queue_timeout apply too */
	uint32_t timeout_ms;
	uint32_t pipeline; /* maximum requests in flight per connection */
	uint32_t links;    /* maximum connections per worker and server */
	/* bytes; a larger value is discarded, and the response is 503 */
	uint64_t value_max;
};

/* The name by which a server is found, and keys are mapped to it. Of memcached "host:11211" loses
 * the port, as in lists of servers that other ketama clients of the same memcached have. */
struct slice config_server_name(const struct config_server *s,
				enum config_protocol protocol);

struct config_action; /* config/action.h */
struct config_tls;    /* config/tls.h */
struct config_file;   /* config/tls.h */
struct config_pair;   /* config/tls.h */

/* Requests are divided between upstreams (`split`). */
#define CONFIG_SPLIT_MAX 16
struct config_split_part {
	unsigned upstream;
	uint32_t weight;
};

struct config_split {
	unsigned part_n;
	struct config_split_part *parts;
	uint32_t weights;   /* their sum, > 0 */
	struct template by; /* requests with the same value have the same part; empty: not set */
};

/* The options of the actions `proxy` and `memcached`. */
struct config_proxy {
	unsigned upstream; /* with `split`: the first one */
	const struct config_split *split; /* NULL: all requests go to `upstream` */
	const char *split_cookie;         /* keeps clients on their part; empty: none */
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

/* Limit of the requests that retries or hedging add; see proxy/budget.h. */
struct config_budget {
	uint32_t percent;    /* of the recent requests */
	uint32_t per_second; /* per second and worker: always allowed */
};

/* Conditions of a retry: bit numbers of config_retry.on. */
enum config_retry_on {
#define RETRY_ON(name, word, status) CONFIG_RETRY_##name,
#include "config/retry.def"
#undef RETRY_ON
	CONFIG_RETRY_CONDITIONS,
};

/* The word of a condition in the file, and its response status; 0: it is not a status. */
const char *config_retry_word(enum config_retry_on on);
int config_retry_status(enum config_retry_on on);

struct config_retry {
	uint32_t on;                 /* bits: 1 << enum config_retry_on */
	uint32_t tries;              /* maximum attempts, with the first */
	uint32_t per_try_timeout_ms; /* 0: none */
	bool all_methods;
	struct config_budget budget;
	uint32_t body; /* largest body that is buffered for a retry, in bytes */
	uint32_t backoff_ms;
};

struct config_hedge {
	unsigned index; /* of this hedge among all of the file */
	uint32_t percentile;
	struct config_budget budget;
};

#define CONFIG_TIMEOUT_MAX 86400000u
#define CONFIG_TIMEOUT_NONE (CONFIG_TIMEOUT_MAX + 1) /* `none`, of a route */
#define CONFIG_BODY_MAX (UINT64_C(1) << 50)
#define CONFIG_RATE_MAX 1073741824u
struct config_match;   /* config/match.h */
struct config_pattern; /* config/match.h */

struct config_rules; /* config/rule.h */

struct config_route {
	struct slice path; /* exact or prefix; in normal form (http/path.h) */
	bool prefix;
	/* In normal form (http/host.h); "*.example.org" is ".example.org"; none: any host. */
	const struct slice *hosts;
	unsigned host_n;
	unsigned line;     /* in the file */
	const char *file;  /* that it is in, by `include`; NULL: the configuration file */
	const struct config_match *match; /* further conditions; NULL: none */
	uint8_t logs;      /* access logs: bit i is config.logs[i] */
	bool half_close;   /* a client that has sent FIN still gets its response */
	bool passes_on;    /* the action may pass a request on to later routes */
	const struct config_action *action;
	union {
		const void *options; /* of the action: what its read() made */
		const struct config_proxy *proxy;
		const struct config_memcached *memcached;
	};
	struct config_rules *rules; /* NULL: none */
	struct slice allow; /* methods of the route, for Allow; empty: those of the action */
	uint32_t send_timeout_ms, min_send_rate; /* see config_send_timeout_ms() */
	/* Of actions that have a policy: */
	uint64_t body_max;            /* see config_body_max() */
	uint32_t response_timeout_ms; /* 0: that of the upstream; or CONFIG_TIMEOUT_NONE */
	uint32_t idle_timeout_ms;     /* of a tunnel; 0: that of limits; or CONFIG_TIMEOUT_NONE */
	uint32_t receive_timeout_ms, min_receive_rate; /* see config_receive_timeout_ms() */
	uint32_t deadline_ms;         /* 0: none */
	const struct config_retry *retry; /* NULL: not set */
	const struct config_hedge *hedge; /* NULL: not set */
};

/* From which peers a field is taken over. */
enum config_accept { CONFIG_ACCEPT_TRUSTED, CONFIG_ACCEPT_ALL, CONFIG_ACCEPT_NONE };

struct config_request_id {
	bool on;
	const char *field;
	enum config_accept accept;
	bool request;  /* requests to servers have the field */
	bool response; /* responses have it */
};

/* Where spans are sent: OTLP/HTTP. */
#define CONFIG_SERVICE_MAX 255
struct config_export {
	bool on;
	unsigned upstream; /* index in config.upstreams */
	struct slice path;
	const char *service;
	uint32_t batch, queue; /* spans */
	uint32_t interval_ms;
};

struct config_tracing {
	bool on;
	enum config_accept accept;
	uint32_t sample; /* of CONFIG_SAMPLE_ALL traces that begin here */
	bool exemplars;  /* of sampled traces, in /metrics */
	struct config_export export;
};

enum config_family { CONFIG_FAMILY_ANY, CONFIG_FAMILY_IPV4, CONFIG_FAMILY_IPV6 };

/* Resolution of server names. */
#define CONFIG_NAMESERVERS_MAX 8
struct config_resolver {
	bool off;            /* names are resolved when the file is read, and not again */
	bool strict;         /* a name that cannot be resolved is an error */
	const char *servers; /* "127.0.0.1:53,[::1]:53"; NULL: those of /etc/resolv.conf */
	uint32_t ttl_min_ms; /* limits of the TTL of DNS answers */
	uint32_t ttl_max_ms;
	enum config_family family;
};

/* A list of addresses, with those of the groups and files that it names: see addresses_read().
 * Whether it has an address is a binary search, ip_ranges_contain(). */
#define CONFIG_RANGES_MAX 100000
struct config_addresses {
	bool unix_sockets; /* clients that connect by a unix socket */
	unsigned range_n;  /* <= CONFIG_RANGES_MAX */
	const struct ip_range *ranges; /* sorted */
	unsigned text_n;
	const char **texts; /* as written */
};

/* An entry of `addresses`. */
struct config_group {
	const char *name;
	const struct config_addresses *list;
};

/* Limits of the process, unless the comment says otherwise. */
struct config_limits {
	uint32_t connections; /* client connections; 0: (descriptor limit - reserve) / 2 */
	uint32_t request_head; /* bytes of a request head or response head */
	uint32_t headers;
	uint64_t request_body; /* bytes; 0: no limit */
	uint32_t window;       /* bytes buffered per exchange and direction */
	uint64_t buffers;      /* bytes of receive buffers */
	uint32_t backlog;
	uint32_t header_timeout_ms;
	uint32_t handshakes;         /* TLS handshakes of clients in progress */
	uint32_t handshake_timeout_ms;
	uint32_t handshake_steps;    /* with public-key operations, per tick and worker */
	uint32_t idle_timeout_ms;    /* keep-alive, tunnels */
	uint32_t send_timeout_ms;    /* without progress while sending */
	uint32_t receive_timeout_ms; /* without progress while receiving a request body */
	uint32_t min_send_rate;    /* bytes/s to a client; 0: none */
	uint32_t min_receive_rate; /* bytes/s of a request body; 0: none */
	uint32_t drain_timeout_ms;
	uint32_t upgrade_timeout_ms;
	uint32_t metric_series;      /* of each kind: base/phases.h */
};

/* A value that the file has by reference (`${env.NAME}`), for --print. */
struct config_reference {
	/* A field of a struct, or the text of a part of a template; NULL: every text that equals
	 * `value`, since no reader of a value can forget that. */
	const void *of;
	struct slice value;
	const char *written;
	const struct config_reference *next;
};

struct config {
	const char *file;
	bool has_secrets; /* values from the environment or from files */
	const struct config_reference *references;
	unsigned workers; /* 0: auto */
	enum config_affinity cpu_affinity;
	enum config_engine engine;
	unsigned listen_n;
	struct config_address *listens;
	const struct config_tls **listen_tls; /* of each address of listens; NULL: no TLS */
	unsigned tls_n;
	const struct config_tls **tls; /* each once: see config/tls.h */
	struct config_file *files; /* contents of files, newest first */
	struct config_pair *pairs; /* likewise */
	unsigned pair_n;
	bool uses_ja4;             /* a template has ${tls.ja4} */
	uint32_t watch_ms; /* of the files; 0: off */
	/* The keys of tickets derive from it. Made once, then taken over from the previous
	 * configuration. */
	uint8_t ticket_secret[32];
	uint64_t refused_n; /* certificates refused since the start */
	unsigned rights_n;
	/* of the addresses that have them: config_rights_of() */
	struct config_rights *rights;
	bool has_admin;
	struct config_address admin;
	bool has_control;
	struct config_address control; /* a path */
	unsigned error_log_n; /* at least 1 */
	struct config_error_log *error_logs;
	unsigned log_n;
	struct config_access_log *logs;
	uint8_t logs_default; /* those of requests whose route names none */
	uint8_t logs_detailed; /* those whose lines need a struct log_record */
	uint8_t logs_whole;    /* those whose lines need the whole head of the request */
	const char *user, *group; /* as written; group may be empty */
	uid_t uid;                /* their values */
	gid_t gid;
	bool sandbox;
	bool study;
	struct config_resolver resolver;
	unsigned group_n; /* of `addresses` */
	struct config_group *groups;
	/* Peers whose Forwarded and X-Forwarded-* fields are believed (http/forwarding.h). */
	struct config_addresses trust;
	struct config_request_id request_id;
	struct config_tracing tracing;
	unsigned upstream_n;
	struct config_upstream *upstreams;
	unsigned hedge_n; /* routes with `hedge` */
	unsigned route_n;
	struct config_route *routes;
	struct route_index route_index;
	struct config_pattern *patterns; /* config/match.h; all regular expressions */
	struct config_limits limits;
	/* input of config_read_snapshot(), of malloc(); may be empty */
	struct slice snapshot;
	void *memory;     /* private: the arena of everything above */
};

/* True: a route has a rule with threads (config/rule.h). */
bool config_has_threads(const struct config *c);

/* The largest request body that the route takes, in bytes; 0: no limit. */
uint64_t config_body_max(const struct config *c, const struct config_route *route);

/* The times and rates (bytes/s; 0: none) of a route, else those of the limits. `route` may be
 * NULL. */
uint32_t config_send_timeout_ms(const struct config *c, const struct config_route *route);
uint32_t config_receive_timeout_ms(const struct config *c, const struct config_route *route);
uint32_t config_min_send_rate(const struct config *c, const struct config_route *route);
uint32_t config_min_receive_rate(const struct config *c, const struct config_route *route);

/* Reads and checks a file; "-": standard input. Root refuses a file that all users may write.
 * Prints errors and warnings to `errors`, one "FILE:LINE:COLUMN: WHAT IS WRONG; REMEDY" per line.
 * Returns NULL after errors. Blocks while names are resolved. */
struct config *config_read(const char *file, FILE *errors);

/* Options of config_read_with(). */
struct config_options {
	/* The configuration itself, if `file` is only its name in messages; NULL: it is in `file`.
	 * A reload is refused, as of standard input. */
	const char *text;
	bool strict; /* a name that cannot be resolved is an error, regardless of the file */
	/* Addresses for names that cannot be resolved, as config_write_addresses() wrote them. */
	struct slice known_addresses;
	/* What config_write_contents() wrote: as `previous`, of another program. */
	struct slice known_contents;
	/* The snapshot in force: its certificates replace those that cannot be used now, and its
	 * ticket secret is taken over. Empty: none, as at the start. */
	struct slice previous;
};
struct config *config_read_with(const char *file, const struct config_options *how,
				FILE *errors);

/* Writes the addresses of all server names, one "HOST:PORT WEIGHT ADDRESS:PORT" per line. A name
 * that several upstreams have is written once. */
void config_write_addresses(const struct config *c, FILE *out);

/* Writes the contents of files and the secret of tickets, for config_options.known_contents. With
 * private keys. */
void config_write_contents(const struct config *c, FILE *out);

/* config_read() of a text in memory; `file` is the name used in errors. */
struct config *config_read_text(const char *file, struct slice text, FILE *errors);

/* Reads a configuration again from its snapshot: opens no file and resolves no name. Prints errors,
 * but no warnings. The result has no snapshot of its own: see config_keep_snapshot(). */
struct config *config_read_snapshot(struct slice snapshot, FILE *errors);

/* Looks at the files of `tls` again, and at nothing else: neither the configuration file nor names.
 * NEW: *next is `current` with their present contents, in which certificates that cannot be used
 * are replaced by those of `current`. BAD: the reason was printed to `errors`. */
enum config_contents { CONFIG_CONTENTS_SAME, CONFIG_CONTENTS_NEW, CONFIG_CONTENTS_BAD };
enum config_contents config_read_contents(const struct config *current,
					  struct config **next, FILE *errors);

/* True: both have the same contents of files, in the same order. */
bool config_contents_equal(const struct config *a, const struct config *b);

/* The permissions of a listen or admin address of this configuration; NULL: none are set. */
const struct config_rights *config_rights_of(const struct config *c,
					     const struct config_address *a);

/* True: the configuration was read from standard input. */
bool config_is_from_input(const struct config *c);

/* The text of the file, as it was read; empty without snapshot. */
struct slice config_source(const struct config *c);

/* Stores a copy of the snapshot that the configuration was read from, which has none so far. */
void config_keep_snapshot(struct config *c, struct slice snapshot);

/* Prints a line for each key that differs and that a reload cannot change (restart.def); returns
 * their number. */
unsigned config_restart_needed(const struct config *running, const struct config *wanted,
			       FILE *out);

void config_free(struct config *c);

/* Prints the configuration with all defaults, as YAML that config_read() reads to the same
 * configuration. */
void config_print(const struct config *c, FILE *out);

/* Prints the JSON schema of the file, for editors (draft 7). */
void config_schema(FILE *out);

/* Prints the reference as Markdown: tables of all keys, all variables and all limits. */
void config_reference(FILE *out);

#endif
