/* A whole proxy: every way in which an exchange can end, and what its client receives.
 * timeout: 600 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/slab.h"
#include "lib/pki.h"
#include "lib/proxycase.h"
#include "lib/simtls.h"
#include "tls/warm.h"

/* ---- one request, one ending ------------------------------------------------ */

/* Truncated responses of which nothing had been sent, and which a 502 replaced. */
static unsigned replaced_n;

static void assert_response(const struct proxycase *c, const struct sim_peer *client)
{
	const char *fields = c->fields ? c->fields : "";
	struct client_response response;
	struct slice rest;
	unsigned n = client_responses_read(client, &response, 1, 0, &rest);

	if (c->status == 0) {
		assert_int_equal(n, 0);
		return;
	}
	if (c->truncated) {
		/* If none of it was sent yet, it is replaced by a whole 502. */
		replaced_n += n == 1;
		assert_int_equal(response.status, n == 1 ? 502 : c->status);
		if (n == 1)
			assert_non_null(memmem(response.head.ptr, response.head.len,
					       "error=http_", 11));
		client_responses_free(&response, n);
		return;
	}
	assert_int_equal(n, 1);
	assert_int_equal(response.status, c->status);
	assert_int_equal(rest.len, 0);
	assert_non_null(
		memmem(response.head.ptr, response.head.len, fields, strlen(fields)));
	client_responses_free(&response, n);
}

static void assert_logged(struct proxyrig *r, const struct proxycase *c)
{
	if (c->status == 400 && c->ending == ENDING_COMPLETE)
		return; /* malformed head: the log has the text of the fault */
	proxycase_assert_ending(r, c->ending);
}

/* Of a truncated response, the log has the status and the bytes that its client received. */
static void assert_log_is_true(struct proxyrig *r, const struct sim_peer *client)
{
	struct slice received = { client->in, client->in_n }, body;
	char text[64];
	int status;

	assert_int_equal(sscanf(received.ptr, "HTTP/1.1 %d", &status), 1);
	snprintf(text, sizeof(text), "\"status\":%d,", status);
	assert_int_equal(proxyrig_logged(r, text), 1);
	body.ptr = strstr(received.ptr, "\r\n\r\n");
	assert_non_null(body.ptr);
	body = slice_after(received, (size_t)(body.ptr + 4 - received.ptr));
	if (strcasestr(received.ptr, "\r\nTransfer-Encoding: chunked"))
		return;
	snprintf(text, sizeof(text), "\"sent_bytes\":%zu,", body.len);
	assert_int_equal(proxyrig_logged(r, text), 1);
}

/* The counters of responses have the one that the log has. */
static void assert_counted(struct proxyrig *r)
{
	const struct worker_stats *s = &r->stats;
	const uint64_t counts[] = { s->responses_2xx, s->responses_3xx, s->responses_4xx,
				    s->responses_5xx };
	uint64_t n = 0;
	char text[64];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "\"status\":%u", i + 2);
		if (counts[i] > 0)
			assert_int_equal(proxyrig_logged(r, text), 1);
		n += counts[i];
	}
	assert_in_range(n, 0, 1);
}

static void wait_for_end(struct proxyrig *r, const struct proxycase *c,
			 struct sim_peer *client)
{
	if (c->proxy_ends)
		proxyrig_end(r);
	else if (c->client == CLIENT_RESETS || c->client == CLIENT_STOPS_READING)
		SIMRIG_UNTIL(&r->sim, r->stats.connections == 0, 20000);
	else
		SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 20000);
}

static void run_case(const struct proxycase *c, uint64_t seed)
{
	struct proxyrig r;
	struct sim_peer *client;
	uint64_t from_ms;

	proxycase_open(&r, c, seed);
	if (seed % 4 == 0)
		sim_set_socket_bytes(r.sim.tick.loop, 300 + (uint32_t)seed);
	from_ms = r.sim.tick.now_ms;
	client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
	client->uncut = c->from_ms > 0;
	proxycase_start(&r, c, client);
	wait_for_end(&r, c, client);
	if (c->to_ms > 0) {
		assert_true(proxycase_elapsed_ms(&r, from_ms) >= c->from_ms);
		assert_true(proxycase_elapsed_ms(&r, from_ms) <= c->to_ms);
	}
	assert_response(c, client);
	proxyrig_end(&r);
	assert_logged(&r, c);
	if (c->truncated)
		assert_log_is_true(&r, client);
	assert_int_equal(r.stats.log_lines, 1);
	assert_counted(&r);
	proxyrig_close(&r);
}

static void test_case(void **state)
{
	const struct proxycase *c = *state;

	proxycase_now.name = c->name;
	for (uint64_t seed = 1; seed <= PROXYCASE_SEEDS; seed++) {
		proxycase_now.seed = seed;
		if (!proxycase_skips(seed))
			run_case(c, seed);
	}
	proxycase_now.name = "";
}

/* ---- endings that need more than one request -------------------------------- */

static void test_no_address(void **state)
{
	struct proxyrig r;

	(void)state;
	proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1, .nameless = true });
	proxycase_assert_response(&r, proxycase_request(&r, GET("/nobody")), 503,
				  "fairlead; error=dns_error");
	proxycase_assert_ending(&r, ENDING_NO_SERVER);
	proxycase_assert_response(&r, proxycase_request(&r, GET("/length/3")), 200,
				  "Length: 3");
	proxyrig_close(&r);
}

/* An operator has taken all servers down: 503, and none is tried. */
static void test_ordered_down(void **state)
{
	struct proxyrig r;

	(void)state;
	proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1 });
	for (unsigned i = 0; i < r.config->upstream_n; i++)
		REGISTRY_EACH(r.registries[i], entry)
			atomic_store(&entry->order, SERVER_ORDER_DOWN);
	proxy_ordered(&r.proxy);
	proxycase_assert_response(&r, proxycase_request(&r, GET("/length/3")), 503,
				  "error=destination_unavailable");
	proxycase_assert_ending(&r, ENDING_ORDERED_DOWN);
	proxycase_assert_response(&r, proxycase_request(&r, GET("/cache/foo")), 404, "");
	proxycase_assert_ending(&r, ENDING_CACHE_MISS);
	assert_int_equal(r.requests, 0);
	proxyrig_close(&r);
}

/* A failed connect: the error type says what is to blame: us, the network, or the server. */
static void test_connect_errors(void **state)
{
	static const struct {
		int error;
		enum ending ending;
		const char *proxy_status;
	} rows[] = {
		{ -EACCES, ENDING_ORIGIN_FORBIDDEN, "error=proxy_configuration_error" },
		{ -EPERM, ENDING_ORIGIN_FORBIDDEN, "error=proxy_configuration_error" },
		{ -ENETUNREACH, ENDING_ORIGIN_UNROUTABLE,
		  "error=destination_ip_unroutable" },
		{ -EHOSTUNREACH, ENDING_ORIGIN_UNROUTABLE,
		  "error=destination_ip_unroutable" },
		{ -EMFILE, ENDING_NO_SOCKET, "error=proxy_internal_error" },
		{ -EADDRNOTAVAIL, ENDING_NO_SOCKET, "error=proxy_internal_error" },
		{ -ECONNREFUSED, ENDING_ORIGIN_REFUSED, "error=connection_refused" },
		{ -EAGAIN, ENDING_ORIGIN_REFUSED, "error=connection_refused" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct sim_faults faults = { .connects = 1,
						   .connect_error = rows[i].error };
		struct proxyrig r;
		struct sim_peer *client;

		proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1 });
		client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
		SIMRIG_UNTIL(&r.sim, r.stats.connections == 1, 1000);
		sim_set_faults(r.sim.tick.loop, &faults);
		sim_peer_send_text(client, GET("/length/3"));
		proxycase_assert_response(&r, client, 502, rows[i].proxy_status);
		proxycase_assert_ending(&r, rows[i].ending);
		sim_set_faults(r.sim.tick.loop, &(struct sim_faults){ 0 });
		proxyrig_close(&r);
	}
}

/* The log names the server whose response was sent; none if the proxy has responded itself. */
static void test_server_logged(void **state)
{
	static const struct {
		const char *request;
		int status;
		const char *server;
	} rows[] = {
		{ GET("/length/3"), 200, "127.0.0.1:6000" },
		{ GET("/nobody"), 502, "" },
		{ GET("/cache/foo"), 200, "cache" },
		{ GET("/cache/miss"), 404, "" },
		{ GET("/cache/error"), 503, "" },
		{ GET("/next/foo"), 200, "cache" },
		{ GET("/next/miss"), 200, "127.0.0.1:6000" },
		{ "GET /next/miss HTTP/1.1\r\nHost: nowhere\r\n\r\n", 502, "" },
		{ "GET /next/miss HTTP/1.1\r\nHost: other\r\n\r\n", 404, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct proxyrig r;
		char text[64];

		proxycase_now.name = rows[i].request;
		proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1 });
		proxycase_assert_response(&r, proxycase_request(&r, rows[i].request),
					  rows[i].status, "");
		proxyrig_end(&r);
		snprintf(text, sizeof(text), "\"server\":\"%s\"", rows[i].server);
		if (proxyrig_logged(&r, text) != 1)
			fail_msg("no %s in the log: %.*s", text,
				 SLICE_ARG(proxyrig_log(&r)));
		proxyrig_close(&r);
	}
	proxycase_now.name = "";
}

/* A path that servers read in different ways is refused, and the connection stays open. */
static void paths_strict(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("//length/3"));

	proxycase_assert_response(r, client, 400, "error=http_request_denied");
	proxycase_assert_ending(r, ENDING_PATH_AMBIGUOUS);
	assert_int_equal(r->requests, 0);
	proxycase_discard_input(client);
	sim_peer_send_text(client, GET("/length/4"));
	proxycase_assert_response(r, client, 200, "Length: 4");
}

static void paths_as_is(struct proxyrig *r)
{
	proxycase_assert_response(r, proxycase_request(r, GET("//length/3")), 200, "");
	assert_int_equal(proxyrig_logged(r, ending_text(ENDING_PATH_AMBIGUOUS)), 0);
}

static void test_paths(void **state)
{
	(void)state;
	proxycase_each_seed(paths_strict, "paths: strict",
			    (struct proxyrig_options){ .paths_strict = true });
	proxycase_each_seed(paths_as_is, "paths: as_is",
			    (struct proxyrig_options){ .buffers = 0 });
}

#define PROXY_HEADER "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n"

/* The client is the one in the header, from the log to the routes; nothing is said to a trusted
 * proxy that sends no header. */
static void proxied(struct proxyrig *r)
{
	struct sim_peer *client;

	client = proxycase_request(r, PROXY_HEADER
				   "GET /length/3 HTTP/1.1\r\nHost: app\r\n"
				   "X-Forwarded-For: 203.0.113.1\r\n\r\n");
	proxycase_assert_response(r, client, 200, "Length: 3");
	assert_int_equal(proxyrig_logged(r, "\"client\":\"192.0.2.7\""), 1);
	client = proxycase_request(r, GET("/length/4"));
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 5000);
	assert_int_equal(client->in_n, 0);
	assert_int_equal(r->requests, 1);
	/* The proxy says whether its client uses TLS: /secure/ needs no redirect. */
	client = proxycase_request(r, PROXY_HEADER GET("/secure/length"));
	proxycase_assert_response(r, client, 308, "https://app/secure/length");
	client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	sim_peer_send(client, SLICE("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xc0\0\2\7\xc0\0\2\x8\0\1\0\2"
				    "\x20\0\5\1\0\0\0\0" GET("/secure/length")));
	proxycase_assert_response(r, client, 200, "Length: 10");
}

/* A client that is no trusted proxy is not believed: its header is a malformed request. */
static void proxied_by_a_stranger(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, PROXY_HEADER GET("/length/3"));

	proxycase_assert_response(r, client, 400, "close");
	assert_int_equal(proxyrig_logged(r, "192.0.2.7"), 0);
	client = proxycase_request(r, GET("/length/4"));
	proxycase_assert_response(r, client, 200, "Length: 4");
	assert_int_equal(proxyrig_logged(r, "\"client\":\"127.0.0.1\""), 2);
}

static void test_proxy_protocol(void **state)
{
	(void)state;
	proxycase_each_seed(proxied, "proxied",
			    (struct proxyrig_options){ .proxy_protocol = 127 });
	proxycase_each_seed(proxied_by_a_stranger, "proxied by a stranger",
			    (struct proxyrig_options){ .proxy_protocol = 10 });
}

static void queue_is_full(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, GET("/never")), *second, *third;

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	second = proxycase_request(r, GET("/length/5"));
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].waiting == 1, 1000);
	third = proxycase_request(r, GET("/length/6"));
	proxycase_assert_response(r, third, 503, "\r\nRetry-After: 1\r\n");
	proxycase_assert_ending(r, ENDING_QUEUE_FULL);
	assert_false(proxycase_decided(first));
	if (simrig_draw(&r->sim, 2)) {
		proxycase_assert_response(r, second, 503,
					  "\r\nRetry-After: 1\r\nProxy-Status: fairlead; "
					  "error=connection_limit_reached\r\n");
		proxycase_assert_ending(r, ENDING_QUEUE_TIMEOUT);
		return;
	}
	sim_peer_reset_now(first); /* the oldest in the queue is next */
	proxycase_assert_response(r, second, 200, "Length: 5");
}

static void over_the_rate(struct proxyrig *r)
{
	proxycase_assert_response(r, proxycase_request(r, GET("/again/length")), 200, "");
	proxycase_assert_response(r, proxycase_request(r, GET("/again/length")), 429,
				  "error=http_request_denied");
	proxycase_assert_ending(r, ENDING_RATE_LIMITED);
}

static void too_many_at_once(struct proxyrig *r)
{
	proxycase_request(r, GET("/again/never"));
	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	proxycase_assert_response(r, proxycase_request(r, GET("/again/length")), 429,
				  "error=http_request_denied");
	proxycase_assert_ending(r, ENDING_CONCURRENCY_LIMITED);
}

static void test_limits(void **state)
{
	(void)state;
	proxycase_each_seed(over_the_rate, "rate_limit",
			    (struct proxyrig_options){ .again = "    rate_limit: 1/h\n" });
	proxycase_each_seed(too_many_at_once, "concurrency_limit",
			    (struct proxyrig_options){
				    .again = "    concurrency_limit: { requests: 1 }\n" });
}

static void test_queue(void **state)
{
	(void)state;
	proxycase_each_seed(
		queue_is_full, "queue",
		(struct proxyrig_options){ .upstream = "    connections: 1\n"
						       "    queue: 1\n"
						       "    queue_timeout: 1s\n" });
	assert_true(proxycase_reached[ENDING_QUEUE_TIMEOUT]);
}

/* The server listens, but its backlog is full. */
static void connect_timeout(struct proxyrig *r)
{
	struct sockaddr_in addr = simrig_address(PROXYRIG_ORIGIN);
	struct sim_peer *first, *client;
	int fd;

	sim_server_close(&r->origins[0]);
	fd = sim_listen(r->sim.tick.loop, (struct sockaddr *)&addr, sizeof(addr), 1);
	first = sim_peer_connect(&r->sim, PROXYRIG_ORIGIN);
	SIMRIG_UNTIL(&r->sim, first->connected, 1000);
	client = proxycase_request(r, GET("/length/5"));
	if (simrig_draw(&r->sim, 4) == 0) { /* or the client does not wait */
		simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 30));
		sim_peer_reset_now(client);
		simrig_run(&r->sim, 2000);
	} else {
		proxycase_assert_response(r, client, 504, "connection_timeout");
		proxycase_assert_ending(r, ENDING_CONNECT_TIMEOUT);
	}
	io_close(r->sim.tick.loop, fd);
}

static void test_connect_timeout(void **state)
{
	(void)state;
	proxycase_each_seed(connect_timeout, "connect timeout",
			    (struct proxyrig_options){ .buffers = 0 });
}

static void send_timeout(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/deaf", 900000));
	char *body = calloc(1, 900000);

	assert_non_null(body);
	sim_peer_send(client, (struct slice){ body, 900000 });
	free(body);
	proxycase_assert_response(r, client, 504, "connection_write_timeout");
	proxycase_assert_ending(r, ENDING_ORIGIN_SEND_TIMEOUT);
}

static void test_send_timeout(void **state)
{
	(void)state;
	proxycase_each_seed(send_timeout, "send timeout",
			    (struct proxyrig_options){ .limits = "  send_timeout: 3s\n"
								 "  window: 64KiB\n" });
}

/* A byte before each timeout. */
static void slow_body(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, POST("/echo", 1000));

	for (unsigned i = 0; i < 60 && !proxycase_decided(client); i++) {
		sim_peer_send_text(client, "x");
		simrig_run(&r->sim, 1000);
	}
	proxycase_assert_response(r, client, 408, "http_request_error");
	proxycase_assert_ending(r, ENDING_REQUEST_SLOW);
}

static void test_slow_body(void **state)
{
	(void)state;
	proxycase_each_seed(slow_body, "slow body",
			    (struct proxyrig_options){ .limits = "  receive_timeout: 3s\n" });
}

/* Without memory for the exchange's parts the client gets a 503. */
static void test_no_memory(void **state)
{
	(void)state;
	for (unsigned take = 1; !proxycase_reached[ENDING_NO_MEMORY]; take++) {
		struct proxyrig r;
		struct sim_peer *client;

		proxyrig_open(&r, &(struct proxyrig_options){ .seed = 1 });
		client = sim_peer_connect(&r.sim, PROXYRIG_PORT);
		SIMRIG_UNTIL(&r.sim, r.stats.connections == 1, 1000);
		slab_fail_at(take);
		sim_peer_send_text(client, GET("/length/3"));
		SIMRIG_UNTIL(&r.sim, proxycase_decided(client), 20000);
		slab_fail_at(0);
		if (proxyrig_logged(&r, ending_text(ENDING_NO_MEMORY)) > 0) {
			proxycase_assert_response(&r, client, 503,
						  "proxy_internal_error");
			proxycase_assert_ending(&r, ENDING_NO_MEMORY);
		}
		proxyrig_close(&r);
		assert_true(take < 100);
	}
}

/* ---- TLS of clients ----------------------------------------------------------- */

/* With a policy for one name, whose clients need no certificate either. */
static struct tls_context *server_context(const struct pki *pki)
{
	static const struct slice names[] = { { "secret.test", 11 } };
	static const struct tls_policy policy = { .names = names, .names_n = 1 };
	struct tls_server_options options = {
		.name = SLICE("test"),
		.pairs = &pki->pair,
		.pairs_n = 1,
		.default_first = true,
		.policies = &policy,
		.policies_n = 1,
		.protocols = { TLS_HTTP_1_1 },
		.keylog_fd = -1,
	};
	char error[256];

	return tls_server_context(&options, error, sizeof(error));
}

static struct tls_context *client_context(void)
{
	struct tls_client_options options = { .name = SLICE("test"),
					      .protocols = { TLS_HTTP_1_1 },
					      .keylog_fd = -1 };
	char error[256];

	return tls_client_context(&options, error, sizeof(error));
}

/* A host with another policy for client certificates than that of the connection, which goes on. The
 * request came by https: the log says so, and a redirect to https is not made. */
static void misdirected(struct proxyrig *r)
{
	struct pki *pki = pki_new("test", &(struct pki_options){ .san = "DNS:app" });
	struct tls_context *server = server_context(pki), *context = client_context();
	struct sim_peer *client;

	assert_true(server && context);
	assert_true(tick_use_tls(&r->sim.tick, NULL, 1000));
	r->settings.tls = server;
	client = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	simtls_secure(client, r->sim.tick.tls, context, SLICE("app"), NULL);
	sim_peer_send_text(client, "GET /length/3 HTTP/1.1\r\nHost: Secret.test.:1\r\n\r\n");
	proxycase_assert_response(r, client, 421, "error=http_request_denied");
	proxycase_assert_ending(r, ENDING_MISDIRECTED);
	assert_int_equal(r->requests, 0);
	proxycase_discard_input(client);
	sim_peer_send_text(client, GET("/secure/length"));
	proxycase_assert_response(r, client, 200, "Length: 10");
	assert_int_equal(proxyrig_logged(r, ",\"tls\":{\"version\":\"TLSv1.3\""), 2);
	r->settings.tls = NULL;
	tls_context_unref(server);
	tls_context_unref(context);
	pki_free(pki);
}

static void test_misdirected(void **state)
{
	(void)state;
	assert_true(tls_library_init());
	proxycase_some_seeds(5, misdirected, "misdirected",
			     (struct proxyrig_options){ .buffers = 0 });
}

/* ---- TLS to the servers ------------------------------------------------------- */

static void speaks_http(struct sim_peer *p)
{
	if (p->in_n > 0 && p->step++ == 0)
		sim_peer_send_text(p, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

static void says_nothing(struct sim_peer *p)
{
	if (p->in_n > 0)
		sim_peer_close(p);
}

/* No server speaks TLS: nothing was sent, so that a POST could be sent again. */
static void tls_not_spoken(struct proxyrig *r)
{
	bool closes = simrig_draw(&r->sim, 2);

	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++) {
		r->origins[i].tls = NULL;
		r->origins[i].on_input = closes ? says_nothing : speaks_http;
	}
	proxycase_assert_response(r, proxycase_request(r, GET("/length/3")), 502,
				  closes ? "error=connection_terminated"
					 : "error=tls_protocol_error");
	proxycase_assert_ending(r, closes ? ENDING_TLS_CLOSED : ENDING_TLS_NOT_TLS);
	assert_int_equal(r->upstream_stats[0].requests, 0);
	assert_int_equal(r->upstream_stats[0].tls_failures, 1);
}

static void test_tls_not_spoken(void **state)
{
	(void)state;
	proxycase_each_seed(tls_not_spoken, "TLS is not spoken",
			    (struct proxyrig_options){ .tls_origins = true });
}

/* After the handshake, as when the server refuses our certificate. */
static void breaks_tls(struct sim_peer *p)
{
	if (p->in_n == 0 || p->step++ > 0)
		return;
	sim_peer_append_output(p, "\x2a\x03\x03\x00\x05", 5); /* no type of a record */
	sim_peer_send_text(p, "x");
}

static void tls_broken(struct proxyrig *r)
{
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++)
		r->origins[i].on_input = breaks_tls;
	proxycase_assert_response(r, proxycase_request(r, GET("/length/3")), 502,
				  "error=tls_protocol_error");
	proxycase_assert_ending(r, ENDING_TLS_MESSAGE);
	assert_int_equal(r->upstream_stats[0].requests, 1);
	assert_int_equal(proxyrig_failures(r, 0), 1);
}

static void test_tls_broken(void **state)
{
	(void)state;
	proxycase_each_seed(tls_broken, "TLS breaks",
			    (struct proxyrig_options){ .tls_origins = true });
}

static void cuts_response(struct sim_peer *p)
{
	if (p->in_n == 0 || p->step++ > 0)
		return;
	p->cuts_off = p->owner == NULL;
	sim_peer_send_text(p, "HTTP/1.1 200 OK\r\n\r\nthe beginning");
	sim_peer_close(p);
}

/* A body that the end of its connection delimits, without close_notify: anyone on the path could
 * have ended it. */
static void tls_cut(struct proxyrig *r)
{
	bool whole = simrig_draw(&r->sim, 2);
	struct client_response response;
	struct sim_peer *client;
	struct slice rest;
	unsigned n;

	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++) {
		r->origins[i].on_input = cuts_response;
		r->origins[i].owner = whole ? r : NULL;
	}
	client = proxycase_request(r, GET("/length/3"));
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client) || proxycase_decided(client), 20000);
	simrig_run(&r->sim, 1000);
	n = client_responses_read(client, &response, 1, 0, &rest);
	if (whole) {
		assert_int_equal(n, 1);
		assert_int_equal(response.status, 200);
		assert_int_equal(proxyrig_logged(r, "\"complete\""), 1);
	} else {
		/* Replaced by a 502, or visibly incomplete. */
		assert_true(n == 0 || response.status == 502);
		proxycase_assert_ending(r, ENDING_ORIGIN_TRUNCATED);
	}
	client_responses_free(&response, n);
}

static void test_tls_cut(void **state)
{
	(void)state;
	proxycase_each_seed(tls_cut, "TLS without close_notify",
			    (struct proxyrig_options){ .tls_origins = true });
}

/* Each fault has the ending of its name, which has its error. */
static void test_tls_faults(void **state)
{
	static const struct {
		enum ending ending;
		enum tls_fault fault;
	} rows[] = {
#define TLS_FAULT(name, error, text) { ENDING_TLS_##name, TLS_FAULT_##name },
#include "tls/fault.def"
#undef TLS_FAULT
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(ending_status(rows[i].ending), 502);
		assert_string_equal(ending_proxy_error(rows[i].ending),
				    tls_fault_error(rows[i].fault));
		assert_non_null(strstr(ending_text(rows[i].ending),
				       tls_fault_text(rows[i].fault)));
		proxycase_reached[rows[i].ending] = true;
	}
}

/* Every ending of ending.def was seen in this program, or a test of its own shows it. */
static void test_all_reached(void **state)
{
	static const char *const names[] = {
#define ENDING(name, status, proxy_error, text) #name,
#include "proxy/ending.def"
#undef ENDING
	};

	static const uint8_t elsewhere[] = {
		ENDING_UNAUTHORIZED, ENDING_VERIFIER_BUSY, /* test_basicauth.c */
		ENDING_AUTH_FAILED, /* test_authrequest.c */
		ENDING_KILLED, /* test_connections.c */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(elsewhere); i++)
		proxycase_reached[elsewhere[i]] = true;
	for (size_t i = 0; i < COUNT(names); i++)
		if (!proxycase_reached[i])
			fail_msg("%s was not reached", names[i]);
	/* With some seeds the head of a response and its failure arrive in one tick. */
	assert_true(replaced_n > 0 || proxycase_skips(1));
}

static const struct CMUnitTest others[] = {
	PROXYCASE_TEST(test_no_address),
	PROXYCASE_TEST(test_ordered_down),
	PROXYCASE_TEST(test_connect_errors),
	PROXYCASE_TEST(test_paths),
	PROXYCASE_TEST(test_proxy_protocol),
	PROXYCASE_TEST(test_misdirected),
	PROXYCASE_TEST(test_queue),
	PROXYCASE_TEST(test_limits),
	PROXYCASE_TEST(test_server_logged),
	PROXYCASE_TEST(test_connect_timeout),
	PROXYCASE_TEST(test_send_timeout),
	PROXYCASE_TEST(test_slow_body),
	PROXYCASE_TEST(test_no_memory),
	PROXYCASE_TEST(test_tls_not_spoken),
	PROXYCASE_TEST(test_tls_broken),
	PROXYCASE_TEST(test_tls_cut),
	PROXYCASE_TEST(test_tls_faults),
	PROXYCASE_TEST(test_all_reached),
};

int main(void)
{
	struct CMUnitTest tests[128];
	size_t n = 0;

	assert_true(proxycase_n + COUNT(others) <= COUNT(tests));
	for (size_t i = 0; i < proxycase_n; i++)
		tests[n++] = (struct CMUnitTest){ proxycases[i].name, test_case, NULL,
						  proxycase_report,
						  (void *)(uintptr_t)&proxycases[i] };
	for (size_t i = 0; i < COUNT(others); i++)
		tests[n++] = others[i];
	return proxycase_run("endings", tests, n);
}
