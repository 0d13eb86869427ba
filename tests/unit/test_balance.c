/* The choice of the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/upstreamrig.h"

#define REQUESTS 600

static void start(struct upstreamrig *h, enum config_balance balance)
{
	h->config.balance = balance;
	h->config.keepalive = 1000;
	quota_init(&h->descriptors, 10000);
	quota_init(&h->queue_quota, 1000);
	upstreamrig_start(h);
}

static char take(struct upstreamrig *h, struct waiter *a, uint64_t key)
{
	waiter_init(a);
	a->lease.hash = key;
	upstream_lease(h->upstream, &a->lease, NULL, false, &a->task);
	waiter_wait_ready(h, a);
	return lease_server(&a->lease)[0];
}

static char request_one(struct upstreamrig *h, uint64_t key)
{
	struct waiter a;
	char name = take(h, &a, key);

	upstream_return(&a.lease, true);
	simrig_run(&h->rig, 0);
	return name;
}

/* Sends n requests; counts them by server. */
static void count(struct upstreamrig *h, unsigned n, unsigned times[3])
{
	memset(times, 0, 3 * sizeof(times[0]));
	for (unsigned i = 0; i < n; i++)
		times[request_one(h, 0) - 'a']++;
}

/* One request at a time: strict round robin. */
static void round_robin(struct upstreamrig *h)
{
	static const enum config_balance ways[] = { CONFIG_ROUND_ROBIN, CONFIG_LEAST_CONNECTIONS };
	unsigned times[3];

	h->servers[1].weight = 2;
	start(h, ways[simrig_draw(&h->rig, 2)]);
	count(h, 40, times);
	assert_int_equal(times[0], 10);
	assert_int_equal(times[1], 20);
	assert_int_equal(times[2], 10);
}

static void test_round_robin(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, round_robin);
}

/* A server that was busy for long does not get more requests afterwards to make up for
 * it. */
static void busy_server(struct upstreamrig *h)
{
	struct waiter slow;
	unsigned times[3];
	char name;

	start(h, CONFIG_LEAST_CONNECTIONS);
	name = take(h, &slow, 0);
	count(h, 100, times);
	assert_int_equal(times[name - 'a'], 0);
	upstream_return(&slow.lease, true);
	count(h, 30, times);
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(times[i], 9, 11);
}

static void test_busy_server(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, busy_server);
}

/* The less busy of two random servers: nearly even, and by weight. */
static void random_two_choices(void **state)
{
	struct waiter a[120];
	unsigned times[3] = { 0 };
	struct upstreamrig h;

	(void)state;
	upstreamrig_open(&h, 5, 3);
	h.servers[2].weight = 2;
	start(&h, CONFIG_RANDOM);
	for (unsigned i = 0; i < 120; i++)
		times[take(&h, &a[i], 0) - 'a']++;
	assert_in_range(times[0], 27, 33);
	assert_in_range(times[1], 27, 33);
	assert_in_range(times[2], 57, 63);
	for (unsigned i = 0; i < 120; i++)
		upstream_return(&a[i].lease, true);
	simrig_run(&h.rig, 1);
	count(&h, REQUESTS, times); /* no server is busy: random */
	assert_in_range(times[0], 80, 220);
	assert_in_range(times[1], 80, 220);
	assert_in_range(times[2], 200, 400);
	upstreamrig_close(&h);
}

/* The server of each key. */
static void map_keys(struct upstreamrig *h, char servers[REQUESTS])
{
	for (uint64_t key = 1; key <= REQUESTS; key++)
		servers[key - 1] = request_one(h, key);
}

static unsigned count_keys(const char servers[REQUESTS], char name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REQUESTS; i++)
		n += servers[i] == name;
	return n;
}

/* A key keeps its server. If a server goes down only its keys move, and move back later. */
static void hash_stable(void **state)
{
	char before[REQUESTS], during[REQUESTS], after[REQUESTS];
	struct config_address address = upstreamrig_address(1);
	struct upstreamrig h;

	(void)state;
	upstreamrig_open(&h, 1, 3);
	h.servers[2].weight = 2;
	start(&h, CONFIG_HASH);
	map_keys(&h, before);
	assert_in_range(count_keys(before, 'a'), 110, 190);
	assert_in_range(count_keys(before, 'b'), 110, 190);
	assert_in_range(count_keys(before, 'c'), 250, 350);
	upstream_probed(h.upstream, 1, &address, false);
	map_keys(&h, during);
	assert_int_equal(count_keys(during, 'b'), 0);
	upstream_probed(h.upstream, 1, &address, true);
	map_keys(&h, after);
	for (unsigned i = 0; i < REQUESTS; i++) {
		assert_int_equal(after[i], before[i]);
		if (before[i] != 'b')
			assert_int_equal(during[i], before[i]);
	}
	upstreamrig_close(&h);
}

/* All requests have one key: without a bound one server gets all of them, with it 125 %
 * of its fair part at most. */
static void hash_bounded(void **state)
{
	struct waiter a[60];
	struct upstreamrig h;

	(void)state;
	for (unsigned load = 0; load <= 125; load += 125) {
		unsigned times[3] = { 0 }, most = 0;

		upstreamrig_open(&h, 1, 3);
		h.config.hash_balance_factor = load;
		start(&h, CONFIG_HASH);
		for (unsigned i = 0; i < 60; i++)
			times[take(&h, &a[i], 42) - 'a']++;
		for (unsigned i = 0; i < 3; i++)
			most = times[i] > most ? times[i] : most;
		assert_int_equal(most, load == 0 ? 60 : 25);
		for (unsigned i = 0; i < 60; i++)
			upstream_return(&a[i].lease, true);
		upstreamrig_close(&h);
	}
}

/* A backup is used if no other server is available, but not because the others are busy. */
static void backups(struct upstreamrig *h)
{
	struct config_address a = upstreamrig_address(0), b = upstreamrig_address(1),
			      c = upstreamrig_address(2);
	struct waiter holds[2], waits;
	unsigned times[3];

	h->servers[2].backup = true;
	h->config.connections = 1;
	start(h, (enum config_balance)simrig_draw(&h->rig, 4));
	count(h, 20, times);
	assert_int_equal(times[2], 0);
	take(h, &holds[0], 0);
	take(h, &holds[1], 0);
	waiter_lease(h, &waits);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	upstream_probed(h->upstream, 0, &a, false);
	simrig_run(&h->rig, 100);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	upstream_probed(h->upstream, 1, &b, false);
	waiter_wait_ready(h, &waits);
	assert_string_equal(lease_server(&waits.lease), "c");
	upstream_return(&holds[0].lease, true);
	upstream_return(&holds[1].lease, true);
	upstream_return(&waits.lease, true);
	/* The backup is down too: then the others are no worse. */
	upstream_probed(h->upstream, 2, &c, false);
	count(h, 20, times);
	assert_int_equal(times[2], 0);
	upstream_probed(h->upstream, 0, &a, true);
	count(h, 20, times);
	assert_int_equal(times[0], 20);
}

static void test_backups(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, backups);
}

/* A server that is up again gets few requests at first. */
static void slow_start(struct upstreamrig *h)
{
	static const enum config_balance ways[] = { CONFIG_ROUND_ROBIN, CONFIG_LEAST_CONNECTIONS,
						    CONFIG_RANDOM };
	struct config_address a = upstreamrig_address(0);
	unsigned times[3];

	h->config.slow_start_ms = 100000;
	start(h, ways[simrig_draw(&h->rig, 3)]);
	count(h, 60, times); /* no slow start for the initial servers */
	assert_true(times[0] >= 12);
	upstream_probed(h->upstream, 0, &a, false);
	count(h, 10, times);
	assert_int_equal(times[0], 0);
	upstream_probed(h->upstream, 0, &a, true);
	simrig_run(&h->rig, 5000);
	count(h, 100, times);
	assert_in_range(times[0], 0, 12);
	simrig_run(&h->rig, 100000);
	count(h, 60, times);
	assert_true(times[0] >= 12);
}

static void test_slow_start(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, slow_start);
}

/* At most `requests` in flight; first come, first served. */
static void requests_limit(struct upstreamrig *h)
{
	struct waiter a[9];
	unsigned ready = 0;

	h->config.requests = 2;
	start(h, (enum config_balance)simrig_draw(&h->rig, 4));
	for (unsigned i = 0; i < 9; i++)
		waiter_lease(h, &a[i]);
	simrig_run(&h->rig, 200);
	for (unsigned i = 0; i < 9; i++)
		ready += a[i].lease.state == LEASE_READY;
	assert_int_equal(ready, 6);
	assert_int_equal(h->stats.waiting, 3);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(a[i].lease.state, LEASE_READY);
		upstream_return(&a[i].lease, simrig_draw(&h->rig, 2));
		if (i < 3) {
			waiter_wait_ready(h, &a[6 + i]);
			assert_int_equal(h->stats.waiting, 2 - i);
		}
	}
	for (unsigned i = 6; i < 9; i++)
		upstream_return(&a[i].lease, true);
	for (unsigned i = 0; i < 6; i++)
		take(h, &a[i], 0);
	for (unsigned i = 0; i < 6; i++)
		upstream_return(&a[i].lease, true);
}

static void test_requests_limit(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, requests_limit);
}

static struct upstream *second_worker(struct upstreamrig *h, struct upstream_stats *stats)
{
	return upstream_new(&(struct upstream_options){ .tick = &h->rig.tick,
							.config = &h->config,
							.stats = stats,
							.descriptors = &h->descriptors,
							.queue_quota = &h->queue_quota,
							.registry = h->registry,
							.worker = 1,
							.window = 65536 });
}

static void second_worker_ends(struct upstreamrig *h, struct upstream *other)
{
	upstream_close(other);
	SIMRIG_UNTIL(&h->rig, upstream_idle(other), 1000);
	upstream_free(other);
}

/* Two workers, one limit: the request that has waited longest is next, on any worker. */
static void permits_of_two_workers(struct upstreamrig *h)
{
	struct upstream_stats stats = { 0 };
	struct upstream *other;
	struct waiter a, b, c, d;

	h->config.requests = 1;
	h->config.keepalive = 10;
	upstreamrig_start(h);
	other = second_worker(h, &stats);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	waiter_init(&b);
	upstream_lease(other, &b.lease, NULL, false, &b.task);
	simrig_run(&h->rig, 20);
	waiter_lease(h, &c);
	simrig_run(&h->rig, 20);
	waiter_init(&d);
	upstream_lease(other, &d.lease, NULL, false, &d.task);
	simrig_run(&h->rig, 100);
	assert_int_equal(b.lease.state, LEASE_WAITING);
	assert_int_equal(c.lease.state, LEASE_WAITING);
	upstream_return(&a.lease, simrig_draw(&h->rig, 2));
	assert_int_equal(c.lease.state, LEASE_WAITING);
	waiter_wait_ready(h, &b);
	upstream_return(&b.lease, simrig_draw(&h->rig, 2));
	waiter_wait_ready(h, &c);
	assert_int_equal(d.lease.state, LEASE_WAITING);
	if (simrig_draw(&h->rig, 2)) {
		upstream_return(&d.lease, false); /* gone when its permit comes */
		upstream_return(&c.lease, true);
	} else {
		upstream_return(&c.lease, true);
		waiter_wait_ready(h, &d);
		upstream_return(&d.lease, true);
	}
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	upstream_return(&a.lease, true);
	second_worker_ends(h, other);
	assert_int_equal(h->registry->first->permits_used, 0);
}

/* The upstreams of two workers share a registry. */
static void with_registry(unsigned servers, void (*test)(struct upstreamrig *h))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct upstreamrig h;

		upstreamrig_open(&h, seed, servers);
		h.registry = registry_new("test", 2, NULL, NULL);
		test(&h);
		upstreamrig_close(&h);
		registry_free(h.registry);
	}
}

static void test_permits_of_two_workers(void **state)
{
	(void)state;
	with_registry(1, permits_of_two_workers);
}

/* A permit that is granted to a worker that has ended is put back. */
static void permit_for_ended_worker(struct upstreamrig *h)
{
	struct upstream_stats stats = { 0 };
	struct upstream *other;
	struct waiter a, b;

	h->config.requests = 1;
	upstreamrig_start(h);
	other = second_worker(h, &stats);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	waiter_init(&b);
	upstream_lease(other, &b.lease, NULL, false, &b.task);
	simrig_run(&h->rig, 20);
	upstream_return(&a.lease, true);
	upstream_return(&b.lease, false);
	upstream_free(other);
	simrig_run(&h->rig, 20);
	assert_int_equal(h->registry->first->permits_used, 0);
}

static void test_permit_for_ended_worker(void **state)
{
	(void)state;
	with_registry(1, permit_for_ended_worker);
}

static void lease_from(struct upstreamrig *h, struct upstream *u, struct waiter *a,
		       unsigned avoided, const char *server)
{
	const struct tried avoid = { .n = 1, .ids = { avoided } };

	waiter_init(a);
	upstream_lease(u, &a->lease, &avoid, false, &a->task);
	waiter_wait_ready(h, a);
	assert_string_equal(lease_server(&a->lease), server);
}

#define MANY_SERVERS 200

/* Requests without reuse of connections; counts them by server. */
static void request_many(struct upstreamrig *h, unsigned times,
			 unsigned counts[MANY_SERVERS])
{
	memset(counts, 0, MANY_SERVERS * sizeof(counts[0]));
	for (unsigned i = 0; i < times; i++) {
		struct waiter a;

		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		counts[atoi(lease_server(&a.lease) + 1)]++;
		upstream_return(&a.lease, true);
	}
}

static void assert_spread(const unsigned counts[MANY_SERVERS], unsigned rounds,
			  unsigned slack)
{
	for (unsigned i = 0; i < MANY_SERVERS; i++) {
		unsigned due = rounds * (i % 3 + 1);

		if (counts[i] + slack < due || counts[i] > due + slack)
			fail_msg("s%u: %u times, not %u", i, counts[i], due);
	}
}

static unsigned start_many_servers(struct upstreamrig *h)
{
	static struct config_server servers[MANY_SERVERS];
	static char names[MANY_SERVERS][8];
	unsigned weights = 0;

	for (unsigned i = 0; i < MANY_SERVERS; i++) {
		snprintf(names[i], sizeof(names[i]), "s%u", i);
		servers[i] = h->servers[0];
		servers[i].name = names[i];
		servers[i].weight = i % 3 + 1;
		weights += i % 3 + 1;
	}
	h->config.servers = servers;
	h->config.server_n = MANY_SERVERS;
	h->config.health.on = true;
	upstreamrig_start(h);
	return weights;
}

/* Many servers: each gets requests by its weight although only some are examined. If most
 * are down the rest gets all requests; when they are up again the distribution is as
 * before. */
static void many_servers(struct upstreamrig *h)
{
	unsigned counts[MANY_SERVERS], weights = start_many_servers(h);
	struct config_address address = upstreamrig_address(0);

	request_many(h, 3 * weights, counts);
	assert_spread(counts, 3, 1);
	for (unsigned i = 10; i < MANY_SERVERS; i++)
		upstream_probed(h->upstream, i, &address, false);
	request_many(h, 400, counts);
	for (unsigned i = 0; i < MANY_SERVERS; i++)
		assert_int_equal(counts[i] > 0, i < 10);
	for (unsigned i = 10; i < MANY_SERVERS; i++)
		upstream_probed(h->upstream, i, &address, true);
	request_many(h, 3 * weights,
		     counts); /* until all groups have been examined again */
	request_many(h, 3 * weights, counts);
	assert_spread(counts, 3, 2);
}

static void test_many_servers(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, many_servers);
}

/* If many servers are down a request tries a few of them; one that is up again is found
 * nevertheless. */
static void many_servers_down(struct upstreamrig *h)
{
	struct config_address address = upstreamrig_address(0);
	struct waiter a;

	start_many_servers(h);
	sim_server_close(&h->sim_servers[0]);
	for (unsigned i = 0; i < MANY_SERVERS; i++)
		upstream_probed(h->upstream, i, &address, false);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connect_failures, TRIED_MAX);
	sim_server_open(&h->sim_servers[0], &h->rig, UPSTREAMRIG_PORT, NULL, NULL);
	upstream_probed(h->upstream, MANY_SERVERS - 1, &address, true);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	assert_string_equal(lease_server(&a.lease), "s199");
	upstream_return(&a.lease, true);
}

static void test_many_servers_down(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, many_servers_down);
}

/* The first server depends on the worker. */
static void first_server(struct upstreamrig *h)
{
	struct upstream_stats stats = { 0 };
	struct upstream *other;
	struct waiter a, b;

	upstreamrig_start(h);
	other = second_worker(h, &stats);
	lease_from(h, h->upstream, &a, 500, "a");
	lease_from(h, other, &b, 500, "b");
	upstream_return(&a.lease, true);
	upstream_return(&b.lease, true);
	second_worker_ends(h, other);
}

static void test_first_server(void **state)
{
	(void)state;
	with_registry(3, first_server);
}

#define WAITERS 9 /* more than queue_dispatch() skips */

/* In the queue of the other worker: all have tried the first server and wait for the
 * second. */
static void wait_for_b(struct upstreamrig *h, struct upstream *other, struct waiter *a)
{
	sim_server_close(&h->sim_servers[0]);
	for (unsigned i = 0; i < WAITERS; i++) {
		waiter_init(&a[i]);
		upstream_lease(other, &a[i].lease, NULL, false, &a[i].task);
		simrig_run(&h->rig, 2 * UPSTREAM_DOWN_MS);
		assert_int_equal(a[i].lease.state, LEASE_WAITING);
	}
	sim_server_open(&h->sim_servers[0], &h->rig, UPSTREAMRIG_PORT, NULL, NULL);
}

/* A permit that the head of the queue cannot use goes to a later request. If no request
 * can use it, they still get permits of another server. */
static void permit_for_next_in_queue(struct upstreamrig *h)
{
	struct waiter of_b, of_a, many[WAITERS], last;
	struct upstream_stats stats = { 0 };
	struct upstream *other;

	h->config.requests = 1;
	h->config.queue_timeout_ms = 100000;
	quota_init(&h->queue_quota, 100);
	upstreamrig_start(h);
	other = second_worker(h, &stats);
	lease_from(h, h->upstream, &of_b, 0, "b");
	wait_for_b(h, other, many);
	lease_from(h, h->upstream, &of_a, 1, "a");
	waiter_init(&last);
	upstream_lease(other, &last.lease, NULL, false, &last.task);
	simrig_run(&h->rig, 100);
	assert_int_equal(last.lease.state, LEASE_WAITING);
	upstream_return(&of_a.lease, true);
	waiter_wait_ready(h, &last);
	upstream_return(&last.lease, false); /* which would dispatch the queue */
	simrig_run(&h->rig, 100);
	lease_from(h, h->upstream, &of_a, 1, "a");
	upstream_return(&of_a.lease, true);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->registry->first->permits_used, 0);
	upstream_return(&of_b.lease, true);
	for (unsigned i = 0; i < WAITERS; i++) {
		waiter_wait_ready(h, &many[i]);
		upstream_return(&many[i].lease, true);
	}
	second_worker_ends(h, other);
}

static void test_permit_for_next_in_queue(void **state)
{
	(void)state;
	with_registry(2, permit_for_next_in_queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_busy_server),
		cmocka_unit_test(random_two_choices),
		cmocka_unit_test(hash_stable),
		cmocka_unit_test(hash_bounded),
		cmocka_unit_test(test_backups),
		cmocka_unit_test(test_slow_start),
		cmocka_unit_test(test_requests_limit),
		cmocka_unit_test(test_permits_of_two_workers),
		cmocka_unit_test(test_first_server),
		cmocka_unit_test(test_many_servers),
		cmocka_unit_test(test_many_servers_down),
		cmocka_unit_test(test_permit_for_ended_worker),
		cmocka_unit_test(test_permit_for_next_in_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
