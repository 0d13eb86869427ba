/* A whole proxy: clients that close at any moment, give way at the limit of connections, or own an
 * authenticated connection; and a drain.
 * timeout: 600 */
#include "lib/proxycase.h"

/* ---- clients evicted at the limit of connections ---------------------------- */

/* The client that is idle longest is evicted, never one whose request has begun. */
static void idle_evicted(struct proxyrig *r)
{
	struct sim_peer *busy = proxycase_request(r, GET("/never")), *half, *idle[2],
			*client;

	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 1, 1000);
	half = proxycase_request(r, GET("/length/4"));
	proxycase_assert_response(r, half, 200, "Length: 4");
	proxycase_discard_input(half);
	sim_peer_send_text(half, "GET /length/5 HTTP/1.1\r\nHo");
	for (unsigned i = 0; i < 2; i++) {
		idle[i] = proxycase_request(r, GET("/length/5"));
		proxycase_assert_response(r, idle[i], 200, "");
	}
	simrig_run(&r->sim, 50);
	assert_int_equal(r->stats.connections, 4);
	client = proxycase_request(r, GET("/length/6"));
	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 300);
	proxycase_assert_response(r, client, 200, "Length: 6");
	assert_int_equal(r->stats.connections_evicted, 1);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(idle[0]), 300);
	assert_true(idle[0]->eof);
	assert_false(sim_peer_finished(idle[1]) || sim_peer_finished(busy) ||
		     sim_peer_finished(half));
	sim_peer_send_text(half, "st: app\r\n\r\n");
	proxycase_assert_response(r, half, 200, "Length: 5");
}

/* Seeds for which the next test applies. */
static unsigned unread;

/* Nor one that has not read its response, although its exchange has ended. */
static void unread_stays(struct proxyrig *r)
{
	struct sim_peer *slow, *idle, *client;

	sim_set_socket_bytes(r->sim.tick.loop, 4096);
	slow = proxycase_request(r, GET("/length/12000"));
	SIMRIG_UNTIL(&r->sim, slow->in_n > 0, 1000);
	proxycase_stop_reading(r, slow);
	simrig_run(&r->sim, 500);
	/* Not this case: the rest is still at the origin, or the kernel has all of it. */
	if (r->stats.requests_in_flight == 1 ||
	    conn_unsent(&LIST_ITEM(r->proxy.front.all.next, struct client, node)->conn) ==
		    0)
		return;
	unread++;
	idle = proxycase_request(r, GET("/length/5"));
	proxycase_assert_response(r, idle, 200, "");
	client = proxycase_request(r, GET("/length/6"));
	proxycase_assert_response(r, client, 200, "Length: 6");
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(idle), 300);
	sim_peer_resume_reading(slow);
	proxycase_assert_response(r, slow, 200, "Length: 12000");
}

/* A new client may be about to send its request: only one that stays silent is evicted. */
static void silent_evicted(struct proxyrig *r)
{
	struct sim_peer *silent[2], *client;

	for (unsigned i = 0; i < 2; i++)
		silent[i] = sim_peer_connect(&r->sim, PROXYRIG_PORT);
	SIMRIG_UNTIL(&r->sim, r->stats.connections == 2, 1000);
	client = proxycase_request(r, GET("/length/6"));
	simrig_run(&r->sim, 700);
	assert_int_equal(r->stats.connections_evicted, 0);
	assert_int_equal(client->in_n, 0);
	SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 1000);
	proxycase_assert_response(r, client, 200, "Length: 6");
	assert_int_equal(r->stats.connections_evicted, 1);
	SIMRIG_UNTIL(&r->sim,
		     sim_peer_finished(silent[0]) || sim_peer_finished(silent[1]), 300);
	assert_false(sim_peer_finished(silent[0]) && sim_peer_finished(silent[1]));
}

static void test_eviction(void **state)
{
	static const struct proxyrig_options two = { .clients = 2,
						     .limits = "  window: 256KiB\n" };

	(void)state;
	proxycase_each_seed(unread_stays, "unread stays", two);
	assert_true(unread > 0);
	proxycase_each_seed(silent_evicted, "silent evicted", two);
	proxycase_each_seed(idle_evicted, "idle evicted",
			    (struct proxyrig_options){
				    .clients = 4, .limits = "  header_timeout: 60s\n" });
}

/* ---- authenticated connections, which serve one client only ----------------- */

static void send_next(struct proxyrig *r, struct sim_peer *client, const char *request)
{
	size_t n = client->in_n;

	sim_peer_send_text(client, request);
	SIMRIG_UNTIL(&r->sim, client->in_n > n && r->stats.requests_in_flight == 0, 2000);
}

/* No other client's request is sent on it. It closes at the idle timeout, or with its client. */
static void identity(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/ntlm")), *other;
	const struct upstream_stats *stats = &r->upstream_stats[0];

	SIMRIG_UNTIL(&r->sim, stats->connections_held == 1, 1000);
	other = proxycase_request(r, GET("/length/5"));
	proxycase_assert_response(r, other, 200, "Length: 5");
	assert_int_equal(r->origins[0].accepted, 2);
	send_next(r, client, GET("/length/7"));
	send_next(r, client, GET("/length/7"));
	assert_int_equal(r->origins[0].accepted, 2);
	SIMRIG_UNTIL(&r->sim,
		     stats->connections_held == 1 && stats->connections_idle == 1, 500);
	if (simrig_draw(&r->sim, 2)) {
		sim_peer_close(client);
		SIMRIG_UNTIL(&r->sim, stats->connections_held == 0, 500);
	} else {
		SIMRIG_UNTIL(&r->sim, stats->connections == 0, 70000);
	}
}

/* At a limit of one connection it is closed for another client, and opened anew. */
static void identity_at_the_limit(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/ntlm")), *other;
	const struct upstream_stats *stats = &r->upstream_stats[0];

	for (unsigned i = 0; i < 3; i++) {
		SIMRIG_UNTIL(&r->sim, stats->connections_held == 1, 1000);
		other = proxycase_request(r, GET("/length/5"));
		proxycase_assert_response(r, other, 200, "Length: 5");
		assert_int_equal(r->origins[0].accepted, i + 2);
		assert_int_equal(stats->connections_held, 0);
		sim_peer_close(other);
		SIMRIG_UNTIL(&r->sim, stats->connections_idle == 1, 500);
		send_next(r, client,
			  "GET /ntlm HTTP/1.1\r\nHost: app\r\n"
			  "Authorization: NTLM x\r\n\r\n");
		assert_int_equal(r->origins[0].accepted, i + 2);
	}
}

/* A header of the PROXY protocol names the client of the connection, so no other client uses it. */
static void introduced(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/length/5")), *other;
	const struct upstream_stats *stats = &r->upstream_stats[0];
	char header[64];

	proxycase_assert_response(r, client, 200, "Length: 5");
	assert_int_equal(sscanf(r->origins[0].last->in, "PROXY TCP4 127.0.0.1 %63[^\r]", header), 1);
	assert_non_null(strstr(header, "127.0.0.1 "));
	assert_non_null(strstr(header, " 8080"));
	SIMRIG_UNTIL(&r->sim, stats->connections_held == 1, 500);
	other = proxycase_request(r, GET("/length/6"));
	proxycase_assert_response(r, other, 200, "Length: 6");
	send_next(r, client, GET("/length/7"));
	send_next(r, other, GET("/length/7"));
	assert_int_equal(r->origins[0].accepted, 2);
	SIMRIG_UNTIL(&r->sim, stats->connections_held == 2 && stats->connections_idle == 0, 500);
	sim_peer_close(client);
	sim_peer_close(other);
	SIMRIG_UNTIL(&r->sim, stats->connections == 0, 500);
}

static void test_identity(void **state)
{
	(void)state;
	proxycase_each_seed(introduced, "introduced",
			    (struct proxyrig_options){ .upstream = "    proxy_protocol: v1\n" });
	proxycase_each_seed(identity, "identity",
			    (struct proxyrig_options){ .buffers = 0 });
	proxycase_each_seed(
		identity_at_the_limit, "identity at the limit",
		(struct proxyrig_options){ .upstream = "    connections: 1\n" });
}

/* ---- clients that close ----------------------------------------------------- */

/* A request whose client has closed leaves the queue and is never sent to an origin. */
static void left_in_queue(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, GET("/never")), *waiting[5];
	const uint64_t *queued = &r->upstream_stats[0].waiting;

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	for (size_t i = 0; i < COUNT(waiting); i++)
		waiting[i] = proxycase_request(r, GET("/length/5"));
	SIMRIG_UNTIL(&r->sim, *queued == COUNT(waiting), 1000);
	for (size_t i = 0; i < COUNT(waiting); i++)
		sim_peer_shutdown(waiting[i]);
	SIMRIG_UNTIL(&r->sim, *queued == 0, 200);
	assert_int_equal(r->stats.requests_abandoned, COUNT(waiting));
	for (size_t i = 0; i < COUNT(waiting); i++) {
		SIMRIG_UNTIL(&r->sim, sim_peer_finished(waiting[i]), 200);
		assert_true(waiting[i]->eof && waiting[i]->in_n == 0);
	}
	sim_peer_close(first);
	SIMRIG_UNTIL(&r->sim, r->upstream_stats[0].connections == 0, 5000);
	assert_int_equal(r->requests, 1);
	assert_int_equal(proxyrig_logged(r, "\"status\":499"), 6);
}

/* No further attempt is made, and the backoff is not waited for. */
static void left_in_backoff(struct proxyrig *r)
{
	struct sim_peer *client;

	r->fail_next = 100;
	r->fail_path = "/status/503";
	client = proxycase_request(r, GET("/again/length/7"));
	SIMRIG_UNTIL(&r->sim, r->requests == 3, 1000);
	simrig_run(&r->sim, 200);
	assert_int_equal(r->stats.requests_in_flight, 1);
	sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 200);
	simrig_run(&r->sim, 120000);
	assert_int_equal(r->requests, 3);
	proxycase_assert_ending(r, ENDING_CLIENT_GONE);
}

/* The FIN comes behind more bytes than are received now. */
static void left_behind_requests(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r, GET("/never"));

	for (unsigned i = 0; i < 2000; i++)
		sim_peer_send_text(client, GET("/length/7"));
	sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, client->fin_sent, 1000);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 1200);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 200);
	assert_int_equal(r->requests, 1);
	assert_int_equal(r->upstream_stats[0].connections, 0);
}

/* A response that has begun is delivered; pipelined requests behind it need not be. */
static void left_inside_response(struct proxyrig *r)
{
	struct sim_peer *client = proxycase_request(r,
						    GET("/length/1000000") GET("/never"));
	struct client_response responses[2];
	struct slice rest;

	SIMRIG_UNTIL(&r->sim, client->in_n > 0, 1000);
	sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, sim_peer_finished(client), 20000);
	assert_true(client->eof);
	assert_int_equal(client_responses_read(client, responses, 2, 0, &rest), 1);
	assert_int_equal(responses[0].body.len, 1000000);
	assert_int_equal(rest.len, 0);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 200);
	client_responses_free(responses, 1);
}

static void test_client_closes(void **state)
{
	(void)state;
	proxycase_each_seed(
		left_in_queue, "left in queue",
		(struct proxyrig_options){ .upstream = "    connections: 1\n"
						       "    queue_timeout: 60s\n" });
	proxycase_each_seed(
		left_in_backoff, "left in backoff",
		(struct proxyrig_options){
			.again = "    retry: { on: [503], tries: 6, backoff: 60s }\n" });
	proxycase_each_seed(left_behind_requests, "left behind requests",
			    (struct proxyrig_options){ .buffers = 0 });
	proxycase_each_seed(left_inside_response, "left inside response",
			    (struct proxyrig_options){ .buffers = 0 });
}

/* ---- either side closes at any time ----------------------------------------- */

/* After a number of ticks the client resets (0) or closes (1), its origin resets (2), or the proxy is
 * shut down (3). */
static void close_after(struct proxyrig *r, unsigned rounds, const struct proxycase *c,
			int what)
{
	struct sim_peer *client = proxycase_request(r, c->request), *other;

	for (unsigned i = 0; i < rounds; i++) {
		simrig_alarm(&r->sim, 1);
		tick_once(&r->sim.tick);
	}
	timer_stop(&r->sim.tick.wheel, &r->sim.alarm);
	other = r->origins[0].last ? r->origins[0].last : r->memcached.last;
	switch (what) {
	case 0:
		sim_peer_reset_now(client);
		break;
	case 1:
		sim_peer_close_now(client);
		break;
	case 2:
		if (other)
			sim_peer_reset_now(other);
		break;
	case 3:
		proxyrig_end(r);
		break;
	}
	if (what == 2)
		SIMRIG_UNTIL(&r->sim, proxycase_decided(client), 70000);
	simrig_run(&r->sim, (uint32_t)simrig_draw(&r->sim, 50));
}

static void test_close_at_any_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < proxycase_n; i++) {
		const struct proxycase *c = &proxycases[i];

		if (c->client != CLIENT_WAITS || c->proxy_ends)
			continue;
		proxycase_now.name = c->name;
		for (uint64_t seed = 1; seed <= 48; seed++) {
			struct proxyrig r;

			proxycase_now.seed = seed;
			proxycase_open(&r, c, seed);
			close_after(&r, (unsigned)(seed * 7 % 25), c, (int)(seed % 4));
			proxyrig_close(&r);
		}
	}
	proxycase_now.name = "";
}

/* ---- drain ------------------------------------------------------------------ */

/* A drain finishes what is in flight, takes no more requests and closes idle connections. */
static void drain(struct proxyrig *r)
{
	struct sim_peer *idle = proxycase_request(r, GET("/length/3"));
	struct sim_peer *busy = proxycase_request(r, GET("/slow/100") GET("/length/4"));
	struct client_response responses[2];
	struct slice rest;
	unsigned n;

	proxycase_assert_response(r, idle, 200, "Length: 3");
	SIMRIG_UNTIL(&r->sim, r->requests == 2, 1000);
	proxy_drain(&r->proxy);
	SIMRIG_UNTIL(&r->sim, idle->eof, 1000);
	SIMRIG_UNTIL(&r->sim, busy->eof, 20000);
	n = client_responses_read(busy, responses, 2, 0, &rest);
	assert_int_equal(n, 1);
	proxycase_assert_pattern(responses[0].body, 30);
	assert_true(responses[0].close || rest.len == 0);
	client_responses_free(responses, n);
	sim_peer_close(busy);
	sim_peer_close(idle);
	SIMRIG_UNTIL(&r->sim, proxy_idle(&r->proxy), 3000);
}

static void test_drain(void **state)
{
	(void)state;
	proxycase_each_seed(drain, "drain", (struct proxyrig_options){ .buffers = 0 });
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_eviction),
		PROXYCASE_TEST(test_identity),
		PROXYCASE_TEST(test_client_closes),
		PROXYCASE_TEST(test_close_at_any_time),
		PROXYCASE_TEST(test_drain),
	};

	return proxycase_run("exchange", tests, COUNT(tests));
}
