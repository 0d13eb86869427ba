#include "run/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diagnostics.h"
#include "http/emit.h"

#define ADMIN_CLIENTS 64
/* Some lines for each server and worker: more than hundreds of thousands is a mistake. */
#define METRICS_BYTES_MAX (64u << 20)

/* ---- metrics -------------------------------------------------------------- */

struct text {
	char *at, *end;
	bool overflow;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->at, (size_t)(t->end - t->at), format, args);
	va_end(args);
	if (n < 0 || n >= t->end - t->at)
		t->overflow = true;
	else
		t->at += n;
}

static void put_help(struct text *t, const char *name, const char *kind, const char *help)
{
	put(t, "# HELP fairlead_%s%s %s\n# TYPE fairlead_%s%s %s\n", name,
	    strcmp(kind, "counter") == 0 ? "_total" : "", help, name,
	    strcmp(kind, "counter") == 0 ? "_total" : "", kind);
}

/* One family: each worker's value of the field at `offset` of its worker_stats. */
static void put_worker_stat(const struct admin *a, struct text *t, const char *name,
			    const char *kind, const char *help, size_t offset)
{
	bool counter = strcmp(kind, "counter") == 0;

	put_help(t, name, kind, help);
	for (unsigned i = 0; i < a->worker_n; i++) {
		const char *base = (const char *)&a->workers[i].stats;
		const uint64_t *value = (const uint64_t *)(const void *)(base + offset);

		put(t, "fairlead_%s%s{worker=\"%u\"} %llu\n", name, counter ? "_total" : "", i,
		    (unsigned long long)stat_read(value));
	}
}

static void put_response_classes(const struct admin *a, struct text *t)
{
	put_help(t, "responses", "counter", "Answers by status class");
	for (unsigned i = 0; i < a->worker_n; i++) {
		const struct worker_stats *s = &a->workers[i].stats;
		const uint64_t *classes[] = { &s->responses_1xx, &s->responses_2xx,
					      &s->responses_3xx, &s->responses_4xx,
					      &s->responses_5xx };

		for (unsigned k = 0; k < COUNT(classes); k++)
			put(t, "fairlead_responses_total{worker=\"%u\",class=\"%uxx\"} %llu\n", i,
			    k + 1, (unsigned long long)stat_read(classes[k]));
	}
}

static void put_worker_stats(const struct admin *a, struct text *t)
{
#define X(name, kind, help)                                                              \
	if (strncmp(#name, "responses_", 10) != 0)                                       \
		put_worker_stat(a, t, #name, #kind, help, offsetof(struct worker_stats, name));
	WORKER_STATS(X)
#undef X
	put_response_classes(a, t);
}

/* The worker has opened its loop, and what it opened can be seen from here. */
static bool has_loop(const struct worker *w)
{
	return atomic_load(&w->ready);
}

static void put_engine_stat(const struct admin *a, struct text *t, const char *name,
			    const char *help, size_t offset)
{
	char full[64];

	snprintf(full, sizeof(full), "engine_%s", name);
	put_help(t, full, "counter", help);
	for (unsigned i = 0; i < a->worker_n; i++) {
		const struct worker *w = &a->workers[i];
		const char *base = has_loop(w) ? (const char *)io_stats(w->tick.loop) : NULL;

		if (base)
			put(t, "fairlead_%s_total{worker=\"%u\"} %llu\n", full, i,
			    (unsigned long long)stat_read(
				    (const uint64_t *)(const void *)(base + offset)));
	}
}

static void put_engine_stats(const struct admin *a, struct text *t)
{
#define X(name, help) put_engine_stat(a, t, #name, help, offsetof(struct io_stats, name));
	IO_STATS(X)
#undef X
}

static void put_upstream_stat(const struct admin *a, struct text *t, const char *name,
			      const char *kind, const char *help, size_t offset)
{
	const struct edition *e = a->shared->editions->current;
	bool counter = strcmp(kind, "counter") == 0;
	char full[64];

	snprintf(full, sizeof(full), "upstream_%s", name);
	put_help(t, full, kind, help);
	for (unsigned i = 0; i < a->worker_n; i++) {
		for (unsigned u = 0; u < e->config->upstream_n; u++) {
			const char *base = (const char *)&e->accounts[u]->stats[i];
			const uint64_t *value = (const uint64_t *)(const void *)(base + offset);

			put(t, "fairlead_%s%s{worker=\"%u\",upstream=\"%s\"} %llu\n", full,
			    counter ? "_total" : "", i, e->config->upstreams[u].name,
			    (unsigned long long)stat_read(value));
		}
	}
}

static void put_histogram(struct text *t, unsigned worker, const char *upstream,
			  const struct histogram *h)
{
	static const char name[] = "fairlead_upstream_latency_seconds";
	uint64_t sum = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		sum += stat_read(&h->buckets[i]);
		put(t, "%s_bucket{worker=\"%u\",upstream=\"%s\",le=\"%g\"} %llu\n", name, worker,
		    upstream, (double)((uint64_t)HISTOGRAM_FIRST_US << i) / 1e6,
		    (unsigned long long)sum);
	}
	sum += stat_read(&h->buckets[HISTOGRAM_BUCKETS - 1]);
	put(t, "%s_bucket{worker=\"%u\",upstream=\"%s\",le=\"+Inf\"} %llu\n", name, worker,
	    upstream, (unsigned long long)sum);
	put(t, "%s_sum{worker=\"%u\",upstream=\"%s\"} %g\n", name, worker, upstream,
	    (double)stat_read(&h->sum_us) / 1e6);
	put(t, "%s_count{worker=\"%u\",upstream=\"%s\"} %llu\n", name, worker, upstream,
	    (unsigned long long)sum);
}

static void put_upstream_stats(const struct admin *a, struct text *t)
{
	const struct edition *e = a->shared->editions->current;

#define X(name, kind, help)                                                              \
	put_upstream_stat(a, t, #name, #kind, help, offsetof(struct upstream_stats, name));
	UPSTREAM_STATS(X)
#undef X
	put(t, "# HELP fairlead_upstream_latency_seconds From sending to the head of the answer\n"
	       "# TYPE fairlead_upstream_latency_seconds histogram\n");
	for (unsigned i = 0; i < a->worker_n; i++)
		for (unsigned u = 0; u < e->config->upstream_n; u++)
			put_histogram(t, i, e->config->upstreams[u].name,
				      &e->accounts[u]->stats[i].latency);
}

/* A name may hold what a label may not. */
static void put_escaped(struct text *t, const char *s)
{
	for (; *s; s++)
		put(t, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

static void put_server(struct text *t, const char *name, const struct roster *r,
		       const struct roster_row *row, unsigned worker, const char *state)
{
	put(t, "fairlead_server_%s{worker=\"%u\",upstream=\"%s\",server=\"", name, worker,
	    r->upstream);
	put_escaped(t, row->name);
	put(t, "\",address=\"");
	put_escaped(t, row->address);
	if (state)
		put(t, "\",state=\"%s", state);
	put(t, "\"} ");
}

/* Calls it for each server that a worker asks now. */
static void each_server(const struct admin *a, struct text *t, const char *name, size_t offset,
			void (*put_one)(struct text *t, const char *name, const struct roster *r,
					const struct roster_row *row, unsigned worker,
					size_t offset))
{
	for (unsigned u = 0; u < a->shared->editions->current->config->upstream_n; u++) {
		const struct roster *r = a->shared->editions->current->accounts[u]->roster;

		for (unsigned i = 0; i < ROSTER_ROWS; i++)
			for (unsigned w = 0; w < r->worker_n; w++)
				if (atomic_load(&r->rows[i].named) &&
				    atomic_load(&roster_cell(r, &r->rows[i], w)->entered))
					put_one(t, name, r, &r->rows[i], w, offset);
	}
}

static void put_server_stat(struct text *t, const char *name, const struct roster *r,
			    const struct roster_row *row, unsigned worker, size_t offset)
{
	const char *base = (const char *)roster_cell(r, row, worker);

	put_server(t, name, r, row, worker, NULL);
	put(t, "%llu\n",
	    (unsigned long long)stat_read((const uint64_t *)(const void *)(base + offset)));
}

static void put_server_state(struct text *t, const char *name, const struct roster *r,
			     const struct roster_row *row, unsigned worker, size_t offset)
{
	uint64_t standing = stat_read(&roster_cell(r, row, worker)->standing);

	(void)offset;
	for (unsigned i = STANDING_UP; i <= STANDING_DOWN; i++) {
		put_server(t, name, r, row, worker, standing_text((enum standing)i));
		put(t, "%d\n", standing == i);
	}
}

static void put_server_family(const struct admin *a, struct text *t, const char *name,
			      const char *kind, const char *help, size_t offset)
{
	bool counter = strcmp(kind, "counter") == 0;
	char full[64];

	snprintf(full, sizeof(full), "server_%s", name);
	put_help(t, full, kind, help);
	snprintf(full, sizeof(full), "%s%s", name, counter ? "_total" : "");
	each_server(a, t, full, offset, put_server_stat);
}

/* A family without a sample is none. */
static bool has_servers(const struct admin *a)
{
	const struct edition *e = a->shared->editions->current;

	for (unsigned u = 0; u < e->config->upstream_n; u++)
		for (unsigned i = 0; i < ROSTER_ROWS; i++)
			if (atomic_load(&e->accounts[u]->roster->rows[i].users) > 0)
				return true;
	return false;
}

static void put_servers(const struct admin *a, struct text *t)
{
	if (!has_servers(a))
		return;
#define X(name, kind, help)                                                              \
	put_server_family(a, t, #name, #kind, help, offsetof(struct roster_cell, name));
	SERVER_STATS(X)
#undef X
	put_help(t, "server_state", "gauge", "What the worker thinks of the server: 1 is so");
	each_server(a, t, "state", 0, put_server_state);
}

static void put_pool(const struct admin *a, struct text *t, const char *name, const char *help,
		     size_t (*value)(struct io_loop *loop))
{
	put_help(t, name, "gauge", help);
	for (unsigned i = 0; i < a->worker_n; i++)
		if (has_loop(&a->workers[i]))
			put(t, "fairlead_%s{worker=\"%u\"} %zu\n", name, i,
			    value(a->workers[i].tick.loop));
}

/* Their worker alone writes them: a reader sees one or the other value. */
static size_t buffers(struct io_loop *loop)
{
	return __atomic_load_n(&io_bufs(loop)->count, __ATOMIC_RELAXED);
}

static size_t buffers_free(struct io_loop *loop)
{
	return __atomic_load_n(&io_bufs(loop)->free_n, __ATOMIC_RELAXED);
}

static size_t block_bytes(struct io_loop *loop)
{
	return __atomic_load_n(&io_bufs(loop)->block_bytes, __ATOMIC_RELAXED);
}

size_t admin_metrics(const struct admin *a, char *text, size_t size)
{
	struct text t = { text, text + size, false };

	put_worker_stats(a, &t);
	put_upstream_stats(a, &t);
	put_servers(a, &t);
	put_engine_stats(a, &t);
	put_pool(a, &t, "buffers", "Receive buffers that exist", buffers);
	put_pool(a, &t, "buffers_free", "Receive buffers in the pool", buffers_free);
	put_pool(a, &t, "block_bytes", "Bytes of blocks that hold heads", block_bytes);
	put_help(&t, "diagnostics_lost", "counter",
		 "Lines for standard error that it did not take");
	put(&t, "fairlead_diagnostics_lost_total %llu\n", (unsigned long long)diagnostics_lost());
	if (a->shared->editions->current->lookout) {
		const struct lookout *l = a->shared->editions->current->lookout;
		size_t n = lookout_metrics(l, t.at, (size_t)(t.end - t.at));

		t.overflow |= n == 0;
		t.at += n;
	}
	return t.overflow ? 0 : (size_t)(t.at - text);
}

/* ---- answers -------------------------------------------------------------- */

static void answer(struct client *c, int status, struct slice type, struct slice body, bool head)
{
	struct admin *a = c->front->owner;
	bool keep = client_keeps_alive(c);
	struct buf *b = buf_new(io_bufs(a->tick->loop), EMIT_EXTRA + body.len);
	char date[EMIT_DATE_MAX];
	struct emit e;

	if (!b) {
		client_abort(c);
		return;
	}
	emit_date(date, a->tick->wall_ms);
	e = (struct emit){ b->data, b->data + b->size, false };
	emit_reply(&e, &(struct emit_reply){ .status = status, .content_type = type,
					     .has_body = true, .length = body.len,
					     .close = !keep, .date = slice_of(date) });
	if (!head)
		emit_slice(&e, body);
	b->end = (uint32_t)(e.at - b->data);
	if (writer_begin(&c->writer, &c->conn, b, FRAMING_NONE, 0))
		client_ended(c, keep);
	else
		client_abort(c);
}

static void answer_metrics(struct client *c, bool head)
{
	char *text = NULL;
	size_t n = 0;

	for (size_t size = 65536; n == 0 && size <= METRICS_BYTES_MAX; size *= 2) {
		free(text);
		text = malloc(size);
		n = text ? admin_metrics(c->front->owner, text, size) : 0;
	}
	if (n > 0)
		answer(c, 200, SLICE("text/plain; version=0.0.4"), (struct slice){ text, n }, head);
	else
		answer(c, 503, SLICE("text/plain"),
		       text ? SLICE("more than 64 MiB\n") : SLICE("out of memory\n"), head);
	free(text);
}

static void head_received(struct client *c, struct head *h)
{
	struct admin *a = c->front->owner;
	bool metrics = slice_equal(h->path, SLICE("/metrics"));
	bool health = slice_equal(h->path, SLICE("/healthz"));
	bool head = h->method == METHOD_HEAD;
	bool allowed = head || h->method == METHOD_GET;

	client_begin_body(c, h);
	if (!metrics && !health)
		answer(c, 404, SLICE("text/plain"), SLICE("/metrics or /healthz\n"), head);
	else if (!allowed)
		answer(c, 405, SLICE("text/plain"), SLICE("GET or HEAD\n"), head);
	else if (metrics)
		answer_metrics(c, head);
	else if (a->draining)
		answer(c, 503, SLICE("text/plain"), SLICE("draining\n"), head);
	else
		answer(c, 200, SLICE("text/plain"), SLICE("ok\n"), head);
}

static void head_refused(struct client *c, enum fault fault)
{
	int status = fault == FAULT_NONE ? 408 : fault_status(fault);

	c->peer_closes = true;
	answer(c, status, SLICE("text/plain"), slice_of(fault_text(fault)), false);
}

/* Answers are whole at once: there is never an exchange to step. */
static void step(struct client *c)
{
	(void)c;
}

static const struct client_events client_events = { head_received, head_refused, step, step };

static void accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct admin *a = l->owner;

	client_open(&a->front, fd, peer);
}

static const struct listener_events listener_events = { accepted };

void admin_start(struct admin *a, int fd)
{
	struct front *f = &a->front;

	quota_init(&a->clients, ADMIN_CLIENTS);
	f->tick = a->tick;
	f->events = &client_events;
	f->owner = a;
	f->limits = (struct head_limits){ 8192, 64 };
	f->timeouts = (struct client_timeouts){ 10000, 60000, 10000, 10000 };
	f->window = 65536;
	f->linger_ms = 1000;
	f->quota = &a->clients;
	f->stats = &a->stats;
	f->scratch = &a->request;
	front_init(f);
	listener_start(&a->listener, a->tick, fd, &a->clients, &a->stats, &listener_events, a);
}

void admin_stop(struct admin *a)
{
	listener_stop(&a->listener);
	listener_abandon(&a->listener);
	front_close(&a->front);
}

bool admin_idle(const struct admin *a)
{
	return listener_stopped(&a->listener) && front_idle(&a->front);
}

void admin_done(struct admin *a)
{
	front_done(&a->front);
}
