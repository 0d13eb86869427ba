/* How long a server, and a tunnel, may be silent: as the route says, else as the upstream and the
 * limits say. And how large a request's body may be.
 * timeout: 600 */
#include "lib/proxycase.h"

/* The response_timeout of the upstream is 60 s. */
static void late_for_the_route(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;
	struct sim_peer *client = proxycase_request(r, GET("/again/never"));

	proxycase_assert_response(r, client, 504, "connection_read_timeout");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 300, 1500);
	client = proxycase_request(r, GET("/again/stall"));
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 1500);
}

/* Neither before the head nor inside of the body. */
static void never_late(struct proxyrig *r)
{
	struct sim_peer *never = proxycase_request(r, GET("/again/never"));
	struct sim_peer *stall = proxycase_request(r, GET("/again/stall"));

	simrig_run(&r->sim, 70000);
	assert_false(proxycase_decided(never) || sim_peer_finished(stall));
	assert_int_equal(r->stats.requests_in_flight, 2);
}

static void test_response_timeout(void **state)
{
	(void)state;
	proxycase_each_seed(
		late_for_the_route, "late for the route",
		(struct proxyrig_options){ .again = "    response_timeout: 300ms\n" });
	proxycase_each_seed(
		never_late, "never late",
		(struct proxyrig_options){ .again = "    response_timeout: none\n" });
}

#define UPGRADE_AGAIN \
	"GET /again/upgrade HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

/* limits.idle_timeout is 1 s. */
static void quiet_tunnel(struct proxyrig *r)
{
	struct sim_peer *own = proxycase_request(r, UPGRADE_AGAIN);
	struct sim_peer *other = proxycase_request(r, UPGRADE);

	SIMRIG_UNTIL(&r->sim, r->stats.tunnels == 2, 1000);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(other), 4000);
	simrig_run(&r->sim, 20000);
	assert_false(sim_peer_finished(own));
	assert_int_equal(r->stats.tunnels, 1);
}

static void quiet_for_the_route(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, UPGRADE_AGAIN);

	SIMRIG_UNTIL(&r->sim, r->stats.tunnels == 1, 1000);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 900);
}

static void test_idle_timeout(void **state)
{
	(void)state;
	proxycase_each_seed(
		quiet_tunnel, "quiet tunnel",
		(struct proxyrig_options){ .limits = "  idle_timeout: 1s\n",
					   .again = "    idle_timeout: none\n" });
	proxycase_each_seed(
		quiet_for_the_route, "quiet for the route",
		(struct proxyrig_options){ .limits = "  idle_timeout: 60s\n",
					   .again = "    idle_timeout: 300ms\n" });
}

#define CHUNKS(path, body) \
	"POST " path " HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n" body

static void small_body(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/echo", 4) "1234");

	proxycase_assert_response(r, client, 200, "Length: 4");
	client = proxycase_request(r, POST("/again/echo", 5) "12345");
	proxycase_assert_response(r, client, 413, "");
	client = proxycase_request(r, CHUNKS("/again/echo", "4\r\n1234\r\n0\r\n\r\n"));
	proxycase_assert_response(r, client, 200, "");
	client = proxycase_request(r, CHUNKS("/again/echo", "5\r\n12345\r\n0\r\n\r\n"));
	proxycase_assert_response(r, client, 413, "");
	client = proxycase_request(r, POST("/echo", 5) "12345");
	proxycase_assert_response(r, client, 200, "");
}

/* Above the 1 MiB of `limits`. */
static void large_body(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/early", 1048577));

	proxycase_assert_response(r, client, 200, "Length: 5");
	sim_peer_close(client);
	client = proxycase_request(r, POST("/early", 1048577));
	proxycase_assert_response(r, client, 413, "");
}

static void test_body(void **state)
{
	(void)state;
	proxycase_each_seed(
		small_body, "small body",
		(struct proxyrig_options){ .again = "    request_body: 4B\n" });
	proxycase_each_seed(
		large_body, "large body",
		(struct proxyrig_options){ .again = "    request_body: none\n" });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_response_timeout),
		PROXYCASE_TEST(test_idle_timeout),
		PROXYCASE_TEST(test_body),
	};

	return proxycase_run("lateness", tests, COUNT(tests));
}
