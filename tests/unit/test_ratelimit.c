/* The rules `rate_limit` and `concurrency_limit`, between a client and an origin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/rules/limitkey.h"
#include "lib/proxycase.h"

#define GET_KEY(path, key) "GET " path " HTTP/1.1\r\nHost: app\r\nX-Key: " key "\r\n\r\n"

static void assert_get(struct proxyrig *r, const char *request, int status,
		       const char *fields)
{
	struct sim_peer *client = proxycase_request(r, request);

	proxycase_assert_response(r, client, status, fields);
	sim_peer_close_now(client);
}

/* Nothing is counted as in flight any more. */
static void assert_no_counts(struct proxyrig *r)
{
	const struct limit_table *t = &r->limits.counts;

	SIMRIG_UNTIL(&r->sim, r->proxy.rules.taken == 0, 5000);
	for (size_t i = 0; i < (size_t)t->lines * LIMIT_LINE; i++)
		assert_int_equal(t->words[i], 0);
}

static void each_seed(void (*test)(struct proxyrig *r), const char *again)
{
	proxycase_each_seed(test, again, (struct proxyrig_options){ .again = again });
}

/* ---- rate_limit --------------------------------------------------------------- */

static void refuses(struct proxyrig *r)
{
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit: \"default\";r=1;t=30\r\n");
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit-Policy: \"default\";q=2;w=60\r\n");
	assert_int_equal(r->stats.rate_limits_exceeded, 0);
	assert_get(r, GET("/again/length"), 429, "\r\nRetry-After: 30\r\n");
	proxycase_assert_ending(r, ENDING_RATE_LIMITED);
	assert_int_equal(r->stats.rate_limits_exceeded, 1);
	assert_int_equal(r->requests, 2);
	/* Other routes have nothing of it. */
	assert_get(r, GET("/length"), 200, "");
	simrig_run(&r->sim, 30100);
	assert_get(r, GET("/again/length"), 200,
		   "\r\nRateLimit: \"default\";r=0;t=60\r\n");
	assert_get(r, GET("/again/length"), 429, "error=http_request_denied");
}

static void test_refuses(void **state)
{
	(void)state;
	each_seed(refuses, "    rate_limit: 2/m\n");
}

static void keys(struct proxyrig *r)
{
	assert_get(r, GET_KEY("/again/length", "a"), 200, "");
	assert_get(r, GET_KEY("/again/length", "a"), 429, "");
	assert_get(r, GET_KEY("/again/length", "b"), 200, "");
	assert_get(r, GET_KEY("/again/length", "b"), 429, "");
	/* Without a key nothing is limited. */
	assert_get(r, GET("/again/length"), 200, "");
	assert_get(r, GET("/again/length"), 200, "");
}

static void test_keys(void **state)
{
	(void)state;
	each_seed(keys, "    rate_limit: { requests: 1/h, key: \"${header.X-Key}\" }\n");
}

/* Each waits for its turn, and none is sent earlier. */
static void delays(struct proxyrig *r)
{
	uint64_t from_ms = r->sim.tick.now_ms;
	struct sim_peer *clients[4];

	for (unsigned i = 0; i < 4; i++) {
		clients[i] = proxycase_request(r, GET("/again/length"));
		SIMRIG_UNTIL(&r->sim, r->stats.requests == i + 1, 1000);
	}
	for (unsigned i = 0; i < 3; i++) {
		proxycase_assert_response(r, clients[i], 200, "");
		assert_in_range(proxycase_elapsed_ms(r, from_ms), i * 1000,
				i * 1000 + 400);
	}
	assert_int_equal(r->stats.requests_delayed, 2);
	proxycase_assert_response(r, clients[3], 429, "\r\nRetry-After: 3\r\n");
}

static void test_delays(void **state)
{
	(void)state;
	each_seed(delays, "    rate_limit: { requests: 1/s, burst: 1, delay: 2s }\n");
}

/* One that leaves while it waits. */
static void leaves(struct proxyrig *r)
{
	struct sim_peer *client;

	assert_get(r, GET("/again/length"), 200, "");
	client = proxycase_request(r, GET("/again/length"));
	SIMRIG_UNTIL(&r->sim, r->stats.requests_delayed == 1, 1000);
	if (simrig_draw(&r->sim, 2))
		sim_peer_reset_now(client);
	else
		sim_peer_shutdown(client);
	SIMRIG_UNTIL(&r->sim, r->proxy.rules.taken == 0, 2500);
	assert_int_equal(r->requests, 1);
}

static void test_leaves(void **state)
{
	(void)state;
	each_seed(leaves, "    rate_limit: { requests: 1/m, burst: 1, delay: 60s }\n");
}

static void dry_run(struct proxyrig *r)
{
	for (unsigned i = 0; i < 3; i++)
		assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->stats.rate_limits_exceeded, 2);
}

static void test_dry_run(void **state)
{
	(void)state;
	each_seed(dry_run, "    rate_limit: { requests: 1/h, dry_run: on }\n");
}

/* ---- concurrency_limit -------------------------------------------------------- */

static void at_once(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, GET("/again/never")), *second;

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	second = proxycase_request(r, GET("/again/never"));
	SIMRIG_UNTIL(&r->sim, r->requests == 2, 1000);
	assert_get(r, GET("/again/length"), 429, "\r\nRetry-After: 1\r\n");
	proxycase_assert_ending(r, ENDING_CONCURRENCY_LIMITED);
	assert_int_equal(r->stats.concurrency_limits_exceeded, 1);
	sim_peer_reset_now(first);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 1, 1000);
	assert_get(r, GET("/again/length"), 200, "");
	assert_get(r, GET("/again/length"), 200, "");
	sim_peer_reset_now(second);
	assert_no_counts(r);
}

static void test_at_once(void **state)
{
	(void)state;
	each_seed(at_once, "    concurrency_limit: { requests: 2 }\n");
}

static void at_once_dry(struct proxyrig *r)
{
	struct sim_peer *first = proxycase_request(r, GET("/again/never"));

	SIMRIG_UNTIL(&r->sim, r->requests == 1, 1000);
	assert_get(r, GET("/again/length"), 200, "");
	assert_int_equal(r->stats.concurrency_limits_exceeded, 1);
	sim_peer_reset_now(first);
	assert_no_counts(r);
}

static void test_at_once_dry(void **state)
{
	(void)state;
	each_seed(at_once_dry, "    concurrency_limit: { requests: 1, dry_run: on }\n");
}

/* ---- keys ---------------------------------------------------------------------- */

static uint64_t hash_of(const struct limit_key *k, const char *address)
{
	struct request_view view = { .client = slice_of(address) };
	uint64_t hash;

	assert_true(limit_key_hash(k, &view, 7, &hash));
	return hash;
}

/* The addresses of an IPv6 network are one client; IPv4 addresses are each their own. */
static void test_networks(void **state)
{
	struct limit_key k = { .ipv6_prefix = 64 };
	uint64_t hash = hash_of(&k, "2001:db8::1");

	(void)state;
	assert_int_equal(hash_of(&k, "2001:db8::ffff:1:2"), hash);
	assert_int_not_equal(hash_of(&k, "2001:db8:0:1::1"), hash);
	k.ipv6_prefix = 48;
	assert_int_equal(hash_of(&k, "2001:db8:0:1::1"), hash);
	k.ipv6_prefix = 128;
	assert_int_not_equal(hash_of(&k, "2001:db8::2"), hash_of(&k, "2001:db8::1"));
	assert_int_not_equal(hash_of(&k, "192.0.2.1"), hash_of(&k, "192.0.2.2"));
	assert_int_equal(hash_of(&k, "192.0.2.1"), hash_of(&k, "192.0.2.1"));
	/* Another rule. */
	hash = hash_of(&k, "192.0.2.1");
	k.place = 1;
	assert_int_not_equal(hash_of(&k, "192.0.2.1"), hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),     cmocka_unit_test(test_keys),
		cmocka_unit_test(test_delays),      cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_dry_run),     cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_at_once_dry), cmocka_unit_test(test_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
