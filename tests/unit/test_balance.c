/* Which server is asked next. */
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
	a->lease.key = key;
	upstream_lease(h->upstream, &a->lease, NULL, false, &a->task);
	waiter_wait_ready(h, a);
	return lease_server(&a->lease)[0];
}

static char ask_one(struct upstreamrig *h, uint64_t key)
{
	struct waiter a;
	char name = take(h, &a, key);

	upstream_return(&a.lease, true);
	simrig_run(&h->rig, 0);
	return name;
}

/* How many of the requests each is asked. */
static void count(struct upstreamrig *h, unsigned n, unsigned times[3])
{
	memset(times, 0, 3 * sizeof(times[0]));
	for (unsigned i = 0; i < n; i++)
		times[ask_one(h, 0) - 'a']++;
}

/* Alone, each has its turn. */
static void spread(struct upstreamrig *h)
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

static void test_spread(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, spread);
}

/* Who was busy while many went to the others is not paid back for it. */
static void busy_for_long(struct upstreamrig *h)
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

static void test_busy_for_long(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, busy_for_long);
}

/* The less busy of two: nearly as even as asking all, and by weight. */
static void random_of_two(void **state)
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
	count(&h, REQUESTS, times); /* nobody busy: by chance */
	assert_in_range(times[0], 80, 220);
	assert_in_range(times[1], 80, 220);
	assert_in_range(times[2], 200, 400);
	upstreamrig_close(&h);
}

/* The key's server by key. */
static void place(struct upstreamrig *h, char places[REQUESTS])
{
	for (uint64_t key = 1; key <= REQUESTS; key++)
		places[key - 1] = ask_one(h, key);
}

static unsigned owned(const char places[REQUESTS], char name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REQUESTS; i++)
		n += places[i] == name;
	return n;
}

/* A key stays where it is; when a server goes, only its keys move, and they come back. */
static void by_hash(void **state)
{
	char before[REQUESTS], during[REQUESTS], after[REQUESTS];
	struct config_address address = upstreamrig_address(1);
	struct upstreamrig h;

	(void)state;
	upstreamrig_open(&h, 1, 3);
	h.servers[2].weight = 2;
	start(&h, CONFIG_HASH);
	place(&h, before);
	assert_in_range(owned(before, 'a'), 110, 190);
	assert_in_range(owned(before, 'b'), 110, 190);
	assert_in_range(owned(before, 'c'), 250, 350);
	upstream_probed(h.upstream, 1, &address, false);
	place(&h, during);
	assert_int_equal(owned(during, 'b'), 0);
	upstream_probed(h.upstream, 1, &address, true);
	place(&h, after);
	for (unsigned i = 0; i < REQUESTS; i++) {
		assert_int_equal(after[i], before[i]);
		if (before[i] != 'b')
			assert_int_equal(during[i], before[i]);
	}
	upstreamrig_close(&h);
}

/* One key for all: without a bound one server has them all, with it no more than its share and
 * a quarter. */
static void bounded(void **state)
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

/* Asked when nobody else is well, and not because the others are busy. */
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
	/* It is ill as well: then the others are as good. */
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

/* Who comes back is asked seldom at first. */
static void slow_start(struct upstreamrig *h)
{
	static const enum config_balance ways[] = { CONFIG_ROUND_ROBIN, CONFIG_LEAST_CONNECTIONS,
						    CONFIG_RANDOM };
	struct config_address a = upstreamrig_address(0);
	unsigned times[3];

	h->config.slow_start_ms = 100000;
	start(h, ways[simrig_draw(&h->rig, 3)]);
	count(h, 60, times); /* all were there from the start */
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

/* No more at once than `requests`, first come first served. */
static void places(struct upstreamrig *h)
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

static void test_places(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, places);
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

/* Two workers, one limit: who waits longest is next, whichever worker it came to. */
static void places_of_two(struct upstreamrig *h)
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
		upstream_return(&d.lease, false); /* has gone when its place comes */
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

/* Two workers share what is behind the house. */
static void with_two(unsigned servers, void (*test)(struct upstreamrig *h))
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

static void test_places_of_two(void **state)
{
	(void)state;
	with_two(1, places_of_two);
}

/* A place is on its way to a worker that has ended: it comes back. */
static void place_for_nobody(struct upstreamrig *h)
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

static void test_place_for_nobody(void **state)
{
	(void)state;
	with_two(1, place_for_nobody);
}

static void ask_for(struct upstreamrig *h, struct upstream *u, struct waiter *a,
		    unsigned avoided, const char *server)
{
	const struct tried avoid = { .n = 1, .ids = { avoided } };

	waiter_init(a);
	upstream_lease(u, &a->lease, &avoid, false, &a->task);
	waiter_wait_ready(h, a);
	assert_string_equal(lease_server(&a->lease), server);
}

#define VERY_MANY 200

/* Asks so often, with nothing kept; counts by server. */
static void ask_many(struct upstreamrig *h, unsigned times, unsigned counts[VERY_MANY])
{
	memset(counts, 0, VERY_MANY * sizeof(counts[0]));
	for (unsigned i = 0; i < times; i++) {
		struct waiter a;

		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		counts[atoi(lease_server(&a.lease) + 1)]++;
		upstream_return(&a.lease, true);
	}
}

static void assert_spread(const unsigned counts[VERY_MANY], unsigned rounds, unsigned slack)
{
	for (unsigned i = 0; i < VERY_MANY; i++) {
		unsigned due = rounds * (i % 3 + 1);

		if (counts[i] + slack < due || counts[i] > due + slack)
			fail_msg("s%u: %u times, not %u", i, counts[i], due);
	}
}

static unsigned start_very_many(struct upstreamrig *h)
{
	static struct config_server servers[VERY_MANY];
	static char names[VERY_MANY][8];
	unsigned weights = 0;

	for (unsigned i = 0; i < VERY_MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "s%u", i);
		servers[i] = h->servers[0];
		servers[i].name = names[i];
		servers[i].weight = i % 3 + 1;
		weights += i % 3 + 1;
	}
	h->config.servers = servers;
	h->config.server_n = VERY_MANY;
	h->config.health.on = true;
	upstreamrig_start(h);
	return weights;
}

/* Very many servers: each has its share though only some are looked at; when most of them are down
 * the rest has it all, and when they are back, theirs. */
static void very_many(struct upstreamrig *h)
{
	unsigned counts[VERY_MANY], weights = start_very_many(h);
	struct config_address address = upstreamrig_address(0);

	ask_many(h, 3 * weights, counts);
	assert_spread(counts, 3, 1);
	for (unsigned i = 10; i < VERY_MANY; i++)
		upstream_probed(h->upstream, i, &address, false);
	ask_many(h, 400, counts);
	for (unsigned i = 0; i < VERY_MANY; i++)
		assert_int_equal(counts[i] > 0, i < 10);
	for (unsigned i = 10; i < VERY_MANY; i++)
		upstream_probed(h->upstream, i, &address, true);
	ask_many(h, 3 * weights, counts); /* until all groups were looked at again */
	ask_many(h, 3 * weights, counts);
	assert_spread(counts, 3, 2);
}

static void test_very_many(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, very_many);
}

/* Of very many that are all down a request asks a few: one that is back is found all the same. */
static void very_many_down(struct upstreamrig *h)
{
	struct config_address address = upstreamrig_address(0);
	struct waiter a;

	start_very_many(h);
	sim_server_close(&h->sim_servers[0]);
	for (unsigned i = 0; i < VERY_MANY; i++)
		upstream_probed(h->upstream, i, &address, false);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connect_failures, TRIED_MAX);
	sim_server_open(&h->sim_servers[0], &h->rig, UPSTREAMRIG_PORT, NULL, NULL);
	upstream_probed(h->upstream, VERY_MANY - 1, &address, true);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	assert_string_equal(lease_server(&a.lease), "s199");
	upstream_return(&a.lease, true);
}

static void test_very_many_down(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, very_many_down);
}

/* Who is asked first depends on the worker. */
static void first_turns(struct upstreamrig *h)
{
	struct upstream_stats stats = { 0 };
	struct upstream *other;
	struct waiter a, b;

	upstreamrig_start(h);
	other = second_worker(h, &stats);
	ask_for(h, h->upstream, &a, 500, "a");
	ask_for(h, other, &b, 500, "b");
	upstream_return(&a.lease, true);
	upstream_return(&b.lease, true);
	second_worker_ends(h, other);
}

static void test_first_turns(void **state)
{
	(void)state;
	with_two(3, first_turns);
}

#define MANY 9 /* more than are passed over for who comes after them */

/* In the line of the other worker: all have tried the first server and wait for the second. */
static void wait_for_b(struct upstreamrig *h, struct upstream *other, struct waiter *a)
{
	sim_server_close(&h->sim_servers[0]);
	for (unsigned i = 0; i < MANY; i++) {
		waiter_init(&a[i]);
		upstream_lease(other, &a[i].lease, NULL, false, &a[i].task);
		simrig_run(&h->rig, 2 * UPSTREAM_DOWN_MS);
		assert_int_equal(a[i].lease.state, LEASE_WAITING);
	}
	sim_server_open(&h->sim_servers[0], &h->rig, UPSTREAMRIG_PORT, NULL, NULL);
}

/* A place that the head of the line has no use for is for who comes after; and where it is for
 * nobody, they wait for another server's all the same. */
static void place_for_another(struct upstreamrig *h)
{
	struct waiter of_b, of_a, many[MANY], last;
	struct upstream_stats stats = { 0 };
	struct upstream *other;

	h->config.requests = 1;
	h->config.queue_timeout_ms = 100000;
	quota_init(&h->queue_quota, 100);
	upstreamrig_start(h);
	other = second_worker(h, &stats);
	ask_for(h, h->upstream, &of_b, 0, "b");
	wait_for_b(h, other, many);
	ask_for(h, h->upstream, &of_a, 1, "a");
	waiter_init(&last);
	upstream_lease(other, &last.lease, NULL, false, &last.task);
	simrig_run(&h->rig, 100);
	assert_int_equal(last.lease.state, LEASE_WAITING);
	upstream_return(&of_a.lease, true);
	waiter_wait_ready(h, &last);
	upstream_return(&last.lease, false); /* which would have the line looked at */
	simrig_run(&h->rig, 100);
	ask_for(h, h->upstream, &of_a, 1, "a");
	upstream_return(&of_a.lease, true);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->registry->first->permits_used, 0);
	upstream_return(&of_b.lease, true);
	for (unsigned i = 0; i < MANY; i++) {
		waiter_wait_ready(h, &many[i]);
		upstream_return(&many[i].lease, true);
	}
	second_worker_ends(h, other);
}

static void test_place_for_another(void **state)
{
	(void)state;
	with_two(2, place_for_another);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_busy_for_long),
		cmocka_unit_test(random_of_two),
		cmocka_unit_test(by_hash),
		cmocka_unit_test(bounded),
		cmocka_unit_test(test_backups),
		cmocka_unit_test(test_slow_start),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_places_of_two),
		cmocka_unit_test(test_first_turns),
		cmocka_unit_test(test_very_many),
		cmocka_unit_test(test_very_many_down),
		cmocka_unit_test(test_place_for_nobody),
		cmocka_unit_test(test_place_for_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
