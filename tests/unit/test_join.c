#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/proxyrig.h"

/* proxyrig.c has the two routes: /page checks a session, then asks memcached and the origin;
 * /parts asks three origins at once, of which one is late and one is down. */
struct row {
	const char *target, *cookie;
	int status;
	const char *body;     /* part of it, or of the head's Location */
	unsigned asked;       /* of the origin */
};

static const struct row rows[] = {
	{ "/page?key=foo", "session=s1", 200,
	  "{\"session\":\"value of s1\",\"user\":{\"status\":200,\"body\":\"value of foo\"},"
	  "\"news\":{\"status\":200,\"body\":\"ahovcjqxel\"}}\n", 1 },
	{ "/page?key=miss", "session=s1", 200,
	  "\"user\":{\"status\":404,\"body\":\"\"},\"news\":{\"status\":200", 1 },
	{ "/page?key=error", "session=s1", 200, "\"user\":{\"status\":503,\"body\":\"\"}", 1 },
	{ "/page?key=never", "session=s1", 200, "\"user\":{\"status\":504,\"body\":\"\"}", 1 },
	{ "/page?key=foo", "session=missing", 302, "/login/", 0 },
	{ "/page?key=foo", "other=1", 302, "/login/", 0 },
	{ "/page", "other=1", 302, "/login/", 0 },
	{ "/page", "session=s1", 400, "", 0 },
	{ "/page?key=foo", "session=error", 503, "", 0 },
	{ "/page?key=foo", "session=never", 504, "", 0 },
	{ "/parts", "a=b", 200,
	  "\"two\":{\"status\":504,\"body\":\"\"},\"three\":{\"status\":502,\"body\":\"\"}", 2 },
};

static void ask(const struct row *row, uint64_t seed, bool head)
{
	struct proxyrig r;
	struct sim_peer *a;
	struct client_response answer = { .status = 0 };
	struct slice rest;
	char text[256];

	proxyrig_open(&r, &(struct proxyrig_options){
		.seed = seed, .upstream = "    response_timeout: 2s\n" });
	a = sim_peer_connect(&r.sim, PROXYRIG_PORT);
	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: app\r\nCookie: %s\r\n\r\n",
		 head ? "HEAD" : "GET", row->target, row->cookie);
	sim_peer_send_text(a, text);
	SIMRIG_UNTIL(&r.sim,
		     client_responses_read(a, &answer, 1, head, &rest) == 1 &&
			     (client_responses_free(&answer, 1), true),
		     10000);
	(void)client_responses_read(a, &answer, 1, head, &rest);
	assert_int_equal(answer.status, row->status);
	if (!head && row->status != 302)
		assert_non_null(memmem(answer.body.ptr, answer.body.len, row->body,
				       strlen(row->body)));
	if (row->status == 302)
		assert_true(slice_equal(client_response_field(&answer, "Location"),
					slice_of(row->body)));
	assert_int_equal(rest.len, 0);
	assert_int_equal(r.requests, row->asked);
	client_responses_free(&answer, 1);
	proxyrig_close(&r);
}

static void test_rows(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++)
		for (size_t i = 0; i < COUNT(rows); i++)
			ask(&rows[i], seed, seed % 5 == 0);
}

/* All are asked at once: what takes longest decides, not the sum. */
static void test_at_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct proxyrig r;
		struct sim_peer *a;

		proxyrig_open(&r, &(struct proxyrig_options){ .seed = seed });
		a = sim_peer_connect(&r.sim, PROXYRIG_PORT);
		sim_peer_send_text(a, "GET /parts HTTP/1.1\r\nHost: app\r\n\r\n");
		SIMRIG_UNTIL(&r.sim, r.requests == 2, 200);
		if (simrig_draw(&r.sim, 2))
			sim_peer_reset_now(a); /* nobody waits for it any more */
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
