/* Several configurations one after the other on one worker: which exchange uses which, and when
 * unused ones are freed. */
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

/* A further configuration, and whether the proxy uses it no longer. */
struct test_config {
	struct config *config;
	bool unused;
};

static void config_unused(void *owner)
{
	struct test_config *c = owner;

	assert_false(c->unused);
	c->unused = true;
}

/* Upstreams of the same name share their view, as in a process. */
static struct upstream_view view_of(const char *name)
{
	static const char *const names[] = { "app", "pair", "nobody", "cache", "more" };

	for (unsigned i = 0; i < COUNT(names); i++)
		if (strcmp(names[i], name) == 0)
			return (struct upstream_view){ &rig.upstream_stats[i],
						       &rig.lines[i], NULL };
	fail();
	return (struct upstream_view){ NULL, NULL, NULL };
}

static bool realloc_fails;

void *realloc(void *from, size_t size)
{
	void *p = realloc_fails ? NULL : malloc(size);

	if (p && from) {
		size_t old = malloc_usable_size(from);

		memcpy(p, from, old < size ? old : size);
		free(from);
	}
	return p;
}

static struct generation *try_generation(struct test_config *c, const char *text,
					 bool no_memory)
{
	struct upstream_view upstream_views[PROXYRIG_UPSTREAMS];
	struct generation *g;

	c->unused = false;
	c->config = config_read_text("test", slice_of(text), stderr);
	assert_non_null(c->config);
	for (unsigned i = 0; i < c->config->upstream_n; i++)
		upstream_views[i] = view_of(c->config->upstreams[i].name);
	realloc_fails = no_memory;
	g = generation_new(&rig.proxy,
			   &(struct generation_options){ .config = c->config,
							 .upstream_views = upstream_views,
							 .unused = config_unused,
							 .owner = c });
	realloc_fails = false;
	return g;
}

static struct generation *new_generation(struct test_config *c, const char *text)
{
	struct generation *g = try_generation(c, text, false);

	assert_non_null(g);
	return g;
}

static void adopt(struct test_config *c, const char *text)
{
	proxy_adopt(&rig.proxy, new_generation(c, text));
}

#define TOP "listen: [127.0.0.1:8080]\nupstreams:\n"
#define LOGGED "access_log: { path: log, format: json }\n"
#define APP "  app: { servers: [127.0.0.1:6000] }\n"
#define TWO "  app: { servers: [127.0.0.1:6000, 127.0.0.1:6001] }\n"
#define MORE "  more: { servers: [127.0.0.1:6001] }\n"
#define TO_APP "routes: [ { prefix: /, proxy: { upstream: app } } ]\n"
#define TO_MORE "routes: [ { prefix: /, proxy: { upstream: more } } ]\n"

/* The statuses of the complete responses. */
static unsigned statuses(struct sim_peer *client, int *status, unsigned max)
{
	struct client_response responses[8];
	struct slice rest;
	unsigned n = client_responses_read(client, responses, max, 0, &rest);

	for (unsigned i = 0; i < n; i++)
		status[i] = responses[i].status;
	client_responses_free(responses, n);
	return n;
}

static bool has_responses(struct sim_peer *client, unsigned n)
{
	int status[8];

	return statuses(client, status, 8) == n;
}

static int open_rig(void **state)
{
	(void)state;
	proxyrig_open(&rig, &(struct proxyrig_options){ .seed = 5 });
	return 0;
}

/* Freed after the test, as when a worker ends. */
static struct test_config configs[4];

static int close_rig(void **state)
{
	(void)state;
	proxyrig_close(&rig);
	for (unsigned i = 0; i < COUNT(configs); i++)
		config_free(configs[i].config);
	memset(configs, 0, sizeof(configs));
	return 0;
}

/* A request that waits for its cache continues with the next route of its own configuration. */
static void test_in_flight(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	int status[2];

	(void)state;
	sim_peer_send_text(client, GET("/next/miss"));
	SIMRIG_UNTIL(&rig.sim, rig.stats.requests_in_flight == 1, SECOND);
	adopt(&configs[0],
	      TOP APP "routes: [ { path: /none, proxy: { upstream: app } } ]\n");
	simrig_run(&rig.sim, 10);
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 2), 10 * SECOND);
	statuses(client, status, 2);
	assert_int_equal(status[0], 200);
	assert_int_equal(status[1], 404);
}

/* A configuration is freed when its last user ends, and not before. */
static void test_freed(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	adopt(&configs[0], TOP APP TO_APP);
	sim_peer_send_text(client, GET("/never"));
	SIMRIG_UNTIL(&rig.sim, rig.requests == 1, SECOND);
	adopt(&configs[1], TOP APP MORE TO_MORE);
	adopt(&configs[2], TOP APP MORE TO_MORE);
	SIMRIG_UNTIL(&rig.sim, configs[1].unused, SECOND);
	simrig_run(&rig.sim, SECOND);
	assert_false(configs[0].unused);
	sim_peer_reset_now(client);
	SIMRIG_UNTIL(&rig.sim, configs[0].unused, SECOND);
	assert_false(configs[2].unused);
}

/* An upstream that stays keeps its connections; one that is removed closes them. */
static void test_connections(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[0].connections_idle == 1, SECOND);
	adopt(&configs[0], TOP APP MORE TO_MORE);
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[4].connections_idle == 1, SECOND);
	assert_int_equal(rig.upstream_stats[0].connections_idle, 1);
	adopt(&configs[1], TOP APP TO_APP);
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[4].connections == 0, SECOND);
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 3), SECOND);
	assert_int_equal(rig.origins[0].accepted, 1);
	assert_int_equal(rig.upstream_stats[0].requests, 2);
	SIMRIG_UNTIL(&rig.sim, configs[0].unused, SECOND);
}

/* An upstream that is removed, but used by a request, and then added again is the same one. */
static void test_back_again(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	struct sim_peer *other = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	sim_peer_send_text(other, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(other, 1), SECOND);
	sim_peer_send_text(client, GET("/never"));
	SIMRIG_UNTIL(&rig.sim, rig.requests == 2, SECOND);
	sim_peer_send_text(other, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(other, 2), SECOND);
	adopt(&configs[0], TOP MORE TO_MORE);
	adopt(&configs[1], TOP APP TO_APP);
	simrig_run(&rig.sim, SECOND);
	sim_peer_send_text(other, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(other, 3), SECOND);
	assert_int_equal(rig.origins[0].accepted, 2);
	assert_int_equal(rig.upstream_stats[0].connections, 2);
}

/* The server's name in the log belongs to a configuration that may be freed by then: an exchange of
 * the first one is served by a server of the second, and ends under the third. */
static void test_named_in_log(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	sim_peer_send_text(
		client,
		"POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nab");
	SIMRIG_UNTIL(&rig.sim, rig.requests == 1, SECOND);
	adopt(&configs[0], LOGGED TOP APP TO_APP);
	sim_peer_send_text(client, "cde");
	sim_peer_resume_reading(client);
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 1), SECOND);
	adopt(&configs[1], LOGGED TOP APP TO_APP);
	SIMRIG_UNTIL(&rig.sim, configs[0].unused, SECOND);
	assert_int_equal(proxyrig_logged(&rig, "\"server\":\"127.0.0.1:6000\""), 1);
}

static void test_dropped(void **state)
{
	struct generation *g = new_generation(&configs[0], TOP APP MORE TO_MORE);
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	generation_drop(&g);
	assert_null(g);
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 1), SECOND);
	assert_int_equal(rig.origins[0].accepted, 1);
	assert_false(configs[0].unused);
}

/* A dropped generation old the last to refer to a service: the other one has ended meanwhile. */
static void test_dropped_last(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	struct generation *g, *failed;

	(void)state;
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[0].connections_idle == 1, SECOND);
	g = generation_ref(rig.proxy.generation);
	adopt(&configs[0], TOP MORE TO_MORE);
	simrig_run(&rig.sim, SECOND);
	assert_int_equal(rig.upstream_stats[0].connections_idle, 1);
	failed = new_generation(&configs[1], TOP APP TO_APP);
	generation_put(g);
	generation_drop(&failed);
	SIMRIG_UNTIL(&rig.sim, rig.upstream_stats[0].connections == 0, SECOND);
}

/* No memory for more servers: the generation is refused as a whole. */
static void test_refused(void **state)
{
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);

	(void)state;
	assert_null(try_generation(&configs[0], TOP TWO TO_APP, true));
	sim_peer_send_text(client, GET("/length/10"));
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 2), SECOND);
	assert_int_equal(rig.origins[0].accepted, 1);
	adopt(&configs[1], TOP TWO TO_APP);
	sim_peer_send_text(client, GET("/length/10"));
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 4), SECOND);
	assert_int_equal(rig.origins[1].accepted, 1);
}

/* An open connection accepts a head of the size that is allowed now. */
static void test_larger_head(void **state)
{
	static char request[60000];
	struct sim_peer *client = sim_peer_connect(&rig.sim, PROXYRIG_PORT);
	int status[2], n;

	(void)state;
	sim_peer_send_text(client, GET("/length/10"));
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 1), SECOND);
	adopt(&configs[0], TOP APP TO_APP
	      "limits: { request_head: 256KiB, window: 32KiB, header_timeout: 5s }\n");
	n = snprintf(request, sizeof(request),
		     "GET /length/20 HTTP/1.1\r\nHost: app\r\n");
	for (unsigned i = 0; i < 80; i++)
		n += snprintf(request + n, sizeof(request) - (size_t)n,
			      "X-%u: %0700u\r\n", i, i);
	snprintf(request + n, sizeof(request) - (size_t)n, "\r\n");
	sim_peer_send_text(client, request);
	SIMRIG_UNTIL(&rig.sim, has_responses(client, 2), 10 * SECOND);
	statuses(client, status, 2);
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
