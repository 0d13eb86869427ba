#include "scrape.h"

#include <stdio.h>
#include <string.h>

#include "base/diagnostics.h"
#include "base/errorlog.h"
#include "run/worker/monitor.h"
#include "scrapeparts.h"
#include "tls/session.h"

/* Most steps of one chunk, because a step may write nothing. */
#define STEPS_MAX 2000

/* ---- workers -------------------------------------------------------------- */

/* A sample sums the workers from scrape_first_worker() to scrape_end_worker() - 1: one, or all. */
unsigned scrape_first_worker(const struct scrape *s)
{
	return s->by_worker ? s->worker : 0;
}

unsigned scrape_end_worker(const struct scrape *s)
{
	return s->by_worker ? s->worker + 1 : s->worker_n;
}

bool scrape_next_worker(struct scrape *s)
{
	if (s->by_worker && ++s->worker < s->worker_n)
		return true;
	s->worker = 0;
	return false;
}

void scrape_begin(struct scrape *s, const char *suffix)
{
	exposition_sample(&s->e, suffix);
	if (s->by_worker)
		exposition_index(&s->e, "worker", s->worker);
}

uint64_t scrape_counter_at(const void *base, size_t offset)
{
	return stat_read((const uint64_t *)(const void *)((const char *)base + offset));
}

static uint64_t sum_of_workers(const struct scrape *s, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		sum += scrape_counter_at(&s->workers[w].stats, offset);
	return sum;
}

static const char *bound_text(unsigned i)
{
	static char texts[HISTOGRAM_BUCKETS][16];

	if (i == HISTOGRAM_BUCKETS - 1)
		return "+Inf";
	if (!texts[i][0])
		snprintf(texts[i], sizeof(texts[i]), "%g",
			 (double)((uint64_t)HISTOGRAM_FIRST_US << i) / 1e6);
	return texts[i];
}

void scrape_add_histogram(struct histogram *sum, const struct histogram *h)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		sum->buckets[i] += stat_read(&h->buckets[i]);
	sum->sum_us += stat_read(&h->sum_us);
}

/* exemplar(): of a bucket; NULL: there are none. */
static void put_histogram(struct scrape *s, const struct histogram *h,
			  void (*put_labels)(struct scrape *s),
			  bool (*exemplar)(const struct scrape *s, unsigned bucket,
					   struct exemplar_copy *x))
{
	struct exemplar_copy x;
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		n += h->buckets[i];
		scrape_begin(s, "_bucket");
		put_labels(s);
		exposition_label(&s->e, "le", bound_text(i));
		exposition_count(&s->e, n);
		if (exemplar && exemplar(s, i, &x))
			exposition_exemplar(&s->e, &x);
	}
	scrape_begin(s, "_sum");
	put_labels(s);
	exposition_real(&s->e, (double)h->sum_us / 1e6);
	scrape_begin(s, "_count");
	put_labels(s);
	exposition_count(&s->e, n);
}

void scrape_put_histogram(struct scrape *s, const struct histogram *h,
			  void (*put_labels)(struct scrape *s))
{
	put_histogram(s, h, put_labels, NULL);
}

/* The newest of the workers. */
static bool request_exemplar(const struct scrape *s, unsigned bucket, struct exemplar_copy *x)
{
	bool any = false;

	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++) {
		struct exemplar_copy of;

		if (!exemplar_read(&s->workers[w].proxy.exemplars, bucket, &of) ||
		    (any && of.wall_ms < x->wall_ms))
			continue;
		*x = of;
		any = true;
	}
	return any;
}

/* The counters responses_1xx to 5xx, and mirror_dropped_…, are one family each: step_classes(),
 * step_mirror_dropped(). */
static bool step_worker(struct scrape *s, const struct metric_family *f)
{
	if (strncmp(f->name, "responses_", 10) == 0 ||
	    strncmp(f->name, "mirror_dropped_", 15) == 0)
		return false;
	scrape_begin(s, "");
	exposition_count(&s->e, sum_of_workers(s, f->offset));
	return scrape_next_worker(s);
}

static bool step_classes(struct scrape *s, const struct metric_family *f)
{
	static const size_t offsets[] = {
		offsetof(struct worker_stats, responses_1xx),
		offsetof(struct worker_stats, responses_2xx),
		offsetof(struct worker_stats, responses_3xx),
		offsetof(struct worker_stats, responses_4xx),
		offsetof(struct worker_stats, responses_5xx),
	};
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };

	(void)f;
	for (unsigned i = 0; i < COUNT(offsets); i++) {
		scrape_begin(s, "");
		exposition_label(&s->e, "class", classes[i]);
		exposition_count(&s->e, sum_of_workers(s, offsets[i]));
	}
	return scrape_next_worker(s);
}

static bool step_mirror_dropped(struct scrape *s, const struct metric_family *f)
{
	static const size_t offsets[] = {
		offsetof(struct worker_stats, mirror_dropped_full),
		offsetof(struct worker_stats, mirror_dropped_body),
		offsetof(struct worker_stats, mirror_dropped_incomplete),
		offsetof(struct worker_stats, mirror_dropped_upgrade),
		offsetof(struct worker_stats, mirror_dropped_memory),
	};
	static const char *const reasons[] = { "full", "body", "incomplete", "upgrade",
					       "memory" };

	(void)f;
	for (unsigned i = 0; i < COUNT(offsets); i++) {
		scrape_begin(s, "");
		exposition_label(&s->e, "reason", reasons[i]);
		exposition_count(&s->e, sum_of_workers(s, offsets[i]));
	}
	return scrape_next_worker(s);
}

static void put_nothing(struct scrape *s)
{
	(void)s;
}

static bool step_requests(struct scrape *s, const struct metric_family *f)
{
	struct histogram h = { 0 };

	(void)f;
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		scrape_add_histogram(&h, &s->workers[w].stats.request_seconds);
	put_histogram(s, &h, put_nothing, s->e.open_metrics ? request_exemplar : NULL);
	return scrape_next_worker(s);
}

/* ---- loops ---------------------------------------------------------------- */

static uint64_t loop_counter(struct io_loop *loop, size_t offset)
{
	return scrape_counter_at(io_stats(loop), offset);
}

/* Written by their worker only; a reader sees the old or the new value. */
static uint64_t pool_gauge(struct io_loop *loop, size_t which)
{
	const struct buf_pool *p = io_bufs(loop);

	return which == 0   ? __atomic_load_n(&p->count, __ATOMIC_RELAXED)
	       : which == 1 ? __atomic_load_n(&p->free_n, __ATOMIC_RELAXED)
			    : __atomic_load_n(&p->block_bytes, __ATOMIC_RELAXED);
}

/* Workers that have not opened their loop are left out. */
static bool step_loop(struct scrape *s, const struct metric_family *f,
		      uint64_t (*value)(struct io_loop *loop, size_t offset))
{
	uint64_t sum = 0;
	bool any = false;

	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++) {
		if (!atomic_load(&s->workers[w].ready))
			continue;
		any = true;
		sum += value(s->workers[w].tick.loop, f->offset);
	}
	if (any) {
		scrape_begin(s, "");
		exposition_count(&s->e, sum);
	}
	return scrape_next_worker(s);
}

static bool step_engine(struct scrape *s, const struct metric_family *f)
{
	return step_loop(s, f, loop_counter);
}

static bool step_pool(struct scrape *s, const struct metric_family *f)
{
	return step_loop(s, f, pool_gauge);
}

/* ---- the process ---------------------------------------------------------- */

static bool step_diagnostics(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, diagnostics_lost());
	return false;
}

static bool step_errorlog(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, errorlog_lost());
	return false;
}

/* Names and health; `offset` is the index of the monitor's family. */
static bool step_monitor(struct scrape *s, const struct metric_family *f)
{
	const struct monitor *l = s->config_version->monitor;

	return l && monitor_family(l, (unsigned)f->offset, &s->position, &s->e,
				   SCRAPE_STEP_BYTES / 4);
}

/* ---- all families --------------------------------------------------------- */

static const struct metric_family families[] = {
#define X(name, kind, help) \
	{ "", #name, #kind, help, step_worker, offsetof(struct worker_stats, name) },
	WORKER_STATS(X)
#undef X
		{ "", "responses", "counter", "Responses by status class", step_classes,
		  0 },
	{ "", "mirror_dropped", "counter", "Requests chosen for a mirror that it did not get",
	  step_mirror_dropped, 0 },
	{ "", "request_seconds", "histogram",
	  "Time from the head of a request to the end of its response", step_requests, 0 },
	{ "route_", "phase_seconds", "histogram",
	  "Times of requests by route, for each phase that took place",
	  scrape_step_route_phases, 0 },
#define X(name, kind, help)     \
	{ "upstream_",          \
	  #name,                \
	  #kind,                \
	  help,                 \
	  scrape_step_upstream, \
	  offsetof(struct upstream_stats, name) },
	UPSTREAM_STATS(X)
#undef X
		{ "upstream_", "latency_seconds", "histogram",
		  "Time from sending a request to the head of its response",
		  scrape_step_latency, 0 },
	{ "upstream_", "phase_seconds", "histogram",
	  "Times of attempts by upstream, for each phase that took place",
	  scrape_step_upstream_phases, 0 },
#define X(name, kind, help)   \
	{ "server_",          \
	  #name,              \
	  #kind,              \
	  help,               \
	  scrape_step_server, \
	  offsetof(struct registry_record, name) },
	SERVER_STATS(X)
#undef X
		{ "server_", "state", "gauge",
		  "Workers for which the server is in this state",
		  scrape_step_server_state, 0 },
	{ "server_", "drained", "gauge",
	  "1 if an operator has drained the server or taken it down, else 0",
	  scrape_step_server_drained, 0 },
	{ "server_", "weight", "gauge", "Weight, as configured or as an operator has set it",
	  scrape_step_server_weight, 0 },
	{ "server_", "phase_seconds", "histogram",
	  "Times of attempts by server, for each phase that took place",
	  scrape_step_server_phases, 0 },
	{ "", "metric_series_sharing", "gauge",
	  "Routes, upstreams and servers that share the series (other)",
	  scrape_step_sharing, 0 },
#define X(name, help)                                                   \
	{                                                               \
		"engine_", #name,       "counter",                      \
		help,      step_engine, offsetof(struct io_stats, name) \
	},
	IO_STATS(X)
#undef X
		{ "tls_", "handshakes", "counter", "TLS handshakes completed",
		  scrape_step_handshakes, 0 },
	{ "tls_", "failures", "counter", "TLS handshakes and sessions that failed",
	  scrape_step_tls_failures, 0 },
	{ "tls_", "handshake_seconds", "histogram",
	  "Time from the beginning of a connection to the end of its TLS handshake",
	  scrape_step_handshake_seconds, 0 },
	{ "tls_", "tickets", "counter",
	  "TLS handshakes whose client offered a session, by whether it was resumed",
	  scrape_step_tickets, 0 },
	{ "tls_", "records", "counter", "TLS records after handshakes",
	  scrape_step_tls_counts, offsetof(struct tls_counts, records) },
	{ "tls_", "key_updates", "counter", "TLS 1.3 key updates", scrape_step_tls_counts,
	  offsetof(struct tls_counts, key_updates) },
	{ "tls_", "handshakes_now", "gauge", "TLS handshakes in progress",
	  scrape_step_tls, offsetof(struct tls_stats, shaking) },
	{ "tls_", "handshake_steps_awaited", "counter",
	  "Times a TLS handshake waited because of limits.handshake_steps",
	  scrape_step_tls, offsetof(struct tls_stats, steps_awaited) },
	{ "tls_", "handshakes_awaited", "counter",
	  "Times a TLS handshake waited because of limits.handshakes", scrape_step_tls,
	  offsetof(struct tls_stats, units_awaited) },
	{ "", "buffers", "gauge", "Receive buffers allocated", step_pool, 0 },
	{ "", "buffers_free", "gauge", "Receive buffers in the pool", step_pool, 1 },
	{ "", "block_bytes", "gauge", "Bytes of memory blocks for heads", step_pool, 2 },
	{ "", "stderr_lines_dropped", "counter",
	  "Lines for standard error that could not be written", step_diagnostics, 0 },
	{ "", "error_log_lines_dropped", "counter",
	  "Lines of the error log that a file or daemon did not take", step_errorlog, 0 },
	{ "", "certificate_expiry_timestamp_seconds", "gauge",
	  "End of the validity of a certificate, in seconds since 1970",
	  scrape_step_expiry, 0 },
	{ "", "certificates_refused", "counter",
	  "Certificates and files of TLS that could not be used when they were read again",
	  scrape_step_refused, 0 },
	{ "", "openssl_bytes", "gauge", "Bytes that OpenSSL has allocated",
	  scrape_step_library_bytes, 0 },
};

static bool scrape_step(struct scrape *s)
{
	struct metric_family monitor = { .step = step_monitor,
					 .offset = s->family - COUNT(families) };
	const struct metric_family *f = s->family < COUNT(families) ? &families[s->family]
								    : &monitor;

	if (f->step(s, f))
		return true;
	s->family++;
	s->upstream = s->position = s->worker = s->phase = 0;
	if (s->family < COUNT(families))
		exposition_family(&s->e, f[1].prefix, f[1].name, f[1].kind, f[1].help);
	if (s->family < COUNT(families) + MONITOR_FAMILIES)
		return true;
	exposition_end(&s->e);
	return false;
}

void scrape_open(struct scrape *s, struct config_version *config_version,
		 const struct worker *workers, unsigned worker_n,
		 const struct scrape_options *options)
{
	const struct metric_family *f = &families[0];

	*s = (struct scrape){ .config_version = config_version,
			      .workers = workers,
			      .worker_n = worker_n,
			      .by_worker = options->by_worker,
			      .e = { .open_metrics = options->open_metrics } };
	exposition_family(&s->e, f->prefix, f->name, f->kind, f->help);
	config_version->readers_n++;
}

bool scrape_read(struct scrape *s, char *room, size_t size, size_t *n)
{
	bool more = true;

	ASSERT(size >= SCRAPE_STEP_BYTES);
	s->e.at = room;
	s->e.end = room + size;
	for (unsigned i = 0; i < STEPS_MAX && more; i++) {
		if (s->e.end - s->e.at < SCRAPE_STEP_BYTES)
			break;
		more = scrape_step(s);
	}
	ASSERT(!s->e.overflow);
	*n = (size_t)(s->e.at - room);
	return more;
}

void scrape_close(struct scrape *s)
{
	s->config_version->readers_n--;
	s->config_version = NULL;
}
