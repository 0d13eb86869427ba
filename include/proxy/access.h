/* An access log of one worker: one line for each exchange that ended.
 *
 * Lines are collected in a buffer. It is written through the loop (the ring on io_uring, a writer
 * thread on epoll) when it is half full or ACCESS_FLUSH_MS old, so a worker never waits for a
 * disk. While one buffer is being written, lines go to the other. A log whose target is a daemon
 * (syslog, RFC 5424; journald, its native protocol) is written one datagram for each line.
 *
 * Owner: the worker. Limits: two buffers of ACCESS_BUFFER_BYTES; a line is never cut.
 * A datagram that the daemon does not take (EMSGSIZE) is dropped. If the daemon is gone, as when it
 * is restarted, lines wait for ACCESS_GONE_MS; the supervisor connects the socket again, which all
 * processes share.
 * Errors: if both buffers are full or a write fails, lines are dropped and counted (log_dropped,
 * log_error). */
#ifndef PROXY_ACCESS_H
#define PROXY_ACCESS_H

#include "base/slice.h"
#include "base/stats.h"
#include "config/config.h"
#include "io/sock.h"
#include "net/tick.h"

#define ACCESS_BUFFER_BYTES 65536u
#define ACCESS_FLUSH_MS 100
#define ACCESS_RETRY_MS 10 /* until a reader that takes nothing is tried again */
#define ACCESS_GONE_RETRY_MS 100 /* until a daemon that is gone is tried again */
#define ACCESS_GONE_MS 5000      /* for which lines wait for it */

struct client_tls;
struct log_record;
struct random;
struct request_times;
struct request_view;

struct access_entry {
	const struct peer *peer;
	struct slice user;         /* of basic_auth; empty: none */
	struct slice request_line; /* as received; empty: it could not be parsed */
	struct slice host, referer, user_agent;
	int status;                /* 0: no response was sent */
	uint64_t sent_bytes;       /* of the response's body */
	uint64_t took_us;
	const char *server;        /* that sent the response; NULL: generated here */
	unsigned attempts_n;       /* requests sent to an upstream for this exchange */
	const char *hedge;         /* outcome of the hedge; NULL: there was none */
	const char *ending;
	bool failed;               /* it ended with an error: see access_log.requests */
	const struct config_route *route;   /* NULL: none */
	const struct log_record *record;    /* NULL: none */
	const struct request_times *times;  /* set if there is a record */
	const struct request_view *view;    /* NULL: no line needs it */
	uint64_t started_us;
	uint64_t received_bytes;            /* of the request's body */
	const struct client_tls *tls; /* of the client's connection; NULL: none, or not known */
};

struct access {
	struct tick *tick;
	struct worker_stats *stats;
	const struct config_access_log *config;
	struct random *random; /* of the samples */
	bool datagrams;        /* its target is a daemon */
	int fd;
	struct io_write write;
	char *filling, *writing;
	uint32_t filled;
	const char *at;      /* in `writing`: where the next write starts */
	uint32_t unwritten;  /* bytes from `at` on */
	uint32_t write_max;
	uint32_t filling_lines, writing_lines; /* lines in each buffer */
	uint32_t write_lines; /* lines of the write in flight */
	struct timer flush, retry;
	uint64_t gone_ms; /* since when the daemon is gone; 0: it is not */
	uint64_t text_s;     /* the second that `text` shows */
	char text[40];
	uint64_t local_s;    /* likewise, in local time */
	char local[40];
};

/* The access logs of a worker, by index of config.logs. */
struct access_set {
	unsigned n;
	struct access *all[CONFIG_LOGS_MAX]; /* NULL: could not be opened */
};

/* Returns 0 or -ENOMEM. fd stays the caller's. If files cannot be opened later (sandbox), the
 * caller has loaded the time zone before (tzset()). */
int access_init(struct access *a, struct tick *tick, struct worker_stats *stats,
		const struct config_access_log *config, struct random *random, int fd);

/* What is configured for it from now on; its target is the same. */
void access_configure(struct access *a, const struct config_access_log *config);

/* For syslog: stores the name of this host. Once per process, before the sandbox is closed. */
void access_name_host(void);

/* For an fd that others write to as well (pipe, socket, terminal): from now on each write is
 * whole lines of at most PIPE_BUF bytes, which the kernel writes to a pipe without interleaving.
 * A longer line is written alone and may be interleaved with what others write. */
void access_limit_writes(struct access *a);

/* Appends one line, if the log wants one for this exchange; never blocks. If there is no space for
 * it, the line is dropped and counted. */
void access_log(struct access *a, const struct access_entry *x);

/* Starts to write the buffered lines, unless a write is in flight. */
void access_flush(struct access *a);

/* True: nothing is buffered and no write is in flight. */
bool access_idle(const struct access *a);

/* Frees the buffers. access_idle() must be true. */
void access_done(struct access *a);

#endif
