/* A whole proxy: hedges, which are second attempts in parallel to a slow first one.
 * timeout: 600 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proxycase.h"

#define HEDGE "    hedge: { percentile: 95, budget_percent: 100 }\n"
#define WARM_N 25

/* Enough responses that the latency of the route is known. */
static void warm(struct proxyrig *r)
{
	struct client_response responses[WARM_N];
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	struct slice rest;

	for (unsigned i = 0; i < WARM_N; i++)
		sim_peer_send_text(client, GET("/again/status/204"));
	SIMRIG_UNTIL(&r->sim,
		     client_responses_read(client, responses, WARM_N, 0, &rest) == WARM_N,
		     20000);
	sim_peer_close(client);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 1000);
	simrig_run(&r->sim, 200); /* hedges that lost may still be in flight */
	assert_true(r->requests >= WARM_N &&
		    r->requests <= WARM_N + r->upstream_stats[AGAIN_UPSTREAM].hedges);
	r->upstream_stats[AGAIN_UPSTREAM].hedges =
		r->upstream_stats[AGAIN_UPSTREAM].hedges_won = 0;
	r->upstream_stats[AGAIN_UPSTREAM].hedge_refusals = 0;
	r->requests = 0;
}

static const struct hedge_case {
	const char *name;
	const char *again;   /* lines of the route */
	const char *request; /* NULL: GET of 7 bytes */
	unsigned fail_n;     /* the first attempts get no response */
	bool hedge_fails;    /* the second of them gets a 503 */
	int status;
	unsigned attempts_n, hedges_n, won_n, retries_n;
	uint32_t from_ms, to_ms;
	const char *logged; /* the outcome of the hedge; NULL: not asserted or none */
	bool refused;       /* the hedge, for lack of budget */
	bool may_be_slow;   /* the first attempt may be slow or not, by seed */
} hedge_cases[] = {
	{ .name = "won", .again = HEDGE, .fail_n = 1, .status = 200, .attempts_n = 2,
	  .hedges_n = 1, .won_n = 1, .to_ms = 500, .logged = "won" },
	{ .name = "lost", .again = HEDGE, .request = GET("/again/slow/40"), .status = 200,
	  .attempts_n = 2, .hedges_n = 1, .to_ms = 9000, .may_be_slow = true },
	{ .name = "both silent", .again = HEDGE "    deadline: 2s\n", .fail_n = 2,
	  .status = 504, .attempts_n = 2, .hedges_n = 1, .from_ms = 2000, .to_ms = 2400,
	  .logged = "lost" },
	{ .name = "503 of the hedge", .again = HEDGE "    deadline: 2s\n", .fail_n = 2,
	  .hedge_fails = true, .status = 504, .attempts_n = 2, .hedges_n = 1,
	  .from_ms = 2000, .to_ms = 2400, .logged = "lost" },
	{ .name = "the first fails", .again = HEDGE RETRY("per_try_timeout: 1s"),
	  .fail_n = 2, .status = 200, .attempts_n = 3, .hedges_n = 1, .won_n = 1,
	  .retries_n = 1, .from_ms = 1000, .to_ms = 1700, .logged = "won" },
	{ .name = "delete", .again = HEDGE "    deadline: 2s\n",
	  .request = "DELETE /again/length/7 HTTP/1.1\r\nHost: app\r\n\r\n", .fail_n = 1,
	  .status = 504, .attempts_n = 1, .from_ms = 2000, .to_ms = 2400 },
	{ .name = "post", .again = HEDGE "    deadline: 2s\n",
	  .request = POST("/again/echo", 0), .fail_n = 1, .status = 504, .attempts_n = 1,
	  .from_ms = 2000, .to_ms = 2400 },
	{ .name = "body", .again = HEDGE "    deadline: 2s\n",
	  .request = "PUT /again/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\n1",
	  .fail_n = 1, .status = 504, .attempts_n = 1, .from_ms = 2000, .to_ms = 2400 },
	{ .name = "no budget",
	  .again = "    deadline: 2s\n    hedge: { budget_percent: 0, budget_per_second: 0 }\n",
	  .fail_n = 1, .status = 504, .attempts_n = 1, .from_ms = 2000, .to_ms = 2400,
	  .refused = true },
};

static const struct hedge_case *hedge_case;

static void assert_counted(struct proxyrig *r, const struct hedge_case *c)
{
	const struct upstream_stats *stats = &r->upstream_stats[AGAIN_UPSTREAM];

	assert_int_equal(stats->retries, c->retries_n);
	assert_int_equal(stats->hedge_refusals, c->refused);
	if (c->may_be_slow) {
		assert_true(r->requests <= c->attempts_n && stats->hedges <= c->hedges_n);
		return;
	}
	assert_int_equal(r->requests, c->attempts_n);
	assert_int_equal(stats->hedges, c->hedges_n);
	assert_int_equal(stats->hedges_won, c->won_n);
}

static unsigned logged_n(struct proxyrig *r, const char *outcome)
{
	char text[64];

	snprintf(text, sizeof(text), "\"hedge\":\"%s\"", outcome);
	return proxyrig_logged(r, text);
}

static void hedged(struct proxyrig *r)
{
	const struct hedge_case *c = hedge_case;
	struct sim_peer *client;
	uint64_t from_ms;
	unsigned won, lost;

	warm(r);
	won = logged_n(r, "won") + (c->logged && strcmp(c->logged, "won") == 0);
	lost = logged_n(r, "lost") + (c->logged && strcmp(c->logged, "lost") == 0);
	from_ms = r->sim.tick.now_ms;
	r->fail_next = c->fail_n;
	r->fail_path = "/never";
	client = proxycase_request(r, c->request ? c->request : GET("/again/length/7"));
	if (c->hedge_fails) {
		SIMRIG_UNTIL(&r->sim, r->fail_next == 1, 1000);
		r->fail_path = "/status/503";
	}
	proxycase_assert_response(r, client, c->status, "");
	assert_true(proxycase_elapsed_ms(r, from_ms) >= c->from_ms);
	assert_true(proxycase_elapsed_ms(r, from_ms) <= c->to_ms);
	assert_counted(r, c);
	if (c->may_be_slow)
		return;
	simrig_run(&r->sim, 100);
	assert_int_equal(logged_n(r, "won"), won);
	assert_int_equal(logged_n(r, "lost"), lost);
}

static void test_hedge_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hedge_cases); i++) {
		hedge_case = &hedge_cases[i];
		proxycase_each_seed(
			hedged, hedge_case->name,
			(struct proxyrig_options){ .again = hedge_case->again });
	}
}

/* The upstream has no free connection: the hedge does not wait in the queue. */
static void hedge_not_queued(struct proxyrig *r)
{
	warm(r);
	r->fail_next = 1;
	r->fail_path = "/never";
	while (r->upstream_stats[AGAIN_UPSTREAM].connections_idle > 1)
		assert_true(upstream_evict(
			generation_upstream(r->proxy.generation, AGAIN_UPSTREAM)));
	simrig_run(&r->sim, 50);
	r->descriptors.limit = 1;
	proxycase_request(r, GET("/again/length/7"));
	simrig_run(&r->sim, 2000);
	assert_int_equal(r->requests, 1);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].hedges, 0);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].waiting, 0);
}

static void test_hedge_not_queued(void **state)
{
	(void)state;
	proxycase_each_seed(hedge_not_queued, "hedge not queued",
			    (struct proxyrig_options){ .again = HEDGE });
}

/* Hedges that were refused by their first server. */
static unsigned refused_n;

/* Nor does it if its connect was refused, and there is no capacity at another server. */
static void refused_hedge_not_queued(struct proxyrig *r)
{
	struct upstream_stats *stats = &r->upstream_stats[AGAIN_UPSTREAM];
	struct upstream *u = generation_upstream(r->proxy.generation, AGAIN_UPSTREAM);

	warm(r);
	while (stats->connections_idle > 0)
		assert_true(upstream_evict(u));
	simrig_run(&r->sim, 50);
	sim_server_close(&r->origins[1]);
	sim_server_close(&r->origins[2]);
	r->fail_next = 1;
	r->fail_path = "/never";
	proxycase_request(r, GET("/again/length/7"));
	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	for (unsigned ms = 0; ms < 500 && stats->hedges == 0; ms++)
		simrig_run(&r->sim, 1);
	r->descriptors.limit = 1;
	refused_n += stats->hedges;
	simrig_run(&r->sim, 200);
	assert_int_equal(r->requests, 1);
	assert_int_equal(stats->waiting, 0);
}

static void test_refused_hedge_not_queued(void **state)
{
	(void)state;
	refused_n = 0;
	proxycase_each_seed(refused_hedge_not_queued, "refused hedge not queued",
			    (struct proxyrig_options){ .again = HEDGE });
	assert_true(refused_n > 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_hedge_cases),
		PROXYCASE_TEST(test_hedge_not_queued),
		PROXYCASE_TEST(test_refused_hedge_not_queued),
	};

	return proxycase_run("hedge", tests, COUNT(tests));
}
