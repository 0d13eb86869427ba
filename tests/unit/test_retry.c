/* A whole proxy: requests that are sent again, after a stale connection or as their route says.
 * timeout: 600 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proxycase.h"

/* ---- stale connections ------------------------------------------------------ */

static void stale_close(struct proxyrig *r)
{
	bool reset = simrig_draw(&r->sim, 2), post = simrig_draw(&r->sim, 2);
	struct sim_peer *client = proxycase_request(r, GET("/length/3"));
	struct client_response responses[2];
	struct slice rest;
	unsigned n;

	proxycase_assert_response(r, client, 200, "Length: 3");
	if (post)
		sim_peer_send_text(client, reset ? POST("/swallow-reset", 0)
						 : POST("/swallow/", 0));
	else
		sim_peer_send_text(client,
				   reset ? GET("/swallow-reset") : GET("/swallow/"));
	SIMRIG_UNTIL(&r->sim,
		     (n = client_responses_read(client, responses, 2, 0, &rest)) == 2,
		     5000);
	assert_int_equal(responses[1].status, post ? 502 : 200);
	client_responses_free(responses, n);
	assert_int_equal(r->upstream_stats[0].retries, !post);
	assert_int_equal(r->upstream_stats[0].stale_retries, !post);
	assert_int_equal(r->origins[0].accepted, post ? 1 : 2);
	assert_int_equal(r->stale_close, 1);
	/* A stale connection is no failure of its server. */
	assert_int_equal(proxyrig_failures(r, 0), 0);
}

static void test_stale_close(void **state)
{
	(void)state;
	proxycase_each_seed(stale_close, "stale close",
			    (struct proxyrig_options){ .buffers = 0 });
}

/* A new connection that closes without a response is not retried. */
static void no_retry(struct proxyrig *r)
{
	proxycase_assert_response(r, proxycase_request(r, GET("/closed")), 502,
				  "connection_terminated");
	assert_int_equal(r->requests, 1);
	assert_int_equal(r->upstream_stats[0].retries, 0);
	assert_int_equal(proxyrig_failures(r, 0), 1);
}

static void test_no_retry(void **state)
{
	(void)state;
	proxycase_each_seed(no_retry, "no retry",
			    (struct proxyrig_options){ .buffers = 0 });
}

/* An idle connection that the origin has closed, or on which it has sent bytes, is not used. */
static void idle_closed(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/length/3"));

	proxycase_assert_response(r, client, 200, "Length: 3");
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections_idle == 1, 1000);
	if (simrig_draw(&r->sim, 2))
		sim_peer_close(r->origins[0].last);
	else
		sim_peer_send_text(r->origins[0].last, "HTTP/1.1 200 OK\r\n");
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections == 0, 1000);
	client = proxycase_request(r, POST("/length/4", 0));
	proxycase_assert_response(r, client, 200, "Length: 4");
	assert_int_equal(r->origins[0].accepted, 2);
	assert_int_equal(r->upstream_stats[0].retries, 0);
}

static void test_idle_closed(void **state)
{
	(void)state;
	proxycase_each_seed(idle_closed, "idle closed",
			    (struct proxyrig_options){ .buffers = 0 });
}

/* ---- retries of a route ----------------------------------------------------- */

#define PUT_0123 "PUT /again/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n0123"

static const struct retry_case {
	const char *name;
	const char *again;   /* lines of the route */
	const char *request; /* NULL: GET of 7 bytes */
	unsigned fail_n; /* the first attempts get the response of fail_path instead */
	const char *fail_path;
	int status;
	const char *fields; /* text that the response's head contains; NULL: any head */
	unsigned attempts_n;
	uint32_t from_ms, to_ms; /* time until the response; to_ms 0: 100 */
	bool refused;            /* a retry, for lack of budget */
	bool deadline;           /* exceeded */
} retry_cases[] = {
	{ .name = "503", .again = RETRY("on: [503]"), .fail_n = 1,
	  .fail_path = "/status/503", .status = 200, .fields = "Length: 7",
	  .attempts_n = 2 },
	{ .name = "503 twice", .again = RETRY("on: [503]"), .fail_n = 2,
	  .fail_path = "/status/503", .status = 200, .fields = "Length: 7",
	  .attempts_n = 3 },
	{ .name = "503 three times", .again = RETRY("on: [503]"), .fail_n = 3,
	  .fail_path = "/status/503", .status = 503, .attempts_n = 3 },
	{ .name = "not on 502", .again = RETRY("on: [503]"), .fail_n = 1,
	  .fail_path = "/status/502", .status = 502, .attempts_n = 1 },
	{ .name = "two attempts", .again = RETRY("on: [503], tries: 2"), .fail_n = 2,
	  .fail_path = "/status/503", .status = 503, .attempts_n = 2 },
	{ .name = "closed", .again = RETRY("on: [reset]"), .fail_n = 2,
	  .fail_path = "/closed", .status = 200, .fields = "Length: 7", .attempts_n = 3 },
	{ .name = "reset", .again = RETRY("on: [reset]"), .fail_n = 2,
	  .fail_path = "/reset-head", .status = 200, .fields = "Length: 7",
	  .attempts_n = 3 },
	{ .name = "incomplete head", .again = RETRY("on: [reset]"), .fail_n = 1,
	  .fail_path = "/half-head", .status = 200, .fields = "Length: 7",
	  .attempts_n = 2 },
	{ .name = "not on a reset", .again = RETRY("on: [503]"), .fail_n = 1,
	  .fail_path = "/closed", .status = 502, .fields = "connection_terminated",
	  .attempts_n = 1 },
	{ .name = "malformed", .again = RETRY("on: [malformed]"), .fail_n = 1,
	  .fail_path = "/bad", .status = 200, .fields = "Length: 7", .attempts_n = 2 },
	{ .name = "unrequested 101", .again = RETRY("on: [malformed]"), .fail_n = 1,
	  .fail_path = "/uninvited", .status = 502, .fields = "http_protocol_error",
	  .attempts_n = 1 },
	{ .name = "attempt timeout", .again = RETRY("on: [timeout], per_try_timeout: 1s"),
	  .fail_n = 2, .fail_path = "/never", .status = 200, .fields = "Length: 7",
	  .attempts_n = 3, .from_ms = 2000, .to_ms = 2200 },
	{ .name = "attempt timeout, not retried",
	  .again = RETRY("on: [503], per_try_timeout: 1s"), .fail_n = 1,
	  .fail_path = "/never", .status = 504, .fields = "connection_read_timeout",
	  .attempts_n = 1, .from_ms = 1000, .to_ms = 1200 },
	{ .name = "deadline",
	  .again = "    deadline: 1500ms\n" RETRY("on: [timeout], per_try_timeout: 1s"),
	  .fail_n = 3, .fail_path = "/never", .status = 504,
	  .fields = "http_response_timeout", .attempts_n = 2, .from_ms = 1500,
	  .to_ms = 1700, .deadline = true },
	{ .name = "deadline alone", .again = "    deadline: 1500ms\n", .fail_n = 1,
	  .fail_path = "/never", .status = 504, .fields = "http_response_timeout",
	  .attempts_n = 1, .from_ms = 1500, .to_ms = 1700, .deadline = true },
	{ .name = "head before the deadline", .again = "    deadline: 1500ms\n",
	  .request = GET("/again/burst/2000"), .status = 200, .fields = "Length: 24010",
	  .attempts_n = 1, .from_ms = 2000, .to_ms = 2400 },
	{ .name = "post", .again = RETRY("on: [503, reset]"),
	  .request = POST("/again/echo", 4) "0123", .fail_n = 1,
	  .fail_path = "/status/503", .status = 503, .attempts_n = 1 },
	{ .name = "post, reset", .again = RETRY("on: [503, reset]"),
	  .request = POST("/again/echo", 4) "0123", .fail_n = 1, .fail_path = "/closed",
	  .status = 502, .fields = "connection_terminated", .attempts_n = 1 },
	{ .name = "post, all methods", .again = RETRY("on: [503], methods: all"),
	  .request = POST("/again/echo", 4) "0123", .fail_n = 2,
	  .fail_path = "/status/503", .status = 200, .fields = "Length: 4",
	  .attempts_n = 3 },
	{ .name = "put", .again = RETRY("on: [503]"), .request = PUT_0123, .fail_n = 2,
	  .fail_path = "/status/503", .status = 200, .fields = "Length: 4\r\n",
	  .attempts_n = 3 },
	{ .name = "put, body too long", .again = RETRY("on: [503], body: 3B"),
	  .request = PUT_0123, .fail_n = 1, .fail_path = "/status/503", .status = 503,
	  .attempts_n = 1 },
	{ .name = "put, early 503", .again = RETRY("on: [503]"), .request = PUT_0123,
	  .fail_n = 2, .fail_path = "/busy", .status = 200, .fields = "Length: 4\r\n",
	  .attempts_n = 3 },
	{ .name = "no budget",
	  .again = RETRY("on: [503], budget_percent: 0, budget_per_second: 0"),
	  .fail_n = 1, .fail_path = "/status/503", .status = 503, .attempts_n = 1,
	  .refused = true },
	{ .name = "budget for one",
	  .again = RETRY("on: [503], budget_percent: 0, budget_per_second: 1"),
	  .fail_n = 2, .fail_path = "/status/503", .status = 503, .attempts_n = 2,
	  .refused = true },
	{ .name = "backoff",
	  .again = "    retry: { on: [503], tries: 6, backoff: 500ms }\n", .fail_n = 5,
	  .fail_path = "/status/503", .status = 200, .fields = "Length: 7",
	  .attempts_n = 6, .from_ms = 250, .to_ms = 700 },
	{ .name = "no time for a backoff",
	  .again = "    deadline: 400ms\n    retry: { on: [503], tries: 6, backoff: 1s }\n",
	  .fail_n = 5, .fail_path = "/status/503", .status = 503, .attempts_n = 3 },
};

static const struct retry_case *retry_case;

static void assert_counted(struct proxyrig *r, const struct retry_case *c)
{
	const struct upstream_stats *stats = &r->upstream_stats[AGAIN_UPSTREAM];
	char text[64];

	assert_int_equal(stats->retries, c->attempts_n - 1);
	assert_int_equal(stats->deadlines, c->deadline);
	assert_int_equal(stats->retry_refusals, c->refused);
	snprintf(text, sizeof(text), "\"tries\":%u,", c->attempts_n);
	assert_int_equal(proxyrig_logged(r, text), 1);
	if (c->deadline)
		proxycase_assert_ending(r, ENDING_DEADLINE);
}

static void retried(struct proxyrig *r)
{
	const struct retry_case *c = retry_case;
	const char *request = c->request ? c->request : GET("/again/length/7");
	uint64_t from_ms = r->sim.tick.now_ms;
	struct sim_peer *client;

	r->fail_next = c->fail_n;
	r->fail_path = c->fail_path;
	client = proxycase_request(r, request);
	client->uncut = c->from_ms > 0;
	proxycase_assert_response(r, client, c->status, c->fields ? c->fields : "");
	assert_int_equal(r->requests, c->attempts_n);
	assert_true(proxycase_elapsed_ms(r, from_ms) >= c->from_ms);
	assert_true(proxycase_elapsed_ms(r, from_ms) <=
		    (c->to_ms ? c->to_ms : 100) + 150 * c->attempts_n);
	simrig_run(&r->sim, 100); /* its body, and the log */
	assert_counted(r, c);
	/* Each server is tried once before one is tried again. */
	if (c->attempts_n == 3)
		for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
			assert_int_equal(r->origins[i].accepted, 1);
	if (strstr(request, "/echo") && c->status == 200)
		assert_int_equal(proxyrig_logged(r, "\"sent_bytes\":4,"), 1);
}

static void test_retry_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(retry_cases); i++) {
		retry_case = &retry_cases[i];
		proxycase_each_seed(
			retried, retry_case->name,
			(struct proxyrig_options){ .again = retry_case->again });
	}
}

/* The echo of a chunked body is as it was sent, with chunk lines and a trailer. */
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

/* A chunked body in pieces, with failures in between; each attempt gets its trailers as well. */
static void chunked_body(struct proxyrig *r)
{
	bool slow = simrig_draw(&r->sim, 2);
	unsigned chunk_n = 1 + (unsigned)simrig_draw(&r->sim, 30);
	struct client_response response;
	struct slice rest;
	struct sim_peer *client;

	r->fail_next = (unsigned)simrig_draw(&r->sim, 3);
	r->fail_path = simrig_draw(&r->sim, 2) ? "/busy" : "/half-head";
	client = proxycase_request(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n");
	for (unsigned i = 0; i < chunk_n; i++) {
		if (slow)
			simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 60));
		sim_peer_send_text(client, "a\r\n0123456789\r\n");
	}
	sim_peer_send_text(client, "0\r\nX-Sum: 42\r\n\r\n");
	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 20000);
	assert_int_equal(client_responses_read(client, &response, 1, 0, &rest), 1);
	assert_int_equal(response.status, 200);
	assert_digits(response.body, 10 * chunk_n);
	client_responses_free(&response, 1);
}

static void test_chunked_body(void **state)
{
	(void)state;
	proxycase_each_seed(
		chunked_body, "chunked body",
		(struct proxyrig_options){ .again = RETRY("on: [503, reset]") });
	proxycase_each_seed(chunked_body, "chunked body, few buffers",
			    (struct proxyrig_options){ .again = RETRY("on: [503, reset]"),
						       .buffers = 16 });
}

/* Refused connections are retried after a backoff, whatever the method. */
static void no_server(struct proxyrig *r)
{
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
		sim_server_close(&r->origins[i]);
	proxycase_assert_response(r, proxycase_request(r, POST("/again/echo", 4) "0123"),
				  502, "connection_refused");
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].retries, 2);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].connect_failures, 9);
}

static void test_no_server(void **state)
{
	(void)state;
	proxycase_each_seed(no_server, "no server",
			    (struct proxyrig_options){ .again = RETRY("on: [connect]") });
}

/* The client closes, or the proxy ends, while there is no fetch. */
static void closed_in_backoff(struct proxyrig *r)
{
	struct sim_peer *client;

	r->fail_next = 3;
	r->fail_path = "/status/503";
	client = proxycase_request(r, GET("/again/length/7"));
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[AGAIN_UPSTREAM].retries == 3, 1000);
	if (simrig_draw(&r->sim, 2)) {
		sim_peer_reset_now(client);
		SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 1000);
		proxycase_assert_ending(r, ENDING_CLIENT_GONE);
	} else {
		proxyrig_end(r);
		proxycase_assert_ending(r, ENDING_SHUT_DOWN);
	}
	assert_int_equal(r->requests, 3);
}

static void test_closed_in_backoff(void **state)
{
	(void)state;
	proxycase_each_seed(
		closed_in_backoff, "closed in backoff",
		(struct proxyrig_options){
			.again = "    retry: { on: [503], tries: 5, backoff: 10s }\n" });
}

/* Time that the client takes to send is not the origin's. */
static void slow_upload(struct proxyrig *r)
{
	struct sim_peer *client =
		proxycase_request(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				     "Content-Length: 10\r\n\r\n01");

	simrig_run(&r->sim, 3000);
	sim_peer_send_text(client, "234567");
	simrig_run(&r->sim, 3000);
	sim_peer_send_text(client, "89");
	proxycase_assert_response(r, client, 200, "Length: 10");
	assert_int_equal(r->requests, 1);
}

static void test_slow_upload(void **state)
{
	(void)state;
	proxycase_each_seed(
		slow_upload, "slow upload",
		(struct proxyrig_options){
			.again = "    deadline: 1s\n" RETRY("per_try_timeout: 1s") });
}

/* The response's time has not begun either while the origin reads slowly. */
static void long_upload(struct proxyrig *r)
{
	struct sim_peer *client =
		proxycase_request(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				     "Content-Length: 900000\r\n\r\n");
	char *body = calloc(1, 900000);
	struct sim_peer *origin;

	assert_non_null(body);
	SIMRIG_UNTIL(&r->sim, r->origins[0].last, 1000);
	origin = r->origins[0].last;
	proxycase_stop_reading(r, origin);
	sim_peer_send(client, (struct slice){ body, 900000 });
	free(body);
	simrig_run(&r->sim, 4000);
	sim_peer_resume_reading(origin);
	proxycase_assert_response(r, client, 200, "Length: 900000");
	assert_int_equal(r->requests, 1);
}

static void test_long_upload(void **state)
{
	(void)state;
	proxycase_each_seed(
		long_upload, "long upload",
		(struct proxyrig_options){
			.again = "    deadline: 1s\n" RETRY("per_try_timeout: 1s"),
			.limits = "  window: 64KiB\n" });
}

/* A replayed body needs no client: an origin that does not read it gets no more time. */
static void replay_deadline(struct proxyrig *r)
{
	struct sim_peer *client =
		proxycase_request(r, "PUT /again/echo HTTP/1.1\r\nHost: app\r\n"
				     "Content-Length: 900000\r\n\r\n");
	char *body = calloc(1, 900000);
	uint64_t from_ms;

	assert_non_null(body);
	r->fail_next = 1;
	r->fail_path = "/status/503";
	sim_peer_send(client, (struct slice){ body, 900000 });
	free(body);
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[AGAIN_UPSTREAM].retries == 1, 20000);
	from_ms = r->sim.tick.now_ms;
	r->fail_next = 1;
	r->fail_path = "/deaf";
	proxycase_assert_response(r, client, 504, "http_response_timeout");
	assert_true(proxycase_elapsed_ms(r, from_ms) <= 1500);
	assert_int_equal(r->requests, 2);
}

static void test_replay_deadline(void **state)
{
	(void)state;
	proxycase_each_seed(
		replay_deadline, "replay deadline",
		(struct proxyrig_options){
			.again = "    deadline: 1s\n" RETRY("on: [503], body: 1MiB"),
			.limits = "  window: 64KiB\n" });
}

/* The timeout of an attempt starts when it leaves the queue. */
static void queue_not_counted(struct proxyrig *r)
{
	struct sim_peer *first, *second;

	r->descriptors.limit = 1;
	first = proxycase_request(r, GET("/again/stall"));
	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	simrig_run(&r->sim, 50);
	second = proxycase_request(r, GET("/again/length/7"));
	simrig_run(&r->sim, 600);
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].waiting, 1);
	sim_peer_reset_now(first);
	proxycase_assert_response(r, second, 200, "Length: 7");
	assert_int_equal(r->upstream_stats[AGAIN_UPSTREAM].retries, 0);
}

static void test_queue_not_counted(void **state)
{
	(void)state;
	proxycase_each_seed(
		queue_not_counted, "queue not counted",
		(struct proxyrig_options){ .again = RETRY("per_try_timeout: 300ms") });
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_stale_close),
		PROXYCASE_TEST(test_no_retry),
		PROXYCASE_TEST(test_idle_closed),
		PROXYCASE_TEST(test_retry_cases),
		PROXYCASE_TEST(test_chunked_body),
		PROXYCASE_TEST(test_no_server),
		PROXYCASE_TEST(test_closed_in_backoff),
		PROXYCASE_TEST(test_slow_upload),
		PROXYCASE_TEST(test_long_upload),
		PROXYCASE_TEST(test_replay_deadline),
		PROXYCASE_TEST(test_queue_not_counted),
	};

	return proxycase_run("retry", tests, COUNT(tests));
}
