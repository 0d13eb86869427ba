/* A whole proxy: every way an exchange can end, and what its client is told. A failure says
 * its scene and seed; SEED=N runs that seed only.
 * timeout: 600 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/reserve.h"
#include "lib/proxyrig.h"

#define SEEDS (SIMRIG_SEEDS / 2)
#define ANSWERS_MAX 40
#define GET(path) "GET " path " HTTP/1.1\r\nHost: app\r\n\r\n"
#define POST(path, n) "POST " path " HTTP/1.1\r\nHost: app\r\nContent-Length: " #n "\r\n\r\n"

static bool reached[64]; /* by enum ending */

/* What runs now, for who looks at a failure. */
static const char *now_playing = "";
static uint64_t now_seed, seeds = SEEDS;
static unsigned now_take;

static void say_where(void)
{
	if (now_playing[0])
		fprintf(stderr, "%s, seed %llu, take %u\n", now_playing,
			(unsigned long long)now_seed, now_take);
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
	THEN_SHUT,       /* the client ends its side */
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
	{ "chunked", GET("/chunked/3000"), 200, 0, ENDING_COMPLETE, "chunked", 0, 0, 0, 0,
	  0 },
	{ "until close", GET("/until-close/700"), 200, 0, ENDING_COMPLETE, "chunked", 0,
	  0, 0, 0, 0 },
	{ "1.0", "GET /chunked/300 HTTP/1.0\r\nHost: app\r\n\r\n", 200, 0,
	  ENDING_COMPLETE, "Connection: close", 0, 0, 0, 0, 0 },
	{ "204", GET("/status/204"), 204, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "304", GET("/status/304"), 304, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "interim", GET("/interim/3"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "interim, many", GET("/interim/32"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0,
	  0 },
	{ "interim, too many", GET("/interim/33"), 502, 0, ENDING_ORIGIN_BAD,
	  "http_protocol_error", 0, 0, 0, 0, 0 },
	{ "origin says more", GET("/more"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "origin's last", GET("/last"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "echo", POST("/echo", 10) "0123456789", 200, 0, ENDING_COMPLETE, "Length: 10",
	  0, 0, 0, 0, 0 },
	{ "echo in chunks",
	  "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
	  200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "early answer", POST("/early", 10) "0123456789", 200, 0, ENDING_COMPLETE, "", 0,
	  0, 0, 0, 0 },
	{ "early answer, body wanting", POST("/early", 10) "0123", 200, 0,
	  ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "early refusal", POST("/reject", 10) "0123", 413, 0, ENDING_COMPLETE, "", 0, 0,
	  0, 0, 0 },
	{ "client shut", GET("/never"), 0, 0, ENDING_CLIENT_GONE, "", THEN_SHUT, 0, 0, 0,
	  0 },
	{ "client shut, 1.0", "GET /never HTTP/1.0\r\nHost: app\r\n\r\n", 0, 0,
	  ENDING_CLIENT_GONE, "", THEN_SHUT, 0, 0, 0, 0 },
	{ "client shut, cache", GET("/cache/never"), 0, 0, ENDING_CLIENT_GONE, "",
	  THEN_SHUT, 0, 0, 0, 0 },
	{ "client shut, parts", GET("/parts"), 0, 0, ENDING_CLIENT_GONE, "", THEN_SHUT, 0,
	  0, 0, 0 },
	{ "client shut, no route", "GET / HTTP/1.1\r\nHost: other\r\n\r\n", 404, 0,
	  ENDING_NO_ROUTE, "", THEN_SHUT, 0, 0, 0, 0 },
	{ "client half-closed", GET("/half/length/1000"), 200, 0, ENDING_COMPLETE, "",
	  THEN_SHUT, 0, 0, 0, 0 },
	{ "client reset", GET("/never"), 0, 0, ENDING_CLIENT_GONE, "", THEN_RESET, 0, 0,
	  0, 0 },
	{ "client deaf", GET("/length/1000000"), 0, 0, ENDING_CLIENT_SLOW, "", THEN_DEAF,
	  "  send_timeout: 3s\n", 0, 0, 0 },
	{ "cut off", GET("/never"), 0, 0, ENDING_SHUT_DOWN, "", THEN_CUT_OFF, 0, 0, 0,
	  0 },
	{ "malformed", "GET / HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n", 400, 0, 0,
	  "close", 0, 0, 0, 0, 0 },
	{ "malformed body",
	  "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	  400, 0, ENDING_REQUEST_BAD, "http_request_error", 0, 0, 0, 0, 0 },
	{ "body ends early", POST("/half/echo", 10) "0123", 400, 0, ENDING_REQUEST_BAD,
	  "http_request_error", THEN_SHUT, 0, 0, 0, 0 },
	{ "client shut amid its body", POST("/echo", 10) "0123", 0, 0, ENDING_CLIENT_GONE,
	  "", THEN_SHUT, 0, 0, 0, 0 },
	{ "slow body", POST("/echo", 10) "0123", 408, 0, ENDING_REQUEST_TIMEOUT,
	  "http_request_error", 0, "  receive_timeout: 4s\n", 0, 4000, 4200 },
	{ "slow head", "GET / HT", 408, 0, ENDING_REQUEST_TIMEOUT, "close", 0,
	  "  header_timeout: 3s\n", 0, 3000, 3200 },
	{ "large body", POST("/echo", 1048577), 413, 0, ENDING_BODY_TOO_LARGE,
	  "http_request_error", 0, 0, 0, 0, 0 },
	{ "bad key", GET("/cache/a%20b"), 400, 0, ENDING_KEY_INVALID,
	  "http_request_error", 0, 0, 0, 0, 0 },
	{ "no route", "GET / HTTP/1.1\r\nHost: other\r\n\r\n", 404, 0, ENDING_NO_ROUTE,
	  "destination_not_found", 0, 0, 0, 0, 0 },
	{ "method", POST("/cache/foo", 0), 405, 0, ENDING_METHOD_NOT_ALLOWED,
	  "Allow: GET, HEAD", 0, 0, 0, 0, 0 },
	{ "connect", "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n", 405, 0,
	  ENDING_METHOD_NOT_ALLOWED, "http_request_denied", 0, 0, 0, 0, 0 },
	{ "redirected", GET("/page"), 302, 0, ENDING_REDIRECTED, "Location: /login/", 0,
	  0, 0, 0, 0 },
	{ "refused", GET("/nobody"), 502, 0, ENDING_ORIGIN_REFUSED, "connection_refused",
	  0, 0, 0, 0, 0 },
	{ "closed", GET("/closed"), 502, 0, ENDING_ORIGIN_CLOSED, "connection_terminated",
	  0, 0, 0, 0, 0 },
	{ "reset head", GET("/reset-head"), 502, 0, ENDING_ORIGIN_CLOSED,
	  "connection_terminated", 0, 0, 0, 0, 0 },
	{ "half a head", GET("/half-head"), 502, 0, ENDING_ORIGIN_CLOSED,
	  "connection_terminated", 0, 0, 0, 0, 0 },
	{ "bad head", GET("/bad"), 502, 0, ENDING_ORIGIN_BAD, "http_protocol_error", 0, 0,
	  0, 0, 0 },
	{ "two framings", GET("/both"), 502, 0, ENDING_ORIGIN_BAD, "http_protocol_error",
	  0, 0, 0, 0, 0 },
	{ "uninvited", GET("/uninvited"), 502, 0, ENDING_ORIGIN_BAD,
	  "http_protocol_error", 0, 0, 0, 0, 0 },
	{ "late", GET("/never"), 504, 0, ENDING_ORIGIN_TIMEOUT, "connection_read_timeout",
	  0, 0, "    response_timeout: 2s\n", 2000, 2200 },
	{ "stalled body", GET("/stall"), 200, 1, ENDING_ORIGIN_TRUNCATED, "", 0, 0,
	  "    response_timeout: 2s\n", 0, 0 },
	{ "short body", GET("/short"), 200, 1, ENDING_ORIGIN_TRUNCATED, "", 0, 0, 0, 0,
	  0 },
	{ "reset body", GET("/reset-body"), 200, 1, ENDING_ORIGIN_TRUNCATED, "", 0, 0, 0,
	  0, 0 },
	{ "broken chunk", GET("/broken-chunk"), 200, 1, ENDING_ORIGIN_TRUNCATED, "", 0, 0,
	  0, 0, 0 },
	{ "hit", GET("/cache/foo"), 200, 0, ENDING_COMPLETE, "text/plain", 0, 0, 0, 0,
	  0 },
	{ "miss", GET("/cache/miss"), 404, 0, ENDING_CACHE_MISS, "", 0, 0, 0, 0, 0 },
	{ "miss, next", GET("/next/miss"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "miss, next, nowhere", "GET /next/miss HTTP/1.1\r\nHost: other\r\n\r\n", 404, 0,
	  ENDING_NO_ROUTE, "destination_not_found", 0, 0, 0, 0, 0 },
	{ "hit, next", GET("/next/foo"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "cache failed", GET("/cache/error"), 503, 0, ENDING_CACHE_FAILED,
	  "destination_unavailable", 0, 0, 0, 0, 0 },
	{ "cache late", GET("/cache/never"), 504, 0, ENDING_CACHE_TIMEOUT,
	  "connection_read_timeout", 0, 0, 0, 2000, 2200 },
	{ "page", "GET /page?key=foo HTTP/1.1\r\nHost: app\r\nCookie: session=s1\r\n\r\n",
	  200, 0, ENDING_COMPLETE, "application/json", 0, 0, 0, 0, 0 },
	{ "parts", GET("/parts"), 200, 0, ENDING_COMPLETE, "application/json", 0, 0,
	  "    response_timeout: 2s\n", 2000, 2200 },
};

static uint64_t aged_ms(struct proxyrig *r, uint64_t from_ms)
{
	return r->sim.tick.now_ms - from_ms;
}

static void start(struct proxyrig *r, const struct scene *s, struct sim_peer *a)
{
	/* Not all of a body must be whole in one piece: heads may. */
	sim_peer_send_text(a, s->request);
	switch (s->then) {
	case THEN_SHUT:
		sim_peer_shutdown(a);
		break;
	case THEN_RESET:
		simrig_run(&r->sim, 100 + (uint32_t)simrig_draw(&r->sim, 100));
		sim_peer_reset_now(a);
		break;
	case THEN_DEAF:
		a->stopped_reading = true;
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
static bool decided(const struct sim_peer *a)
{
	struct client_response answer;
	struct slice rest;
	unsigned n = client_responses_read(a, &answer, 1, 0, &rest);

	client_responses_free(&answer, n);
	return n == 1 || sim_peer_finished(a);
}

static void assert_answer(const struct scene *s, const struct sim_peer *a)
{
	struct client_response answer;
	struct slice rest;
	unsigned n = client_responses_read(a, &answer, 1, 0, &rest);

	if (s->status == 0) {
		assert_int_equal(n, 0);
		return;
	}
	if (s->broken) {
		/* Before its first byte has left, it is another one, and whole; else it comes as
		 * far as its origin brought it. */
		assert_int_equal(answer.status, n == 1 ? 502 : s->status);
		if (n == 1)
			assert_non_null(memmem(answer.head.ptr, answer.head.len,
					       "http_response_incomplete", 24));
		client_responses_free(&answer, n);
		return;
	}
	assert_int_equal(n, 1);
	assert_int_equal(answer.status, s->status);
	assert_int_equal(rest.len, 0);
	assert_non_null(memmem(answer.head.ptr, answer.head.len, s->fields, strlen(s->fields)));
	client_responses_free(&answer, n);
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

/* Of an answer that broke: what the log says of it is what its client has. */
static void assert_log_is_true(struct proxyrig *r, const struct sim_peer *a)
{
	struct slice heard = { a->in, a->in_n }, body;
	char text[64];
	int status;

	assert_int_equal(sscanf(heard.ptr, "HTTP/1.1 %d", &status), 1);
	snprintf(text, sizeof(text), "\"status\":%d,", status);
	assert_int_equal(proxyrig_logged(r, text), 1);
	body.ptr = strstr(heard.ptr, "\r\n\r\n");
	assert_non_null(body.ptr);
	body = slice_after(heard, (size_t)(body.ptr + 4 - heard.ptr));
	if (strcasestr(heard.ptr, "\r\nTransfer-Encoding: chunked"))
		return;
	snprintf(text, sizeof(text), "\"sent_bytes\":%zu,", body.len);
	assert_int_equal(proxyrig_logged(r, text), 1);
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
	struct sim_peer *a;
	uint64_t from_ms;

	if (getenv("SEED") && seed != strtoull(getenv("SEED"), NULL, 10))
		return;
	proxyrig_open(&r, &(struct proxyrig_options){ .seed = seed, .limits = s->limits,
						      .upstream = s->upstream });
	if (seed % 4 == 0)
		sim_set_socket_bytes(r.sim.tick.loop, 300 + (uint32_t)seed);
	from_ms = r.sim.tick.now_ms;
	a = sim_peer_connect(&r.sim, PROXYRIG_PORT);
	a->uncut = s->from_ms > 0;
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
	if (s->broken)
		assert_log_is_true(&r, a);
	assert_int_equal(r.stats.log_lines, 1);
	proxyrig_close(&r);
}

static void test_scene(void **state)
{
	const struct scene *s = *state;

	now_playing = s->name;
	for (now_seed = 1; now_seed <= SEEDS; now_seed++)
		play_scene(s, now_seed);
	now_playing = "";
}

/* ---- endings that need more than one request -------------------------------- */

static void assert_status(struct proxyrig *r, struct sim_peer *a, int status,
			  const char *fields)
{
	struct client_response answer;
	struct slice rest;
	unsigned n;

	SIMRIG_UNTIL(&r->sim, decided(a), 20000);
	n = client_responses_read(a, &answer, 1, 0, &rest);
	assert_int_equal(n, 1);
	assert_int_equal(answer.status, status);
	assert_non_null(memmem(answer.head.ptr, answer.head.len, fields, strlen(fields)));
	client_responses_free(&answer, n);
}

static void assert_ended(struct proxyrig *r, enum ending ending)
{
	char text[128];

	snprintf(text, sizeof(text), "\"ending\":\"%s\"", ending_text(ending));
	assert_true(proxyrig_logged(r, text) > 0);
	reached[ending] = true;
}

static struct sim_peer *ask(struct proxyrig *r, const char *request)
{
	struct sim_peer *a = sim_peer_connect(&r->sim, PROXYRIG_PORT);

	sim_peer_send_text(a, request);
	return a;
}

/* What it was told so far is read. */
static void forget(struct sim_peer *a)
{
	a->in_n = a->in_used = 0;
	a->in[0] = '\0';
}

static void nameless(void **state)
{
	struct proxyrig r;

	(void)state;
	proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1, .nameless = true });
	assert_status(&r, ask(&r, GET("/nobody")), 503, "fairlead; error=dns_error");
	assert_ended(&r, ENDING_NO_SERVER);
	assert_status(&r, ask(&r, GET("/length/3")), 200, "Length: 3");
	proxyrig_close(&r);
}

/* A connect that fails says of whom it tells something: us, the way there, or the server. */
static void test_connect_errors(void **state)
{
	static const struct {
		int error;
		enum ending ending;
		const char *told;
	} rows[] = {
		{ -EACCES, ENDING_ORIGIN_FORBIDDEN, "error=proxy_configuration_error" },
		{ -EPERM, ENDING_ORIGIN_FORBIDDEN, "error=proxy_configuration_error" },
		{ -ENETUNREACH, ENDING_ORIGIN_UNROUTABLE, "error=destination_ip_unroutable" },
		{ -EHOSTUNREACH, ENDING_ORIGIN_UNROUTABLE, "error=destination_ip_unroutable" },
		{ -EMFILE, ENDING_NO_SOCKET, "error=proxy_internal_error" },
		{ -EADDRNOTAVAIL, ENDING_NO_SOCKET, "error=proxy_internal_error" },
		{ -ECONNREFUSED, ENDING_ORIGIN_REFUSED, "error=connection_refused" },
		{ -EAGAIN, ENDING_ORIGIN_REFUSED, "error=connection_refused" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct sim_faults faults = { .connects = 1, .connect_error = rows[i].error };
		struct proxyrig r;
		struct sim_peer *a;

		proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1 });
		a = sim_peer_connect(&r.sim, PROXYRIG_PORT);
		SIMRIG_UNTIL(&r.sim, r.stats.connections == 1, 1000);
		sim_set_faults(r.sim.tick.loop, &faults);
		sim_peer_send_text(a, GET("/length/3"));
		assert_status(&r, a, 502, rows[i].told);
		assert_ended(&r, rows[i].ending);
		sim_set_faults(r.sim.tick.loop, &(struct sim_faults){ 0 });
		proxyrig_close(&r);
	}
}

static void each_seed(void (*test)(struct proxyrig *r), const char *name,
		      struct proxyrig_options options)
{
	struct proxyrig r;

	now_playing = name;
	for (now_seed = 1; now_seed <= seeds; now_seed++) {
		if (getenv("SEED") && now_seed != strtoull(getenv("SEED"), NULL, 10))
			continue;
		options.seed = now_seed;
		proxyrig_open(&r, &options);
		test(&r);
		proxyrig_close(&r);
	}
	now_playing = "";
}

/* What servers read in different ways is refused, and the connection goes on. */
static void paths_strict(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("//length/3"));

	assert_status(r, a, 400, "error=http_request_denied");
	assert_ended(r, ENDING_PATH_AMBIGUOUS);
	assert_int_equal(r->requests, 0);
	forget(a);
	sim_peer_send_text(a, GET("/length/4"));
	assert_status(r, a, 200, "Length: 4");
}

static void paths_as_is(struct proxyrig *r)
{
	assert_status(r, ask(r, GET("//length/3")), 200, "");
	assert_int_equal(proxyrig_logged(r, ending_text(ENDING_PATH_AMBIGUOUS)), 0);
}

static void test_paths(void **state)
{
	(void)state;
	each_seed(paths_strict, "paths: strict", (struct proxyrig_options){ .paths_strict = true });
	each_seed(paths_as_is, "paths: as_is", (struct proxyrig_options){ .buffers = 0 });
}

static void queue_is_full(struct proxyrig *r)
{
	struct sim_peer *holds = ask(r, GET("/never")), *waits, *late;

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	waits = ask(r, GET("/length/5"));
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].waiting == 1, 1000);
	late = ask(r, GET("/length/6"));
	assert_status(r, late, 503, "\r\nRetry-After: 1\r\n");
	assert_ended(r, ENDING_QUEUE_FULL);
	assert_false(decided(holds));
	if (simrig_draw(&r->sim, 2)) {
		assert_status(r, waits, 503, "\r\nRetry-After: 1\r\nProxy-Status: fairlead; "
					     "error=connection_limit_reached\r\n");
		assert_ended(r, ENDING_QUEUE_TIMEOUT);
		return;
	}
	sim_peer_reset_now(holds); /* its place goes to who waits longest */
	assert_status(r, waits, 200, "Length: 5");
}

static void test_queue(void **state)
{
	(void)state;
	each_seed(queue_is_full, "queue",
		  (struct proxyrig_options){ .upstream = "    connections: 1\n"
							 "    queue: 1\n"
							 "    queue_timeout: 1s\n" });
	assert_true(reached[ENDING_QUEUE_TIMEOUT]);
}

/* ---- clients that give way ---------------------------------------------------- */

/* At the limit who is idle longest makes room, never one whose request has begun. */
static void idle_give_way(struct proxyrig *r)
{
	struct sim_peer *busy = ask(r, GET("/never")), *half, *idle[2], *a;

	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 1, 1000);
	half = ask(r, GET("/length/4"));
	assert_status(r, half, 200, "Length: 4");
	forget(half);
	sim_peer_send_text(half, "GET /length/5 HTTP/1.1\r\nHo");
	for (unsigned i = 0; i < 2; i++) {
		idle[i] = ask(r, GET("/length/5"));
		assert_status(r, idle[i], 200, "");
	}
	simrig_run(&r->sim, 50);
	assert_int_equal(r->stats.connections, 4);
	a = ask(r, GET("/length/6"));
	SIMRIG_UNTIL(&r->sim, decided(a), 300);
	assert_status(r, a, 200, "Length: 6");
	assert_int_equal(r->stats.connections_evicted, 1);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(idle[0]), 300);
	assert_true(idle[0]->eof);
	assert_false(sim_peer_finished(idle[1]) || sim_peer_finished(busy) ||
		     sim_peer_finished(half));
	sim_peer_send_text(half, "st: app\r\n\r\n");
	assert_status(r, half, 200, "Length: 5");
}

/* Nor one that has not taken its response, although its exchange has ended. */
static unsigned untaken;

static void untaken_stays(struct proxyrig *r)
{
	struct sim_peer *slow, *idle, *a;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	slow = ask(r, GET("/length/12000"));
	SIMRIG_UNTIL(&r->sim, slow->in_n > 0, 1000);
	slow->stopped_reading = true;
	io_cancel(r->sim.tick.loop, &slow->recv.op);
	simrig_run(&r->sim, 500);
	/* If the rest waits at its origin, or the kernel has it all, it is another case. */
	if (r->stats.requests_in_flight == 1 ||
	    conn_unsent(&LIST_ITEM(r->proxy.front.all.next, struct client, node)->conn) == 0)
		return;
	untaken++;
	idle = ask(r, GET("/length/5"));
	assert_status(r, idle, 200, "");
	a = ask(r, GET("/length/6"));
	assert_status(r, a, 200, "Length: 6");
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(idle), 300);
	sim_peer_resume_reading(slow);
	assert_status(r, slow, 200, "Length: 12000");
}

/* Who has just come may be about to ask: only who stays silent gives way. */
static void silent_give_way(struct proxyrig *r)
{
	struct sim_peer *silent[2], *a;

	for (unsigned i = 0; i < 2; i++)
		silent[i] = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 2, 1000);
	a = ask(r, GET("/length/6"));
	simrig_run(&r->sim, 700);
	assert_int_equal(r->stats.connections_evicted, 0);
	assert_int_equal(a->in_n, 0);
	SIMRIG_UNTIL(&r->sim, decided(a), 1000);
	assert_status(r, a, 200, "Length: 6");
	assert_int_equal(r->stats.connections_evicted, 1);
	SIMRIG_UNTIL(&r->sim,
		     sim_peer_finished(silent[0]) || sim_peer_finished(silent[1]), 300);
	assert_false(sim_peer_finished(silent[0]) && sim_peer_finished(silent[1]));
}

static void test_give_way(void **state)
{
	static const struct proxyrig_options two = { .clients = 2,
						     .limits = "  window: 256KiB\n" };

	(void)state;
	each_seed(untaken_stays, "untaken stays", two);
	assert_true(untaken > 0);
	each_seed(silent_give_way, "silent give way", two);
	each_seed(idle_give_way, "give way",
		  (struct proxyrig_options){ .clients = 4,
					     .limits = "  header_timeout: 60s\n" });
}

/* ---- connections that are one client's --------------------------------------- */

static void assert_next(struct proxyrig *r, struct sim_peer *a, const char *request)
{
	size_t n = a->in_n;

	sim_peer_send_text(a, request);
	SIMRIG_UNTIL(&r->sim, a->in_n > n && r->stats.requests_in_flight == 0, 2000);
}

/* Nobody else is asked for on it; it ages as any idle one, or ends with its client. */
static void identity(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("/ntlm")), *b;
	const struct upstream_stats *stats = &r->upstream_stats[0];

	SIMRIG_UNTIL(&r->sim, stats->connections_held == 1, 1000);
	b = ask(r, GET("/length/5"));
	assert_status(r, b, 200, "Length: 5");
	assert_int_equal(r->origins[0].accepted, 2);
	assert_next(r, a, GET("/length/7"));
	assert_next(r, a, GET("/length/7"));
	assert_int_equal(r->origins[0].accepted, 2);
	SIMRIG_UNTIL(&r->sim, stats->connections_held == 1 && stats->connections_idle == 1, 500);
	if (simrig_draw(&r->sim, 2)) {
		sim_peer_close(a);
		SIMRIG_UNTIL(&r->sim, stats->connections_held == 0, 500);
	} else {
		SIMRIG_UNTIL(&r->sim, stats->connections == 0, 70000);
	}
}

/* With room for one connection it gives way, and comes anew. */
static void identity_at_the_limit(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("/ntlm")), *b;
	const struct upstream_stats *stats = &r->upstream_stats[0];

	for (unsigned i = 0; i < 3; i++) {
		SIMRIG_UNTIL(&r->sim, stats->connections_held == 1, 1000);
		b = ask(r, GET("/length/5"));
		assert_status(r, b, 200, "Length: 5");
		assert_int_equal(r->origins[0].accepted, i + 2);
		assert_int_equal(stats->connections_held, 0);
		sim_peer_close(b);
		SIMRIG_UNTIL(&r->sim, stats->connections_idle == 1, 500);
		assert_next(r, a, "GET /ntlm HTTP/1.1\r\nHost: app\r\n"
				  "Authorization: NTLM x\r\n\r\n");
		assert_int_equal(r->origins[0].accepted, i + 2);
	}
}

static void test_identity(void **state)
{
	(void)state;
	each_seed(identity, "identity", (struct proxyrig_options){ .buffers = 0 });
	each_seed(identity_at_the_limit, "identity at the limit",
		  (struct proxyrig_options){ .upstream = "    connections: 1\n" });
}

/* ---- clients that leave ------------------------------------------------------ */

/* Who has left is out of the queue, and never asked of an origin. */
static void left_in_queue(struct proxyrig *r)
{
	struct sim_peer *holds = ask(r, GET("/never")), *leave[5];
	const uint64_t *waiting = &r->upstream_stats[0].waiting;

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	for (size_t i = 0; i < COUNT(leave); i++)
		leave[i] = ask(r, GET("/length/5"));
	SIMRIG_UNTIL(&r->sim, *waiting == COUNT(leave), 1000);
	for (size_t i = 0; i < COUNT(leave); i++)
		sim_peer_shutdown(leave[i]);
	SIMRIG_UNTIL(&r->sim, *waiting == 0, 200);
	assert_int_equal(r->stats.requests_abandoned, COUNT(leave));
	for (size_t i = 0; i < COUNT(leave); i++) {
		SIMRIG_UNTIL(&r->sim, sim_peer_finished(leave[i]), 200);
		assert_true(leave[i]->eof && leave[i]->in_n == 0);
	}
	sim_peer_close(holds);
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections == 0, 5000);
	assert_int_equal(r->requests, 1);
	assert_int_equal(proxyrig_logged(r, "\"status\":499"), 6);
}

/* Nothing is asked again, and no pause is waited for. */
static void left_in_pause(struct proxyrig *r)
{
	struct sim_peer *a;

	r->fail_next = 100;
	r->fail_path = "/status/503";
	a = ask(r, GET("/again/length/7"));
	SIMRIG_UNTIL(&r->sim, r->requests == 3, 1000);
	simrig_run(&r->sim, 200);
	assert_int_equal(r->stats.requests_in_flight, 1);
	sim_peer_shutdown(a);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 200);
	simrig_run(&r->sim, 120000);
	assert_int_equal(r->requests, 3);
	assert_ended(r, ENDING_CLIENT_GONE);
}

/* Its FIN stands behind more than is received now. */
static void left_behind_requests(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("/never"));

	for (unsigned i = 0; i < 2000; i++)
		sim_peer_send_text(a, GET("/length/7"));
	sim_peer_shutdown(a);
	SIMRIG_UNTIL(&r->sim, a->fin_sent, 1000);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 1200);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(a), 200);
	assert_int_equal(r->requests, 1);
	assert_int_equal(r->upstream_stats[0].connections, 0);
}

/* What has begun is delivered; what comes behind it may not have. */
static void left_amid_response(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("/length/1000000") GET("/never"));
	struct client_response answers[2];
	struct slice rest;

	SIMRIG_UNTIL(&r->sim, a->in_n > 0, 1000);
	sim_peer_shutdown(a);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(a), 20000);
	assert_true(a->eof);
	assert_int_equal(client_responses_read(a, answers, 2, 0, &rest), 1);
	assert_int_equal(answers[0].body.len, 1000000);
	assert_int_equal(rest.len, 0);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 200);
	client_responses_free(answers, 1);
}

static void test_left(void **state)
{
	(void)state;
	each_seed(left_in_queue, "left in queue",
		  (struct proxyrig_options){ .upstream = "    connections: 1\n"
							 "    queue_timeout: 60s\n" });
	each_seed(left_in_pause, "left in pause",
		  (struct proxyrig_options){
			  .again = "    retry: { on: [503], tries: 6, backoff: 60s }\n" });
	each_seed(left_behind_requests, "left behind requests",
		  (struct proxyrig_options){ .buffers = 0 });
	each_seed(left_amid_response, "left amid response",
		  (struct proxyrig_options){ .buffers = 0 });
}

/* Somebody listens, but the line at the door is full. */
static void not_reached(struct proxyrig *r)
{
	struct sockaddr_in addr = simrig_address(PROXYRIG_ORIGIN);
	struct sim_peer *first, *a;
	int fd;

	sim_server_close(&r->origins[0]);
	fd = sim_listen(r->sim.tick.loop, (struct sockaddr *)&addr, sizeof(addr), 1);
	first = sim_peer_connect(&r->sim, PROXYRIG_ORIGIN);
	SIMRIG_UNTIL(&r->sim, first->connected, 1000);
	a = ask(r, GET("/length/5"));
	if (simrig_draw(&r->sim, 4) == 0) { /* or the client does not wait */
		simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 30));
		sim_peer_reset_now(a);
		simrig_run(&r->sim, 2000);
	} else {
		assert_status(r, a, 504, "connection_timeout");
		assert_ended(r, ENDING_CONNECT_TIMEOUT);
	}
	io_close(r->sim.tick.loop, fd);
}

static void test_not_reached(void **state)
{
	(void)state;
	each_seed(not_reached, "not reached", (struct proxyrig_options){ .buffers = 0 });
}

static void origin_is_deaf(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, POST("/deaf", 900000));
	char *body = calloc(1, 900000);

	assert_non_null(body);
	sim_peer_send(a, (struct slice){ body, 900000 });
	free(body);
	assert_status(r, a, 504, "connection_write_timeout");
	assert_ended(r, ENDING_ORIGIN_SEND_TIMEOUT);
}

static void test_origin_deaf(void **state)
{
	(void)state;
	each_seed(origin_is_deaf, "origin deaf",
		  (struct proxyrig_options){ .limits = "  send_timeout: 3s\n"
						       "  window: 64KiB\n" });
}

/* ---- many requests on one connection ---------------------------------------- */

static const struct {
	const char *path;
	size_t n;
	int status;
} plays[] = {
	{ "/length/", 70000, 200 }, { "/chunked/", 30000, 200 }, { "/until-close/", 900, 200 },
	{ "/status/204", 0, 204 },  { "/nobody", 0, 502 },	 { "/cache/foo", 0, 200 },
	{ "/length/", 40, 200 },    { "/closed", 0, 502 },	 { "/pair/length/", 300, 200 },
};

static void assert_pattern(struct slice s, size_t n)
{
	assert_int_equal(s.len, n);
	for (size_t i = 0; i < n; i++)
		if (s.ptr[i] != proxyrig_pattern(i))
			fail_msg("byte %zu of %zu differs", i, n);
}

static void pipelined(struct proxyrig *r)
{
	struct sim_peer *a = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	struct client_response answers[ANSWERS_MAX];
	unsigned which[ANSWERS_MAX], n = 0, all = 3 + (unsigned)simrig_draw(&r->sim, 30);
	size_t sizes[ANSWERS_MAX];
	uint64_t heads = 0;
	struct slice rest;
	char text[256], number[24];
	bool shuts = simrig_draw(&r->sim, 2);

	for (unsigned i = 0; i < all; i++) {
		which[i] = shuts ? 0 : (unsigned)simrig_draw(&r->sim, COUNT(plays));
		sizes[i] = plays[which[i]].n ? 1 + simrig_draw(&r->sim, plays[which[i]].n) : 0;
		snprintf(number, sizeof(number), "%zu", sizes[i]);
		/* Only what has a length is asked for its head: the origin sends bodies. */
		snprintf(text, sizeof(text), "GET %s%s%s HTTP/1.1\r\nHost: app\r\n%s\r\n",
			 shuts ? "/half" : "", plays[which[i]].path, sizes[i] ? number : "",
			 i + 1 == all ? "Connection: close\r\n" : "");
		sim_peer_send_text(a, text);
	}
	if (shuts)
		sim_peer_shutdown(a);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(a), 60000);
	n = client_responses_read(a, answers, ANSWERS_MAX, heads, &rest);
	assert_int_equal(n, all);
	assert_int_equal(rest.len, 0);
	assert_true(a->eof);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(answers[i].status, plays[which[i]].status);
		if (sizes[i] > 0)
			assert_pattern(answers[i].body, sizes[i]);
		assert_int_equal(answers[i].close, i + 1 == all);
	}
	client_responses_free(answers, n);
	assert_int_equal(r->stats.requests, all);
}

static void test_pipelined(void **state)
{
	(void)state;
	each_seed(pipelined, "pipelined", (struct proxyrig_options){ .buffers = 0 });
	each_seed(pipelined, "pipelined, small window",
		  (struct proxyrig_options){ .limits = "  window: 32KiB\n" });
	each_seed(pipelined, "pipelined, few buffers", (struct proxyrig_options){ .buffers = 16 });
}

/* ---- asking once more ------------------------------------------------------- */

static void stale_close(struct proxyrig *r)
{
	bool reset = simrig_draw(&r->sim, 2), post = simrig_draw(&r->sim, 2);
	struct sim_peer *a = ask(r, GET("/length/3"));
	struct client_response answers[2];
	struct slice rest;
	unsigned n;

	assert_status(r, a, 200, "Length: 3");
	if (post)
		sim_peer_send_text(a, reset ? POST("/swallow-reset", 0)
					    : POST("/swallow/", 0));
	else
		sim_peer_send_text(a, reset ? GET("/swallow-reset") : GET("/swallow/"));
	SIMRIG_UNTIL(&r->sim, (n = client_responses_read(a, answers, 2, 0, &rest)) == 2,
		     5000);
	assert_int_equal(answers[1].status, post ? 502 : 200);
	client_responses_free(answers, n);
	assert_int_equal(r->upstream_stats[0].retries, !post);
	assert_int_equal(r->upstream_stats[0].stale_retries, !post);
	assert_int_equal(r->origins[0].accepted, post ? 1 : 2);
	assert_int_equal(r->stale_close, 1);
	/* That an idle connection ends is nobody's fault. */
	assert_int_equal(proxyrig_failures(r, 0), 0);
}

static void test_swallowed(void **state)
{
	(void)state;
	each_seed(stale_close, "stale_close", (struct proxyrig_options){ .buffers = 0 });
}

/* A new connection that ends without an answer is not tried again. */
static void not_again(struct proxyrig *r)
{
	assert_status(r, ask(r, GET("/closed")), 502, "connection_terminated");
	assert_int_equal(r->requests, 1);
	assert_int_equal(r->upstream_stats[0].retries, 0);
	assert_int_equal(proxyrig_failures(r, 0), 1);
}

static void test_not_again(void **state)
{
	(void)state;
	each_seed(not_again, "not again", (struct proxyrig_options){ .buffers = 0 });
}

/* An idle connection that the origin has ended is not used. */
static void idle_ended(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("/length/3"));

	assert_status(r, a, 200, "Length: 3");
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections_idle == 1, 1000);
	if (simrig_draw(&r->sim, 2))
		sim_peer_close(r->origins[0].last);
	else
		sim_peer_send_text(r->origins[0].last, "HTTP/1.1 200 OK\r\n");
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections == 0, 1000);
	a = ask(r, POST("/length/4", 0));
	assert_status(r, a, 200, "Length: 4");
	assert_int_equal(r->origins[0].accepted, 2);
	assert_int_equal(r->upstream_stats[0].retries, 0);
}

static void test_idle_ended(void **state)
{
	(void)state;
	each_seed(idle_ended, "idle ended", (struct proxyrig_options){ .buffers = 0 });
}

/* ---- tries that a route asks for --------------------------------------------- */

#define TRIO 4 /* the upstream's index in the rig */
#define RETRY(more) "    retry: { backoff: 10ms, " more " }\n"

static const struct trial {
	const char *name, *again, *request;
	unsigned ill;
	const char *ill_path;
	int status;
	const char *fields;
	unsigned asked;
	uint32_t from_ms, to_ms;
} trials[] = {
	{ "503", RETRY("on: [503]"), GET("/again/length/7"), 1, "/status/503", 200, "Length: 7",
	  2, 0, 100 },
	{ "503 twice", RETRY("on: [503]"), GET("/again/length/7"), 2, "/status/503", 200,
	  "Length: 7", 3, 0, 100 },
	{ "503 three times", RETRY("on: [503]"), GET("/again/length/7"), 3, "/status/503", 503,
	  "", 3, 0, 100 },
	{ "not on 502", RETRY("on: [503]"), GET("/again/length/7"), 1, "/status/502", 502, "", 1,
	  0, 100 },
	{ "two tries", RETRY("on: [503], tries: 2"), GET("/again/length/7"), 2, "/status/503",
	  503, "", 2, 0, 100 },
	{ "closed", RETRY("on: [reset]"), GET("/again/length/7"), 2, "/closed", 200,
	  "Length: 7", 3, 0, 100 },
	{ "reset", RETRY("on: [reset]"), GET("/again/length/7"), 2, "/reset-head", 200,
	  "Length: 7", 3, 0, 100 },
	{ "half a head", RETRY("on: [reset]"), GET("/again/length/7"), 1, "/half-head", 200,
	  "Length: 7", 2, 0, 100 },
	{ "not on a reset", RETRY("on: [503]"), GET("/again/length/7"), 1, "/closed", 502,
	  "connection_terminated", 1, 0, 100 },
	{ "malformed", RETRY("on: [malformed]"), GET("/again/length/7"), 1, "/bad", 200,
	  "Length: 7", 2, 0, 100 },
	{ "uninvited", RETRY("on: [malformed]"), GET("/again/length/7"), 1, "/uninvited", 502,
	  "http_protocol_error", 1, 0, 100 },
	{ "silent", RETRY("on: [timeout], per_try_timeout: 1s"), GET("/again/length/7"), 2,
	  "/never", 200, "Length: 7", 3, 2000, 2200 },
	{ "silent, not retried", RETRY("on: [503], per_try_timeout: 1s"),
	  GET("/again/length/7"), 1, "/never", 504, "connection_read_timeout", 1, 1000, 1200 },
	{ "deadline", "    deadline: 1500ms\n" RETRY("on: [timeout], per_try_timeout: 1s"),
	  GET("/again/length/7"), 3, "/never", 504, "http_response_timeout", 2, 1500, 1700 },
	{ "deadline alone", "    deadline: 1500ms\n", GET("/again/length/7"), 1, "/never", 504,
	  "http_response_timeout", 1, 1500, 1700 },
	{ "begun in time", "    deadline: 1500ms\n", GET("/again/burst/2000"), 0, "", 200,
	  "Length: 24010", 1, 2000, 2400 },
	{ "post", RETRY("on: [503, reset]"), POST("/again/echo", 4) "0123", 1, "/status/503",
	  503, "", 1, 0, 100 },
	{ "post, reset", RETRY("on: [503, reset]"), POST("/again/echo", 4) "0123", 1, "/closed",
	  502, "connection_terminated", 1, 0, 100 },
	{ "post, all methods", RETRY("on: [503], methods: all"),
	  POST("/again/echo", 4) "0123", 2, "/status/503", 200, "Length: 4", 3, 0, 100 },
	{ "put", RETRY("on: [503]"),
	  "PUT /again/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n0123", 2,
	  "/status/503", 200, "Length: 4\r\n", 3, 0, 100 },
	{ "put, too long to be kept", RETRY("on: [503], body: 3B"),
	  "PUT /again/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n0123", 1,
	  "/status/503", 503, "", 1, 0, 100 },
	{ "put, early 503", RETRY("on: [503]"),
	  "PUT /again/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n0123", 2,
	  "/busy", 200, "Length: 4\r\n", 3, 0, 100 },
	{ "no budget", RETRY("on: [503], budget_percent: 0, budget_per_second: 0"),
	  GET("/again/length/7"), 1, "/status/503", 503, "", 1, 0, 100 },
	{ "budget for one", RETRY("on: [503], budget_percent: 0, budget_per_second: 1"),
	  GET("/again/length/7"), 2, "/status/503", 503, "", 2, 0, 100 },
	{ "pauses", "    retry: { on: [503], tries: 6, backoff: 500ms }\n",
	  GET("/again/length/7"), 5, "/status/503", 200, "Length: 7", 6, 250, 700 },
	{ "no time for a pause",
	  "    deadline: 400ms\n    retry: { on: [503], tries: 6, backoff: 1s }\n",
	  GET("/again/length/7"), 5, "/status/503", 503, "", 3, 0, 100 },
};

static const struct trial *trial;

static void tried(struct proxyrig *r)
{
	const struct trial *t = trial;
	uint64_t from_ms = r->sim.tick.now_ms;
	char text[64];
	struct sim_peer *a;

	r->fail_next = t->ill;
	r->fail_path = t->ill_path;
	a = ask(r, t->request);
	a->uncut = t->from_ms > 0;
	assert_status(r, a, t->status, t->fields);
	assert_int_equal(r->requests, t->asked);
	assert_true(aged_ms(r, from_ms) >= t->from_ms);
	assert_true(aged_ms(r, from_ms) <= t->to_ms + 150 * t->asked);
	assert_int_equal(r->upstream_stats[TRIO].retries, t->asked - 1);
	simrig_run(&r->sim, 100); /* its body, and the log */
	snprintf(text, sizeof(text), "\"tries\":%u,", t->asked);
	assert_int_equal(proxyrig_logged(r, text), 1);
	if (strstr(t->fields, "http_response_timeout"))
		assert_ended(r, ENDING_DEADLINE);
	assert_int_equal(r->upstream_stats[TRIO].deadlines,
			 strstr(t->fields, "http_response_timeout") != NULL);
	assert_int_equal(r->upstream_stats[TRIO].retry_refusals,
			 strstr(t->name, "budget") != NULL);
	/* Each server is asked once before one is asked again. */
	if (t->asked == 3)
		for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
			assert_int_equal(r->origins[i].accepted, 1);
	if (strstr(t->request, "/echo") && t->status == 200)
		assert_int_equal(proxyrig_logged(r, "\"sent_bytes\":4,"), 1);
}

static void test_tried(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(trials); i++) {
		trial = &trials[i];
		each_seed(tried, trial->name,
			  (struct proxyrig_options){ .again = trial->again });
	}
}

/* The echo of a body in chunks has it as it came, with chunk lines and a trailer. */
static void assert_digits(struct slice body, size_t n)
{
	size_t at = 0, size;
	char *end;

	while ((size = strtoul(body.ptr, &end, 16)) > 0) {
		assert_memory_equal(end, "\r\n", 2);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(end[2 + i], '0' + at++ % 10);
		assert_memory_equal(end + 2 + size, "\r\n", 2);
		body = slice_after(body, (size_t)(end + 4 + size - body.ptr));
	}
	assert_int_equal(at, n);
	assert_true(slice_equal(body, SLICE("0\r\nX-Sum: 42\r\n\r\n")));
}

/* A body in chunks that comes bit by bit, amid failures; its trailers come along each time. */
static void body_again(struct proxyrig *r)
{
	bool drips = simrig_draw(&r->sim, 2);
	unsigned n = 1 + (unsigned)simrig_draw(&r->sim, 30);
	struct client_response answer;
	struct slice rest;
	struct sim_peer *a;

	r->fail_next = (unsigned)simrig_draw(&r->sim, 3);
	r->fail_path = simrig_draw(&r->sim, 2) ? "/busy" : "/half-head";
	a = ask(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
		   "Transfer-Encoding: chunked\r\n\r\n");
	for (unsigned i = 0; i < n; i++) {
		if (drips)
			simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 60));
		sim_peer_send_text(a, "a\r\n0123456789\r\n");
	}
	sim_peer_send_text(a, "0\r\nX-Sum: 42\r\n\r\n");
	SIMRIG_UNTIL(&r->sim, decided(a), 20000);
	assert_int_equal(client_responses_read(a, &answer, 1, 0, &rest), 1);
	assert_int_equal(answer.status, 200);
	assert_digits(answer.body, 10 * n);
	client_responses_free(&answer, 1);
}

static void test_body_again(void **state)
{
	(void)state;
	each_seed(body_again, "body again",
		  (struct proxyrig_options){ .again = RETRY("on: [503, reset]") });
	each_seed(body_again, "body again, few buffers",
		  (struct proxyrig_options){ .again = RETRY("on: [503, reset]"), .buffers = 16 });
}

/* Nobody is there: that is tried again after a pause, whatever the method. */
static void nobody_there(struct proxyrig *r)
{
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
		sim_server_close(&r->origins[i]);
	assert_status(r, ask(r, POST("/again/echo", 4) "0123"), 502, "connection_refused");
	assert_int_equal(r->upstream_stats[TRIO].retries, 2);
	assert_int_equal(r->upstream_stats[TRIO].connect_failures, 9);
}

static void test_nobody_there(void **state)
{
	(void)state;
	each_seed(nobody_there, "nobody there",
		  (struct proxyrig_options){ .again = RETRY("on: [connect]") });
}

/* The client goes while there is no fetch. */
static void gone_between(struct proxyrig *r)
{
	struct sim_peer *a;

	r->fail_next = 3;
	r->fail_path = "/status/503";
	a = ask(r, GET("/again/length/7"));
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[TRIO].retries == 3, 1000);
	if (simrig_draw(&r->sim, 2)) {
		sim_peer_reset_now(a);
		SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 1000);
		assert_ended(r, ENDING_CLIENT_GONE);
	} else {
		proxyrig_end(r);
		assert_ended(r, ENDING_SHUT_DOWN);
	}
	assert_int_equal(r->requests, 3);
}

static void test_gone_between(void **state)
{
	(void)state;
	each_seed(gone_between, "gone between two tries",
		  (struct proxyrig_options){
			  .again = "    retry: { on: [503], tries: 5, backoff: 10s }\n" });
}

/* A slow client is not a late origin. */
static void slow_body_again(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				    "Content-Length: 10\r\n\r\n01");

	simrig_run(&r->sim, 3000);
	sim_peer_send_text(a, "234567");
	simrig_run(&r->sim, 3000);
	sim_peer_send_text(a, "89");
	assert_status(r, a, 200, "Length: 10");
	assert_int_equal(r->requests, 1);
}

static void test_slow_body_again(void **state)
{
	(void)state;
	each_seed(slow_body_again, "slow body",
		  (struct proxyrig_options){ .again = "    deadline: 1s\n" RETRY(
						     "per_try_timeout: 1s") });
}

/* Nor has the time of an answer begun while its origin takes its time to read. */
static void long_upload(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				    "Content-Length: 900000\r\n\r\n");
	char *body = calloc(1, 900000);
	struct sim_peer *origin;

	assert_non_null(body);
	SIMRIG_UNTIL(&r->sim, r->origins[0].last, 1000);
	origin = r->origins[0].last;
	origin->stopped_reading = true;
	io_cancel(r->sim.tick.loop, &origin->recv.op);
	sim_peer_send(a, (struct slice){ body, 900000 });
	free(body);
	simrig_run(&r->sim, 4000);
	sim_peer_resume_reading(origin);
	assert_status(r, a, 200, "Length: 900000");
	assert_int_equal(r->requests, 1);
}

static void test_long_upload(void **state)
{
	(void)state;
	each_seed(long_upload, "long upload",
		  (struct proxyrig_options){ .again = "    deadline: 1s\n" RETRY(
						     "per_try_timeout: 1s"),
					     .limits = "  window: 64KiB\n" });
}

/* The body that is sent again is at hand: an origin that does not read it has no more time. */
static void deaf_again(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				    "Content-Length: 900000\r\n\r\n");
	char *body = calloc(1, 900000);
	uint64_t from_ms;

	assert_non_null(body);
	r->fail_next = 1;
	r->fail_path = "/status/503";
	sim_peer_send(a, (struct slice){ body, 900000 });
	free(body);
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[TRIO].retries == 1, 20000);
	from_ms = r->sim.tick.now_ms;
	r->fail_next = 1;
	r->fail_path = "/deaf";
	assert_status(r, a, 504, "http_response_timeout");
	assert_true(aged_ms(r, from_ms) <= 1500);
	assert_int_equal(r->requests, 2);
}

static void test_deaf_again(void **state)
{
	(void)state;
	each_seed(deaf_again, "deaf, the second time",
		  (struct proxyrig_options){ .again = "    deadline: 1s\n"
						      RETRY("on: [503], body: 1MiB"),
					     .limits = "  window: 64KiB\n" });
}

/* ---- a second try beside the first -------------------------------------------- */

#define HEDGE "    hedge: { percentile: 95, budget_percent: 100 }\n"
#define WARM 25

/* So many answers that the route knows how long they take. */
static void warm(struct proxyrig *r)
{
	struct client_response answers[WARM];
	struct sim_peer *a = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	struct slice rest;

	for (unsigned i = 0; i < WARM; i++)
		sim_peer_send_text(a, GET("/again/status/204"));
	SIMRIG_UNTIL(&r->sim, client_responses_read(a, answers, WARM, 0, &rest) == WARM,
		     20000);
	sim_peer_close(a);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 1000);
	simrig_run(&r->sim, 200); /* who lost may still be asked */
	assert_true(r->requests >= WARM &&
		    r->requests <= WARM + r->upstream_stats[TRIO].hedges);
	r->upstream_stats[TRIO].hedges = r->upstream_stats[TRIO].hedges_won = 0;
	r->upstream_stats[TRIO].hedge_refusals = 0;
	r->requests = 0;
}

static const struct hedging {
	const char *name, *again, *request;
	unsigned ill;
	const char *ill_path;
	int status;
	unsigned asked, hedges, won, retries;
	uint32_t from_ms, to_ms;
	const char *logged; /* of a hedge; NULL: nothing */
} hedgings[] = {
	{ "won", HEDGE, GET("/again/length/7"), 1, "/never", 200, 2, 1, 1, 0, 0, 500, "won" },
	{ "lost", HEDGE, GET("/again/slow/40"), 0, "", 200, 2, 1, 0, 0, 0, 9000, NULL },
	{ "both silent", HEDGE "    deadline: 2s\n", GET("/again/length/7"), 2, "/never", 504, 2,
	  1, 0, 0, 2000, 2400, "lost" },
	{ "poor", HEDGE "    deadline: 2s\n", GET("/again/length/7"), 2, NULL, 504, 2, 1, 0, 0, 2000,
	  2400, "lost" },
	{ "the first fails", HEDGE RETRY("per_try_timeout: 1s"), GET("/again/length/7"), 2,
	  "/never", 200, 3, 1, 1, 1, 1000, 1700, "won" },
	{ "delete", HEDGE "    deadline: 2s\n",
	  "DELETE /again/length/7 HTTP/1.1\r\nHost: app\r\n\r\n", 1, "/never", 504, 1, 0, 0, 0,
	  2000, 2400, NULL },
	{ "post", HEDGE "    deadline: 2s\n", POST("/again/echo", 0), 1, "/never", 504, 1, 0, 0,
	  0, 2000, 2400, NULL },
	{ "body", HEDGE "    deadline: 2s\n",
	  "PUT /again/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\n1", 1, "/never",
	  504, 1, 0, 0, 0, 2000, 2400, NULL },
	{ "no budget",
	  "    deadline: 2s\n    hedge: { budget_percent: 0, budget_per_second: 0 }\n",
	  GET("/again/length/7"), 1, "/never", 504, 1, 0, 0, 0, 2000, 2400, NULL },
};

static const struct hedging *hedging;

static void hedged(struct proxyrig *r)
{
	const struct upstream_stats *s = &r->upstream_stats[TRIO];
	const struct hedging *h = hedging;
	struct sim_peer *a;
	uint64_t from_ms;
	bool slow = strstr(h->request, "/slow/") != NULL;
	unsigned won, lost;

	warm(r);
	won = proxyrig_logged(r, "\"hedge\":\"won\"");
	lost = proxyrig_logged(r, "\"hedge\":\"lost\"");
	from_ms = r->sim.tick.now_ms;
	r->fail_next = h->ill;
	r->fail_path = h->ill_path ? h->ill_path : "/never";
	a = ask(r, h->request);
	if (!h->ill_path) { /* the first is silent, the second busy */
		SIMRIG_UNTIL(&r->sim, r->fail_next == 1, 1000);
		r->fail_path = "/status/503";
	}
	assert_status(r, a, h->status, "");
	assert_true(aged_ms(r, from_ms) >= h->from_ms);
	assert_true(aged_ms(r, from_ms) <= h->to_ms);
	assert_int_equal(s->retries, h->retries);
	assert_int_equal(s->hedge_refusals, strstr(h->name, "budget") != NULL);
	if (slow) { /* as it is cut, the first may be slow, and the second slower */
		assert_true(r->requests <= h->asked && s->hedges <= h->hedges);
		return;
	}
	assert_int_equal(r->requests, h->asked);
	assert_int_equal(s->hedges, h->hedges);
	assert_int_equal(s->hedges_won, h->won);
	simrig_run(&r->sim, 100);
	won += h->logged && strcmp(h->logged, "won") == 0;
	lost += h->logged && strcmp(h->logged, "lost") == 0;
	assert_int_equal(proxyrig_logged(r, "\"hedge\":\"won\""), won);
	assert_int_equal(proxyrig_logged(r, "\"hedge\":\"lost\""), lost);
}

static void test_hedged(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hedgings); i++) {
		hedging = &hedgings[i];
		each_seed(hedged, hedging->name,
			  (struct proxyrig_options){ .again = hedging->again });
	}
}

/* The time of a try begins when it leaves the line. */
static void line_is_not_slow(struct proxyrig *r)
{
	struct sim_peer *first, *second;

	r->descriptors.limit = 1;
	first = ask(r, GET("/again/stall"));
	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	simrig_run(&r->sim, 50);
	second = ask(r, GET("/again/length/7"));
	simrig_run(&r->sim, 600);
	assert_int_equal(r->upstream_stats[TRIO].waiting, 1);
	sim_peer_reset_now(first);
	assert_status(r, second, 200, "Length: 7");
	assert_int_equal(r->upstream_stats[TRIO].retries, 0);
}

static void test_line_is_not_slow(void **state)
{
	(void)state;
	each_seed(line_is_not_slow, "line is not slow",
		  (struct proxyrig_options){ .again = RETRY("per_try_timeout: 300ms") });
}

/* The upstream has no place left: nobody waits in line twice. */
static void hedge_not_in_line(struct proxyrig *r)
{
	warm(r);
	r->fail_next = 1;
	r->fail_path = "/never";
	while (r->upstream_stats[TRIO].connections_idle > 1)
		assert_true(upstream_evict(generation_upstream(r->proxy.generation, TRIO)));
	simrig_run(&r->sim, 50);
	r->descriptors.limit = 1;
	ask(r, GET("/again/length/7"));
	simrig_run(&r->sim, 2000);
	assert_int_equal(r->requests, 1);
	assert_int_equal(r->upstream_stats[TRIO].hedges, 0);
	assert_int_equal(r->upstream_stats[TRIO].waiting, 0);
}

static void test_hedge_not_in_line(void **state)
{
	(void)state;
	each_seed(hedge_not_in_line, "hedge, not in line",
		  (struct proxyrig_options){ .again = HEDGE });
}

/* ---- tunnels ---------------------------------------------------------------- */

#define UPGRADE                                                                       \
	"GET /upgrade HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

static void tunnel(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, UPGRADE "and ");
	struct client_response answer;
	struct slice rest = { NULL, 0 };
	size_t all = 5 + 4 + 200000, n = 0;

	for (size_t i = 0; i < 200; i++) {
		char text[1001];

		memset(text, 'a' + (int)(i % 26), 1000);
		text[1000] = '\0';
		sim_peer_send_text(a, text);
	}
	if (simrig_draw(&r->sim, 2))
		simrig_run(&r->sim, 300);
	sim_peer_shutdown(a);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(a), 60000);
	assert_true(a->eof);
	n = client_responses_read(a, &answer, 1, 0, &rest);
	assert_int_equal(n, 1);
	assert_int_equal(answer.status, 101);
	assert_int_equal(rest.len, all);
	assert_memory_equal(rest.ptr, "helloand aaaa", 13);
	for (size_t i = 0; i < 200000; i++)
		assert_true(rest.ptr[9 + i] == (char)('a' + i / 1000 % 26));
	/* Both have ended: so has it, and not only when the idle timeout comes. */
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 500);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 3000);
}

static void test_tunnel(void **state)
{
	(void)state;
	each_seed(tunnel, "tunnel", (struct proxyrig_options){ .buffers = 0 });
	each_seed(tunnel, "tunnel, small window",
		  (struct proxyrig_options){ .limits = "  window: 32KiB\n", .buffers = 8 });
}

static void tunnel_idle(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, UPGRADE);

	SIMRIG_UNTIL(&r->sim, r->stats.tunnels == 1, 1000);
	simrig_run(&r->sim, 4000);
	sim_peer_send_text(a, "still here");
	simrig_run(&r->sim, 4000);
	assert_false(sim_peer_finished(a));
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(a), 1500);
	assert_int_equal(proxyrig_failures(r, 0), 0);
}

static void test_tunnel_idle(void **state)
{
	(void)state;
	each_seed(tunnel_idle, "tunnel idle",
		  (struct proxyrig_options){ .limits = "  idle_timeout: 5s\n" });
}

/* ---- slow clients, slow origins --------------------------------------------- */

/* A client that reads slowly makes its origin wait: that is not the origin's fault, also
 * not at the moment when the client has caught up. */
static void slow_reader(struct proxyrig *r)
{
	struct sim_peer *a;
	uint64_t peak = 0;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	a = ask(r, GET("/length/300000"));
	SIMRIG_UNTIL(&r->sim, a->in_n > 2000, 1000);
	while (a->in_n < 250000) {
		a->stopped_reading = true;
		io_cancel(r->sim.tick.loop, &a->recv.op);
		simrig_run(&r->sim, 1500 + (uint32_t)simrig_draw(&r->sim, 400));
		sim_peer_resume_reading(a);
		simrig_run(&r->sim, 1 + (uint32_t)simrig_draw(&r->sim, 40));
		if (peak < io_bufs(r->sim.tick.loop)->count - io_bufs(r->sim.tick.loop)->free_n)
			peak = io_bufs(r->sim.tick.loop)->count -
			       io_bufs(r->sim.tick.loop)->free_n;
	}
	assert_true(peak * BUF_BYTES <= 64u * 1024 + 4 * BUF_BYTES);
	assert_status(r, a, 200, "Length: 300000");
	assert_true(sim_peer_finished(a) == false);
}

/* Nor that it had nothing to say while its client was slow. */
static unsigned bursts;

static void slow_reader_of_a_burst(struct proxyrig *r)
{
	struct sim_peer *a;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	a = ask(r, GET("/burst/5100"));
	SIMRIG_UNTIL(&r->sim, a->in_n > 2000, 1000);
	a->stopped_reading = true;
	io_cancel(r->sim.tick.loop, &a->recv.op);
	simrig_run(&r->sim, 5000);
	/* If not all of it is in the proxy by now, or nothing waits there, it is another case. */
	if (r->origins[0].last->out_n - r->origins[0].last->out_sent != 10 ||
	    r->origins[0].last->pause.deadline_ms > r->sim.tick.now_ms + 700 ||
	    r->stats.requests_in_flight == 0)
		return;
	sim_peer_resume_reading(a);
	assert_status(r, a, 200, "Length: 24010");
	bursts++;
}

static void test_slow_reader(void **state)
{
	(void)state;
	each_seed(slow_reader_of_a_burst, "slow reader of a burst",
		  (struct proxyrig_options){ .limits = "  send_timeout: 9s\n"
						       "  request_head: 1KiB\n"
						       "  window: 64KiB\n",
					     .upstream = "    response_timeout: 1s\n" });
	assert_true(bursts > 0);
	each_seed(slow_reader, "slow reader",
		  (struct proxyrig_options){ .limits = "  send_timeout: 2500ms\n"
						       "  window: 64KiB\n",
					     .upstream = "    response_timeout: 1s\n" });
}

/* An answer that is long in coming: its client has not been slow when it comes. */
static void long_in_coming(struct proxyrig *r)
{
	struct sim_peer *a = ask(r, GET("/slow/400"));

	SIMRIG_UNTIL(&r->sim, decided(a), 60000);
	assert_status(r, a, 200, "Length: 30");
}

static void test_long_in_coming(void **state)
{
	(void)state;
	each_seed(long_in_coming, "long in coming",
		  (struct proxyrig_options){ .limits = "  send_timeout: 500ms\n"
						       "  receive_timeout: 500ms\n" });
}

/* A head that drips in, with the smallest window and the largest head. */
static void dripping_head(struct proxyrig *r)
{
	size_t n = 1 + simrig_draw(&r->sim, 60000);
	struct sim_peer *a = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	char *text = malloc(n + 1);

	assert_non_null(text);
	memset(text, 'x', n);
	text[n] = '\0';
	sim_peer_send_text(a, "GET /length/9 HTTP/1.1\r\nHost: app\r\nX-Long: ");
	sim_peer_send_text(a, text);
	sim_peer_send_text(a, "\r\n\r\n");
	free(text);
	assert_status(r, a, 200, "Length: 9");
}

static void test_dripping_head(void **state)
{
	(void)state;
	each_seed(dripping_head, "dripping head",
		  (struct proxyrig_options){ .limits = "  request_head: 64KiB\n"
						       "  window: 32KiB\n" });
}

/* ---- whoever goes, whenever ------------------------------------------------- */

/* The client, or the origin, is gone after any number of rounds of the loop. */
static void gone_after(struct proxyrig *r, unsigned rounds, const struct scene *s, int who)
{
	struct sim_peer *a = ask(r, s->request), *other;

	for (unsigned i = 0; i < rounds; i++) {
		simrig_alarm(&r->sim, 1);
		tick_once(&r->sim.tick);
	}
	timer_stop(&r->sim.tick.wheel, &r->sim.alarm);
	other = r->origins[0].last ? r->origins[0].last : r->memcached.last;
	switch (who) {
	case 0:
		sim_peer_reset_now(a);
		break;
	case 1:
		sim_peer_close_now(a);
		break;
	case 2:
		if (other)
			sim_peer_reset_now(other);
		break;
	case 3:
		proxyrig_end(r);
		break;
	}
	if (who == 2)
		SIMRIG_UNTIL(&r->sim, decided(a), 70000);
	simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 50));
}

static void test_gone(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++) {
		if (scenes[i].then != THEN_WAIT)
			continue;
		now_playing = scenes[i].name;
		for (now_seed = 1; now_seed <= 48; now_seed++) {
			struct proxyrig r;

			proxyrig_open(&r, &(struct proxyrig_options){
				.seed = now_seed, .limits = scenes[i].limits,
				.upstream = scenes[i].upstream });
			gone_after(&r, (unsigned)(now_seed * 7 % 25), &scenes[i],
				   (int)(now_seed % 4));
			proxyrig_close(&r);
		}
	}
	now_playing = "";
}

/* ---- scarcity --------------------------------------------------------------- */

#define TAKES_MAX 4000u

/* How many takes were made since slab_fail_at(TAKES_MAX). */
static unsigned takes_made(void)
{
	struct slab slab;
	void *objects[TAKES_MAX];
	unsigned n = 0;

	slab_init(&slab, "count", 16, 0);
	while (n < TAKES_MAX && (objects[n] = slab_take(&slab)))
		n++;
	slab_fail_at(0);
	for (unsigned i = 0; i < n; i++)
		slab_put(&slab, objects[i]);
	slab_done(&slab);
	assert_true(n < TAKES_MAX);
	return TAKES_MAX - 1 - n;
}

/* The i-th take fails: each request gets one whole answer, or its connection ends. Returns
 * how many takes there are. */
static unsigned play_scarce(const struct scene *s, uint64_t seed, unsigned fail_at)
{
	struct proxyrig r;
	struct sim_peer *a;
	unsigned takes;

	proxyrig_open(&r, &(struct proxyrig_options){ .seed = seed, .limits = s->limits,
						      .upstream = s->upstream });
	slab_fail_at(fail_at);
	a = sim_peer_connect(&r.sim, PROXYRIG_PORT);
	start(&r, s, a);
	if (s->then == THEN_WAIT || s->then == THEN_SHUT)
		SIMRIG_UNTIL(&r.sim, decided(a), 70000);
	sim_peer_send_text(a, GET("/length/7"));
	SIMRIG_UNTIL(&r.sim,
		     sim_peer_finished(a) ||
			     memmem(a->in, a->in_n, "Length: 7\r\n", 11) ||
			     s->then != THEN_WAIT || strstr(s->name, "body") ||
			     s->status == 101 || strstr(s->name, "slow"),
		     70000);
	if (s->status == 101) /* what is lost of a tunnel, ends it */
		SIMRIG_UNTIL(&r.sim,
			     sim_peer_finished(a) || strstr(a->in, "hello") ||
				     strstr(a->in, " 503 "),
			     5000);
	takes = fail_at == TAKES_MAX ? takes_made() : 0;
	slab_fail_at(0);
	if (proxyrig_logged(&r, ending_text(ENDING_NO_MEMORY)) > 0)
		reached[ENDING_NO_MEMORY] = true;
	proxyrig_close(&r);
	return takes;
}

static const struct scene more_scarce[] = {
	{ "upgrade", UPGRADE, 101, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
	{ "swallow", GET("/length/1") GET("/swallow/"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0,
	  0 },
	{ "pair", GET("/pair/length/9"), 200, 0, ENDING_COMPLETE, "", 0, 0, 0, 0, 0 },
};

static void starve(const struct scene *s)
{
	now_playing = s->name;
	for (now_seed = 1; now_seed <= 2; now_seed++) {
		unsigned takes = play_scarce(s, now_seed, TAKES_MAX);

		assert_true(takes > 0);
		for (now_take = 1; now_take <= takes; now_take++)
			play_scarce(s, now_seed, now_take);
		now_take = 0;
	}
	now_playing = "";
}

static void test_scarcity(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		starve(&scenes[i]);
	for (size_t i = 0; i < COUNT(more_scarce); i++)
		starve(&more_scarce[i]);
}

/* Many connections upstream_view a handful of buffers, and the scripted peers as well: some will be
 * too late, but nobody is forgotten, and afterwards all is as before. */
static void few_buffers(struct proxyrig *r)
{
	struct sim_peer *a[24];

	for (unsigned i = 0; i < COUNT(a); i++) {
		a[i] = sim_peer_connect(&r->sim, PROXYRIG_PORT);
		if (i % 4 == 0) {
			sim_peer_send_text(a[i], "POST /echo HTTP/1.1\r\nHost: app\r\n"
						 "Content-Length: 40000\r\n\r\n");
			for (unsigned k = 0; k < 400; k++)
				sim_peer_send_text(
					a[i],
					"0123456789abcdefghijklmnopqrstuvwxyz01234567890"
					"123456789abcdefghijklmnopqrstuvwxyz01234567890123"
					"4567");
		} else {
			sim_peer_send_text(a[i], i % 4 == 1   ? GET("/length/100000")
						 : i % 4 == 2 ? GET("/chunked/50000")
							      : GET("/cache/foo"));
		}
	}
	for (unsigned i = 0; i < COUNT(a); i++)
		SIMRIG_UNTIL(&r->sim, decided(a[i]), 120000);
	for (unsigned i = 0; i < COUNT(a); i++)
		sim_peer_close_now(a[i]);
	simrig_run(&r->sim, 10000);
	assert_status(r, ask(r, GET("/length/8")), 200, "Length: 8");
}

static void test_few_buffers(void **state)
{
	static const uint32_t counts[] = { 2, 3, 4 };

	(void)state;
	seeds = 10; /* what waits for time-outs takes many rounds */
	for (size_t i = 0; i < COUNT(counts); i++)
		each_seed(few_buffers, "few buffers",
			  (struct proxyrig_options){ .buffers = counts[i] });
	seeds = SEEDS;
}

/* ---- the reserve ------------------------------------------------------------ */

/* Blocks until the reserve is touched, and more of them: it takes some of them to make it
 * whole. */
static struct buf *use_up_memory(struct proxyrig *r)
{
	unsigned dipped = 0;
	struct buf *held = NULL;

	reserve_fail_after(0);
	while (dipped < RESERVE_CHUNKS_MAX / 2 * 7) {
		struct buf *b = buf_new(io_bufs(r->sim.tick.loop), 8000);

		assert_non_null(b);
		dipped += !reserve_whole();
		b->next = held;
		held = b;
	}
	return held;
}

static void give_back(struct buf *held)
{
	while (held) {
		struct buf *b = held;

		held = b->next;
		buf_put(b);
	}
}

/* What was begun is answered; who comes on a connection that is there is told; who is not
 * accepted yet waits, and is answered when there is memory again. */
static void memory_short(struct proxyrig *r)
{
	struct sim_peer *there = ask(r, GET("/length/3"));
	struct sim_peer *begun, *later;
	struct buf *held;
	unsigned asked;

	assert_status(r, there, 200, "Length: 3");
	assert_int_equal(reserve_init(RESERVE_CHUNKS_MAX), 0);
	asked = r->requests;
	begun = ask(r, GET("/slow/100"));
	SIMRIG_UNTIL(&r->sim, r->requests == asked + 1, 1000);
	held = use_up_memory(r);
	forget(there);
	sim_peer_send_text(there, GET("/length/5"));
	assert_status(r, there, 503, "Connection: close");
	SIMRIG_UNTIL(&r->sim, there->eof, 1000);
	later = ask(r, GET("/length/6"));
	simrig_run(&r->sim, 10);
	assert_int_equal(r->requests, asked + 1);
	assert_status(r, begun, 200, "");
	assert_int_equal(later->in_n, 0);
	reserve_fail_after(-1);
	give_back(held);
	assert_status(r, later, 200, "Length: 6");
	reserve_done();
}

static void test_memory_short(void **state)
{
	(void)state;
	each_seed(memory_short, "memory short", (struct proxyrig_options){ .buffers = 0 });
}

/* ---- the end ---------------------------------------------------------------- */

/* A drain finishes what is in flight, takes no more requests and closes who is idle. */
static void drain(struct proxyrig *r)
{
	struct sim_peer *idle = ask(r, GET("/length/3"));
	struct sim_peer *busy = ask(r, GET("/slow/100") GET("/length/4"));
	struct client_response answers[2];
	struct slice rest;
	unsigned n;

	assert_status(r, idle, 200, "Length: 3");
	SIMRIG_UNTIL(&r->sim, r->requests == 2, 1000);
	proxy_drain(&r->proxy);
	SIMRIG_UNTIL(&r->sim, idle->eof, 1000);
	SIMRIG_UNTIL(&r->sim, busy->eof, 20000);
	n = client_responses_read(busy, answers, 2, 0, &rest);
	assert_int_equal(n, 1);
	assert_pattern(answers[0].body, 30);
	assert_true(answers[0].close || rest.len == 0);
	client_responses_free(answers, n);
	sim_peer_close(busy);
	sim_peer_close(idle);
	SIMRIG_UNTIL(&r->sim, proxy_idle(&r->proxy), 3000);
}

static void test_drain(void **state)
{
	(void)state;
	each_seed(drain, "drain", (struct proxyrig_options){ .buffers = 0 });
}

/* Every way in which an exchange can end was seen by now. */
static void test_all_reached(void **state)
{
	static const char *const names[] = {
#define ENDING(name, status, proxy_error, text) #name,
#include "proxy/ending.def"
#undef ENDING
	};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		if (!reached[i])
			fail_msg("%s was not reached", names[i]);
}

static const struct CMUnitTest others[] = {
	cmocka_unit_test_teardown(test_paths, failed_at),
	cmocka_unit_test_teardown(test_queue, failed_at),
	cmocka_unit_test_teardown(test_give_way, failed_at),
	cmocka_unit_test_teardown(test_identity, failed_at),
	cmocka_unit_test_teardown(test_left, failed_at),
	cmocka_unit_test_teardown(test_not_reached, failed_at),
	cmocka_unit_test_teardown(test_origin_deaf, failed_at),
	cmocka_unit_test_teardown(test_pipelined, failed_at),
	cmocka_unit_test_teardown(nameless, failed_at),
	cmocka_unit_test_teardown(test_swallowed, failed_at),
	cmocka_unit_test_teardown(test_not_again, failed_at),
	cmocka_unit_test_teardown(test_tried, failed_at),
	cmocka_unit_test_teardown(test_body_again, failed_at),
	cmocka_unit_test_teardown(test_nobody_there, failed_at),
	cmocka_unit_test_teardown(test_gone_between, failed_at),
	cmocka_unit_test_teardown(test_slow_body_again, failed_at),
	cmocka_unit_test_teardown(test_long_upload, failed_at),
	cmocka_unit_test_teardown(test_deaf_again, failed_at),
	cmocka_unit_test_teardown(test_hedged, failed_at),
	cmocka_unit_test_teardown(test_hedge_not_in_line, failed_at),
	cmocka_unit_test_teardown(test_line_is_not_slow, failed_at),
	cmocka_unit_test_teardown(test_idle_ended, failed_at),
	cmocka_unit_test_teardown(test_tunnel, failed_at),
	cmocka_unit_test_teardown(test_tunnel_idle, failed_at),
	cmocka_unit_test_teardown(test_slow_reader, failed_at),
	cmocka_unit_test_teardown(test_long_in_coming, failed_at),
	cmocka_unit_test_teardown(test_dripping_head, failed_at),
	cmocka_unit_test_teardown(test_gone, failed_at),
	cmocka_unit_test_teardown(test_scarcity, failed_at),
	cmocka_unit_test_teardown(test_memory_short, failed_at),
	cmocka_unit_test_teardown(test_few_buffers, failed_at),
	cmocka_unit_test_teardown(test_drain, failed_at),
	cmocka_unit_test_teardown(test_connect_errors, failed_at),
	cmocka_unit_test_teardown(test_all_reached, failed_at),
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
