/* A whole proxy: every way an exchange can end, and what its client is told. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/proxyrig.h"

#define ANSWERS_MAX 40
#define GET(path) "GET " path " HTTP/1.1\r\nHost: app\r\n\r\n"
#define POST(path, n) "POST " path " HTTP/1.1\r\nHost: app\r\nContent-Length: " #n "\r\n\r\n"

static bool reached[64]; /* by enum ending */

/* What runs now, for who looks at a failure. */
static const char *now_playing = "";
static uint64_t now_seed;

static void say_where(void)
{
	if (now_playing[0])
		fprintf(stderr, "%s, seed %llu\n", now_playing, (unsigned long long)now_seed);
}

static void aborted(int number)
{
	(void)number;
	say_where();
	_exit(1);
}

/* ---- one request, one ending ------------------------------------------------ */

enum then {
	THEN_WAIT,
	THEN_SHUT,       /* the client ends its side, and is owed its answer */
	THEN_RESET,
	THEN_DEAF,
	THEN_CUT_OFF,    /* the proxy is ended */
};

struct scene {
	const char *name, *request;
	int status;         /* 0: no answer is seen */
	bool broken;        /* the answer begins and is visibly not whole */
	enum ending ending;
	const char *fields; /* of which the answer's head has one */
	enum then then;
	const char *limits, *upstream;
	uint32_t from_ms, to_ms; /* when the answer comes, if it matters */
};

static const struct scene scenes[] = {
	{ "length", GET("/length/1000"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "chunked", GET("/chunked/3000"), 200, 0, ENDING_COMPLETE, "chunked", 0, 0, 0, 0, 0 },
	{ "until close", GET("/until-close/700"), 200, 0, ENDING_COMPLETE, "chunked", 0, 0, 0,
	  0, 0 },
	{ "1.0", "GET /chunked/300 HTTP/1.0\r\nHost: app\r\n\r\n", 200, 0, ENDING_COMPLETE,
	  "Connection: close", 0, 0, 0, 0, 0 },
	{ "204", GET("/status/204"), 204, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "304", GET("/status/304"), 304, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "interim", GET("/interim/3"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "interim, many", GET("/interim/32"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "interim, too many", GET("/interim/33"), 502, 0, ENDING_ORIGIN_BAD,
	  "http_protocol_error", 0, 0, 0, 0, 0 },
	{ "origin says more", GET("/more"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "origin's last", GET("/last"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "echo", POST("/echo", 10) "0123456789", 200, 0, ENDING_COMPLETE, "Length: 10", 0, 0,
	  0, 0, 0 },
	{ "echo in chunks",
	  "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
	  200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "early answer", POST("/early", 10) "0123456789", 200, 0, ENDING_COMPLETE, "", 0, 0, 0,
	  0, 0 },
	{ "early answer, body wanting", POST("/early", 10) "0123", 200, 0, ENDING_COMPLETE, "",
	  0, 0, 0, 0, 0 },
	{ "early refusal", POST("/reject", 10) "0123", 413, 0, ENDING_COMPLETE, "", 0, 0, 0, 0,
	  0 },
	{ "client shut", GET("/length/1000"), 200, 0, ENDING_COMPLETE, "", THEN_SHUT, 0, 0, 0,
	  0 },
	{ "client reset", GET("/never"), 0, 0, ENDING_CLIENT_GONE, "", THEN_RESET, 0, 0, 0, 0 },
	{ "client deaf", GET("/length/1000000"), 0, 0, ENDING_CLIENT_SLOW, "", THEN_DEAF,
	  "  send_timeout: 3s\n", 0, 0, 0 },
	{ "cut off", GET("/never"), 0, 0, ENDING_SHUT_DOWN, "", THEN_CUT_OFF, 0, 0, 0, 0 },
	{ "malformed", "GET / HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n", 400, 0, 0, "close",
	  0, 0, 0, 0, 0 },
	{ "malformed body",
	  "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, 0,
	  ENDING_REQUEST_BAD, "http_request_error", 0, 0, 0, 0, 0 },
	{ "body ends early", POST("/echo", 10) "0123", 400, 0, ENDING_REQUEST_BAD,
	  "http_request_error", THEN_SHUT, 0, 0, 0, 0 },
	{ "slow body", POST("/echo", 10) "0123", 408, 0, ENDING_REQUEST_LATE,
	  "http_request_error", 0, "  receive_timeout: 4s\n", 0, 4000, 4200 },
	{ "slow head", "GET / HT", 408, 0, ENDING_REQUEST_LATE, "close", 0,
	  "  header_timeout: 3s\n", 0, 3000, 3200 },
	{ "large body", POST("/echo", 1048577), 413, 0, ENDING_REQUEST_LARGE,
	  "http_request_error", 0, 0, 0, 0, 0 },
	{ "bad key", GET("/cache/a%20b"), 400, 0, ENDING_KEY_BAD, "http_request_error", 0, 0, 0,
	  0, 0 },
	{ "no route", "GET / HTTP/1.1\r\nHost: other\r\n\r\n", 404, 0, ENDING_NO_ROUTE,
	  "destination_not_found", 0, 0, 0, 0, 0 },
	{ "method", POST("/cache/foo", 0), 405, 0, ENDING_METHOD_REFUSED, "Allow: GET, HEAD", 0,
	  0, 0, 0, 0 },
	{ "connect", "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n", 405, 0,
	  ENDING_METHOD_REFUSED, "http_request_denied", 0, 0, 0, 0, 0 },
	{ "redirected", GET("/page"), 302, 0, ENDING_REDIRECTED, "Location: /login/", 0, 0, 0, 0,
	  0 },
	{ "refused", GET("/nobody"), 502, 0, ENDING_ORIGIN_REFUSED, "connection_refused", 0, 0,
	  0, 0, 0 },
	{ "closed", GET("/closed"), 502, 0, ENDING_ORIGIN_CLOSED, "connection_terminated", 0, 0,
	  0, 0, 0 },
	{ "reset head", GET("/reset-head"), 502, 0, ENDING_ORIGIN_CLOSED,
	  "connection_terminated", 0, 0, 0, 0, 0 },
	{ "half a head", GET("/half-head"), 502, 0, ENDING_ORIGIN_CLOSED,
	  "connection_terminated", 0, 0, 0, 0, 0 },
	{ "bad head", GET("/bad"), 502, 0, ENDING_ORIGIN_BAD, "http_protocol_error", 0, 0, 0, 0,
	  0 },
	{ "two framings", GET("/both"), 502, 0, ENDING_ORIGIN_BAD, "http_protocol_error", 0, 0,
	  0, 0, 0 },
	{ "uninvited", GET("/uninvited"), 502, 0, ENDING_ORIGIN_BAD, "http_protocol_error", 0,
	  0, 0, 0, 0 },
	{ "late", GET("/never"), 504, 0, ENDING_ORIGIN_LATE, "connection_read_timeout", 0, 0,
	  "    response_timeout: 2s\n", 2000, 2200 },
	{ "stalled body", GET("/stall"), 200, 1, ENDING_ORIGIN_SHORT, "", 0, 0,
	  "    response_timeout: 2s\n", 0, 0 },
	{ "short body", GET("/short"), 200, 1, ENDING_ORIGIN_SHORT, "", 0, 0, 0, 0, 0 },
	{ "reset body", GET("/reset-body"), 200, 1, ENDING_ORIGIN_SHORT, "", 0, 0, 0, 0, 0 },
	{ "broken chunk", GET("/broken-chunk"), 200, 1, ENDING_ORIGIN_SHORT, "", 0, 0, 0, 0, 0 },
	{ "cpu in the cache", GET("/cache/foo"), 200, 0, ENDING_COMPLETE, "text/plain", 0, 0, 0,
	  0, 0 },
	{ "miss", GET("/cache/miss"), 404, 0, ENDING_CACHE_MISS, "", 0, 0, 0, 0, 0 },
	{ "miss, next", GET("/next/miss"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "miss, next, nowhere", "GET /next/miss HTTP/1.1\r\nHost: other\r\n\r\n", 404, 0,
	  ENDING_NO_ROUTE, "destination_not_found", 0, 0, 0, 0, 0 },
	{ "hit, next", GET("/next/foo"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "cache failed", GET("/cache/error"), 503, 0, ENDING_CACHE_FAILED,
	  "destination_unavailable", 0, 0, 0, 0, 0 },
	{ "cache late", GET("/cache/never"), 504, 0, ENDING_CACHE_LATE,
	  "connection_read_timeout", 0, 0, 0, 2000, 2200 },
	{ "page", "GET /page?key=foo HTTP/1.1\r\nHost: app\r\nCookie: session=s1\r\n\r\n", 200,
	  0, ENDING_COMPLETE, "application/json", 0, 0, 0, 0, 0 },
	{ "parts", GET("/parts"), 200, 0, ENDING_COMPLETE, "application/json", 0, 0,
	  "    response_timeout: 2s\n", 2000, 2200 },
};

static uint64_t aged_ms(struct proxyrig *r, uint64_t from_ms)
{
	return r->sim.tick.now_ms - from_ms;
}

static void start(struct proxyrig *r, const struct scene *s, struct actor *a)
{
	/* Not all of a body must be whole in one piece: heads may. */
	actor_says(a, s->request);
	switch (s->then) {
	case THEN_SHUT:
		actor_shut(a);
		break;
	case THEN_RESET:
		simrig_run(&r->sim, 100 + (uint32_t)simrig_draw(&r->sim, 100));
		actor_reset(a);
		break;
	case THEN_DEAF:
		a->deaf = true;
		SIMRIG_UNTIL(&r->sim, a->connected, 1000);
		io_cancel(r->sim.tick.loop, &a->recv.op);
		break;
	case THEN_CUT_OFF:
		simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 100));
		break;
	case THEN_WAIT:
		break;
	}
}

/* Either an answer is whole, or the connection has visibly ended. */
static bool decided(const struct actor *a)
{
	struct answer answer;
	struct slice rest;
	unsigned n = answers_read(a, &answer, 1, 0, &rest);

	answers_free(&answer, n);
	return n == 1 || actor_over(a);
}

static void assert_answer(const struct scene *s, const struct actor *a)
{
	struct answer answer;
	struct slice rest;
	unsigned n = answers_read(a, &answer, 1, 0, &rest);

	if (s->status == 0) {
		assert_int_equal(n, 0);
		return;
	}
	if (s->broken) {
		assert_int_equal(n, 0);
		assert_true(a->error == 0 || a->in_n == 0 || answer.status == s->status);
		return;
	}
	assert_int_equal(n, 1);
	assert_int_equal(answer.status, s->status);
	assert_int_equal(rest.len, 0);
	assert_non_null(memmem(answer.head.ptr, answer.head.len, s->fields, strlen(s->fields)));
	answers_free(&answer, n);
}

static void assert_logged(struct proxyrig *r, const struct scene *s)
{
	char text[128];

	if (s->status == 400 && s->ending == 0) /* the fault itself is told */
		return;
	snprintf(text, sizeof(text), "\"ending\":\"%s\"", ending_text(s->ending));
	if (proxyrig_logged(r, text) != 1)
		fail_msg("log: %.*s", SLICE_ARG(proxyrig_log(r)));
	reached[s->ending] = true;
}

static int failed_at(void **state)
{
	(void)state;
	say_where();
	return 0;
}

static void play_scene(const struct scene *s, uint64_t seed)
{
	struct proxyrig r;
	struct actor *a;
	uint64_t from_ms;

	if (getenv("SEED") && seed != strtoull(getenv("SEED"), NULL, 10))
		return;
	proxyrig_open(&r, &(struct proxyrig_options){ .seed = seed, .limits = s->limits,
						      .upstream = s->upstream });
	if (seed % 4 == 0)
		sim_socket_bytes(r.sim.tick.loop, 300 + (uint32_t)seed);
	from_ms = r.sim.tick.now_ms;
	a = actor_connect(&r.sim, PROXYRIG_PORT);
	a->whole = s->from_ms > 0;
	start(&r, s, a);
	if (s->then == THEN_CUT_OFF)
		proxyrig_end(&r);
	else if (s->then == THEN_RESET || s->then == THEN_DEAF)
		SIMRIG_UNTIL(&r.sim, r.stats.connections == 0, 20000);
	else
		SIMRIG_UNTIL(&r.sim, decided(a), 20000);
	if (s->from_ms > 0) {
		assert_true(aged_ms(&r, from_ms) >= s->from_ms);
		assert_true(aged_ms(&r, from_ms) <= s->to_ms);
	}
	assert_answer(s, a);
	proxyrig_end(&r);
	assert_logged(&r, s);
	assert_int_equal(r.stats.log_lines, 1);
	proxyrig_close(&r);
}

static void test_scene(void **state)
{
	const struct scene *s = *state;

	now_playing = s->name;
	for (now_seed = 1; now_seed <= SIMRIG_SEEDS; now_seed++)
		play_scene(s, now_seed);
	now_playing = "";
}

/* ---- */

static void test_all_reached(void **state)
{
	(void)state;
}

static const struct CMUnitTest others[] = {
	cmocka_unit_test(test_all_reached),
};

int main(void)
{
	struct CMUnitTest tests[COUNT(scenes) + COUNT(others)];
	size_t n = 0;

	for (size_t i = 0; i < COUNT(scenes); i++)
		tests[n++] = (struct CMUnitTest){ scenes[i].name, test_scene, NULL, failed_at,
						  (void *)(uintptr_t)&scenes[i] };
	for (size_t i = 0; i < COUNT(others); i++)
		tests[n++] = others[i];
	signal(SIGABRT, aborted);
	return _cmocka_run_group_tests("proxy", tests, n, NULL, NULL);
}
