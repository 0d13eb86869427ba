/* A whole proxy whose route /again/ asks the upstream "pair" first. Its origins answer by the path of
 * that request, see proxyrig.c. */
#include <stdio.h>

#include "lib/proxycase.h"

#define PAIR_UPSTREAM 1

static char lines[4400];

static void each_seed(void (*test)(struct proxyrig *r), const char *name,
		      const char *path, const char *more)
{
	snprintf(lines, sizeof(lines),
		 "    auth_request: { upstream: pair, path: %s, timeout: 2s%s }\n", path,
		 more);
	proxycase_each_seed(test, name, (struct proxyrig_options){ .again = lines });
}

static void goes_on(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/length/4"));

	proxycase_assert_response(r, client, 200, "Length: 4");
	proxycase_discard_input(client);
	sim_peer_send_text(client, POST("/again/echo", 5) "12345");
	proxycase_assert_response(r, client, 200, "Length: 5");
	assert_int_equal(r->upstream_stats[PAIR_UPSTREAM].requests, 2);
}

/* The response is that of the auth server, and the next request on the connection is served. */
static void relayed(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/again/echo", 5) "12345");

	proxycase_assert_response(r, client, 401, "WWW-Authenticate: NTLM");
	client = proxycase_request(r, GET("/again/length/4"));
	proxycase_assert_response(r, client, 401, "WWW-Authenticate: NTLM");
	proxycase_discard_input(client);
	sim_peer_send_text(client, GET("/length/7"));
	proxycase_assert_response(r, client, 200, "Length: 7");
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].requests, 0);
}

static void refused(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/length/4"));

	proxycase_assert_response(r, client, 503, "error=destination_unavailable");
	proxycase_assert_ending(r, ENDING_AUTH_FAILED);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].requests, 0);
}

static void passes(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;

	proxycase_assert_response(r, proxycase_request(r, GET("/again/length/4")), 200,
				  "Length: 4");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 0, 4000);
}

/* The status has decided; what comes of the body, however slowly, holds nobody longer than
 * `timeout`. */
static void slow_body(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;

	proxycase_assert_response(r, proxycase_request(r, GET("/again/length/4")), 200,
				  "Length: 4");
	assert_in_range(proxycase_elapsed_ms(r, from_ms), 1900, 4000);
}

static void test_answers(void **state)
{
	static const char *const errors[] = { "/status/404", "/status/500", "/status/302",
					      "/never",      "/closed",     "/bad",
					      "/half-head",  "/reset-head", "/uninvited",
					      "/interim/40" };
	char path[4000];

	(void)state;
	each_seed(goes_on, "goes on", "/length/3", "");
	snprintf(path, sizeof(path), "/length/3?%03100d", 0);
	each_seed(goes_on, "goes on, long path", path, "");
	each_seed(goes_on, "goes on, without body", "/status/204", "");
	each_seed(goes_on, "goes on, chunked", "/chunked/2000", "");
	each_seed(goes_on, "goes on, after interim", "/interim/3", "");
	each_seed(goes_on, "goes on, long body", "/length/200000", "");
	each_seed(goes_on, "goes on, truncated body", "/short", "");
	each_seed(slow_body, "goes on, body that stalls", "/stall", "");
	each_seed(relayed, "relayed", "/ntlm", "");
	for (size_t i = 0; i < COUNT(errors); i++) {
		each_seed(refused, errors[i], errors[i], "");
		each_seed(passes, errors[i], errors[i], ", on_error: pass");
	}
}

/* A response to GET has a body, which a client's HEAD does not get: its connection is not kept. */
static void head(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(
		r, "HEAD /again/length/4 HTTP/1.1\r\nHost: app\r\n\r\n");

	SIMRIG_UNTIL(&r->sim, memmem(client->in, client->in_n, "\r\n\r\n", 4), 3000);
	simrig_run(&r->sim, 300);
	assert_non_null(memmem(client->in, client->in_n, " 403 ", 5));
	assert_memory_equal(client->in + client->in_n - 4, "\r\n\r\n", 4);
	for (unsigned i = 0; i < 3; i++)
		proxycase_assert_response(r, proxycase_request(r, GET("/pair/length/6")),
					  200, "Length: 6");
}

static void test_head(void **state)
{
	(void)state;
	each_seed(head, "head", "/forbidden", "");
}

/* At any moment: nothing is left, and the server is not asked for a client that has gone. */
static void client_leaves(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/length/4"));

	simrig_run(&r->sim, simrig_draw(&r->sim, 60));
	if (simrig_draw(&r->sim, 2))
		sim_peer_reset(client);
	else
		sim_peer_close(client);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 3000);
	proxycase_assert_response(r, proxycase_request(r, GET("/length/5")), 200,
				  "Length: 5");
}

static void left_early(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/again/length/4"));

	SIMRIG_UNTIL(&r->sim, r->upstream_stats[PAIR_UPSTREAM].requests == 1, 1000);
	sim_peer_close(client);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 1500);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].requests, 0);
}

static void test_client_leaves(void **state)
{
	(void)state;
	each_seed(client_leaves, "client leaves", "/length/3", "");
	each_seed(client_leaves, "client leaves, refused", "/ntlm", "");
	each_seed(left_early, "left early", "/never", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_answers),
		PROXYCASE_TEST(test_head),
		PROXYCASE_TEST(test_client_leaves),
	};

	return proxycase_run("authrequest", tests, COUNT(tests));
}
