/* Health checks of servers in the simulated network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/io/engine.h"
#include "config/upstreamtls.h"
#include "http/lenient.h"
#include "lib/simtls.h"
#include "watch/prober.h"

#define PORT 6000
#define SERVERS 3
#define INTERVAL_MS 1000
#define TIMEOUT_MS 300
#define EVENTS_MAX 64

/* The response of each server to the expected request; NULL: none. "!": it closes. */
static const char *responses[SERVERS];
static const char *expected_request;

struct probe_report {
	unsigned server;
	bool up, first;
	uint64_t at_ms;
	char why[64];
};

static struct simrig rig;
static struct config config;
static struct config_upstream upstream;
static struct config_server servers[SERVERS];
static struct config_address addresses[SERVERS][2]; /* of them */
static struct sim_server hosts[SERVERS];
static struct quota descriptors;
static struct prober *prober;
static struct probe_report reported[EVENTS_MAX];
static unsigned reported_n;
static bool refuse_events;
static const struct io_engine *engine;
static struct io_connect *late_connect;

static bool take_event(void *owner, const struct prober_event *event)
{
	assert_ptr_equal(owner, &rig);
	assert_int_equal(event->upstream, 0);
	assert_true(reported_n < EVENTS_MAX);
	assert_int_equal(event->up, !event->why);
	reported[reported_n] = (struct probe_report){ event->server, event->up,
						      event->first, rig.tick.now_ms, "" };
	snprintf(reported[reported_n++].why, sizeof(reported[0].why), "%s",
		 event->why ? event->why : "");
	return !refuse_events;
}

static bool request_received(const struct sim_peer *a)
{
	size_t n = strlen(expected_request);

	return a->in_n >= n && memcmp(a->in + a->in_n - n, expected_request, n) == 0;
}

static void server_received(struct sim_peer *a)
{
	const char *answer = responses[(unsigned)(a->server - hosts)];

	if (!answer || a->step > 0)
		return;
	if (expected_request[0] != '\0' && !request_received(a))
		return;
	a->step = 1;
	if (strcmp(answer, "!") != 0)
		sim_peer_send_text(a, answer);
	sim_peer_shutdown(a);
}

static void set_address(struct config_address *to, unsigned port)
{
	struct sockaddr_in addr = simrig_address(port);

	memset(to, 0, sizeof(*to));
	to->len = sizeof(addr);
	memcpy(&to->sa, &addr, sizeof(addr));
}

static void open_world(uint64_t seed, unsigned n, enum config_health_type type)
{
	simrig_open(&rig, seed, 64);
	memset(hosts, 0, sizeof(hosts));
	memset(servers, 0, sizeof(servers));
	reported_n = 0;
	refuse_events = false;
	for (unsigned i = 0; i < SERVERS; i++) {
		servers[i].name = servers[i].address = "app.test:6000";
		servers[i].address_n = 1;
		servers[i].addresses = addresses[i];
		set_address(&servers[i].addresses[0], PORT + i);
		sim_server_open(&hosts[i], &rig, PORT + i, server_received, NULL);
	}
	upstream = (struct config_upstream){ .name = "app", .server_n = n, .servers = servers,
					     .lenient = 1 << LENIENT_COLON | 1 << LENIENT_LF };
	upstream.health = (struct config_health){
		.on = true, .type = type, .path = SLICE("/health"), .status_n = 2,
		.statuses = { { 200, 299 }, { 404, 404 } }, .interval_ms = INTERVAL_MS,
		.timeout_ms = TIMEOUT_MS, .rise = 2, .fall = 3 };
	config = (struct config){ .upstream_n = 1, .upstreams = &upstream };
	expected_request = type == CONFIG_HEALTH_HTTP        ? "\r\n\r\n"
			   : type == CONFIG_HEALTH_MEMCACHED ? "version\r\n"
							     : "";
	quota_init(&descriptors, 10);
}

static void start(void)
{
	prober = prober_new(&(struct prober_options){ .tick = &rig.tick,
						      .config = &config,
						      .descriptors = &descriptors,
						      .seed = 77,
						      .notify = take_event,
						      .owner = &rig });
	assert_non_null(prober);
}

static void close_world(void)
{
	prober_stop(prober);
	SIMRIG_UNTIL(&rig, prober_idle(prober), 3000);
	prober_free(prober);
	assert_int_equal(descriptors.used, 0);
	simrig_close_peers(&rig);
	simrig_assert_buffers(&rig);
	simrig_close(&rig);
}

/* The result of the first probe of one server. */
static const struct {
	enum config_health_type type;
	const char *answer, *why;
} probes[] = {
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.0 404 Not Found\r\n\r\n", "" },
	{ CONFIG_HEALTH_HTTP,
	  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 300 x\r\nContent-Length: 0\r\n\r\n",
	  "status 300" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n",
	  "status 503" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 200 OK\r\nContent-Le",
	  "closed without a response" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 200 OK\nA : b\n\n", "" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 200 OK\nA : b\n", "closed without a response" },
	{ CONFIG_HEALTH_HTTP, "HTTP/1.1 200 OK\nA : b\n c\n\n", "folded field line" },
	{ CONFIG_HEALTH_HTTP, "!", "closed without a response" },
	{ CONFIG_HEALTH_HTTP, NULL, "no response in time" },
	{ CONFIG_HEALTH_TCP, "anything", "" },
	{ CONFIG_HEALTH_TCP, NULL, "" },
	{ CONFIG_HEALTH_MEMCACHED, "VERSION 1.6.18\r\n", "" },
	{ CONFIG_HEALTH_MEMCACHED, "ERROR\r\n", "not a VERSION reply" },
	{ CONFIG_HEALTH_MEMCACHED, "VERSI", "closed without a response" },
	{ CONFIG_HEALTH_MEMCACHED, NULL, "no response in time" },
};

static void test_results(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(probes); i++) {
		for (uint64_t seed = 1; seed <= 10; seed++) {
			open_world(seed, 1, probes[i].type);
			responses[0] = probes[i].answer;
			start();
			SIMRIG_UNTIL(&rig, reported_n > 0,
				     INTERVAL_MS + TIMEOUT_MS + 100);
			assert_string_equal(reported[0].why, probes[i].why);
			assert_true(reported[0].first);
			close_world();
		}
	}
}

/* Malformed heads. */
static void test_malformed(void **state)
{
	(void)state;
	open_world(3, 1, CONFIG_HEALTH_HTTP);
	responses[0] = "SSH-2.0-OpenSSH_9.2\r\n\r\n";
	start();
	SIMRIG_UNTIL(&rig, reported_n > 0, INTERVAL_MS + TIMEOUT_MS);
	assert_false(reported[0].up);
	close_world();
}

static void test_request(void **state)
{
	(void)state;
	open_world(5, 1, CONFIG_HEALTH_HTTP);
	responses[0] = NULL;
	start();
	SIMRIG_UNTIL(&rig, hosts[0].last && request_received(hosts[0].last),
		     2 * INTERVAL_MS);
	assert_true(
		slice_starts(sim_peer_received(hosts[0].last),
			     SLICE("GET /health HTTP/1.1\r\nHost: app.test:6000\r\n")));
	assert_non_null(strstr(hosts[0].last->in, "\r\nConnection: close\r\n"));
	close_world();
}

/* Checks are nobody's connection: UNKNOWN or LOCAL, before the request; also if that is empty. */
static void test_proxy_protocol(void **state)
{
	static const struct {
		enum config_proxy_protocol version;
		enum config_health_type type;
		struct slice begin;
	} rows[] = {
		{ CONFIG_PROXY_V1, CONFIG_HEALTH_HTTP, { "PROXY UNKNOWN\r\nGET ", 19 } },
		{ CONFIG_PROXY_V2, CONFIG_HEALTH_HTTP,
		  { "\r\n\r\n\0\r\nQUIT\n\x20\0\0\7", 16 } },
		{ CONFIG_PROXY_V1, CONFIG_HEALTH_TCP, { "PROXY UNKNOWN\r\n", 15 } },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(rows); i++) {
		open_world(i, 1, rows[i].type);
		upstream.proxy_protocol = rows[i].version;
		responses[0] = NULL;
		start();
		SIMRIG_UNTIL(&rig, hosts[0].last && hosts[0].last->in_n >= rows[i].begin.len,
			     2 * INTERVAL_MS);
		assert_true(slice_starts(sim_peer_received(hosts[0].last), rows[i].begin));
		if (rows[i].type == CONFIG_HEALTH_HTTP)
			SIMRIG_UNTIL(&rig, request_received(hosts[0].last), TIMEOUT_MS);
		close_world();
	}
}

static unsigned events_of(unsigned server, bool up)
{
	unsigned n = 0;

	for (unsigned i = 0; i < reported_n; i++)
		n += reported[i].server == server && reported[i].up == up;
	return n;
}

/* A server that refuses, later accepts: three bad probes bring it down, two good ones up. */
static void test_down_and_up(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t from_ms;

		open_world(seed, 2, CONFIG_HEALTH_HTTP);
		responses[0] = responses[1] =
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
		start();
		SIMRIG_UNTIL(&rig, reported_n == 2, INTERVAL_MS + 200);
		sim_server_close(&hosts[1]);
		from_ms = rig.tick.now_ms;
		SIMRIG_UNTIL(&rig, reported_n == 3, 5 * INTERVAL_MS);
		assert_int_equal(reported[2].server, 1);
		assert_false(reported[2].up);
		assert_false(reported[2].first);
		assert_in_range(rig.tick.now_ms - from_ms, 2 * INTERVAL_MS, 4 * INTERVAL_MS);
		sim_server_open(&hosts[1], &rig, PORT + 1, server_received, NULL);
		from_ms = rig.tick.now_ms;
		SIMRIG_UNTIL(&rig, reported_n == 4, 5 * INTERVAL_MS);
		assert_true(reported[3].up);
		assert_in_range(rig.tick.now_ms - from_ms, INTERVAL_MS, 3 * INTERVAL_MS);
		assert_int_equal(events_of(0, false), 0);
		close_world();
	}
}

/* One lost probe of three is no event. */
static void test_flapping(void **state)
{
	(void)state;
	open_world(9, 1, CONFIG_HEALTH_HTTP);
	for (unsigned i = 0; i < 30; i++) {
		unsigned before = hosts[0].accepted;

		responses[0] = i % 3 == 2 ? "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"
					  : "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n";
		if (i == 0)
			start();
		SIMRIG_UNTIL(&rig, hosts[0].accepted > before, 2 * INTERVAL_MS);
		simrig_run(&rig, INTERVAL_MS / 2);
	}
	assert_int_equal(reported_n, 1);
	assert_true(reported[0].up);
	close_world();
}

/* Intervals are kept, with jitter, and without drifting together. */
static void test_intervals(void **state)
{
	uint64_t last_ms = 0;

	(void)state;
	open_world(4, 1, CONFIG_HEALTH_TCP);
	upstream.health.jitter = 20;
	start();
	for (unsigned i = 1; i <= 20; i++) {
		SIMRIG_UNTIL(&rig, hosts[0].accepted == i, 2 * INTERVAL_MS);
		if (i > 1)
			assert_in_range(rig.tick.now_ms - last_ms, INTERVAL_MS * 7 / 10,
					INTERVAL_MS * 13 / 10);
		last_ms = rig.tick.now_ms;
	}
	close_world();
}

/* Each response takes longer than the interval: no two probes at once, and not too many. */
static void test_slower_than_the_interval(void **state)
{
	uint64_t from_ms, took_ms;

	(void)state;
	open_world(4, 1, CONFIG_HEALTH_HTTP);
	upstream.health.interval_ms = 50;
	responses[0] = NULL;
	start();
	from_ms = rig.tick.now_ms;
	for (unsigned i = 0; i < 300; i++) {
		simrig_run(&rig, 10);
		assert_true(descriptors.used <= 1);
	}
	took_ms = rig.tick.now_ms - from_ms;
	assert_in_range(hosts[0].accepted, took_ms / (TIMEOUT_MS + 100), took_ms / TIMEOUT_MS + 1);
	close_world();
}

/* A health check port other than that of the requests. */
static void test_port(void **state)
{
	(void)state;
	open_world(2, 1, CONFIG_HEALTH_TCP);
	upstream.health.port = PORT + 2;
	start();
	SIMRIG_UNTIL(&rig, reported_n == 1, 2 * INTERVAL_MS);
	assert_int_equal(hosts[0].accepted, 0);
	assert_int_equal(hosts[2].accepted, 1);
	close_world();
}

static void says_no_tls(struct sim_peer *p)
{
	if (p->in_n > 0 && p->step++ == 0)
		sim_peer_send_text(p, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

/* A check speaks TLS as requests do; that of type tcp includes the handshake. */
static void test_tls(void **state)
{
	static const enum config_health_type types[] = { CONFIG_HEALTH_HTTP,
							 CONFIG_HEALTH_TCP };
	struct tls_context *server = simtls_server_context();
	struct config_upstream_tls tls = { .context = simtls_client_context() };

	(void)state;
	for (unsigned i = 0; i < 2 * 10; i++) {
		open_world(i + 1, 2, types[i % 2]);
		assert_true(tick_use_tls(&rig.tick, NULL, 1000));
		upstream.tls = &tls;
		upstream.health.fall = upstream.health.rise = 1;
		servers[0].tls_name = servers[1].tls_name = "app.test";
		hosts[0].tls = server;
		hosts[1].on_input = says_no_tls;
		responses[0] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
		start();
		SIMRIG_UNTIL(&rig, reported_n == 2, 2 * INTERVAL_MS);
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(reported[k].up, reported[k].server == 0);
			if (reported[k].server == 1)
				assert_string_equal(reported[k].why, "not a TLS record");
		}
		close_world();
	}
	tls_context_unref(server);
	tls_context_unref(tls.context);
}

struct stats_sum {
	unsigned n, up;
	uint64_t probes, failures;
};

static void sum_stats(void *owner, const struct prober_stats *stats)
{
	struct stats_sum *r = owner;

	r->n++;
	r->up += stats->state == HEALTH_UP;
	r->probes += stats->probes;
	r->failures += stats->failures;
}

static struct stats_sum sums(void)
{
	struct stats_sum r = { 0 };

	prober_each(prober, sum_stats, &r);
	return r;
}

/* Removed addresses are probed no more, new ones soon; addresses that stay keep their
 * state. */
static void test_resolved(void **state)
{
	struct config_address now[2];
	unsigned before;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		open_world(seed, 1, CONFIG_HEALTH_HTTP);
		responses[0] = responses[1] =
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
		responses[2] = NULL;
		servers[0].address_n = 2;
		set_address(&servers[0].addresses[1], PORT + 1);
		start();
		SIMRIG_UNTIL(&rig, reported_n == 2, INTERVAL_MS + 200);
		assert_int_equal(sums().up, 2);
		set_address(&now[0], PORT + 2);
		set_address(&now[1], PORT + 1);
		simrig_run(&rig, (uint32_t)simrig_draw(
					 &rig, 1000)); /* within a probe, or not */
		before = reported_n;
		prober_resolved(prober, 0, 0, now, 2);
		assert_int_equal(sums().n, 2);
		assert_int_equal(sums().up, 1);
		SIMRIG_UNTIL(&rig, reported_n == before + 1,
			     INTERVAL_MS + TIMEOUT_MS + 200);
		assert_false(reported[before].up);
		before = hosts[0].accepted;
		simrig_run(&rig, 3 * INTERVAL_MS);
		assert_int_equal(hosts[0].accepted, before);
		close_world();
	}
}

/* Without a descriptor there is no result. */
static void test_descriptors(void **state)
{
	(void)state;
	open_world(6, 1, CONFIG_HEALTH_HTTP);
	responses[0] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	quota_init(&descriptors, 0);
	start();
	simrig_run(&rig, 3 * INTERVAL_MS);
	assert_int_equal(reported_n, 0);
	assert_in_range(prober_skipped(prober), 2, 4);
	assert_int_equal(sums().probes, 0);
	descriptors.limit = 1;
	SIMRIG_UNTIL(&rig, reported_n == 1, 2 * INTERVAL_MS);
	assert_true(reported[0].up);
	close_world();
}

/* Nor if we run out of ports or descriptors during the connect. */
static void test_shortage(void **state)
{
	(void)state;
	open_world(6, 1, CONFIG_HEALTH_HTTP);
	responses[0] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	sim_set_faults(rig.tick.loop, &(struct sim_faults){ .connects = 1 });
	start();
	simrig_run(&rig, 4 * INTERVAL_MS);
	assert_int_equal(reported_n, 0);
	assert_in_range(prober_skipped(prober), 3, 5);
	assert_int_equal(sums().probes, 0);
	sim_set_faults(rig.tick.loop, &(struct sim_faults){ 0 });
	SIMRIG_UNTIL(&rig, reported_n == 1, 2 * INTERVAL_MS);
	assert_true(reported[0].up);
	close_world();
}

static void connect_late(struct io_loop *loop, struct io_connect *op)
{
	(void)loop;
	assert_null(late_connect);
	late_connect = op;
}

/* The cancellation comes too late. */
static void cancel_late(struct io_loop *loop, struct io_op *op)
{
	struct io_connect *connect = late_connect;

	late_connect = NULL;
	if (connect)
		engine->connect(loop, connect);
	else
		engine->cancel(loop, op);
}

/* The connection is established in the moment of the timeout. */
static void test_late_connection(void **state)
{
	static struct io_engine late;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		open_world(seed, 1, CONFIG_HEALTH_HTTP);
		responses[0] = NULL;
		engine = rig.tick.loop->engine;
		late = *engine;
		late.connect = connect_late;
		late.cancel = cancel_late;
		rig.tick.loop->engine = &late;
		start();
		simrig_run(&rig, 5 * INTERVAL_MS);
		assert_in_range(sums().probes, 4, 6);
		assert_string_equal(reported[0].why, "no connection in time");
		close_world();
	}
}

/* If a worker could not be notified the event is repeated. */
static void test_notified_again(void **state)
{
	(void)state;
	open_world(6, 1, CONFIG_HEALTH_TCP);
	refuse_events = true;
	start();
	SIMRIG_UNTIL(&rig, reported_n == 2, 3 * INTERVAL_MS);
	refuse_events = false;
	SIMRIG_UNTIL(&rig, reported_n == 3, 3 * INTERVAL_MS);
	simrig_run(&rig, 3 * INTERVAL_MS);
	assert_int_equal(reported_n, 3);
	assert_true(reported[2].up);
	close_world();
}

/* Stopped at any moment. */
static void test_stopped(void **state)
{
	(void)state;
	for (uint32_t ms = 0; ms < 1400; ms += 7) {
		unsigned before;

		open_world(ms + 1, 3, ms % 2 ? CONFIG_HEALTH_HTTP : CONFIG_HEALTH_MEMCACHED);
		responses[0] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok";
		responses[1] = NULL;
		responses[2] = "!";
		sim_server_close(&hosts[2]);
		start();
		simrig_run(&rig, ms);
		before = reported_n;
		prober_stop(prober);
		simrig_run(&rig, 3000);
		assert_int_equal(reported_n, before);
		close_world();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_proxy_protocol),
		cmocka_unit_test(test_down_and_up),
		cmocka_unit_test(test_flapping),
		cmocka_unit_test(test_intervals),
		cmocka_unit_test(test_slower_than_the_interval),
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_resolved),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_shortage),
		cmocka_unit_test(test_late_connection),
		cmocka_unit_test(test_notified_again),
		cmocka_unit_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
