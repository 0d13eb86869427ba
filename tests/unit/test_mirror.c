/* A whole proxy whose route /again/ mirrors its requests to the upstream "pair". The origins answer
 * both requests by their path, see proxyrig.c. The simulation has more of it: simmirror.c. */
#include <stdio.h>
#include <string.h>

#include "lib/proxycase.h"

#define PAIR_UPSTREAM 1
#define MIRROR(more) "    mirror: { upstream: pair" more " }\n"

static void each_seed(void (*test)(struct proxyrig *r), const char *name,
		      const char *lines)
{
	proxycase_each_seed(test, name, (struct proxyrig_options){ .again = lines });
}

/* Until no request is mirrored any more: so many got a whole response, and so many did not. */
static void assert_mirrored(struct proxyrig *r, unsigned whole, unsigned failed)
{
	SIMRIG_UNTIL(&r->sim, r->stats.mirrors_in_flight == 0, 8000);
	assert_int_equal(r->stats.mirror_requests, whole + failed);
	assert_int_equal(r->stats.mirror_failures, failed);
	assert_true(list_empty(&r->proxy.mirrors));
}

static void without_body(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/length/4"));

	proxycase_assert_response(r, client, 200, "Length: 4");
	assert_mirrored(r, 1, 0);
	assert_int_equal(r->upstream_stats[PAIR_UPSTREAM].requests, 1);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].requests, 1);
	/* One line, of the request. */
	assert_int_equal(proxyrig_logged(r, "/again/length/4"), 1);
}

static void with_body(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(
		r, "POST /again/echo HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\n"
		   "Content-Length: 8\r\n\r\nabcd");

	SIMRIG_UNTIL(&r->sim, r->upstream_stats[AGAIN_UPSTREAM].requests == 1, 3000);
	simrig_run(&r->sim, 50);
	/* It is sent when all of it is there. */
	assert_int_equal(r->stats.mirror_requests, 0);
	assert_int_equal(r->stats.mirrors_in_flight, 1);
	sim_peer_send_text(client, "efgh");
	proxycase_assert_response(r, client, 200, "Length: 8");
	assert_mirrored(r, 1, 0);
	assert_int_equal(r->upstream_stats[PAIR_UPSTREAM].requests, 1);
}

static void empty_body(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/echo", 0));

	proxycase_assert_response(r, client, 200, "Length: 0");
	assert_mirrored(r, 1, 0);
}

static void too_large(struct proxyrig *r)
{
	struct sim_peer *client =
		proxycase_request(r, POST("/again/echo", 5) "abcde");

	proxycase_assert_response(r, client, 200, "Length: 5");
	assert_int_equal(r->stats.mirror_dropped_body, 1);
	client = proxycase_request(r, "POST /again/length/7 HTTP/1.1\r\nHost: app\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n");
	proxycase_assert_response(r, client, 200, "Length: 7");
	assert_int_equal(r->stats.mirror_dropped_body, 2);
	assert_mirrored(r, 0, 0);
}

static void chunked(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(
		r, "POST /again/length/7 HTTP/1.1\r\nHost: app\r\n"
		   "Transfer-Encoding: chunked\r\n\r\n"
		   "3\r\nabc\r\n1\r\nd\r\n0\r\nX-Sum: 1\r\n\r\n");

	proxycase_assert_response(r, client, 200, "Length: 7");
	assert_mirrored(r, 1, 0);
}

/* All that a server can do wrong is no concern of the client, which gets the same from its own. */
static void failures(struct proxyrig *r)
{
	proxycase_assert_response(r, proxycase_request(r, GET("/again/length/4")), 200,
				  "Length: 4");
	assert_mirrored(r, 0, 1);
}

/* Too long to be read to its end; that is no failure. */
static void long_response(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/length/1500000"));

	SIMRIG_UNTIL(&r->sim, client->in_n > 1500000, 60000);
	assert_mirrored(r, 1, 0);
	assert_int_equal(r->upstream_stats[PAIR_UPSTREAM].connections, 0);
}

/* The timeout of the mirror is its own. */
static void late(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/never"));

	SIMRIG_UNTIL(&r->sim, r->stats.mirror_failures == 1, 1000);
	assert_int_equal(client->in_n, 0);
	proxycase_assert_response(r, client, 504, "");
	assert_mirrored(r, 0, 1);
}

static void full(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, POST("/again/echo", 5) "1234");

	SIMRIG_UNTIL(&r->sim, r->stats.mirrors_in_flight == 1, 3000);
	proxycase_assert_response(r, proxycase_request(r, GET("/again/length/4")), 200,
				  "Length: 4");
	assert_int_equal(r->stats.mirror_dropped_full, 1);
	sim_peer_send_text(first, "5");
	proxycase_assert_response(r, first, 200, "Length: 5");
	assert_mirrored(r, 1, 0);
	proxycase_assert_response(r, proxycase_request(r, GET("/again/length/4")), 200,
				  "Length: 4");
	assert_mirrored(r, 2, 0);
}

static void client_leaves(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/echo", 5) "1234");

	SIMRIG_UNTIL(&r->sim, r->stats.mirrors_in_flight == 1, 3000);
	sim_peer_reset(client);
	assert_mirrored(r, 0, 0);
	assert_int_equal(r->stats.mirror_dropped_incomplete, 1);
	/* A request that is sent already goes on without its client. */
	client = proxycase_request(r, GET("/again/slow/20"));
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[PAIR_UPSTREAM].requests == 1, 3000);
	sim_peer_reset(client);
	assert_mirrored(r, 1, 0);
}

static void upgrade(struct proxyrig *r)
{
	proxycase_assert_response(
		r,
		proxycase_request(r, "GET /again/upgrade HTTP/1.1\r\nHost: app\r\n"
				     "Connection: upgrade\r\nUpgrade: echo\r\n\r\n"),
		101, "");
	assert_int_equal(r->stats.mirror_dropped_upgrade, 1);
	assert_mirrored(r, 0, 0);
}

/* The end of the proxy waits for no mirror. */
static void shut_down(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/never"));
	uint64_t from_ms;

	SIMRIG_UNTIL(&r->sim, r->upstream_stats[PAIR_UPSTREAM].requests == 1, 3000);
	sim_peer_close(client);
	proxycase_request(r, POST("/again/echo", 5) "1234");
	SIMRIG_UNTIL(&r->sim, r->stats.mirrors_in_flight == 2, 3000);
	from_ms = r->sim.tick.now_ms;
	proxyrig_end(r);
	assert_int_equal(r->stats.mirrors_in_flight, 0);
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 0, 5000);
}

static void test_sent(void **state)
{
	(void)state;
	each_seed(without_body, "without body", MIRROR(""));
	each_seed(with_body, "with body", MIRROR(""));
	each_seed(empty_body, "empty body", MIRROR(", request_body: none"));
	each_seed(chunked, "chunked", MIRROR(", request_body: 4B"));
	each_seed(long_response, "long response", MIRROR(", timeout: 60s"));
	each_seed(client_leaves, "client leaves", MIRROR(""));
}

static void test_not_sent(void **state)
{
	(void)state;
	each_seed(too_large, "too large", MIRROR(", request_body: 4B"));
	each_seed(too_large, "no bodies", MIRROR(", request_body: none"));
	each_seed(full, "full", MIRROR(", requests: 1"));
	each_seed(upgrade, "upgrade", MIRROR(""));
}

static void test_failures(void **state)
{
	(void)state;
	each_seed(failures, "refused", "    mirror: { upstream: nobody }\n");
	each_seed(late, "late", MIRROR(", timeout: 100ms") "    response_timeout: 2s\n");
	each_seed(shut_down, "shut down", MIRROR(", timeout: 1h"));
}

/* Whichever allocation fails: the client gets something, and nothing is left. */
static void without_memory(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/length/4"));

	proxycase_assert_response(r, client, 200, "Length: 4");
	proxycase_discard_input(client);
	slab_fail_at(proxycase_now.failing_take);
	sim_peer_send_text(client, GET("/again/length/4"));
	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 9000);
	slab_fail_at(0);
	SIMRIG_UNTIL(&r->sim, r->stats.mirrors_in_flight == 0, 8000);
}

static void test_memory(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 40; n++) {
		proxycase_now.failing_take = n;
		proxycase_some_seeds(2, without_memory, "without memory",
				     (struct proxyrig_options){ .again = MIRROR("") });
	}
	proxycase_now.failing_take = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_sent),
		PROXYCASE_TEST(test_not_sent),
		PROXYCASE_TEST(test_failures),
		PROXYCASE_TEST(test_memory),
	};

	return proxycase_run("mirror", tests, COUNT(tests));
}
