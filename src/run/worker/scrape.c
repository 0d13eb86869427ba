#include "scrape.h"

#include <stdio.h>
#include <string.h>

#include "base/diagnostics.h"
#include "run/worker/monitor.h"
#include "tls/session.h"

/* Most steps of one chunk, because a step may write nothing. */
#define STEPS_MAX 2000

struct metric_family {
	const char *prefix, *name, *kind, *help;
	/* Writes some samples and advances. False: the family is complete. */
	bool (*step)(struct scrape *s, const struct metric_family *f);
	size_t offset; /* of the counter in its struct; some steps use it otherwise */
};

/* ---- workers -------------------------------------------------------------- */

/* A sample sums the workers from first_worker() to end_worker() - 1: one, or all. */
static unsigned first_worker(const struct scrape *s)
{
	return s->by_worker ? s->worker : 0;
}

static unsigned end_worker(const struct scrape *s)
{
	return s->by_worker ? s->worker + 1 : s->worker_n;
}

static bool next_worker(struct scrape *s)
{
	if (s->by_worker && ++s->worker < s->worker_n)
		return true;
	s->worker = 0;
	return false;
}

static void put_worker(struct scrape *s)
{
	if (s->by_worker)
		exposition_index(&s->e, "worker", s->worker);
}

static uint64_t counter_at(const void *base, size_t offset)
{
	return stat_read((const uint64_t *)(const void *)((const char *)base + offset));
}

static uint64_t sum_of_workers(const struct scrape *s, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned w = first_worker(s); w < end_worker(s); w++)
		sum += counter_at(&s->workers[w].stats, offset);
	return sum;
}

/* The counters responses_1xx to 5xx are one family: step_classes(). */
static bool step_worker(struct scrape *s, const struct metric_family *f)
{
	if (strncmp(f->name, "responses_", 10) == 0)
		return false;
	exposition_sample(&s->e, "");
	put_worker(s);
	exposition_count(&s->e, sum_of_workers(s, f->offset));
	return next_worker(s);
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
		exposition_sample(&s->e, "");
		put_worker(s);
		exposition_label(&s->e, "class", classes[i]);
		exposition_count(&s->e, sum_of_workers(s, offsets[i]));
	}
	return next_worker(s);
}

/* ---- loops ---------------------------------------------------------------- */

static uint64_t loop_counter(struct io_loop *loop, size_t offset)
{
	return counter_at(io_stats(loop), offset);
}

/* Written by their worker only; a reader sees the old or the new value. */
static uint64_t pool_gauge(struct io_loop *loop, size_t which)
{
	const struct buf_pool *p = io_bufs(loop);

	return which == 0 ? __atomic_load_n(&p->count, __ATOMIC_RELAXED) :
	       which == 1 ? __atomic_load_n(&p->free_n, __ATOMIC_RELAXED) :
			    __atomic_load_n(&p->block_bytes, __ATOMIC_RELAXED);
}

/* Workers that have not opened their loop are left out. */
static bool step_loop(struct scrape *s, const struct metric_family *f,
		      uint64_t (*value)(struct io_loop *loop, size_t offset))
{
	uint64_t sum = 0;
	bool any = false;

	for (unsigned w = first_worker(s); w < end_worker(s); w++) {
		if (!atomic_load(&s->workers[w].ready))
			continue;
		any = true;
		sum += value(s->workers[w].tick.loop, f->offset);
	}
	if (any) {
		exposition_sample(&s->e, "");
		put_worker(s);
		exposition_count(&s->e, sum);
	}
	return next_worker(s);
}

static bool step_engine(struct scrape *s, const struct metric_family *f)
{
	return step_loop(s, f, loop_counter);
}

static bool step_pool(struct scrape *s, const struct metric_family *f)
{
	return step_loop(s, f, pool_gauge);
}

/* ---- TLS ------------------------------------------------------------------ */

static const char *const tls_sides[] = { [TLS_SIDE_CLIENT] = "upstream",
					 [TLS_SIDE_SERVER] = "listener" };

/* The sum of a counter of struct tls_stats. */
static uint64_t sum_of_ticks(const struct scrape *s, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned w = first_worker(s); w < end_worker(s); w++)
		if (atomic_load(&s->workers[w].ready))
			sum += counter_at(&s->workers[w].tick.handshakes.stats, offset);
	return sum;
}

static bool step_tls(struct scrape *s, const struct metric_family *f)
{
	exposition_sample(&s->e, "");
	put_worker(s);
	exposition_count(&s->e, sum_of_ticks(s, f->offset));
	return next_worker(s);
}

static bool step_handshakes(struct scrape *s, const struct metric_family *f)
{
	static const char *const versions[] = { [TLS_1_2] = "1.2", [TLS_1_3] = "1.3" };

	(void)f;
	for (unsigned i = 0; i < TLS_SIDES * 2 * 2; i++) {
		unsigned side = i / 4, version = i / 2 % 2, resumed = i % 2;

		exposition_sample(&s->e, "");
		put_worker(s);
		exposition_label(&s->e, "side", tls_sides[side]);
		exposition_label(&s->e, "version", versions[version]);
		exposition_label(&s->e, "resumed", resumed ? "true" : "false");
		exposition_count(&s->e,
				 sum_of_ticks(s, offsetof(struct tls_stats, handshakes) +
							 i * sizeof(uint64_t)));
	}
	return next_worker(s);
}

/* `position`: the fault. */
static bool step_tls_failures(struct scrape *s, const struct metric_family *f)
{
	unsigned fault = s->position + 1;

	(void)f;
	for (unsigned side = 0; side < TLS_SIDES; side++) {
		exposition_sample(&s->e, "");
		put_worker(s);
		exposition_label(&s->e, "side", tls_sides[side]);
		exposition_label(&s->e, "fault", tls_fault_name((enum tls_fault)fault));
		exposition_count(&s->e, sum_of_ticks(s, offsetof(struct tls_stats, failures) +
								(side * TLS_FAULTS + fault) *
									sizeof(uint64_t)));
	}
	if (++s->position < TLS_FAULTS - 1)
		return true;
	s->position = 0;
	return next_worker(s);
}

/* ---- upstreams ------------------------------------------------------------ */

static const char *upstream_name(const struct scrape *s)
{
	return s->config_version->config->upstreams[s->upstream].name;
}

static bool has_upstream(const struct scrape *s)
{
	return s->upstream < s->config_version->config->upstream_n;
}

static const struct upstream_shared *upstream_shared_at(const struct scrape *s)
{
	return s->config_version->upstreams_shared[s->upstream];
}

static bool next_upstream(struct scrape *s)
{
	if (next_worker(s))
		return true;
	s->upstream++;
	return has_upstream(s);
}

static void begin_upstream(struct scrape *s, const char *suffix)
{
	exposition_sample(&s->e, suffix);
	put_worker(s);
	exposition_label(&s->e, "upstream", upstream_name(s));
}

static bool step_upstream(struct scrape *s, const struct metric_family *f)
{
	uint64_t sum = 0;

	if (!has_upstream(s))
		return false;
	for (unsigned w = first_worker(s); w < end_worker(s); w++)
		sum += counter_at(&upstream_shared_at(s)->stats[w], f->offset);
	begin_upstream(s, "");
	exposition_count(&s->e, sum);
	return next_upstream(s);
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

static void add_histogram(struct histogram *sum, const struct histogram *h)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		sum->buckets[i] += stat_read(&h->buckets[i]);
	sum->sum_us += stat_read(&h->sum_us);
}

static bool step_latency(struct scrape *s, const struct metric_family *f)
{
	struct histogram h = { 0 };
	uint64_t n = 0;

	(void)f;
	if (!has_upstream(s))
		return false;
	for (unsigned w = first_worker(s); w < end_worker(s); w++)
		add_histogram(&h, &upstream_shared_at(s)->stats[w].latency);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		n += h.buckets[i];
		begin_upstream(s, "_bucket");
		exposition_label(&s->e, "le", bound_text(i));
		exposition_count(&s->e, n);
	}
	begin_upstream(s, "_sum");
	exposition_real(&s->e, (double)h.sum_us / 1e6);
	begin_upstream(s, "_count");
	exposition_count(&s->e, n);
	return next_upstream(s);
}

/* ---- servers -------------------------------------------------------------- */

/* NULL: the upstream has no more servers. */
static const struct registry_entry *entry_at(const struct scrape *s)
{
	const struct registry *r = upstream_shared_at(s)->registry;

	return s->position == 0 ? atomic_load(&r->first) : s->entry;
}

static const struct registry_record *record_of(const struct scrape *s,
					     const struct registry_entry *entry,
					     unsigned worker)
{
	const struct registry_record *record =
		registry_record(upstream_shared_at(s)->registry, entry, worker);

	return atomic_load(&record->entered) ? record : NULL;
}

/* Whether one of the workers of the sample uses this server. */
static bool is_in_use(const struct scrape *s, const struct registry_entry *entry)
{
	if (!atomic_load(&entry->published))
		return false;
	for (unsigned w = first_worker(s); w < end_worker(s); w++)
		if (record_of(s, entry, w))
			return true;
	return false;
}

static bool next_entry(struct scrape *s)
{
	if (next_worker(s))
		return true;
	s->entry = atomic_load(&entry_at(s)->next);
	s->position++;
	return true;
}

static bool next_registry(struct scrape *s)
{
	s->position = s->worker = 0;
	s->upstream++;
	return has_upstream(s);
}

static void begin_server(struct scrape *s, const struct registry_entry *entry)
{
	begin_upstream(s, "");
	exposition_label(&s->e, "server", entry->name);
	exposition_label(&s->e, "address", entry->address);
}

static bool step_server(struct scrape *s, const struct metric_family *f)
{
	const struct registry_entry *entry = has_upstream(s) ? entry_at(s) : NULL;
	uint64_t sum = 0;

	if (!entry)
		return next_registry(s);
	if (!is_in_use(s, entry))
		return next_entry(s);
	for (unsigned w = first_worker(s); w < end_worker(s); w++) {
		const struct registry_record *record = record_of(s, entry, w);

		sum += record ? counter_at(record, f->offset) : 0;
	}
	begin_server(s, entry);
	exposition_count(&s->e, sum);
	return next_entry(s);
}

static bool step_server_state(struct scrape *s, const struct metric_family *f)
{
	const struct registry_entry *entry = has_upstream(s) ? entry_at(s) : NULL;
	uint64_t n[SERVER_STATUS_DOWN + 1] = { 0 };

	(void)f;
	if (!entry)
		return next_registry(s);
	if (!is_in_use(s, entry))
		return next_entry(s);
	for (unsigned w = first_worker(s); w < end_worker(s); w++) {
		const struct registry_record *record = record_of(s, entry, w);
		uint64_t server_status = record ? stat_read(&record->status) : COUNT(n);

		if (server_status < COUNT(n))
			n[server_status]++;
	}
	for (unsigned i = SERVER_STATUS_UP; i <= SERVER_STATUS_DOWN; i++) {
		begin_server(s, entry);
		exposition_label(&s->e, "state",
				 server_status_text((enum server_status)i));
		exposition_count(&s->e, n[i]);
	}
	return next_entry(s);
}

/* ---- the process ---------------------------------------------------------- */

static bool step_diagnostics(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, diagnostics_lost());
	return false;
}

static bool step_library_bytes(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, tls_library_bytes());
	return false;
}

/* ---- certificates --------------------------------------------------------- */

#define FILE_LABEL_MAX 512

static bool step_refused(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, s->config_version->config->refused_n);
	return false;
}

/* `position`: the index of the pair. */
static bool step_expiry(struct scrape *s, const struct metric_family *f)
{
	const struct config *config = s->config_version->config;
	const struct tls_certificate *c;
	char file[FILE_LABEL_MAX];

	(void)f;
	if (s->position >= config->pair_n)
		return false;
	c = s->config_version->certificates[s->position++];
	if (c) {
		snprintf(file, sizeof(file), "%.*s", SLICE_ARG(c->file));
		exposition_sample(&s->e, "");
		exposition_label(&s->e, "file", file);
		exposition_label(&s->e, "name", c->names_n > 0 ? c->names[0] : "");
		exposition_real(&s->e, (double)c->not_after);
	}
	return s->position < config->pair_n;
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
#define X(name, kind, help) \
	{ "upstream_", #name, #kind, help, step_upstream, offsetof(struct upstream_stats, name) },
	UPSTREAM_STATS(X)
#undef X
		{ "upstream_", "latency_seconds", "histogram",
		  "Time from sending a request to the head of its response", step_latency,
		  0 },
#define X(name, kind, help)                                                    \
	{                                                                      \
		"server_", #name,       #kind,                                 \
		help,      step_server, offsetof(struct registry_record, name) \
	},
	SERVER_STATS(X)
#undef X
		{ "server_", "state", "gauge",
		  "Workers for which the server is in this state", step_server_state, 0 },
#define X(name, help) \
	{ "engine_", #name, "counter", help, step_engine, offsetof(struct io_stats, name) },
	IO_STATS(X)
#undef X
		{ "tls_", "handshakes", "counter", "TLS handshakes completed", step_handshakes, 0 },
	{ "tls_", "failures", "counter", "TLS handshakes and sessions that failed",
	  step_tls_failures, 0 },
	{ "tls_", "handshakes_now", "gauge", "TLS handshakes in progress", step_tls,
	  offsetof(struct tls_stats, shaking) },
	{ "tls_", "handshake_steps_awaited", "counter",
	  "Times a TLS handshake waited because of limits.handshake_steps", step_tls,
	  offsetof(struct tls_stats, steps_awaited) },
	{ "tls_", "handshakes_awaited", "counter",
	  "Times a TLS handshake waited because of limits.handshakes", step_tls,
	  offsetof(struct tls_stats, units_awaited) },
	{ "", "buffers", "gauge", "Receive buffers allocated", step_pool, 0 },
	{ "", "buffers_free", "gauge", "Receive buffers in the pool", step_pool, 1 },
	{ "", "block_bytes", "gauge", "Bytes of memory blocks for heads", step_pool, 2 },
	{ "", "stderr_lines_dropped", "counter",
	  "Lines for standard error that could not be written", step_diagnostics, 0 },
	{ "", "certificate_expiry_timestamp_seconds", "gauge",
	  "End of the validity of a certificate, in seconds since 1970", step_expiry, 0 },
	{ "", "certificates_refused", "counter",
	  "Certificates and files of TLS that could not be used when they were read again",
	  step_refused, 0 },
	{ "", "openssl_bytes", "gauge", "Bytes that OpenSSL has allocated",
	  step_library_bytes, 0 },
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
	s->upstream = s->position = s->worker = 0;
	if (s->family < COUNT(families))
		exposition_family(&s->e, f[1].prefix, f[1].name, f[1].kind, f[1].help);
	return s->family < COUNT(families) + MONITOR_FAMILIES;
}

void scrape_open(struct scrape *s, struct config_version *config_version,
		 const struct worker *workers, unsigned worker_n, bool by_worker)
{
	const struct metric_family *f = &families[0];

	*s = (struct scrape){ .config_version = config_version,
			      .workers = workers,
			      .worker_n = worker_n,
			      .by_worker = by_worker };
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
