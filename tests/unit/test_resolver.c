/* The addresses of names and the times of their lookups; the test plays the nameserver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/simrig.h"
#include "watch/resolver.h"

#define EVENTS_MAX 64

struct name_report {
	unsigned server, n;
	bool changed, recovered, truncated;
	bool failure;
	uint16_t last[8]; /* the last bytes of its addresses */
};

static struct simrig rig;
static struct config config;
static struct config_upstream upstream;
static struct config_server servers[3];
static struct config_address addresses[3]; /* of them */
static struct resolver *resolver;
static struct resolver_query *queries[16];
static uint64_t query_ms[16];
static unsigned query_n;
static struct name_report reported[EVENTS_MAX];
static unsigned reported_n;
static uint16_t weight = 1; /* of addresses in answers */

static void query(void *owner, struct resolver_query *a)
{
	assert_ptr_equal(owner, &rig);
	assert_true(query_n < COUNT(queries));
	query_ms[query_n] = rig.tick.now_ms;
	queries[query_n++] = a;
}

static void take_event(void *owner, const struct resolver_event *event)
{
	struct name_report *t = &reported[reported_n++];

	assert_ptr_equal(owner, &rig);
	assert_true(reported_n < EVENTS_MAX);
	*t = (struct name_report){ .server = event->server,
				   .n = event->n,
				   .changed = event->changed,
				   .recovered = event->recovered,
				   .failure = event->failure,
				   .truncated = event->truncated };
	for (unsigned i = 0; i < event->n && i < COUNT(t->last); i++) {
		struct sockaddr_in in;

		memcpy(&in, &event->addresses[i].sa, sizeof(in));
		t->last[i] = in.sin_family == AF_INET ? ntohl(in.sin_addr.s_addr) & 0xff : 0xffff;
		if (in.sin_family == AF_INET)
			assert_int_equal(ntohs(in.sin_port), 6000);
	}
}

static void open_world(void)
{
	simrig_open(&rig, 1, 16);
	memset(servers, 0, sizeof(servers));
	query_n = reported_n = 0;
	servers[0].host = "app.test";
	servers[0].port = 6000;
	servers[1].host = NULL; /* an address */
	for (unsigned i = 0; i < COUNT(servers); i++) {
		struct dns_address a = { AF_INET, 6000, { 10, 0, 0, 1 }, 1 };

		servers[i].address_n = 1;
		servers[i].addresses = &addresses[i];
		servers[i].addresses[0].len = dns_sockaddr(&a, &servers[i].addresses[0].sa);
	}
	upstream = (struct config_upstream){ .server_n = 2, .servers = servers };
	config = (struct config){ .upstream_n = 1, .upstreams = &upstream,
				  .resolver = { .ttl_min_ms = 2000, .ttl_max_ms = 60000 } };
}

static void start(void)
{
	resolver = resolver_new(&(struct resolver_options){ .tick = &rig.tick,
							    .config = &config,
							    .query = query,
							    .notify = take_event,
							    .owner = &rig });
	assert_non_null(resolver);
}

static void close_world(void)
{
	resolver_stop(resolver);
	for (unsigned i = 0; i < query_n; i++) {
		assert_false(resolver_idle(resolver));
		queries[i]->done(queries[i]);
	}
	assert_true(resolver_idle(resolver));
	resolver_free(resolver);
	simrig_close(&rig);
}

/* Answers the first query: addresses 10.0.0.x, ended by 0; 255: one of IPv6. */
static void answer(uint32_t ttl_s, const uint8_t *last)
{
	struct resolver_query *a = queries[0];
	struct dns_lookup *l = &a->lookup;

	assert_true(query_n > 0);
	memmove(queries, queries + 1, --query_n * sizeof(queries[0]));
	memmove(query_ms, query_ms + 1, query_n * sizeof(query_ms[0]));
	l->ttl_s = ttl_s;
	l->failure = last[0] ? NULL : "no such name";
	l->n = 0;
	for (unsigned i = 0; last[i]; i++)
		dns_lookup_add(l, last[i] == 255 ?
			(struct dns_address){ AF_INET6, 6000, { [15] = 1 }, weight } :
			(struct dns_address){ AF_INET, 6000, { 10, 0, 0, last[i] }, weight });
	a->done(a);
	l->incomplete_v4 = l->incomplete_v6 = false;
}

#define ANSWER(ttl_s, ...) answer(ttl_s, (const uint8_t[]){ __VA_ARGS__, 0 })
#define FAIL() answer(0, (const uint8_t[]){ 0 })

/* The time until the next query. */
static uint64_t next_ms(void)
{
	uint64_t from_ms = rig.tick.now_ms;

	assert_int_equal(query_n, 0);
	SIMRIG_UNTIL(&rig, query_n > 0, 4000000);
	return rig.tick.now_ms - from_ms;
}

#define ASSERT_NEXT(ms) assert_in_range(next_ms(), (ms), (ms) + 2100)

static void test_first(void **state)
{
	(void)state;
	open_world();
	start();
	SIMRIG_UNTIL(&rig, query_n == 1, 100);
	assert_string_equal(queries[0]->lookup.name, "app.test");
	assert_false(queries[0]->lookup.service);
	assert_int_equal(queries[0]->lookup.port, 6000);
	ANSWER(30, 1); /* no change */
	assert_int_equal(reported_n, 0);
	simrig_run(&rig, 20000);
	assert_int_equal(query_n, 0);
	close_world();
}

static void test_ttl(void **state)
{
	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(10, 1);
	ASSERT_NEXT(10000);
	ANSWER(0, 1); /* not less than the minimum */
	ASSERT_NEXT(2000);
	ANSWER(86400, 1); /* not more than the maximum */
	ASSERT_NEXT(60000);
	ANSWER(INT32_MAX, 1);
	ASSERT_NEXT(60000);
	close_world();
}

static void test_changes(void **state)
{
	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(5, 2, 3);
	assert_int_equal(reported_n, 1);
	assert_true(reported[0].changed && !reported[0].failure &&
		    !reported[0].recovered);
	assert_int_equal(reported[0].server, 0);
	assert_int_equal(reported[0].n, 2);
	assert_int_equal(reported[0].last[0], 2);
	assert_int_equal(reported[0].last[1], 3);
	next_ms();
	ANSWER(5, 3, 2); /* the same addresses in another order */
	assert_int_equal(reported_n, 1);
	next_ms();
	ANSWER(5, 3);
	assert_int_equal(reported_n, 2);
	assert_int_equal(reported[1].n, 1);
	assert_int_equal(reported[1].last[0], 3);
	close_world();
}

/* The last addresses stay; the failure is reported once; lookups become less and less
 * frequent; the recovery is reported too. */
static void test_failures(void **state)
{
	static const uint32_t pauses_ms[] = { 2000, 4000, 8000, 16000, 30000, 30000 };

	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(5, 2);
	next_ms();
	for (unsigned i = 0; i < COUNT(pauses_ms); i++) {
		FAIL();
		ASSERT_NEXT(pauses_ms[i]);
	}
	assert_int_equal(reported_n, 2);
	assert_true(reported[1].failure && !reported[1].changed);
	assert_int_equal(reported[1].n, 1);
	assert_int_equal(reported[1].last[0], 2);
	ANSWER(5, 2);
	assert_int_equal(reported_n, 3);
	assert_true(reported[2].recovered && !reported[2].changed &&
		    !reported[2].failure);
	ASSERT_NEXT(5000);
	FAIL();
	ASSERT_NEXT(2000); /* from the start */
	ANSWER(5, 4);
	assert_true(reported[4].recovered && reported[4].changed);
	close_world();
}

/* If the answer for one family is missing its addresses stay. */
static void test_incomplete(void **state)
{
	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(5, 2, 255);
	assert_int_equal(reported[0].n, 2);
	next_ms();
	queries[0]->lookup.incomplete_v6 = true;
	ANSWER(60, 2);
	assert_int_equal(reported_n, 1);
	ASSERT_NEXT(2000); /* not after the time to live of the other family */
	queries[0]->lookup.incomplete_v6 = true;
	ANSWER(60, 3);
	assert_int_equal(reported_n, 2);
	assert_int_equal(reported[1].n, 2);
	assert_int_equal(reported[1].last[0], 3);
	assert_int_equal(reported[1].last[1], 0xffff);
	next_ms();
	ANSWER(60, 3); /* now it is complete */
	assert_int_equal(reported_n, 3);
	assert_int_equal(reported[2].n, 1);
	close_world();
}

/* Other weights of the same addresses are a change. */
static void test_weights(void **state)
{
	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(5, 1);
	assert_int_equal(reported_n, 0); /* as configured, without a weight */
	next_ms();
	weight = 7;
	ANSWER(5, 1);
	assert_int_equal(reported_n, 1);
	assert_true(reported[0].changed);
	next_ms();
	ANSWER(5, 1);
	assert_int_equal(reported_n, 1);
	weight = 1;
	close_world();
}

static void test_report_again(void **state)
{
	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(60, 2);
	assert_int_equal(reported_n, 1);
	resolver_notify_again(resolver, 0, 0);
	ASSERT_NEXT(2000);
	ANSWER(60, 2);
	assert_int_equal(reported_n, 2);
	assert_true(reported[1].changed);
	next_ms();
	ANSWER(60, 2);
	assert_int_equal(reported_n, 2);
	close_world();
}

/* The report does not wait for a nameserver that has become unreachable. */
static void test_report_again_without_answer(void **state)
{
	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(60, 2);
	resolver_notify_again(resolver, 0, 0);
	next_ms();
	FAIL();
	assert_int_equal(reported_n, 2);
	assert_true(reported[1].changed);
	assert_non_null(reported[1].failure);
	assert_int_equal(reported[1].last[0], 2);
	resolver_notify_again(resolver, 0, 0);
	next_ms();
	FAIL();
	assert_int_equal(reported_n, 3);
	assert_true(reported[2].changed);
	assert_null(reported[2].failure);
	next_ms();
	FAIL();
	assert_int_equal(reported_n, 3);
	close_world();
}

/* A name that could not be resolved when the configuration was read gets the addresses of
 * the previous resolver. They are reported; that it cannot be resolved is not: the
 * configuration reported it. */
static void test_previous(void **state)
{
	struct resolver *previous;

	(void)state;
	open_world();
	start();
	next_ms();
	ANSWER(60, 2, 3);
	assert_int_equal(reported_n, 1);
	previous = resolver;
	servers[0].unresolved = true;
	servers[2] = servers[0];
	servers[2].host = "other.test";
	servers[2].address_n = 0;
	upstream.server_n = 3;
	resolver = resolver_new(&(struct resolver_options){ .tick = &rig.tick,
							    .config = &config,
							    .query = query,
							    .notify = take_event,
							    .owner = &rig,
							    .previous = previous });
	resolver_stop(previous);
	resolver_free(previous);
	SIMRIG_UNTIL(&rig, query_n == 2, 100);
	FAIL();
	assert_int_equal(reported_n, 2);
	assert_true(reported[1].changed);
	assert_null(reported[1].failure);
	assert_int_equal(reported[1].n, 2);
	assert_int_equal(reported[1].last[0], 2);
	FAIL(); /* the other name, without addresses */
	assert_int_equal(reported_n, 2);
	SIMRIG_UNTIL(&rig, query_n == 2, 5000);
	FAIL();
	ANSWER(60, 7);
	assert_int_equal(reported_n, 3);
	assert_int_equal(reported[2].server, 2);
	assert_true(reported[2].changed && reported[2].recovered);
	assert_int_equal(reported[2].last[0], 7);
	close_world();
}

static void sum_stats(void *owner, const struct resolver_stats *stats)
{
	struct resolver_stats *sum = owner;

	*sum = *stats;
}

static void test_stats(void **state)
{
	struct resolver_stats stats = { 0 };

	(void)state;
	open_world();
	servers[2].host = "x.test";
	upstream.server_n = 3;
	start();
	SIMRIG_UNTIL(&rig, query_n == 2, 100);
	ANSWER(60, 1);
	ANSWER(60, 2, 3);
	resolver_each(resolver, sum_stats, &stats);
	assert_int_equal(stats.server, 2);
	assert_int_equal(stats.addresses, 2);
	assert_int_equal(stats.lookups, 1);
	assert_int_equal(stats.changes, 1);
	assert_int_equal(stats.failures, 0);
	assert_int_equal(stats.responded_ms, rig.tick.now_ms);
	close_world();
}

/* More addresses than are used: reported once, however often answers have them. */
static void test_truncated(void **state)
{
	(void)state;
	open_world();
	start();
	for (unsigned i = 0; i < 4; i++) {
		SIMRIG_UNTIL(&rig, query_n == 1, 100000);
		queries[0]->lookup.truncated = i != 2;
		ANSWER(60, 1, 2);
		assert_int_equal(reported_n, i < 3 ? 1 : 2);
		assert_int_equal(reported[reported_n - 1].truncated, true);
	}
	close_world();
}

/* Ports of SRV records, and one family only. */
static void test_service(void **state)
{
	(void)state;
	open_world();
	servers[0].srv = true;
	servers[0].host = "_http._tcp.test";
	config.resolver.family = CONFIG_FAMILY_IPV4;
	start();
	next_ms();
	assert_true(queries[0]->lookup.service);
	assert_int_equal(queries[0]->lookup.family, DNS_V4);
	close_world();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_report_again),
		cmocka_unit_test(test_report_again_without_answer),
		cmocka_unit_test(test_previous),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
