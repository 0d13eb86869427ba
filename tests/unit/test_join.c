#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/proxyrig.h"

/* The two routes of proxyrig.c: /page checks a session, then fetches from memcached and the origin;
 * /parts fetches from three origins at once, of which one is late and one is down. */
struct join_case {
	const char *target, *cookie;
	int status;
	const char *body;  /* part of it, or the Location */
	unsigned requests; /* that the origin receives */
};

static const struct join_case join_cases[] = {
	{ "/page?key=foo", "session=s1", 200,
	  "{\"session\":\"value of s1\",\"user\":{\"status\":200,\"body\":\"value of foo\"},"
	  "\"news\":{\"status\":200,\"body\":\"ahovcjqxel\"}}\n",
	  1 },
	{ "/page?key=miss", "session=s1", 200,
	  "\"user\":{\"status\":404,\"body\":\"\"},\"news\":{\"status\":200", 1 },
	{ "/page?key=error", "session=s1", 200, "\"user\":{\"status\":503,\"body\":\"\"}",
	  1 },
	{ "/page?key=never", "session=s1", 200, "\"user\":{\"status\":504,\"body\":\"\"}",
	  1 },
	{ "/page?key=foo", "session=missing", 302, "/login/", 0 },
	{ "/page?key=foo", "other=1", 302, "/login/", 0 },
	{ "/page", "other=1", 302, "/login/", 0 },
	{ "/page", "session=s1", 400, "", 0 },
	{ "/page?key=foo", "session=error", 503, "", 0 },
	{ "/page?key=foo", "session=never", 504, "", 0 },
	{ "/parts", "a=b", 200,
	  "\"two\":{\"status\":504,\"body\":\"\"},\"three\":{\"status\":502,\"body\":\"\"}",
	  2 },
};

static void run_case(const struct join_case *c, uint64_t seed, bool head)
{
	struct proxyrig r;
	struct sim_peer *client;
	struct client_response response = { .status = 0 };
	struct slice rest;
	char text[256];

	proxyrig_open(&r, &(struct proxyrig_options){
		.seed = seed, .upstream = "    response_timeout: 2s\n" });
	client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: app\r\nCookie: %s\r\n\r\n",
		 head ? "HEAD" : "GET", c->target, c->cookie);
	sim_peer_send_text(client, text);
	SIMRIG_UNTIL(&r.sim,
		     client_responses_read(client, &response, 1, head, &rest) == 1 &&
			     (client_responses_free(&response, 1), true),
		     10000);
	(void)client_responses_read(client, &response, 1, head, &rest);
	assert_int_equal(response.status, c->status);
	if (!head && c->status != 302)
		assert_non_null(memmem(response.body.ptr, response.body.len, c->body,
				       strlen(c->body)));
	if (c->status == 302)
		assert_true(slice_equal(client_response_field(&response, "Location"),
					slice_of(c->body)));
	assert_int_equal(rest.len, 0);
	assert_int_equal(r.requests, c->requests);
	client_responses_free(&response, 1);
	proxyrig_close(&r);
}

static void test_rows(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++)
		for (size_t i = 0; i < COUNT(join_cases); i++)
			run_case(&join_cases[i], seed, seed % 5 == 0);
}

/* All parts are fetched at once: the slowest decides, not the sum. */
static void test_at_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct proxyrig r;
		struct sim_peer *client;

		proxyrig_open(&r, &(struct proxyrig_options){ .seed = seed });
		client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
		sim_peer_send_text(client, "GET /parts HTTP/1.1\r\nHost: app\r\n\r\n");
		SIMRIG_UNTIL(&r.sim, r.requests == 2, 200);
		if (simrig_draw(&r.sim, 2))
			sim_peer_reset_now(client); /* while they are in flight */
		proxyrig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
