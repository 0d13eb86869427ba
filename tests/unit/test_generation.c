/* One configuration after the other on one worker: who goes on under which, and what becomes of
 * those that nobody lives by any more. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/proxyrig.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: app\r\n\r\n"
#define SECOND 1000

static struct proxyrig rig;

/* A further configuration, and whether the proxy is through with it. */
struct paper {
	struct config *config;
	bool over;
};

static void paper_unused(void *owner)
{
	struct paper *paper = owner;

	assert_false(paper->over);
	paper->over = true;
}

/* Upstreams of a name upstream_view, as they do in a process. */
static struct upstream_view share_of(const char *name)
{
	static const char *const names[] = { "app", "pair", "nobody", "cache", "more" };

	for (unsigned i = 0; i < COUNT(names); i++)
		if (strcmp(names[i], name) == 0)
			return (struct upstream_view){ &rig.upstream_stats[i],
						       &rig.lines[i], NULL };
	fail();
	return (struct upstream_view){ NULL, NULL, NULL };
}

/* Nothing can be made longer. */
static bool short_of_memory;

void *realloc(void *was, size_t size)
{
	void *p = short_of_memory ? NULL : malloc(size);

	if (p && was) {
		size_t old = malloc_usable_size(was);

		memcpy(p, was, old < size ? old : size);
		free(was);
	}
	return p;
}

static struct generation *tried(struct paper *paper, const char *text, bool lacks)
{
	struct upstream_view upstream_views[PROXYRIG_UPSTREAMS];
	struct generation *g;

	paper->over = false;
	paper->config = config_read_text("test", slice_of(text), stderr);
	assert_non_null(paper->config);
	for (unsigned i = 0; i < paper->config->upstream_n; i++)
		upstream_views[i] = share_of(paper->config->upstreams[i].name);
	short_of_memory = lacks;
	g = generation_new(&rig.proxy,
			   &(struct generation_options){ .config = paper->config,
							 .upstream_views = upstream_views,
							 .unused = paper_unused,
							 .owner = paper });
	short_of_memory = false;
	return g;
}

static struct generation *made(struct paper *paper, const char *text)
{
	struct generation *g = tried(paper, text, false);

	assert_non_null(g);
	return g;
}

static void adopted(struct paper *paper, const char *text)
{
	proxy_adopt(&rig.proxy, made(paper, text));
}

#define TOP "listen: [127.0.0.1:8080]\nupstreams:\n"
#define APP "  app: { servers: [127.0.0.1:6000] }\n"
#define TWO "  app: { servers: [127.0.0.1:6000, 127.0.0.1:6001] }\n"
#define MORE "  more: { servers: [127.0.0.1:6001] }\n"
#define TO_APP "routes: [ { prefix: /, proxy: { upstream: app } } ]\n"
#define TO_MORE "routes: [ { prefix: /, proxy: { upstream: more } } ]\n"

/* Of the answers that are whole. */
static unsigned statuses(struct sim_peer *a, int *status, unsigned max)
{
	struct client_response answers[8];
	struct slice rest;
	unsigned n = client_responses_read(a, answers, max, 0, &rest);

	for (unsigned i = 0; i < n; i++)
		status[i] = answers[i].status;
	client_responses_free(answers, n);
	return n;
}

static bool answered(struct sim_peer *a, unsigned n)
{
	int status[8];

	return statuses(a, status, 8) == n;
}

static int open_rig(void **state)
{
	(void)state;
	proxyrig_open(&rig, &(struct proxyrig_options){ .seed = 5 });
	return 0;
}

/* The configurations of a test end after it, as those of a worker that ends. */
static struct paper papers[4];

static int close_rig(void **state)
{
	(void)state;
	proxyrig_close(&rig);
	for (unsigned i = 0; i < COUNT(papers); i++)
		config_free(papers[i].config);
	memset(papers, 0, sizeof(papers));
	return 0;
}

/* The route of a request that waits for its cache is found in its own configuration, in which
 * another comes next. */
static void test_in_flight(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	int status[2];

	(void)state;
	sim_peer_send_text(a, GET("/next/miss"));
	SIMRIG_UNTIL(&rig.sim, rig.stats.requests_in_flight == 1, SECOND);
	adopted(&papers[0], TOP APP "routes: [ { path: /none, proxy: { upstream: app } } ]\n");
	simrig_run(&rig.sim, 10);
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(a, 2), 10 * SECOND);
	statuses(a, status, 2);
	assert_int_equal(status[0], 200);
	assert_int_equal(status[1], 404);
}

/* Its last user's end is its own, and not a moment before. */
static void test_freed(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	adopted(&papers[0], TOP APP TO_APP);
	sim_peer_send_text(a, GET("/never"));
	SIMRIG_UNTIL(&rig.sim, rig.requests == 1, SECOND);
	adopted(&papers[1], TOP APP MORE TO_MORE);
	adopted(&papers[2], TOP APP MORE TO_MORE);
	SIMRIG_UNTIL(&rig.sim, papers[1].over, SECOND);
	simrig_run(&rig.sim, SECOND);
	assert_false(papers[0].over);
	sim_peer_reset_now(a);
	SIMRIG_UNTIL(&rig.sim, papers[0].over, SECOND);
	assert_false(papers[2].over);
}

/* What did not change keeps its connections, what went loses them. */
static void test_connections(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[0].connections_idle == 1, SECOND);
	adopted(&papers[0], TOP APP MORE TO_MORE);
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[4].connections_idle == 1, SECOND);
	assert_int_equal(rig.upstream_stats[0].connections_idle, 1);
	adopted(&papers[1], TOP APP TO_APP);
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[4].connections == 0, SECOND);
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(a, 3), SECOND);
	assert_int_equal(rig.origins[0].accepted, 1);
	assert_int_equal(rig.upstream_stats[0].requests, 2);
	SIMRIG_UNTIL(&rig.sim, papers[0].over, SECOND);
}

/* Gone from the newest, held by a request, and back again: it is the same. */
static void test_back_again(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	struct sim_peer *b = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	sim_peer_send_text(b, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(b, 1), SECOND);
	sim_peer_send_text(a, GET("/never"));
	SIMRIG_UNTIL(&rig.sim, rig.requests == 2, SECOND);
	sim_peer_send_text(b, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(b, 2), SECOND);
	adopted(&papers[0], TOP MORE TO_MORE);
	adopted(&papers[1], TOP APP TO_APP);
	simrig_run(&rig.sim, SECOND);
	sim_peer_send_text(b, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(b, 3), SECOND);
	assert_int_equal(rig.origins[0].accepted, 2);
	assert_int_equal(rig.upstream_stats[0].connections, 2);
}

/* Who is named in the log stands in a configuration that may be gone by then: an exchange of the
 * first is served by a server that reads the second, and ends under the third. */
static void test_named_in_log(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	sim_peer_send_text(
		a, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nab");
	SIMRIG_UNTIL(&rig.sim, rig.requests == 1, SECOND);
	adopted(&papers[0], TOP APP TO_APP);
	sim_peer_send_text(a, "cde");
	sim_peer_resume_reading(a);
	SIMRIG_UNTIL(&rig.sim, answered(a, 1), SECOND);
	adopted(&papers[1], TOP APP TO_APP);
	SIMRIG_UNTIL(&rig.sim, papers[0].over, SECOND);
	assert_int_equal(proxyrig_logged(&rig, "\"server\":\"127.0.0.1:6000\""), 1);
}

static void test_dropped(void **state)
{
	struct generation *g = made(&papers[0], TOP APP MORE TO_MORE);
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	generation_drop(&g);
	assert_null(g);
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(a, 1), SECOND);
	assert_int_equal(rig.origins[0].accepted, 1);
	assert_false(papers[0].over);
}

/* It found what an older one alone still held, which then ended. */
static void test_dropped_last(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	struct generation *g, *failed;

	(void)state;
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[0].connections_idle == 1, SECOND);
	g = generation_ref(rig.proxy.generation);
	adopted(&papers[0], TOP MORE TO_MORE);
	simrig_run(&rig.sim, SECOND);
	assert_int_equal(rig.upstream_stats[0].connections_idle, 1);
	failed = made(&papers[1], TOP APP TO_APP);
	generation_put(g);
	generation_drop(&failed);
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[0].connections == 0, SECOND);
}

/* More servers than their upstream has room for, and no memory: it is refused, as a whole. */
static void test_refused(void **state)
{
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	assert_null(tried(&papers[0], TOP TWO TO_APP, true));
	sim_peer_send_text(a, GET("/length/10"));
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(a, 2), SECOND);
	assert_int_equal(rig.origins[0].accepted, 1);
	adopted(&papers[1], TOP TWO TO_APP);
	sim_peer_send_text(a, GET("/length/10"));
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(a, 4), SECOND);
	assert_int_equal(rig.origins[1].accepted, 1);
}

/* A connection of before takes a head of the size that is allowed now. */
static void test_larger_head(void **state)
{
	static char request[60000];
	struct sim_peer *a = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	int status[2], n;

	(void)state;
	sim_peer_send_text(a, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, answered(a, 1), SECOND);
	adopted(&papers[0], TOP APP TO_APP
		"limits: { request_head: 256KiB, window: 32KiB, header_timeout: 5s }\n");
	n = snprintf(request, sizeof(request), "GET /length/20 HTTP/1.1\r\nHost: app\r\n");
	for (unsigned i = 0; i < 80; i++)
		n += snprintf(request + n, sizeof(request) - (size_t)n, "X-%u: %0700u\r\n", i, i);
	snprintf(request + n, sizeof(request) - (size_t)n, "\r\n");
	sim_peer_send_text(a, request);
	SIMRIG_UNTIL(&rig.sim, answered(a, 2), 10 * SECOND);
	statuses(a, status, 2);
	assert_int_equal(status[1], 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_flight, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_freed, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_connections, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_back_again, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_named_in_log, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_dropped, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_dropped_last, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_refused, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_larger_head, open_rig, close_rig),
	};

	return cmocka_run_group_tests_name("generation", tests, NULL, NULL);
}
