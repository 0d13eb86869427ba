/* Requests on connections that turn out to be stale, with and without bodies: what is sent again, and
 * how such connections are avoided. SEED=N runs that seed only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/proxyrig.h"
#include "proxy/replay.h"

#define SEEDS (SIMRIG_SEEDS / 2)
#define RESPONSES_MAX 8
#define GET(path) "GET " path " HTTP/1.1\r\nHost: app\r\n\r\n"
#define POST(path) "POST " path " HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n"

static void each_seed(void (*test)(struct proxyrig *r), struct proxyrig_options options)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct proxyrig r;

		if (getenv("SEED") && seed != strtoull(getenv("SEED"), NULL, 10))
			continue;
		options.seed = seed;
		print_message("seed %llu\r", (unsigned long long)seed);
		proxyrig_open(&r, &options);
		test(&r);
		proxyrig_close(&r);
	}
}

static unsigned responses_n(const struct sim_peer *client)
{
	struct client_response responses[RESPONSES_MAX];
	struct slice rest;
	unsigned n = client_responses_read(client, responses, RESPONSES_MAX, 0, &rest);

	client_responses_free(responses, n);
	return n;
}

/* Until the client has n responses. */
static void wait_for(struct proxyrig *r, const struct sim_peer *client, unsigned n)
{
	SIMRIG_UNTIL(&r->sim, responses_n(client) == n, 20000);
}

/* ---- bodies ------------------------------------------------------------------ */

struct upload {
	const char *method;
	bool chunked, again; /* again: on a route with retries, but without budget */
	unsigned tens;       /* bytes / 10 */
};

/* Leaves an idle connection to each server that the uploads may use. */
static struct sim_peer *warm_up(struct proxyrig *r, bool again)
{
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);

	for (unsigned i = 0; i < (again ? PROXYRIG_ORIGINS : 1); i++) {
		sim_peer_send_text(client,
				   again ? GET("/again/length/3") : GET("/length/3"));
		wait_for(r, client, i + 1);
	}
	return client;
}

static void upload(struct proxyrig *r, struct sim_peer *client, const struct upload *u)
{
	static const char *const paths[] = { "/swallow/", "/swallow-reset/",
					     "/swallow-whole/" };
	bool slow = simrig_draw(&r->sim, 2);
	char head[256];

	snprintf(head, sizeof(head), "%s %s%s HTTP/1.1\r\nHost: app\r\n%s%u\r\n\r\n",
		 u->method, u->again ? "/again" : "", paths[simrig_draw(&r->sim, 3)],
		 u->chunked ? "Transfer-Encoding: chunked\r\nX: " : "Content-Length: ",
		 10 * u->tens);
	sim_peer_send_text(client, head);
	for (unsigned i = 0; i < u->tens; i++) {
		if (slow && simrig_draw(&r->sim, 1 + u->tens / 4) == 0)
			simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 60));
		sim_peer_send_text(client,
				   u->chunked ? "a\r\n0123456789\r\n" : "0123456789");
	}
	if (u->chunked)
		sim_peer_send_text(client, "0\r\nX-Sum: 42\r\n\r\n");
}

/* The echo of a chunked body includes chunk lines and the trailer. */
static void assert_echo(const struct upload *u, struct slice body)
{
	static const char end[] = "0\r\nX-Sum: 42\r\n\r\n";
	size_t at = 0, n = sizeof(end) - 1;

	for (size_t i = 0; i < body.len && at < 10 * u->tens; i++) {
		if (u->chunked && (i == 0 || body.ptr[i - 1] == '\n'))
			i = (size_t)((const char *)memchr(body.ptr + i, '\n', body.len - i) -
				     body.ptr) + 1;
		if (u->chunked && body.ptr[i] == '\r') {
			i++;
			continue;
		}
		assert_int_equal(body.ptr[i], '0' + at++ % 10);
	}
	assert_int_equal(at, 10 * u->tens);
	if (u->chunked)
		assert_memory_equal(body.ptr + body.len - n, end, n);
	else
		assert_int_equal(body.len, at);
}

static void stale_close(struct proxyrig *r)
{
	static const char *const methods[] = { "PUT", "DELETE", "POST" };
	struct upload u = { methods[simrig_draw(&r->sim, 3)], simrig_draw(&r->sim, 2),
			    simrig_draw(&r->sim, 2), 0 };
	bool large = simrig_draw(&r->sim, 4) == 0, resent;
	const struct upstream_stats *stats = &r->upstream_stats[u.again ? 4 : 0];
	struct sim_peer *client = warm_up(r, u.again);
	struct client_response responses[RESPONSES_MAX];
	unsigned n = responses_n(client);
	struct slice rest;

	u.tens = large ? 1639 + (unsigned)simrig_draw(&r->sim, 2000) :
			 1 + (unsigned)simrig_draw(&r->sim, 1638);
	upload(r, client, &u);
	SIMRIG_UNTIL(&r->sim, responses_n(client) == n + 1 || sim_peer_finished(client),
		     20000);
	assert_int_equal(
		client_responses_read(client, responses, RESPONSES_MAX, 0, &rest), n + 1);
	resent = responses[n].status == 200;
	/* A large body is sent again only if nothing of it was sent. */
	if (u.method[0] == 'P' && u.method[1] == 'O')
		assert_false(resent);
	else if (!large)
		assert_true(resent);
	if (resent)
		assert_echo(&u, responses[n].body);
	else
		assert_int_equal(responses[n].status, 502);
	client_responses_free(responses, n + 1);
	assert_int_equal(r->stale_close, 1);
	assert_int_equal(stats->retries, resent);
	assert_int_equal(stats->stale_retries, resent);
}

static const struct proxyrig_options no_budget = {
	.again = "    retry: { on: [503, reset], budget_percent: 0, budget_per_second: 0 }\n",
};

static void test_stale_close(void **state)
{
	struct proxyrig_options few = no_budget;

	(void)state;
	few.buffers = 16;
	each_seed(stale_close, no_budget);
	each_seed(stale_close, few);
}

/* A body that will not be sent again is not copied: on a new connection, or of a POST. */
static void not_kept(struct proxyrig *r)
{
	bool post = simrig_draw(&r->sim, 2);
	struct sim_peer *client = post ? warm_up(r, false)
				       : sim_peer_connect(&r->sim, PROXYRIG_PORT);
	size_t before = io_bufs(r->sim.tick.loop)->block_bytes, held;
	unsigned n = responses_n(client);

	sim_peer_send_text(
		client,
		post ? "POST /never HTTP/1.1\r\nHost: app\r\nContent-Length: 9000\r\n\r\n"
		     : "PUT /never HTTP/1.1\r\nHost: app\r\nContent-Length: 9000\r\n\r\n");
	for (unsigned i = 0; i < 900; i++)
		sim_peer_send_text(client, "0123456789");
	SIMRIG_UNTIL(&r->sim, r->requests == n + 1, 5000);
	simrig_run(&r->sim, 1000);
	held = io_bufs(r->sim.tick.loop)->block_bytes - before;
	assert_true(held < 4096);
	sim_peer_close(client);
}

static void test_not_kept(void **state)
{
	(void)state;
	each_seed(not_kept, (struct proxyrig_options){ .buffers = 0 });
}

/* ---- which requests use idle connections -------------------------------------- */

static const char *const reuses[] = { "never", "safe", "always" };
static unsigned reuse; /* index of the current one */

static void first_of_client(struct proxyrig *r)
{
	static const unsigned accepted[] = { 4, 2, 1 };
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT), *other;

	sim_peer_send_text(client, GET("/length/3"));
	wait_for(r, client, 1);
	simrig_run(&r->sim, 100);
	assert_int_equal(r->upstream_stats[0].connections_idle, reuse > 0);
	other = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	sim_peer_send_text(
		other,
		simrig_draw(&r->sim, 2)
			? POST("/length/3")
			: "PATCH /length/3 HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n");
	wait_for(r, other, 1);
	/* Not the first request on its connection. */
	sim_peer_send_text(other, POST("/length/3"));
	wait_for(r, other, 2);
	sim_peer_send_text(client, simrig_draw(&r->sim, 2) ? GET("/length/3")
							   : POST("/length/3"));
	wait_for(r, client, 2);
	assert_int_equal(r->origins[0].accepted, accepted[reuse]);
	assert_int_equal(r->upstream_stats[0].connects, accepted[reuse]);
	/* A safe method may use a connection of another client. */
	other = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	sim_peer_send_text(other, GET("/length/3"));
	wait_for(r, other, 1);
	assert_int_equal(r->origins[0].accepted, accepted[reuse] + (reuse == 0));
}

static void test_reuse(void **state)
{
	char line[32];

	(void)state;
	for (reuse = 0; reuse < 3; reuse++) {
		snprintf(line, sizeof(line), "    reuse: %s\n", reuses[reuse]);
		each_seed(first_of_client, (struct proxyrig_options){ .upstream = line });
	}
}

/* If all allowed connections are idle, one is closed for a new one. */
static void fresh_at_the_limit(struct proxyrig *r)
{
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);

	sim_peer_send_text(client, GET("/length/3"));
	wait_for(r, client, 1);
	client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	sim_peer_send_text(client, POST("/length/3"));
	wait_for(r, client, 1);
	assert_int_equal(r->origins[0].accepted, 2);
	assert_int_equal(r->upstream_stats[0].connections, 1);
}

static void test_fresh_at_the_limit(void **state)
{
	(void)state;
	each_seed(fresh_at_the_limit,
		  (struct proxyrig_options){ .upstream = "    connections: 1\n" });
}

/* ---- how long connections stay idle ------------------------------------------- */

static const struct idleness {
	const char *path;
	uint32_t ms; /* 0: closed at once */
} idlenesses[] = {
	{ "/length/3", 4000 },
	{ "/keep-alive/60", 4000 },
	{ "/keep-alive/5", 4000 },
	{ "/keep-alive/3", 2000 },
	{ "/keep-alive/1", 500 },
	{ "/keep-alive/0", 0 },
};
static const struct idleness *idleness; /* the current one */

static void stays_idle(struct proxyrig *r)
{
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	uint64_t from_ms;
	char text[128];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", idleness->path);
	sim_peer_send_text(client, text);
	wait_for(r, client, 1);
	if (idleness->ms == 0)
		simrig_run(&r->sim, 10);
	else
		SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections_idle == 1, 1000);
	from_ms = r->sim.tick.now_ms;
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections == 0, 10000);
	assert_true(r->sim.tick.now_ms - from_ms + 200 >= idleness->ms);
	assert_true(r->sim.tick.now_ms - from_ms <= idleness->ms + 100);
}

static void test_stays_idle(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(idlenesses); i++) {
		idleness = &idlenesses[i];
		each_seed(stays_idle, (struct proxyrig_options){ .buffers = 0 });
	}
}

/* ---- struct replay ------------------------------------------------------------- */

static void keep(struct replay *r, struct buf_pool *pool, const char *text, uint64_t length,
		 uint32_t max)
{
	struct piece p = { NULL, text, (uint32_t)strlen(text) };

	replay_keep(r, pool, &p, length, max);
}

static void test_limits(void **state)
{
	struct buf_pool pool;
	struct replay r = { .disabled = false };
	struct piece p;

	(void)state;
	assert_int_equal(buf_pool_init(&pool, 4), 0);
	keep(&r, &pool, "abc", 0, 6);
	keep(&r, &pool, "def", 0, 6);
	assert_false(replay_next(&r, &p)); /* all was sent */
	replay_rewind(&r);
	assert_true(replay_next(&r, &p));
	assert_int_equal(p.len, 6);
	assert_memory_equal(p.ptr, "abcdef", 6);
	piece_put(&p);
	assert_false(replay_next(&r, &p));
	keep(&r, &pool, "g", 0, 6);
	assert_true(r.disabled);
	assert_null(r.body);
	replay_free(&r);
	r = (struct replay){ .disabled = false };
	keep(&r, &pool, "abc", 7, 6); /* the length exceeds the limit */
	assert_true(r.disabled);
	assert_null(r.body);
	buf_pool_done(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_stale_close),
		cmocka_unit_test(test_not_kept),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_fresh_at_the_limit),
		cmocka_unit_test(test_stays_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
