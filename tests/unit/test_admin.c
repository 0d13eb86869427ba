#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "run/admin.h"

#define PORT 9180
#define WORKERS 3
#define FAMILIES_MAX 128
#define SERIES_MAX 4096
#define UPSTREAMS 700

static struct simrig rig;
static struct admin admin;
static struct workers shared;
static struct worker workers[WORKERS];
static struct editions editions;
static struct edition *edition;
static struct run_options options;
static const char config_text[] =
	"listen: [127.0.0.1:1]\n"
	"upstreams:\n"
	"  app: { servers: [127.0.0.1:2] }\n"
	"  cache-2: { protocol: memcached, servers: [127.0.0.1:3] }\n"
	"routes: [ { prefix: /, proxy: { upstream: app } } ]\n";

static void open_edition(void)
{
	struct config *config = config_read_text("test", SLICE(config_text), stderr);

	assert_non_null(config);
	editions_init(&editions, WORKERS, NULL);
	edition = edition_new(&editions, config);
	assert_non_null(edition);
	edition_current(&editions, edition);
}

static int open_admin(void **state)
{
	(void)state;
	simrig_open(&rig, 7, 16);
	memset(&admin, 0, sizeof(admin));
	memset(workers, 0, sizeof(workers));
	open_edition();
	shared.options = &options;
	shared.editions = &editions;
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
	simrig_leave(&rig);
	simrig_assert_buffers(&rig);
	simrig_close(&rig);
	editions_done(&editions);
	return 0;
}

/* ---- the exposition format, read strictly ----------------------------------- */

struct family {
	char name[64], type[16];
	bool helped, typed, has_samples, over;
};

static struct family families[FAMILIES_MAX];
static unsigned families_n;
static char *series[SERIES_MAX];
static unsigned series_n;

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
static struct family *family_of(const char *name)
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
	assert_false(f->has_samples); /* before all of its samples */
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
		memcpy(f->type, rest, strlen(rest) + 1); /* one of the three */
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
			fail_msg("%s stands twice", line);
	assert_true(series_n < SERIES_MAX);
	series[series_n++] = line;
	assert_int_equal(sscanf(line, "%63[a-z0-9_]", name), 1);
	assert_int_equal(strncmp(name, "fairlead_", 9), 0);
	f = family_of(name);
	if (!f->helped || !f->typed)
		fail_msg("%s has no HELP or TYPE", name);
	assert_false(f->over); /* all samples of a family stand together */
	if (*last && *last != f)
		(*last)->over = true;
	*last = f;
	f->has_samples = true;
	/* Counters, and only they, end so. */
	assert_int_equal(strcmp(f->type, "counter") == 0,
			 strcmp(name + strlen(name) - 6, "_total") == 0);
	/* That of the process has none. */
	assert_true(strstr(line, "{worker=\"") || strstr(name, "diagnostics"));
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
			fail_msg("%s is not whole", families[i].name);
}

static double value_of(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	return strtod(at + strlen(name), NULL);
}

static char text[1 << 20];

static void test_metrics(void **state)
{
	size_t n;
	double sum = 0;
	char name[128];

	(void)state;
	histogram_add(&edition->accounts[0]->stats[1].latency, 100);
	histogram_add(&edition->accounts[0]->stats[1].latency, 251);
	histogram_add(&edition->accounts[0]->stats[1].latency, 3600ull * 1000000);
	stat_add(&edition->accounts[1]->stats[2].hits, 42);
	n = admin_metrics(&admin, text, sizeof(text));
	assert_true(n > 0 && n < sizeof(text) && strlen(text) == n);
	assert_true(value_of(text, "fairlead_upstream_hits_total{worker=\"2\","
				   "upstream=\"cache-2\"} ") == 42);
	assert_true(value_of(text, "\nfairlead_requests_total{worker=\"1\"} ") ==
		    (double)workers[1].stats.requests);
	assert_true(value_of(text, "{worker=\"2\",class=\"5xx\"} ") ==
		    (double)workers[2].stats.responses_5xx);
	/* The histogram's buckets are cumulative, and the last has all. */
	assert_true(value_of(text, "bucket{worker=\"1\",upstream=\"app\",le=\"0.00025\"} ") == 1);
	assert_true(value_of(text, "bucket{worker=\"1\",upstream=\"app\",le=\"0.0005\"} ") == 2);
	assert_true(value_of(text, "bucket{worker=\"1\",upstream=\"app\",le=\"+Inf\"} ") == 3);
	assert_true(value_of(text, "_count{worker=\"1\",upstream=\"app\"} ") == 3);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		double before = sum;

		snprintf(name, sizeof(name), "bucket{worker=\"1\",upstream=\"app\",le=\"%g\"} ",
			 (double)((uint64_t)HISTOGRAM_FIRST_US << i) / 1e6);
		sum = value_of(text, name);
		assert_true(sum >= before);
	}
	read_metrics(text);
}

/* Servers that a worker asks, and what it thinks of them. */
static void test_servers(void **state)
{
	struct roster *r = edition->accounts[0]->roster;
	struct roster_row *a = roster_enter(r, 0, "a\"\\b", "127.0.0.1:1");
	size_t n;

	(void)state;
	roster_enter(r, 1, "a\"\\b", "127.0.0.1:1");
	roster_leave(roster_enter(r, 1, "gone", "127.0.0.1:2"));
	roster_hide(r, &r->rows[1], 1, 0, 0);
	stat_add(&roster_cell(r, a, 0)->requests, 42);
	stat_add(&roster_cell(r, a, 1)->in_flight, 3);
	roster_tell(r, roster_cell(r, a, 1), STANDING_EJECTED);
	n = admin_metrics(&admin, text, sizeof(text));
	assert_true(n > 0);
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
}

/* Too little room is told, wherever it ends. */
static void test_room(void **state)
{
	size_t n = admin_metrics(&admin, text, sizeof(text));

	(void)state;
	for (size_t size = 1; size <= n; size += 97) {
		char *room = malloc(size);

		assert_non_null(room);
		assert_int_equal(admin_metrics(&admin, room, size), 0);
		free(room);
	}
	assert_int_equal(admin_metrics(&admin, text, n + 1), n);
}

/* ---- over HTTP -------------------------------------------------------------- */

static void ask(const char *request, const char *begin, const char *has)
{
	struct actor *a = actor_connect(&rig, PORT);

	actor_says(a, request);
	actor_shut(a);
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
		    "fairlead_block_bytes{worker=\"1\"}");
	}
	ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200", "Content-Length: ");
	ask("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405", "");
	ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404", "/metrics");
	ask("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "Connection: close");
	ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
	    "HTTP/1.1 200", "ok\nHTTP/1.1 200");
	admin.draining = true;
	ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 503", "draining");
	assert_true(admin.clients.used <= 1);
}

/* Many workers and upstreams: the page is long, and answered all the same. */
static void test_large(void **state)
{
	static char upstreams[UPSTREAMS * 100 + 256];
	int n = snprintf(upstreams, sizeof(upstreams), "listen: [127.0.0.1:1]\nupstreams:\n");
	struct config *config;

	(void)state;
	for (unsigned i = 0; i < UPSTREAMS; i++)
		n += snprintf(upstreams + n, sizeof(upstreams) - (size_t)n,
			      "  a%060u: { servers: [127.0.0.1:2] }\n", i);
	snprintf(upstreams + n, sizeof(upstreams) - (size_t)n,
		 "routes: [ { prefix: /, proxy: { upstream: a%060u } } ]\n", 0);
	config = config_read_text("test", slice_of(upstreams), stderr);
	assert_non_null(config);
	edition_current(&editions, edition_new(&editions, config));
	ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200", "Content-Length: 1");
	assert_int_equal(admin_metrics(&admin, text, sizeof(text)), 0);
}

/* Whatever take finds no memory: the connection ends or is answered, and the next is. */
static void test_scarcity(void **state)
{
	(void)state;
	for (unsigned i = 1; i < 12; i++) {
		struct actor *a;

		slab_fail_at(i);
		a = actor_connect(&rig, PORT);
		actor_says(a, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
		actor_shut(a);
		SIMRIG_UNTIL(&rig, actor_over(a), 5000);
		slab_fail_at(0);
		ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200", "ok");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_metrics, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_servers, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_room, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_http, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_large, open_admin, close_admin),
		cmocka_unit_test_setup_teardown(test_scarcity, open_admin, close_admin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
