#include "lib/proxycase.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool proxycase_reached[96];
struct proxycase_position proxycase_now = { .name = "" };

const struct proxycase proxycases[] = {
	{ .name = "length", .request = GET("/length/1000"), .status = 200 },
	{ .name = "chunked", .request = GET("/chunked/3000"), .status = 200,
	  .fields = "chunked" },
	{ .name = "until close", .request = GET("/until-close/700"), .status = 200,
	  .fields = "chunked" },
	{ .name = "1.0", .request = "GET /chunked/300 HTTP/1.0\r\nHost: app\r\n\r\n",
	  .status = 200, .fields = "Connection: close" },
	{ .name = "204", .request = GET("/status/204"), .status = 204 },
	{ .name = "304", .request = GET("/status/304"), .status = 304 },
	{ .name = "interim", .request = GET("/interim/3"), .status = 200 },
	{ .name = "interim, many", .request = GET("/interim/32"), .status = 200 },
	{ .name = "interim, too many", .request = GET("/interim/33"), .status = 502,
	  .ending = ENDING_ORIGIN_BAD, .fields = "http_protocol_error" },
	{ .name = "bytes behind the response", .request = GET("/more"), .status = 200 },
	{ .name = "origin closes after the response", .request = GET("/last"),
	  .status = 200 },
	{ .name = "echo", .request = POST("/echo", 10) "0123456789", .status = 200,
	  .fields = "Length: 10" },
	{ .name = "echo in chunks",
	  .request = "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
		     "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
	  .status = 200 },
	{ .name = "early response", .request = POST("/early", 10) "0123456789",
	  .status = 200 },
	{ .name = "early response, incomplete body", .request = POST("/early", 10) "0123",
	  .status = 200, .last = true },
	{ .name = "early 413", .request = POST("/reject", 10) "0123", .status = 413 },
	{ .name = "client shuts down", .request = GET("/never"),
	  .ending = ENDING_CLIENT_GONE, .client = CLIENT_SHUTS_DOWN },
	{ .name = "client shuts down, 1.0",
	  .request = "GET /never HTTP/1.0\r\nHost: app\r\n\r\n",
	  .ending = ENDING_CLIENT_GONE, .client = CLIENT_SHUTS_DOWN },
	{ .name = "client shuts down, cache", .request = GET("/cache/never"),
	  .ending = ENDING_CLIENT_GONE, .client = CLIENT_SHUTS_DOWN },
	{ .name = "client shuts down, parts", .request = GET("/parts"),
	  .ending = ENDING_CLIENT_GONE, .client = CLIENT_SHUTS_DOWN },
	{ .name = "client shuts down, no route",
	  .request = "GET / HTTP/1.1\r\nHost: other\r\n\r\n", .status = 404,
	  .ending = ENDING_NO_ROUTE, .client = CLIENT_SHUTS_DOWN },
	{ .name = "client half-closed", .request = GET("/half/length/1000"),
	  .status = 200, .client = CLIENT_SHUTS_DOWN },
	{ .name = "client resets", .request = GET("/never"), .ending = ENDING_CLIENT_GONE,
	  .client = CLIENT_RESETS },
	{ .name = "client stops reading", .request = GET("/length/1000000"),
	  .ending = ENDING_CLIENT_SLOW, .client = CLIENT_STOPS_READING,
	  .limits = "  send_timeout: 3s\n" },
	{ .name = "shutdown", .request = GET("/never"), .ending = ENDING_SHUT_DOWN,
	  .proxy_ends = true },
	{ .name = "malformed",
	  .request = "GET / HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n", .status = 400,
	  .fields = "close" },
	{ .name = "malformed body",
	  .request = "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	  .status = 400, .ending = ENDING_REQUEST_BAD, .fields = "http_request_error",
	  .last = true },
	{ .name = "body ends early", .request = POST("/half/echo", 10) "0123",
	  .status = 400, .ending = ENDING_REQUEST_BAD, .fields = "http_request_error",
	  .client = CLIENT_SHUTS_DOWN },
	{ .name = "client shuts down inside its body",
	  .request = POST("/echo", 10) "0123", .ending = ENDING_CLIENT_GONE,
	  .client = CLIENT_SHUTS_DOWN },
	{ .name = "body timeout", .request = POST("/echo", 10) "0123", .status = 408,
	  .ending = ENDING_REQUEST_TIMEOUT, .fields = "http_request_error",
	  .limits = "  receive_timeout: 4s\n", .from_ms = 4000, .to_ms = 4200,
	  .last = true },
	{ .name = "head timeout", .request = "GET / HT", .status = 408,
	  .ending = ENDING_REQUEST_TIMEOUT, .fields = "close",
	  .limits = "  header_timeout: 3s\n", .from_ms = 3000, .to_ms = 3200,
	  .last = true },
	{ .name = "large body", .request = POST("/echo", 1048577), .status = 413,
	  .ending = ENDING_BODY_TOO_LARGE, .fields = "http_request_error", .last = true },
	{ .name = "invalid key", .request = GET("/cache/a%20b"), .status = 400,
	  .ending = ENDING_KEY_INVALID, .fields = "http_request_error" },
	{ .name = "no route", .request = "GET / HTTP/1.1\r\nHost: other\r\n\r\n",
	  .status = 404, .ending = ENDING_NO_ROUTE, .fields = "destination_not_found" },
	{ .name = "method", .request = POST("/cache/foo", 0), .status = 405,
	  .ending = ENDING_METHOD_NOT_ALLOWED, .fields = "Allow: GET, HEAD" },
	{ .name = "connect", .request = "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n",
	  .status = 405, .ending = ENDING_METHOD_NOT_ALLOWED,
	  .fields = "http_request_denied" },
	{ .name = "redirect", .request = GET("/secure/a?b=c"), .status = 308,
	  .ending = ENDING_REDIRECT, .fields = "Location: https://app/secure/a?b=c\r\n" },
	{ .name = "address not allowed", .request = GET("/again/length/4"), .status = 403,
	  .ending = ENDING_ADDRESS_REFUSED, .fields = "http_request_denied",
	  .again = "    allow: [192.0.2.1]\n" },
	{ .name = "address denied", .request = POST("/again/echo", 4) "abcd", .status = 403,
	  .ending = ENDING_ADDRESS_REFUSED, .again = "    deny: [0.0.0.0/0, \"::/0\"]\n" },
	{ .name = "address allowed", .request = GET("/again/length/4"), .status = 200,
	  .again = "    allow: [0.0.0.0/0]\n    deny: [192.0.2.1]\n" },
	{ .name = "method of a rule", .request = POST("/again/echo", 4) "abcd", .status = 405,
	  .ending = ENDING_METHOD_NOT_ALLOWED, .fields = "Allow: GET, HEAD\r\n",
	  .again = "    methods: [GET]\n" },
	{ .name = "loop",
	  .request = "GET /again/length/4 HTTP/1.1\r\nHost: app\r\nCDN-Loop: a, Edge;v=1\r\n\r\n",
	  .status = 508, .ending = ENDING_LOOP, .fields = "proxy_loop_detected",
	  .again = "    cdn_loop: edge\n" },
	{ .name = "no loop",
	  .request = "GET /again/length/4 HTTP/1.1\r\nHost: app\r\nCDN-Loop: a, edge2\r\n\r\n",
	  .status = 200, .again = "    cdn_loop: edge\n" },
	{ .name = "loop by Via",
	  .request = "GET /again/length/4 HTTP/1.1\r\nHost: app\r\nVia: 1.1 a (x\\), b), 1.0\tFairLead (y)\r\n"
		     "Via: HTTP/2 fairlead(z),1.1 b\r\n\r\n",
	  .status = 508, .ending = ENDING_LOOP, .fields = "proxy_loop_detected",
	  .again = "    via_loop: 2\n" },
	{ .name = "no loop by Via",
	  .request = "GET /again/length/4 HTTP/1.1\r\nHost: app\r\nVia: 1.1 fairlead, 1.1 fairlead:80, "
		     "fairlead, 1.1 x (1.1 fairlead, 1.1 fairlead, 1.1 y), 1.1 fairlead2\r\n\r\n",
	  .status = 200, .again = "    via_loop: 2\n" },
	{ .name = "page", .request = GET("/again/forbidden"), .status = 403,
	  .fields = "Content-Type: text/html\r\n",
	  .again = "    error_pages: { 4xx: tests/sim/page.html }\n" },
	/* It belongs to its connection, which has to go on. */
	{ .name = "no page for NTLM", .request = GET("/again/ntlm"), .status = 401,
	  .fields = "Content-Length: 0\r\n",
	  .again = "    error_pages: { 4xx: tests/sim/page.html }\n" },
	{ .name = "rewrite to an authority", .request = GET("/again//length/4"), .status = 200,
	  .fields = "Content-Length: 4\r\n", .again = "    rewrite: { strip: /again }\n" },
	{ .name = "location", .request = GET("/again/moved"), .status = 302,
	  .fields = "Location: /again/x?y\r\n",
	  .again = "    rewrite: { strip: /again }\n    rewrite_location: on\n" },
	{ .name = "location, a prefix", .request = GET("/again/moved"), .status = 302,
	  .fields = "Location: /z/?y\r\n",
	  .again = "    rewrite_location: { replace: [{ from: //127.0.0.1:6000/x, to: /z/ }] }\n" },
	{ .name = "location, by segment", .request = GET("/again/moved"), .status = 302,
	  .fields = "Location: //127.0.0.1:6000/x?y\r\n",
	  .again = "    rewrite_location: { default: off, replace: [{ from: //127.0.0.1:600, to: /z }, "
		   "{ from: //127.0.0.1:6000/x?, to: /z }] }\n" },
	{ .name = "cookie", .request = GET("/again/moved"), .status = 302,
	  .fields = "Set-Cookie: a=\"; Path=/again/y\r\n",
	  .again = "    rewrite: { strip: /again }\n    rewrite_cookies: on\n" },
	{ .name = "cookie, flags", .request = GET("/again/moved"), .status = 302,
	  .fields = "Set-Cookie: a=\"; Path=/z; Secure; SameSite=Lax\r\n",
	  .again = "    rewrite_cookies: { secure: on, same_site: lax, path: [{ from: /y/, to: /z }] }\n" },
	{ .name = "rewrite", .request = GET("/again/x/y"), .status = 200,
	  .again = "    rewrite: { strip: /again, pattern: \"^/x/y$\", to: /length/4 }\n" },
	{ .name = "rewrite to no path", .request = GET("/again/./.a"), .status = 400,
	  .ending = ENDING_REWRITE_INVALID, .fields = "http_request_error",
	  .again = "    rewrite: { pattern: \"/([.])a\", to: \"/${1}${1}/a\" }\n" },
	{ .name = "fields of a response", .request = GET("/again/length/4"), .status = 200,
	  .fields = "X-Path: /again/length/4\r\n",
	  .again = "    response_fields: { set: { X-Path: \"${path}\" } }\n" },
	{ .name = "fields of our own response", .request = POST("/again/echo", 4) "abcd",
	  .status = 405, .ending = ENDING_METHOD_NOT_ALLOWED, .fields = "X-A: b\r\n",
	  .again = "    methods: [GET]\n    response_fields: { set: { X-A: b } }\n" },
	{ .name = "redirect, by https already",
	  .request = "GET /secure/length HTTP/1.1\r\nHost: app\r\nX-Forwarded-Proto: HTTPS\r\n\r\n",
	  .status = 200 },
	{ .name = "redirect, by https as a stranger says",
	  .request = "GET /secure/length HTTP/1.1\r\nHost: app\r\nX-Forwarded-Proto: https\r\n\r\n",
	  .status = 308, .ending = ENDING_REDIRECT, .stranger = true },
	{ .name = "redirect, by https already, nowhere",
	  .request = "GET /secure/x HTTP/1.1\r\nHost: none\r\nX-Forwarded-Proto: https\r\n\r\n",
	  .status = 404, .ending = ENDING_NO_ROUTE },
	{ .name = "redirect, post", .request = POST("/old/a%20b", 4) "abcd", .status = 301,
	  .ending = ENDING_REDIRECT, .fields = "Location: https://new.example/a%20b\r\n" },
	{ .name = "redirect to nowhere", .request = "GET /secure/ HTTP/1.1\r\nHost: a;b\r\n\r\n",
	  .status = 400,
	  .ending = ENDING_REDIRECT_INVALID, .fields = "http_request_error" },
	{ .name = "pattern gave up",
	  .request = GET("/undecided?q=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
	  .status = 400, .ending = ENDING_MATCH_UNDECIDED, .fields = "http_request_denied" },
	{ .name = "redirected", .request = GET("/page"), .status = 302,
	  .ending = ENDING_REDIRECTED, .fields = "Location: /login/" },
	{ .name = "refused", .request = GET("/nobody"), .status = 502,
	  .ending = ENDING_ORIGIN_REFUSED, .fields = "connection_refused" },
	{ .name = "closed", .request = GET("/closed"), .status = 502,
	  .ending = ENDING_ORIGIN_CLOSED, .fields = "connection_terminated" },
	{ .name = "reset head", .request = GET("/reset-head"), .status = 502,
	  .ending = ENDING_ORIGIN_CLOSED, .fields = "connection_terminated" },
	{ .name = "half a head", .request = GET("/half-head"), .status = 502,
	  .ending = ENDING_ORIGIN_CLOSED, .fields = "connection_terminated" },
	{ .name = "bad head", .request = GET("/bad"), .status = 502,
	  .ending = ENDING_ORIGIN_BAD, .fields = "http_protocol_error" },
	{ .name = "two framings", .request = GET("/both"), .status = 502,
	  .ending = ENDING_ORIGIN_BAD, .fields = "http_protocol_error" },
	{ .name = "unrequested 101", .request = GET("/uninvited"), .status = 502,
	  .ending = ENDING_ORIGIN_BAD, .fields = "http_protocol_error" },
	{ .name = "response timeout", .request = GET("/never"), .status = 504,
	  .ending = ENDING_ORIGIN_TIMEOUT, .fields = "connection_read_timeout",
	  .upstream = "    response_timeout: 2s\n", .from_ms = 2000, .to_ms = 2200 },
	{ .name = "stalled body", .request = GET("/stall"), .status = 200,
	  .truncated = true, .ending = ENDING_ORIGIN_TRUNCATED,
	  .upstream = "    response_timeout: 2s\n", .last = true },
	{ .name = "short body", .request = GET("/short"), .status = 200,
	  .truncated = true, .ending = ENDING_ORIGIN_TRUNCATED, .last = true },
	{ .name = "reset body", .request = GET("/reset-body"), .status = 200,
	  .truncated = true, .ending = ENDING_ORIGIN_TRUNCATED, .last = true },
	{ .name = "broken chunk", .request = GET("/broken-chunk"), .status = 200,
	  .truncated = true, .ending = ENDING_ORIGIN_TRUNCATED },
	{ .name = "last hop",
	  .request = "OPTIONS /length/10 HTTP/1.1\r\nHost: app\r\nMax-Forwards: 0\r\n\r\n",
	  .status = 204, .fields = "Allow: " },
	{ .name = "no chunk", .request = GET("/no-chunk"), .status = 200,
	  .truncated = true, .ending = ENDING_ORIGIN_BAD },
	{ .name = "hit", .request = GET("/cache/foo"), .status = 200,
	  .fields = "text/plain" },
	{ .name = "miss", .request = GET("/cache/miss"), .status = 404,
	  .ending = ENDING_CACHE_MISS },
	{ .name = "miss, next", .request = GET("/next/miss"), .status = 200 },
	{ .name = "miss, next, nowhere",
	  .request = "GET /next/miss HTTP/1.1\r\nHost: other\r\n\r\n", .status = 404,
	  .ending = ENDING_NO_ROUTE, .fields = "destination_not_found" },
	{ .name = "hit, next", .request = GET("/next/foo"), .status = 200 },
	{ .name = "cache failed", .request = GET("/cache/error"), .status = 503,
	  .ending = ENDING_CACHE_FAILED, .fields = "destination_unavailable" },
	{ .name = "cache timeout", .request = GET("/cache/never"), .status = 504,
	  .ending = ENDING_CACHE_TIMEOUT, .fields = "connection_read_timeout",
	  .from_ms = 2000, .to_ms = 2200 },
	{ .name = "join with check",
	  .request = "GET /page?key=foo HTTP/1.1\r\nHost: app\r\nCookie: session=s1\r\n\r\n",
	  .status = 200, .fields = "application/json" },
	{ .name = "join", .request = GET("/parts"), .status = 200,
	  .fields = "application/json", .upstream = "    response_timeout: 2s\n",
	  .from_ms = 2000, .to_ms = 2200 },
	{ .name = "deadline", .request = GET("/again/never"), .status = 504,
	  .ending = ENDING_DEADLINE, .fields = "http_response_timeout",
	  .again = "    deadline: 1500ms\n", .from_ms = 1500, .to_ms = 1700 },
};

const unsigned proxycase_n = COUNT(proxycases);

/* ---- steps ------------------------------------------------------------------ */

void proxycase_open(struct proxyrig *r, const struct proxycase *c, uint64_t seed)
{
	proxyrig_open(r, &(struct proxyrig_options){ .seed = seed,
						     .limits = c->limits,
						     .upstream = c->upstream,
						     .tls_origins = seed % 3 == 0,
						     .again = c->again,
						     .strange_clients = c->stranger });
}

void proxycase_start(struct proxyrig *r, const struct proxycase *c,
		     struct sim_peer *client)
{
	sim_peer_send_text(client, c->request);
	switch (c->client) {
	case CLIENT_SHUTS_DOWN:
		sim_peer_shutdown(client);
		break;
	case CLIENT_RESETS:
		simrig_run(&r->sim, 100 + (uint32_t)simrig_draw(&r->sim, 100));
		sim_peer_reset(client);
		break;
	case CLIENT_STOPS_READING:
		client->stopped_reading = true;
		SIMRIG_UNTIL(&r->sim, client->connected, 1000);
		io_cancel(r->sim.tick.loop, &client->recv.op);
		break;
	case CLIENT_WAITS:
		break;
	}
	if (c->proxy_ends)
		simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 100));
}

struct sim_peer *proxycase_request(struct proxyrig *r, const char *request)
{
	struct sim_peer *client = sim_peer_connect(&r->sim, PROXYRIG_PORT);

	sim_peer_send_text(client, request);
	return client;
}

void proxycase_discard_input(struct sim_peer *client)
{
	client->in_n = client->in_used = 0;
	client->in[0] = '\0';
}

void proxycase_stop_reading(struct proxyrig *r, struct sim_peer *peer)
{
	peer->stopped_reading = true;
	io_cancel(r->sim.tick.loop, &peer->recv.op);
}

uint64_t proxycase_elapsed_ms(struct proxyrig *r, uint64_t from_ms)
{
	return r->sim.tick.now_ms - from_ms;
}

/* ---- assertions -------------------------------------------------------------- */

bool proxycase_decided(const struct sim_peer *client)
{
	struct client_response response;
	struct slice rest;
	unsigned n = client_responses_read(client, &response, 1, 0, &rest);

	client_responses_free(&response, n);
	return n == 1 || sim_peer_finished(client);
}

void proxycase_assert_response(struct proxyrig *r, struct sim_peer *client, int status,
			       const char *fields)
{
	struct client_response response;
	struct slice rest;
	unsigned n;

	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 20000);
	n = client_responses_read(client, &response, 1, 0, &rest);
	assert_int_equal(n, 1);
	assert_int_equal(response.status, status);
	assert_non_null(
		memmem(response.head.ptr, response.head.len, fields, strlen(fields)));
	client_responses_free(&response, n);
}

void proxycase_assert_ending(struct proxyrig *r, enum ending ending)
{
	char text[128];

	snprintf(text, sizeof(text), "\"ending\":\"%s\"", ending_text(ending));
	if (proxyrig_logged(r, text) == 0)
		fail_msg("no %s in the log: %.*s", text, SLICE_ARG(proxyrig_log(r)));
	proxycase_reached[ending] = true;
}

void proxycase_assert_pattern(struct slice body, size_t n)
{
	assert_int_equal(body.len, n);
	for (size_t i = 0; i < n; i++)
		if (body.ptr[i] != proxyrig_pattern(i))
			fail_msg("byte %zu of %zu differs", i, n);
}

/* ---- seeds ------------------------------------------------------------------- */

bool proxycase_skips(uint64_t seed)
{
	const char *only = getenv("SEED");

	return only && seed != strtoull(only, NULL, 10);
}

void proxycase_some_seeds(unsigned n, void (*test)(struct proxyrig *r), const char *name,
			  struct proxyrig_options options)
{
	struct proxyrig r;

	proxycase_now.name = name;
	for (uint64_t seed = 1; seed <= n; seed++) {
		if (proxycase_skips(seed))
			continue;
		options.seed = proxycase_now.seed = seed;
		proxyrig_open(&r, &options);
		test(&r);
		proxyrig_close(&r);
	}
	proxycase_now.name = "";
}

void proxycase_each_seed(void (*test)(struct proxyrig *r), const char *name,
			 struct proxyrig_options options)
{
	proxycase_some_seeds(PROXYCASE_SEEDS, test, name, options);
}

/* ---- reports ------------------------------------------------------------------ */

int proxycase_report(void **state)
{
	(void)state;
	if (proxycase_now.name[0])
		fprintf(stderr, "%s, seed %llu, failing take %u\n", proxycase_now.name,
			(unsigned long long)proxycase_now.seed,
			proxycase_now.failing_take);
	return 0;
}

static void report_and_exit(int number)
{
	(void)number;
	proxycase_report(NULL);
	_exit(1);
}

int proxycase_run(const char *group, const struct CMUnitTest *tests, size_t n)
{
	signal(SIGABRT, report_and_exit);
	return _cmocka_run_group_tests(group, tests, n, NULL, NULL);
}
