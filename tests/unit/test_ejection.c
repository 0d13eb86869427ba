/* Ejection of servers that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/upstreamrig.h"

static void configure(struct upstreamrig *h)
{
	h->config.keepalive = 100;
	h->config.eject_failures = 3;
	h->config.eject_time_ms = 1000;
	h->config.eject_max_percent = 50;
	upstreamrig_start(h);
}

/* One request; status 0: it fails without a response. Returns the name of its server. */
static char request_one(struct upstreamrig *h, const char *failing, int status)
{
	struct waiter a;
	char name;

	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	name = lease_server(&a.lease)[0];
	if (!strchr(failing, name))
		upstream_responded(&a.lease, 200);
	else if (status == 0)
		upstream_failed(&a.lease);
	else
		upstream_responded(&a.lease, status);
	upstream_return(&a.lease, true);
	simrig_run(&h->rig, 1);
	return name;
}

/* How many of n requests went to this server. */
static unsigned requests_to(struct upstreamrig *h, char name, const char *failing,
			    int status, unsigned n)
{
	unsigned times = 0;

	while (n-- > 0)
		times += request_one(h, failing, status) == name;
	return times;
}

static uint64_t ejections(struct upstreamrig *h)
{
	return h->stats.ejections;
}

/* Three consecutive failures eject it for a second; then one more is enough, and it is
 * ejected for two. */
static void consecutive(struct upstreamrig *h)
{
	configure(h);
	assert_int_equal(requests_to(h, 'b', "b", 0, 9), 3);
	assert_int_equal(ejections(h), 1);
	assert_int_equal(requests_to(h, 'b', "b", 0, 30), 0);
	simrig_run(&h->rig, 1000);
	assert_int_equal(requests_to(h, 'b', "b", 0, 30), 1);
	assert_int_equal(ejections(h), 2);
	simrig_run(&h->rig, 1100);
	assert_int_equal(requests_to(h, 'b', "b", 0, 30), 0);
	simrig_run(&h->rig, 1000);
	assert_int_equal(requests_to(h, 'b', "", 0, 9), 3);
	/* It responds: three consecutive failures are needed again. */
	assert_int_equal(requests_to(h, 'b', "b", 0, 6), 2);
	assert_int_equal(requests_to(h, 'b', "", 0, 9), 3);
	assert_int_equal(requests_to(h, 'b', "b", 0, 6), 2);
	assert_int_equal(ejections(h), 2);
	/* Without failure for so long that the duration starts again: one second. */
	simrig_run(&h->rig, 4100);
	assert_int_equal(requests_to(h, 'b', "", 0, 3), 1);
	assert_int_equal(requests_to(h, 'b', "b", 0, 12), 3);
	simrig_run(&h->rig, 1100);
	assert_int_equal(requests_to(h, 'b', "", 0, 9), 3);
}

static void test_consecutive(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, consecutive);
}

/* Each head is good and each response truncated: consecutive too, whatever other servers
 * do. */
static void truncated(struct upstreamrig *h)
{
	unsigned cut = 0;

	configure(h);
	for (unsigned i = 0; i < 18; i++) {
		struct waiter a;

		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		upstream_responded(&a.lease, 200);
		if (lease_server(&a.lease)[0] == 'b' && cut != 2) {
			cut++;
			upstream_truncated(&a.lease, 200);
		} else {
			cut += cut == 2 && lease_server(&a.lease)[0] == 'b';
			upstream_completed(&a.lease);
		}
		assert_int_equal(ejections(h), cut == 6);
		upstream_return(&a.lease, true);
		simrig_run(&h->rig, 1);
	}
	assert_int_equal(cut, 6); /* two, a complete one, three */
}

static void test_truncated(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, truncated);
}

/* At most 32 times the first duration. */
static void longer_each_time(struct upstreamrig *h)
{
	configure(h);
	requests_to(h, 'b', "b", 0, 12);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t from_ms = h->rig.tick.now_ms, took_ms;

		while (requests_to(h, 'b', "b", 0, 3) == 0)
			simrig_run(&h->rig, 50);
		took_ms = h->rig.tick.now_ms - from_ms;
		assert_in_range(took_ms, (900u << (i < 5 ? i : 5)), (1000u << (i < 5 ? i : 5)) + 300);
	}
}

static void test_longer_each_time(void **state)
{
	struct upstreamrig h;

	(void)state;
	upstreamrig_open(&h, 1, 3);
	longer_each_time(&h);
	upstreamrig_close(&h);
}

/* 50 % of three is one: the others get requests, however they fail. */
static void max_percent(struct upstreamrig *h)
{
	unsigned b = 0, c = 0;

	configure(h);
	for (unsigned i = 0; i < 30; i++) {
		char name = request_one(h, "abc", 0);

		b += name == 'b';
		c += name == 'c';
	}
	assert_int_equal(ejections(h), 1);
	assert_true(b > 9 && c > 9);
}

static void test_max_percent(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, max_percent);
}

static void single_server(struct upstreamrig *h)
{
	configure(h);
	assert_int_equal(requests_to(h, 'a', "a", 0, 30), 30);
	assert_int_equal(ejections(h), 0);
}

static void test_single_server(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, single_server);
}

static void probe(struct upstreamrig *h, unsigned host, bool up)
{
	struct config_address address = upstreamrig_address(host);

	upstream_probed(h->upstream, host, &address, up);
}

/* The percentage counts servers that are not down; the last one is never ejected. */
static void test_max_percent_of_up(void **state)
{
	static const struct {
		unsigned share, down, ejections;
	} rows[] = {
		{ 0, 0, 0 }, { 30, 0, 0 }, { 35, 0, 1 }, { 70, 0, 2 }, { 100, 0, 2 },
		{ 35, 1, 0 }, { 70, 1, 1 }, { 100, 1, 1 }, { 100, 2, 0 }, { 100, 3, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct upstreamrig h;

		upstreamrig_open(&h, i, 3);
		h.config.keepalive = 100;
		h.config.eject_failures = 1;
		h.config.eject_time_ms = 100000;
		h.config.eject_max_percent = rows[i].share;
		upstreamrig_start(&h);
		for (unsigned k = 0; k < rows[i].down; k++)
			probe(&h, k, false);
		requests_to(&h, 'a', "abc", 0, 30);
		assert_int_equal(ejections(&h), rows[i].ejections);
		upstreamrig_close(&h);
	}
}

/* If no server is available an ejected one is used before one that is down. */
static void ejected_before_down(struct upstreamrig *h)
{
	configure(h);
	requests_to(h, 'b', "b", 0, 9);
	assert_int_equal(ejections(h), 1);
	probe(h, 0, false);
	probe(h, 2, false);
	assert_int_equal(requests_to(h, 'b', "", 0, 9), 9);
	probe(h, 0, true);
	assert_int_equal(requests_to(h, 'a', "", 0, 9), 9);
}

static void test_ejected_before_down(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, ejected_before_down);
}

/* A percentage of at least twenty responses, not consecutive failures. */
static void rate(struct upstreamrig *h)
{
	h->config.eject_rate = 50;
	h->config.eject_time_ms = 1000;
	h->config.eject_max_percent = 50;
	h->config.keepalive = 100;
	upstreamrig_start(h);
	for (unsigned i = 0; i < 9; i++) {
		requests_to(h, 'a', "a", 0, 2);
		requests_to(h, 'a', "", 0, 2);
	}
	assert_int_equal(ejections(h), 0); /* eighteen */
	requests_to(h, 'a', "a", 0, 2);
	requests_to(h, 'a', "a", 0, 2);
	assert_int_equal(ejections(h), 1);
	simrig_run(&h->rig, 1100);
	/* Less than half, over many windows. */
	for (unsigned i = 0; i < 60; i++) {
		requests_to(h, 'a', "a", 0, 2);
		requests_to(h, 'a', "", 0, 4);
		simrig_run(&h->rig, 100);
	}
	assert_int_equal(ejections(h), 1);
	/* Failures of earlier windows do not count. */
	simrig_run(&h->rig, 20000);
	requests_to(h, 'a', "a", 0, 18);
	simrig_run(&h->rig, 20000);
	requests_to(h, 'a', "a", 0, 18);
	assert_int_equal(ejections(h), 1);
}

static void test_rate(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, rate);
}

/* Which responses are failures. */
static void statuses(void **state)
{
	static const struct row {
		enum config_eject_on on;
		int status;
		bool failure;
	} rows[] = {
		{ CONFIG_EJECT_ON_CONNECTION, 0, true },
		{ CONFIG_EJECT_ON_CONNECTION, 503, false },
		{ CONFIG_EJECT_ON_GATEWAY, 0, true },
		{ CONFIG_EJECT_ON_GATEWAY, 501, false },
		{ CONFIG_EJECT_ON_GATEWAY, 502, true },
		{ CONFIG_EJECT_ON_GATEWAY, 504, true },
		{ CONFIG_EJECT_ON_GATEWAY, 505, false },
		{ CONFIG_EJECT_ON_SERVER_ERROR, 499, false },
		{ CONFIG_EJECT_ON_SERVER_ERROR, 500, true },
		{ CONFIG_EJECT_ON_SERVER_ERROR, 599, true },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct upstreamrig h;

		upstreamrig_open(&h, i, 2);
		h.config.eject_on = rows[i].on;
		configure(&h);
		requests_to(&h, 'a', "a", rows[i].status, 12);
		assert_int_equal(ejections(&h), rows[i].failure);
		upstreamrig_close(&h);
	}
}

/* Refused connections are failures. A request that waits for a server that is ejected gets
 * another one. */
static void refused_connections(struct upstreamrig *h)
{
	struct waiter a;

	h->config.eject_failures = 1;
	h->config.eject_time_ms = 5000;
	h->config.eject_max_percent = 50;
	upstreamrig_start(h);
	sim_server_close(&h->sim_servers[0]);
	for (unsigned i = 0; i < 2; i++) {
		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		upstream_return(&a.lease, false);
	}
	assert_int_equal(ejections(h), 1);
	simrig_run(&h->rig, UPSTREAM_DOWN_MS + 1000);
	for (unsigned i = 0; i < 4; i++) {
		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		upstream_return(&a.lease, false);
	}
	assert_int_equal(h->stats.connect_failures, 1);
}

static void test_refused_connections(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, refused_connections);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_consecutive),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_longer_each_time),
		cmocka_unit_test(test_max_percent),
		cmocka_unit_test(test_single_server),
		cmocka_unit_test(test_max_percent_of_up),
		cmocka_unit_test(test_ejected_before_down),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(statuses),
		cmocka_unit_test(test_refused_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
