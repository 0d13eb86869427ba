/* Counters: one writer each, the worker's thread; the control thread sums them with
 * relaxed loads. The declared exception to "share nothing". */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stdint.h>

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

/* Latencies, in buckets whose upper bounds are 0.25 ms << i; the last has none. */
#define HISTOGRAM_BUCKETS 18
#define HISTOGRAM_FIRST_US 250u

struct histogram {
	uint64_t buckets[HISTOGRAM_BUCKETS]; /* not cumulative */
	uint64_t sum_us;
};

static inline void histogram_add(struct histogram *h, uint64_t us)
{
	unsigned i = 0;

	while (i < HISTOGRAM_BUCKETS - 1 && us > (uint64_t)HISTOGRAM_FIRST_US << i)
		i++;
	stat_add(&h->buckets[i], 1);
	stat_add(&h->sum_us, us);
}

/* X(name, kind, help), kind: counter or gauge. */
#define WORKER_STATS(X)                                                              \
	X(connections, gauge, "Client connections open")                             \
	X(connections_idle, gauge, "Client connections between two requests")        \
	X(connections_evicted, counter, "Idle client connections closed to let in others") \
	X(accepted, counter, "Client connections accepted")                          \
	X(accept_pauses, counter, "Times accepting paused at the connection limit")  \
	X(requests, counter, "Requests whose head was read")                         \
	X(requests_in_flight, gauge, "Requests being answered")                               \
	X(requests_abandoned, counter, "Requests whose client left before a response") \
	X(tunnels, gauge, "Upgraded connections")                                    \
	X(responses_1xx, counter, "Answers by status class")                         \
	X(responses_2xx, counter, "")                                                \
	X(responses_3xx, counter, "")                                                \
	X(responses_4xx, counter, "")                                                \
	X(responses_5xx, counter, "")                                                \
	X(received_bytes, counter, "Bytes received from clients")                    \
	X(sent_bytes, counter, "Bytes sent to clients")                              \
	X(log_lines, counter, "Access log lines written")                            \
	X(log_lines_dropped, counter, "Access log lines lost: log too slow, or disk full") \
	X(ticks, counter, "Rounds of the worker's loop")

struct worker_stats {
#define X(name, kind, help) uint64_t name;
	WORKER_STATS(X)
#undef X
	uint64_t log_error; /* errno of the last line that was lost; 0: no write took the others */
};

/* Of one upstream on one worker. */
#define UPSTREAM_STATS(X)                                                            \
	X(requests, counter, "Requests or calls sent")                               \
	X(connections, gauge, "Connections open")                                    \
	X(connections_idle, gauge, "Connections idle")                               \
	X(connections_held, gauge, "Connections idle, and one client's: authenticated") \
	X(connects, counter, "Connections opened")                                   \
	X(connect_failures, counter, "Connections that could not be opened")         \
	X(waiting, gauge, "Requests waiting for a connection")                       \
	X(queue_refusals, counter, "Requests refused because the line was full")     \
	X(queue_timeouts, counter, "Requests that waited too long in the line")      \
	X(ejections, counter, "Times a server was left alone because it failed")     \
	X(timeouts, counter, "Requests that were not answered in time")              \
	X(retries, counter, "Requests sent again")                                   \
	X(stale_retries, counter, "Of these because an idle connection had ended")   \
	X(retry_refusals, counter, "Retries not made: the budget was spent")             \
	X(hedges, counter, "Second tries beside slow ones")                          \
	X(hedges_won, counter, "Of these that gave the answer")                      \
	X(hedge_refusals, counter, "Second tries not made: the budget was spent")    \
	X(deadlines, counter, "Requests given up at the deadline of their route")    \
	X(errors, counter, "Answers that were refused, broken or missing")           \
	X(hits, counter, "Calls answered with a value")                              \
	X(misses, counter, "Calls answered without one")

struct upstream_stats {
#define X(name, kind, help) uint64_t name;
	UPSTREAM_STATS(X)
#undef X
	struct histogram latency; /* from sending to the head of the answer */
};

#endif
