/* Servers that cookies name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/upstreamrig.h"

static void start(struct upstreamrig *h)
{
	h->config.keepalive = 1000;
	h->config.sticky.on = true;
	h->config.sticky.secret[0] = 7;
	quota_init(&h->descriptors, 10000);
	quota_init(&h->queue_quota, 1000);
	upstreamrig_start(h);
}

static void take(struct upstreamrig *h, struct waiter *w, uint64_t value)
{
	waiter_init(w);
	w->lease.hash = value;
	upstream_lease(h->upstream, &w->lease, NULL, false, &w->task);
	waiter_wait_ready(h, w);
}

/* One request that names a server: its first letter, and in *got the value of the server. */
static char request_one(struct upstreamrig *h, uint64_t value, uint64_t *got)
{
	struct waiter w;
	char name;

	take(h, &w, value);
	name = lease_server(&w.lease)[0];
	*got = lease_sticky(&w.lease);
	upstream_return(&w.lease, true);
	simrig_run(&h->rig, 0);
	return name;
}

static void values_learn(struct upstreamrig *h, uint64_t values[3])
{
	for (unsigned found = 0; found != 7;) {
		uint64_t value;
		unsigned i = (unsigned)(request_one(h, 0, &value) - 'a');

		assert_true(!(found >> i & 1) || values[i] == value);
		values[i] = value;
		found |= 1u << i;
	}
	assert_true(values[0] != values[1] && values[1] != values[2] && values[0] != values[2]);
}

static void stays(struct upstreamrig *h)
{
	uint64_t values[3], got;

	start(h);
	values_learn(h, values);
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(request_one(h, values[i % 3], &got), 'a' + (int)(i % 3));
		assert_true(got == values[i % 3]);
		assert_true(upstream_sticks(h->upstream, got));
	}
	assert_false(upstream_sticks(h->upstream, values[0] + 1));
	assert_false(upstream_sticks(h->upstream, 0));
	/* Another secret: other values. */
	h->config.sticky.secret[0] = 8;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	for (unsigned i = 0; i < 3; i++)
		assert_false(upstream_sticks(h->upstream, values[i]));
	/* The first one again: the same values, as after any reload. */
	h->config.sticky.secret[0] = 7;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(request_one(h, values[i], &got), 'a' + (int)i);
}

/* A server that is full still has its clients, but another one responds; one that is down has
 * none. */
static void gives_way(struct upstreamrig *h)
{
	uint64_t values[3], got;
	struct waiter w;

	h->config.connections = 1;
	start(h);
	values_learn(h, values);
	take(h, &w, values[1]);
	assert_int_not_equal(request_one(h, values[1], &got), 'b');
	assert_true(upstream_sticks(h->upstream, values[1]));
	upstream_return(&w.lease, true);
	simrig_run(&h->rig, 0);
	assert_int_equal(request_one(h, values[1], &got), 'b');
	upstream_probed(h->upstream, 1, &h->addresses[1][0], false);
	assert_int_not_equal(request_one(h, values[1], &got), 'b');
	assert_true(got != values[1]);
	assert_false(upstream_sticks(h->upstream, values[1]));
	upstream_probed(h->upstream, 1, &h->addresses[1][0], true);
	assert_int_equal(request_one(h, values[1], &got), 'b');
}

/* A request that is sent again does not go to the server that has failed. */
static void avoids(struct upstreamrig *h)
{
	uint64_t values[3];
	struct waiter w;
	struct tried tried;

	start(h);
	values_learn(h, values);
	take(h, &w, values[2]);
	tried = w.lease.tried;
	upstream_return(&w.lease, true);
	simrig_run(&h->rig, 0);
	waiter_init(&w);
	w.lease.hash = values[2];
	upstream_lease(h->upstream, &w.lease, &tried, false, &w.task);
	waiter_wait_ready(h, &w);
	assert_int_not_equal(lease_server(&w.lease)[0], 'c');
	upstream_return(&w.lease, true);
	simrig_run(&h->rig, 0);
}

static void test_stays(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, stays);
}

static void test_gives_way(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, gives_way);
}

static void test_avoids(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, avoids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stays),
		cmocka_unit_test(test_gives_way),
		cmocka_unit_test(test_avoids),
	};

	return cmocka_run_group_tests_name("sticky", tests, NULL, NULL);
}
