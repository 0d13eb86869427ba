/* Which server gets a key: shares, and which keys move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/back/hashring.h"
#include "base/hash.h"

#define SERVERS_MAX 1000
#define KEYS 20000u

static struct hashring_server servers[SERVERS_MAX];
static bool down[SERVERS_MAX];

static bool is_up(void *owner, uint32_t server)
{
	(void)owner;
	return !down[server];
}

/* n servers, whose weights take turns. */
static void servers_make(unsigned n, const uint32_t *weights, unsigned weight_n)
{
	memset(down, 0, sizeof(down));
	for (unsigned i = 0; i < n; i++)
		servers[i] = (struct hashring_server){ hash_mix(1000 + i),
						       weights[i % weight_n] };
}

/* The hash of each key's server; 0: no server is near. */
static void keys_map(unsigned n, uint64_t owners[KEYS])
{
	struct hashring *r = hashring_new(servers, n);

	assert_non_null(r);
	for (unsigned key = 0; key < KEYS; key++) {
		uint32_t at = hashring_find(r, key, is_up, NULL);

		assert_true(at == HASHRING_FAR || (at < n && !down[at]));
		owners[key] = at == HASHRING_FAR ? 0 : servers[at].hash;
	}
	hashring_free(r);
}

static double share(const uint64_t owners[KEYS], unsigned server)
{
	unsigned count = 0;

	for (unsigned key = 0; key < KEYS; key++)
		count += owners[key] == servers[server].hash;
	return (double)count / KEYS;
}

/* The share of each server, of n with these weights, is within `slack` of that due to its
 * weight. */
static void assert_shares(unsigned n, const uint32_t *weights, unsigned weight_n,
			  double slack)
{
	static uint64_t owners[KEYS];
	double sum = 0;

	servers_make(n, weights, weight_n);
	keys_map(n, owners);
	for (unsigned i = 0; i < n; i++)
		sum += servers[i].weight;
	for (unsigned i = 0; i < n; i++) {
		double due = servers[i].weight / sum, got = share(owners, i);

		if (got < due * (1 - slack) || got > due * (1 + slack))
			fail_msg("server %u of %u: %g, not %g", i, n, got, due);
	}
}

static void shares(void **state)
{
	static const uint32_t equal[] = { 1 }, small[] = { 1, 2, 3 },
			      large[] = { 100, 250, 1000 };

	(void)state;
	assert_shares(1, equal, 1, 0);
	assert_shares(2, equal, 1, 0.2);
	assert_shares(20, equal, 1, 0.25);
	assert_shares(100, equal, 1, 0.35);
	assert_shares(12, small, 3, 0.25);
	assert_shares(12, large, 3, 0.25);
}

/* With a very small weight beside large ones a server has a fraction of a point. */
static void fraction_of_a_point(void **state)
{
	static const uint32_t weights[] = { 1, 2000, 2000, 2000 };
	static uint64_t owners[KEYS];
	double got = 0;

	(void)state;
	servers_make(400, weights, 4);
	keys_map(400, owners);
	for (unsigned i = 0; i < 400; i += 4)
		got += share(owners, i);
	assert_true(got > 0 && got < 0.001); /* 1/6000 is due */
}

/* A key has another owner only if its owner left, or if it goes to the server `to`. */
static void assert_moved(const uint64_t before[KEYS], const uint64_t after[KEYS],
			 uint64_t from, uint64_t to)
{
	for (unsigned key = 0; key < KEYS; key++)
		if (after[key] != before[key] && before[key] != from && after[key] != to)
			fail_msg("key %u has moved", key);
}

static void only_its_keys_move(void **state)
{
	static const uint32_t weights[] = { 1, 2, 3 };
	static uint64_t before[KEYS], after[KEYS];
	struct hashring_server last;

	(void)state;
	servers_make(100, weights, 3);
	keys_map(100, before);
	for (unsigned i = 0; i < 40; i++) {
		down[i] = true;
		keys_map(100, after);
		assert_moved(before, after, servers[i].hash, 0);
		memcpy(before, after, sizeof(before));
	}
	for (unsigned i = 0; i < 40; i++) {
		down[i] = false;
		keys_map(100, after);
		assert_moved(before, after, 0, servers[i].hash);
		memcpy(before, after, sizeof(before));
	}
	last = servers[99];
	keys_map(99, after);
	assert_moved(before, after, last.hash, 0);
}

/* Equal weights move no other key either, however large they are. */
static void equal_weights(void **state)
{
	static const uint32_t weights[] = { 300 };
	static uint64_t before[KEYS], after[KEYS];

	(void)state;
	servers_make(50, weights, 1);
	keys_map(50, before);
	keys_map(49, after);
	assert_moved(before, after, servers[49].hash, 0);
}

static void order_does_not_matter(void **state)
{
	static const uint32_t weights[] = { 1, 2, 3 };
	static uint64_t before[KEYS], after[KEYS];

	(void)state;
	servers_make(60, weights, 3);
	keys_map(60, before);
	for (unsigned i = 0; i < 30; i++) {
		struct hashring_server s = servers[i];

		servers[i] = servers[59 - i];
		servers[59 - i] = s;
	}
	keys_map(60, after);
	assert_memory_equal(before, after, sizeof(before));
}

/* A search ends although almost no server is usable. */
static void few_are_usable(void **state)
{
	static const uint32_t weights[] = { 1 };
	static uint64_t owners[KEYS];
	unsigned far = 0;

	(void)state;
	servers_make(SERVERS_MAX, weights, 1);
	for (unsigned i = 1; i < SERVERS_MAX; i++)
		down[i] = true;
	keys_map(SERVERS_MAX, owners);
	for (unsigned key = 0; key < KEYS; key++)
		far += owners[key] == 0;
	assert_true(far > KEYS / 2 && far < KEYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares),
		cmocka_unit_test(fraction_of_a_point),
		cmocka_unit_test(only_its_keys_move),
		cmocka_unit_test(equal_weights),
		cmocka_unit_test(order_does_not_matter),
		cmocka_unit_test(few_are_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
