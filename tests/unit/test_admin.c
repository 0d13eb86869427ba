#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/run/worker/scrape.h"
#include "../../src/run/worker/series.h"
#include "lib/simrig.h"
#include "run/worker/admin.h"

#define PORT 9180
#define WORKERS 3
#define FAMILIES_MAX 128
#define SERIES_MAX 4096
#define UPSTREAMS 700

static struct simrig rig;
static struct admin admin;
static struct workers shared;
static struct worker workers[WORKERS];
static struct config_versions config_versions;
static struct config_version *config_version;
static struct phase_tables phases;
static struct run_options options;
static const char config_text[] =
	"listen: [127.0.0.1:1]\n"
	"upstreams:\n"
	"  app: { servers: [127.0.0.1:2] }\n"
	"  cache-2: { protocol: memcached, servers: [127.0.0.1:3] }\n"
	"routes: [ { prefix: /, proxy: { upstream: app } } ]\n";

static void open_version(void)
{
	struct config *config = config_read_text("test", SLICE(config_text), stderr);

	assert_non_null(config);
	assert_true(series_init(&phases, WORKERS, 1));
	config_versions_init(&config_versions, WORKERS, NULL, &phases);
	config_version = config_version_new(&config_versions, config);
	assert_non_null(config_version);
	config_versions_set_current(&config_versions, config_version);
}

static int open_admin(void **state)
{
	(void)state;
	simrig_open(&rig, 7, 16);
	memset(&admin, 0, sizeof(admin));
	memset(workers, 0, sizeof(workers));
	open_version();
	shared.options = &options;
	shared.config_versions = &config_versions;
	for (unsigned i = 0; i < WORKERS; i++) {
		uint64_t *words = (uint64_t *)(void *)&workers[i].stats;

		for (size_t k = 0; k < sizeof(workers[i].stats) / sizeof(*words); k++)
			words[k] = 1000 * i + k;
		workers[i].tick.loop = rig.tick.loop;
		atomic_store(&workers[i].ready, i < 2); /* the last has not started */
	}
	admin.tick = &rig.tick;
	admin.shared = &shared;
	admin.workers = workers;
	admin.worker_n = WORKERS;
	admin_start(&admin, simrig_listen(&rig, PORT));
	return 0;
}

static int close_admin(void **state)
{
	(void)state;
	admin_stop(&admin);
	SIMRIG_UNTIL(&rig, admin_idle(&admin), 3000);
	admin_done(&admin);
	simrig_close_peers(&rig);
	simrig_assert_buffers(&rig);
	simrig_close(&rig);
	config_versions_done(&config_versions);
	series_done(&phases);
	return 0;
}

/* ---- a strict parser of the exposition format ------------------------------- */

struct family {
	char name[64], type[16];
	bool helped, typed, has_samples, over;
};

static struct family families[FAMILIES_MAX];
static unsigned families_n;
static char *series[SERIES_MAX];
static unsigned series_n;

static bool by_worker, open_metrics;

static struct family *family(const char *name)
{
	for (unsigned i = 0; i < families_n; i++)
		if (strcmp(families[i].name, name) == 0)
			return &families[i];
	assert_true(families_n < FAMILIES_MAX);
	snprintf(families[families_n].name, sizeof(families[0].name), "%s", name);
	return &families[families_n++];
}

/* The family that a sample's name belongs to. */
static struct family *family_of_sample(const char *name)
{
	static const char *const suffixes[] = { "_bucket", "_sum", "_count" };
	char base[64];

	snprintf(base, sizeof(base), "%s", name);
	for (unsigned i = 0; i < COUNT(suffixes); i++) {
		char *end = base + strlen(base) - strlen(suffixes[i]);

		if (end <= base || strcmp(end, suffixes[i]) != 0)
			continue;
		*end = '\0';
		if (strcmp(family(base)->type, "histogram") == 0)
			return family(base);
		snprintf(base, sizeof(base), "%s", name);
	}
	return family(base);
}

static void read_comment(const char *line)
{
	char kind[8], name[64], rest[256]; /* TYPE: one short word */
	struct family *f;

	assert_int_equal(sscanf(line, "# %7s %63s %255[^\n]", kind, name, rest), 3);
	f = family(name);
	assert_false(f->has_samples); /* HELP and TYPE precede all samples */
	if (strcmp(kind, "HELP") == 0) {
		assert_false(f->helped);
		assert_true(strlen(rest) > 3);
		f->helped = true;
	} else {
		assert_string_equal(kind, "TYPE");
		assert_false(f->typed);
		assert_true(strcmp(rest, "counter") == 0 || strcmp(rest, "gauge") == 0 ||
			    strcmp(rest, "histogram") == 0);
		f->typed = true;
		memcpy(f->type, rest, strlen(rest) + 1); /* fits: one of the three */
	}
}

static double read_sample(char *line, struct family **last)
{
	char name[64], *space = strrchr(line, ' '), *end;
	struct family *f;
	double value;

	assert_non_null(space);
	value = strtod(space + 1, &end);
	assert_true(end > space + 1 && *end == '\0' && value >= 0);
	*space = '\0';
	for (unsigned i = 0; i < series_n; i++)
		if (strcmp(series[i], line) == 0)
			fail_msg("duplicate sample %s", line);
	assert_true(series_n < SERIES_MAX);
	series[series_n++] = line;
	assert_int_equal(sscanf(line, "%63[a-z0-9_]", name), 1);
	assert_int_equal(strncmp(name, "fairlead_", 9), 0);
	f = family_of_sample(name);
	if (!f->helped || !f->typed)
		fail_msg("%s has no HELP or TYPE", name);
	assert_false(f->over); /* all samples of a family are consecutive */
	if (*last && *last != f)
		(*last)->over = true;
	*last = f;
	f->has_samples = true;
	/* Counters, and only counters, have the suffix _total. */
	assert_int_equal(strcmp(f->type, "counter") == 0,
			 strcmp(name + strlen(name) - 6, "_total") == 0);
	/* Families of the process have no label `worker`. */
	if (!strstr(name, "stderr_lines") && !strstr(name, "error_log") &&
	    !strstr(name, "certificate") && !strstr(name, "openssl") &&
	    !strstr(name, "series_sharing"))
		assert_int_equal(strstr(line, "{worker=\"") != NULL, by_worker);
	return value;
}

static void read_metrics(char *text)
{
	struct family *last = NULL;
	char *save;

	memset(families, 0, sizeof(families));
	families_n = series_n = 0;
	assert_int_equal(text[strlen(text) - 1], '\n');
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (line[0] == '#')
			read_comment(line);
		else
			read_sample(line, &last);
	}
	for (unsigned i = 0; i < families_n; i++)
		if (!families[i].helped || !families[i].typed || !families[i].has_samples)
			fail_msg("%s is incomplete", families[i].name);
}

static double value_of(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	return strtod(at + strlen(name), NULL);
}

static char text[1 << 20];

/* Reads all metrics, in chunks of this size. */
static size_t scrape_in_chunks(size_t chunk)
{
	struct scrape s;
	size_t n = 0, got;
	bool more = true;

	scrape_open(&s, config_version, workers, WORKERS,
		    &(struct scrape_options){ by_worker, open_metrics });
	while (more) {
		char *room = malloc(chunk);

		assert_non_null(room);
		more = scrape_read(&s, room, chunk, &got);
		assert_true(n + got < sizeof(text));
		memcpy(text + n, room, got);
		n += got;
		free(room);
	}
	scrape_close(&s);
	text[n] = '\0';
	return n;
}

static size_t scrape_by(bool worker)
{
	by_worker = worker;
	return scrape_in_chunks(3 * SCRAPE_STEP_BYTES);
}

static void count_something(void)
{
	for (unsigned w = 1; w < 3; w++) {
		histogram_add(&config_version->upstreams_shared[0]->stats[w].latency,
			      100);
		histogram_add(&config_version->upstreams_shared[0]->stats[w].latency,
			      251);
		histogram_add(&config_version->upstreams_shared[0]->stats[w].latency,
			      3600ull * 1000000);
	}
	stat_add(&config_version->upstreams_shared[1]->stats[2].hits, 42);
	stat_add(&config_version->upstreams_shared[1]->stats[0].hits, 1);
}

/* The buckets of the histogram are cumulative, and the last one equals the count. */
static void assert_buckets(const char *labels, double all)
{
	char name[128];
	double sum = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		double before = sum;

		snprintf(name, sizeof(name), "bucket{%sle=\"%g\"} ", labels,
			 (double)((uint64_t)HISTOGRAM_FIRST_US << i) / 1e6);
		sum = value_of(text, name);
		assert_true(sum >= before);
	}
	snprintf(name, sizeof(name), "bucket{%sle=\"+Inf\"} ", labels);
	assert_true(value_of(text, name) == all && sum < all);
}

static void test_by_worker(void **state)
{
	(void)state;
	count_something();
	scrape_by(true);
	assert_true(value_of(text, "fairlead_upstream_hits_total{worker=\"2\","
				   "upstream=\"cache-2\"} ") == 42);
	assert_true(value_of(text, "\nfairlead_requests_total{worker=\"1\"} ") ==
		    (double)workers[1].stats.requests);
	assert_true(value_of(text, "{worker=\"2\",class=\"5xx\"} ") ==
		    (double)workers[2].stats.responses_5xx);
	assert_true(value_of(text, "bucket{worker=\"1\",upstream=\"app\",le=\"0.00025\"} ") == 1);
	assert_true(value_of(text, "bucket{worker=\"1\",upstream=\"app\",le=\"0.0005\"} ") == 2);
	assert_buckets("worker=\"1\",upstream=\"app\",", 3);
	assert_true(value_of(text, "_count{worker=\"1\",upstream=\"app\"} ") == 3);
	read_metrics(text);
}

static void test_sums(void **state)
{
	double requests = 0;

	(void)state;
	count_something();
	for (unsigned i = 0; i < WORKERS; i++)
		requests += (double)workers[i].stats.requests;
	scrape_by(false);
	assert_true(value_of(text, "\nfairlead_upstream_hits_total{upstream=\"cache-2\"} ") == 43);
	assert_true(value_of(text, "\nfairlead_requests_total ") == requests);
	assert_true(value_of(text, "bucket{upstream=\"app\",le=\"0.00025\"} ") == 2);
	assert_true(value_of(text, "bucket{upstream=\"app\",le=\"0.0005\"} ") == 4);
	assert_buckets("upstream=\"app\",", 6);
	assert_true(value_of(text, "_count{upstream=\"app\"} ") == 6);
	assert_true(value_of(text, "_sum{upstream=\"app\"} ") == 2 * (3600 + 0.000351));
	read_metrics(text);
}

/* Servers that a worker uses, with their status. */
static void test_servers(void **state)
{
	struct registry *r = config_version->upstreams_shared[0]->registry;
	struct registry_entry *a = registry_enter(r, 0, "a\"\\b", "127.0.0.1:1");

	(void)state;
	registry_enter(r, 1, "a\"\\b", "127.0.0.1:1");
	registry_leave(registry_enter(r, 1, "gone", "127.0.0.1:2"));
	registry_withdraw(r, r->first->next, 1, 0, 0);
	stat_add(&registry_record(r, a, 0)->requests, 42);
	stat_add(&registry_record(r, a, 1)->requests, 7);
	stat_add(&registry_record(r, a, 1)->in_flight, 3);
	registry_set_status(r, registry_record(r, a, 1), SERVER_STATUS_EJECTED);
	scrape_by(true);
	assert_true(value_of(text, "fairlead_server_requests_total{worker=\"0\",upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\"} ") == 42);
	assert_true(value_of(text, "fairlead_server_in_flight{worker=\"1\",upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\"} ") == 3);
	assert_true(value_of(text, "fairlead_server_state{worker=\"1\",upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\","
				   "state=\"ejected\"} ") == 1);
	assert_true(value_of(text, "fairlead_server_state{worker=\"1\",upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\","
				   "state=\"up\"} ") == 0);
	assert_null(strstr(text, "gone"));
	read_metrics(text);
	scrape_by(false);
	assert_true(value_of(text, "fairlead_server_requests_total{upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\"} ") == 49);
	assert_true(value_of(text, "fairlead_server_state{upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\","
				   "state=\"ejected\"} ") == 1);
	assert_true(value_of(text, "fairlead_server_state{upstream=\"app\","
				   "server=\"a\\\"\\\\b\",address=\"127.0.0.1:1\","
				   "state=\"up\"} ") == 1);
	assert_null(strstr(text, "gone"));
	read_metrics(text);
}

/* Times by phase: what has a value, of the first route, upstream and server a series of its own; the
 * rest shares one. A route keeps its counts in the next version, and two routes of one name differ. */
static void test_phases(void **state)
{
	static const char next_text[] =
		"listen: [127.0.0.1:1]\n"
		"upstreams: { app: { servers: [127.0.0.1:2] }, b: { servers: [127.0.0.1:3] } }\n"
		"routes:\n"
		"  - { path: /x, match: { method: GET }, proxy: { upstream: b } }\n"
		"  - { path: /x, proxy: { upstream: b } }\n"
		"  - { prefix: /, proxy: { upstream: app } }\n";
	struct registry *r = config_version->upstreams_shared[0]->registry;
	struct registry_entry *a = registry_enter(r, 0, "a\"b", "127.0.0.1:1");
	struct registry_entry *b = registry_enter(r, 0, "b", "127.0.0.1:2");
	struct config_version *next;

	(void)state;
	phases_add(phase_table_at(&phases.routes, 1, config_version->route_slots[0]), PHASE_TOTAL,
		   300);
	phases_add(phase_table_at(&phases.routes, 2, config_version->route_slots[0]), PHASE_TOTAL,
		   300);
	phases_add(config_version->upstreams_shared[0]->stats[1].phases, PHASE_TLS, 100);
	phases_add(config_version->upstreams_shared[1]->stats[1].phases, PHASE_QUEUE, 100);
	phases_add(registry_record(r, a, 0)->phases, PHASE_CONNECT, 100);
	phases_add(registry_record(r, b, 0)->phases, PHASE_CONNECT, 100);
	next = config_version_new(&config_versions, config_read_text("test", SLICE(next_text), stderr));
	assert_non_null(next);
	config_versions_set_current(&config_versions, next);
	config_version_free(config_version);
	config_version = next;
	assert_string_equal(next->routes_shared[1]->name, "/x#2");
	phases_add(phase_table_at(&phases.routes, 0, next->route_slots[1]), PHASE_RECEIVE, 1);
	scrape_by(true);
	assert_true(value_of(text, "fairlead_route_phase_seconds_count{worker=\"2\",route=\"/*\","
				   "phase=\"total\"} ") == 1);
	read_metrics(text);
	scrape_by(false);
	assert_true(value_of(text, "fairlead_route_phase_seconds_bucket{route=\"/*\","
				   "phase=\"total\",le=\"0.0005\"} ") == 2);
	assert_true(value_of(text, "fairlead_route_phase_seconds_count{route=\"(other)\","
				   "phase=\"receive\"} ") == 1);
	assert_true(value_of(text, "fairlead_upstream_phase_seconds_count{upstream=\"app\","
				   "phase=\"tls\"} ") == 1);
	assert_true(value_of(text, "fairlead_upstream_phase_seconds_count{upstream=\"(other)\","
				   "phase=\"queue\"} ") == 1);
	assert_true(value_of(text, "fairlead_server_phase_seconds_count{upstream=\"app\","
				   "phase=\"connect\",server=\"a\\\"b\","
				   "address=\"127.0.0.1:1\"} ") == 1);
	assert_true(value_of(text, "fairlead_server_phase_seconds_count{upstream=\"(other)\","
				   "phase=\"connect\",server=\"(other)\","
				   "address=\"(other)\"} ") == 1);
	assert_true(value_of(text, "fairlead_metric_series_sharing{of=\"route\"} ") == 2);
	assert_null(strstr(text, "route=\"/x\""));
	read_metrics(text);
}

/* The size of the chunks makes no difference. */
static void test_chunks(void **state)
{
	size_t n = scrape_by(true);
	char *whole = strdup(text);

	(void)state;
	assert_non_null(whole);
	for (size_t chunk = SCRAPE_STEP_BYTES; chunk < 2 * SCRAPE_STEP_BYTES;
	     chunk += 97) {
		assert_int_equal(scrape_in_chunks(chunk), n);
		assert_string_equal(text, whole);
	}
	free(whole);
}

/* ---- over HTTP -------------------------------------------------------------- */

static void ask(const char *request, const char *begin, const char *has)
{
	struct sim_peer *a = sim_peer_connect(&rig, PORT);

	sim_peer_send_text(a, request);
	sim_peer_shutdown(a);
	SIMRIG_UNTIL(&rig, a->eof, 5000);
	if (strncmp(a->in, begin, strlen(begin)) != 0 || !strstr(a->in, has))
		fail_msg("%s: %.200s", request, a->in);
}

static void test_http(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200", "\r\n\r\nok\n");
		ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200",
		    "fairlead_block_bytes ");
	}
	ask("GET /metrics?by=worker HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200",
	    "fairlead_block_bytes{worker=\"1\"}");
	ask("GET /metrics?by=name HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400", "?by=worker");
	ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
	    "HTTP/1.1 200", "Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 200");
	ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
	    "HTTP/1.1 200", "\r\n0\r\n\r\nHTTP/1.1 200");
	ask("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405", "");
	ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404", "/metrics");
	ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405", "");
	ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200", "</html>\n");
	ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200",
	    "Content-Security-Policy: default-src 'none'; ");
	ask("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "Connection: close");
	ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
	    "HTTP/1.1 200", "ok\nHTTP/1.1 200");
	admin.draining = true;
	ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 503", "draining");
	assert_true(admin.clients.used <= 1);
}

/* Many upstreams: a response of megabytes. */
static struct config_version *open_large(void)
{
	static char upstreams[UPSTREAMS * 100 + 256];
	int n = snprintf(upstreams, sizeof(upstreams), "listen: [127.0.0.1:1]\nupstreams:\n");
	struct config *config;
	struct config_version *large;

	for (unsigned i = 0; i < UPSTREAMS; i++)
		n += snprintf(upstreams + n, sizeof(upstreams) - (size_t)n,
			      "  a%060u: { servers: [127.0.0.1:2] }\n", i);
	snprintf(upstreams + n, sizeof(upstreams) - (size_t)n,
		 "routes: [ { prefix: /, proxy: { upstream: a%060u } } ]\n", 0);
	config = config_read_text("test", slice_of(upstreams), stderr);
	assert_non_null(config);
	large = config_version_new(&config_versions, config);
	assert_non_null(large);
	config_versions_set_current(&config_versions, large);
	return large;
}

/* The decoded chunked body of a response. */
static char *body_of(const struct sim_peer *a)
{
	char *body = malloc(a->in_n), *at = strstr(a->in, "\r\n\r\n"), *end;
	size_t n = 0, len;

	assert_non_null(body);
	assert_non_null(strstr(a->in, "\r\nTransfer-Encoding: chunked\r\n"));
	for (at += 4; (len = strtoul(at, &end, 16)) > 0; at = end + 2 + len + 2) {
		memcpy(body + n, end + 2, len);
		n += len;
		assert_memory_equal(end + 2 + len, "\r\n", 2);
	}
	assert_string_equal(at, "0\r\n\r\n");
	body[n] = '\0';
	return body;
}

static uint64_t time_healthz(void)
{
	uint64_t before = rig.tick.now_ms;

	ask("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", "ok");
	return rig.tick.now_ms - before;
}

/* While clients read /metrics, or have stopped reading it, /healthz responds without
 * delay. The memory in use is bounded by what they have not read. The configuration may
 * change meanwhile. */
static void test_large(void **state)
{
	struct config_version *large = open_large();
	uint64_t quiet = time_healthz();
	struct sim_peer *deaf, *reader;
	char *body;

	(void)state;
	deaf = sim_peer_connect(&rig, PORT);
	deaf->stopped_reading = true;
	reader = sim_peer_connect(&rig, PORT);
	sim_peer_send_text(deaf, "GET /metrics?by=worker HTTP/1.1\r\nHost: a\r\n\r\n");
	sim_peer_send_text(reader, "GET /metrics?by=worker HTTP/1.1\r\nHost: a\r\n"
				   "Connection: close\r\n\r\n");
	SIMRIG_UNTIL(&rig, large->readers_n == 2, 1000);
	assert_true(time_healthz() <= quiet + 20);
	config_versions_set_current(&config_versions, config_version);
	while (large->readers_n == 2) {
		tick_once(&rig.tick);
		/* Two windows, and a chunk beyond each. */
		assert_true(io_bufs(rig.tick.loop)->block_bytes < 2 * (65536 + 2 * 65536));
	}
	SIMRIG_UNTIL(&rig, reader->eof, 1000);
	assert_true(reader->in_n > 4 << 20);
	body = body_of(reader);
	assert_non_null(strstr(body, "fairlead_upstream_requests_total{worker=\"2\",upstream=\"a"));
	assert_true(value_of(body, "fairlead_block_bytes{worker=\"1\"} ") > 0);
	free(body);
	sim_peer_reset_now(deaf);
	SIMRIG_UNTIL(&rig, large->readers_n == 0, 1000);
}

/* At the limit, connections that are idle or never sent a request are evicted first, then
 * those that read /metrics. */
static void test_eviction(void **state)
{
	struct sim_peer *idle[ADMIN_CLIENTS * 3];
	unsigned ended = 0;

	(void)state;
	for (unsigned i = 0; i < COUNT(idle); i++) {
		idle[i] = sim_peer_connect(&rig, PORT);
		if (i % 2)
			sim_peer_send_text(idle[i],
					   "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
		simrig_run(&rig, 5);
	}
	assert_true(time_healthz() < 200);
	for (unsigned i = 0; i < COUNT(idle); i++)
		ended += idle[i]->eof || idle[i]->error;
	assert_in_range(ended, COUNT(idle) - ADMIN_CLIENTS, COUNT(idle) - ADMIN_CLIENTS + 2);
	assert_false(idle[COUNT(idle) - 1]->eof);
	open_large();
	for (unsigned i = 0; i < ADMIN_CLIENTS; i++) {
		struct sim_peer *a = sim_peer_connect(&rig, PORT);

		a->stopped_reading = true;
		sim_peer_send_text(a, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
		simrig_run(&rig, 20);
	}
	assert_true(time_healthz() < 200);
	simrig_run(&rig, 2000);
	assert_true(admin.clients.used <= ADMIN_CLIENTS);
}

/* HTTP/1.0 has no chunked coding: the response ends with the connection. */
static void test_http_1_0(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig, PORT);

	(void)state;
	sim_peer_send_text(a, "GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	SIMRIG_UNTIL(&rig, a->eof, 5000);
	assert_null(strstr(a->in, "chunked"));
	assert_non_null(strstr(a->in, "\r\nConnection: close\r\n"));
	by_worker = false;
	read_metrics(strstr(a->in, "\r\n\r\n") + 4);
}

/* Whichever allocation fails: the connection is closed or gets its response, and the next
 * connection gets one. */
static void test_scarcity(void **state)
{
	(void)state;
	for (unsigned i = 1; i < 12; i++) {
		struct sim_peer *a;

		slab_fail_at(i);
		a = sim_peer_connect(&rig, PORT);
		sim_peer_send_text(a, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
		sim_peer_shutdown(a);
		SIMRIG_UNTIL(&rig, sim_peer_finished(a), 5000);
		slab_fail_at(0);
		ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200", "ok");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_by_worker, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_sums, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_phases, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_servers, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_chunks, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_http, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_large, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_eviction, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_http_1_0, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_scarcity, open_admin, close_admin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
