/* What one look at the admin address has found: totals of the process, of each upstream and server,
 * and the oldest connections.
 *
 * Rows are in the order of /metrics. Owner: the caller; reading_free() in any state. Errors: no
 * memory: some rows are left out. */
#ifndef SRC_TOP_READING_H
#define SRC_TOP_READING_H

#include "samples.h"

/* X(field, family, label, value): sums of samples; label NULL: of all. */
#define READING_SUMS(X)                                                    \
	X(requests, "requests_total", NULL, NULL)                          \
	X(in_flight, "requests_in_flight", NULL, NULL)                     \
	X(abandoned, "requests_abandoned_total", NULL, NULL)               \
	X(responses_4xx, "responses_total", "class", "4xx")                \
	X(responses_5xx, "responses_total", "class", "5xx")                \
	X(sent, "sent_bytes_total", NULL, NULL)                            \
	X(received, "received_bytes_total", NULL, NULL)                    \
	X(connections, "connections", NULL, NULL)                          \
	X(idle, "connections_idle", NULL, NULL)                            \
	X(tunnels, "tunnels", NULL, NULL)                                  \
	X(accepted, "accepted_total", NULL, NULL)                          \
	X(evicted, "connections_evicted_total", NULL, NULL)                \
	X(handshakes, "tls_handshakes_total", "side", "listener")          \
	X(handshakes_upstream, "tls_handshakes_total", "side", "upstream") \
	X(handshakes_failed, "tls_failures_total", "side", "listener")     \
	X(handshakes_now, "tls_handshakes_now", NULL, NULL)                \
	X(syscalls, "engine_syscalls_total", NULL, NULL)                   \
	X(enters, "engine_enters_total", NULL, NULL)                       \
	X(ticks, "ticks_total", NULL, NULL)                                \
	X(buffers, "buffers", NULL, NULL)                                  \
	X(buffers_free, "buffers_free", NULL, NULL)                        \
	X(lines_lost, "log_lines_dropped_total", NULL, NULL)

/* Of an upstream, or (also) of a server. */
#define ROW_SUMS(X)                                   \
	X(requests, "requests_total")                 \
	X(errors, "errors_total")                     \
	X(timeouts, "timeouts_total")                 \
	X(failures, "failures_total")                 \
	X(connections, "connections")                 \
	X(idle, "connections_idle")                   \
	X(waiting, "waiting")                         \
	X(in_flight, "in_flight")                     \
	X(weight, "weight")                           \
	X(drained, "drained")

struct row_reading {
	char upstream[64], server[128], address[128]; /* server empty: of the upstream */
#define X(field, family) double field;
	ROW_SUMS(X)
#undef X
	double up, ejected, down;  /* workers that see it so */
	double health;             /* 1: up, 0: down; -1: no health check */
	struct buckets latency;    /* of its responses' heads */
};

struct connection_reading {
	char client[48], state[16], request[96], where[128];
	double for_ms, received, sent;
};

struct reading {
	double at_s; /* monotonic */
#define X(field, family, label, value) double field;
	READING_SUMS(X)
#undef X
	double resumed; /* handshakes with clients */
	struct buckets request_seconds;
	unsigned row_n, row_max;
	struct row_reading *rows;
	unsigned connection_n;
	struct connection_reading *connections_list; /* the oldest first */
};

/* Adds what a page of /metrics has. The text may be changed. */
void reading_metrics(struct reading *r, char *text);

/* Adds the connections of an answer of /api/connections. */
void reading_connections(struct reading *r, const char *text);

/* The row of the same upstream and server; NULL: there is none. `hint`: where it probably is. */
const struct row_reading *reading_row(const struct reading *r, const struct row_reading *like,
				      unsigned hint);

void reading_free(struct reading *r);

#endif
