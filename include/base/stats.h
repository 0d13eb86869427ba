/* Counters and gauges of a worker, for /metrics.
 *
 * One writer each, the worker's thread; the control thread reads and sums them with
 * relaxed loads. They are an exception to the rule that threads share nothing. */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stdint.h>

/* One writer, so no atomic read-modify-write is needed. */
static inline void stat_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void stat_sub(uint64_t *gauge, uint64_t n)
{
	__atomic_store_n(gauge, *gauge - n, __ATOMIC_RELAXED);
}

static inline void stat_set(uint64_t *gauge, uint64_t n)
{
	__atomic_store_n(gauge, n, __ATOMIC_RELAXED);
}

static inline uint64_t stat_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Upper bounds of the buckets: 0.25 ms << i; the last bucket has none. */
#define HISTOGRAM_BUCKETS 18
#define HISTOGRAM_FIRST_US 250u

struct histogram {
	uint64_t buckets[HISTOGRAM_BUCKETS]; /* not cumulative */
	uint64_t sum_us;
};

/* Without a loop, because a request adds to several. */
static inline unsigned histogram_bucket(uint64_t us)
{
	uint64_t over = us > HISTOGRAM_FIRST_US ? (us - 1) / HISTOGRAM_FIRST_US : 0;
	unsigned bits = over == 0 ? 0 : 64 - (unsigned)__builtin_clzll(over);

	return bits < HISTOGRAM_BUCKETS ? bits : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t us)
{
	stat_add(&h->buckets[histogram_bucket(us)], 1);
	stat_add(&h->sum_us, us);
}

/* X(name, kind, help), kind: counter or gauge. */
#define WORKER_STATS(X)                                                                \
	X(connections, gauge, "Client connections open")                               \
	X(connections_idle, gauge, "Client connections between two requests")          \
	X(connections_evicted, counter, "Idle client connections closed for new ones") \
	X(accepted, counter, "Client connections accepted")                            \
	X(accept_pauses, counter, "Times accepting paused at the connection limit")    \
	X(proxy_headers_refused, counter, "Connections without a PROXY header")        \
	X(requests, counter, "Requests whose head was received")                       \
	X(requests_in_flight, gauge, "Requests in flight")                             \
	X(requests_abandoned, counter, "Requests whose client left before a response") \
	X(tunnels, gauge, "Upgraded connections")                                      \
	X(rate_limits_exceeded, counter, "Requests over a rate limit")                 \
	X(requests_delayed, counter, "Requests that waited because of a rate limit")   \
	X(rate_limits_shared, counter, "Requests judged with shared counters")         \
	X(rate_limits_unshared, counter, "Requests that shared counters did not judge") \
	X(concurrency_limits_exceeded, counter, "Requests over a concurrency limit")   \
	X(mirror_requests, counter, "Requests sent to a mirror as well")               \
	X(mirror_failures, counter, "Mirrored requests without a whole response")      \
	X(mirrors_in_flight, gauge, "Requests that are kept for a mirror, or sent")    \
	X(mirror_dropped_full, counter, "Requests chosen but not sent to a mirror")    \
	X(mirror_dropped_body, counter, "")                                            \
	X(mirror_dropped_incomplete, counter, "")                                      \
	X(mirror_dropped_upgrade, counter, "")                                         \
	X(mirror_dropped_memory, counter, "")                                          \
	X(responses_1xx, counter, "Responses by status class")                         \
	X(responses_2xx, counter, "")                                                  \
	X(responses_3xx, counter, "")                                                  \
	X(responses_4xx, counter, "")                                                  \
	X(responses_5xx, counter, "")                                                  \
	X(received_bytes, counter, "Bytes received from clients")                      \
	X(sent_bytes, counter, "Bytes sent to clients")                                \
	X(log_lines, counter, "Access log lines written")                              \
	X(spans_exported, counter, "Spans that the collector has taken")               \
	X(spans_dropped, counter, "Spans lost: queue full, or the collector refused")  \
	X(span_exports_failed, counter, "Requests to the collector that failed")       \
	X(log_lines_dropped, counter, "Access log lines lost: slow log or full disk")  \
	X(ticks, counter, "Iterations of the worker's event loop")

struct worker_stats {
#define X(name, kind, help) uint64_t name;
	WORKER_STATS(X)
#undef X
	struct histogram request_seconds; /* of requests that ended, tunnels left out */
	uint64_t log_error; /* errno of the last lost line; 0: the log was too slow */
	uint64_t log_refusals; /* writes to a daemon that did not listen any more */
};

struct phases;

/* Of one upstream on one worker. */
#define UPSTREAM_STATS(X)                                                              \
	X(requests, counter, "Requests or calls sent")                                 \
	X(connections, gauge, "Connections open")                                      \
	X(connections_idle, gauge, "Connections idle")                                 \
	X(connections_held, gauge, "Idle connections that serve one client only")      \
	X(connects, counter, "Connections opened")                                     \
	X(connect_failures, counter, "Connections that could not be opened")           \
	X(tls_handshakes, counter, "TLS handshakes completed")                         \
	X(tls_resumed, counter, "TLS handshakes that resumed a session")               \
	X(tls_failures, counter, "TLS handshakes that failed")                         \
	X(waiting, gauge, "Requests waiting for a connection")                         \
	X(queue_refusals, counter, "Requests refused because the queue was full")      \
	X(queue_timeouts, counter, "Requests that waited longer than queue_timeout")   \
	X(ejections, counter, "Times a server was ejected because it failed")          \
	X(timeouts, counter, "Requests without a response in time")                    \
	X(retries, counter, "Requests sent again")                                     \
	X(stale_retries, counter, "Retries made because an idle connection had ended") \
	X(retry_refusals, counter, "Retries not made: budget used up")                 \
	X(hedges, counter, "Second attempts started beside a slow first one")          \
	X(hedges_won, counter, "Second attempts that gave the response")               \
	X(hedge_refusals, counter, "Second attempts not made: budget used up")         \
	X(deadlines, counter, "Requests ended at the deadline of their route")         \
	X(errors, counter, "Responses that were invalid, cut short or missing")        \
	X(hits, counter, "memcached lookups with a value")                             \
	X(misses, counter, "memcached lookups without a value")

struct upstream_stats {
#define X(name, kind, help) uint64_t name;
	UPSTREAM_STATS(X)
#undef X
	struct histogram latency; /* from the request sent to the response's head */
	struct phases *phases;    /* base/phases.h, this worker's; NULL: not counted */
};

#endif
