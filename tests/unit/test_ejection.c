/* Servers that fail are left alone for a time. */
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

/* One request; `status` 0: it comes to nothing. Returns who was asked. */
static char ask_one(struct upstreamrig *h, const char *failing, int status)
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

/* Of n requests, those to this server. */
static unsigned asked(struct upstreamrig *h, char name, const char *failing, int status,
		      unsigned n)
{
	unsigned times = 0;

	while (n-- > 0)
		times += ask_one(h, failing, status) == name;
	return times;
}

static uint64_t ejections(struct upstreamrig *h)
{
	return h->stats.ejections;
}

/* Three in a row, then a second without it; when it is back one more is enough, and it is
 * gone for two. */
static void in_a_row(struct upstreamrig *h)
{
	configure(h);
	assert_int_equal(asked(h, 'b', "b", 0, 9), 3);
	assert_int_equal(ejections(h), 1);
	assert_int_equal(asked(h, 'b', "b", 0, 30), 0);
	simrig_run(&h->rig, 1000);
	assert_int_equal(asked(h, 'b', "b", 0, 30), 1);
	assert_int_equal(ejections(h), 2);
	simrig_run(&h->rig, 1100);
	assert_int_equal(asked(h, 'b', "b", 0, 30), 0);
	simrig_run(&h->rig, 1000);
	assert_int_equal(asked(h, 'b', "", 0, 9), 3);
	/* It answers: three in a row are needed once more. */
	assert_int_equal(asked(h, 'b', "b", 0, 6), 2);
	assert_int_equal(asked(h, 'b', "", 0, 9), 3);
	assert_int_equal(asked(h, 'b', "b", 0, 6), 2);
	assert_int_equal(ejections(h), 2);
	/* Well for so long that what was is forgotten: a second again. */
	simrig_run(&h->rig, 4100);
	assert_int_equal(asked(h, 'b', "", 0, 3), 1);
	assert_int_equal(asked(h, 'b', "b", 0, 12), 3);
	simrig_run(&h->rig, 1100);
	assert_int_equal(asked(h, 'b', "", 0, 9), 3);
}

static void test_in_a_row(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, in_a_row);
}

/* Begun well each time, and never whole: in a row as well, whatever the others do. */
static void cut_short(struct upstreamrig *h)
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
	assert_int_equal(cut, 6); /* two, a whole one, three */
}

static void test_cut_short(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, cut_short);
}

/* Never longer than 32 times the first. */
static void longer_and_longer(struct upstreamrig *h)
{
	configure(h);
	asked(h, 'b', "b", 0, 12);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t from_ms = h->rig.tick.now_ms, took_ms;

		while (asked(h, 'b', "b", 0, 3) == 0)
			simrig_run(&h->rig, 50);
		took_ms = h->rig.tick.now_ms - from_ms;
		assert_in_range(took_ms, (900u << (i < 5 ? i : 5)), (1000u << (i < 5 ? i : 5)) + 300);
	}
}

static void test_longer_and_longer(void **state)
{
	struct upstreamrig h;

	(void)state;
	upstreamrig_open(&h, 1, 3);
	longer_and_longer(&h);
	upstreamrig_close(&h);
}

/* Half of three is one: the others are asked, however they fail. */
static void a_share_only(struct upstreamrig *h)
{
	unsigned b = 0, c = 0;

	configure(h);
	for (unsigned i = 0; i < 30; i++) {
		char name = ask_one(h, "abc", 0);

		b += name == 'b';
		c += name == 'c';
	}
	assert_int_equal(ejections(h), 1);
	assert_true(b > 9 && c > 9);
}

static void test_a_share_only(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, a_share_only);
}

static void alone(struct upstreamrig *h)
{
	configure(h);
	assert_int_equal(asked(h, 'a', "a", 0, 30), 30);
	assert_int_equal(ejections(h), 0);
}

static void test_alone(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, alone);
}

static void probe(struct upstreamrig *h, unsigned host, bool up)
{
	struct config_address address = upstreamrig_address(host);

	upstream_probed(h->upstream, host, &address, up);
}

/* Of those that are not down, and never the last one. */
static void shares(void **state)
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
		asked(&h, 'a', "abc", 0, 30);
		assert_int_equal(ejections(&h), rows[i].ejections);
		upstreamrig_close(&h);
	}
}

/* When all are ill, who was ejected is asked rather than who is down. */
static void rather_than_down(struct upstreamrig *h)
{
	configure(h);
	asked(h, 'b', "b", 0, 9);
	assert_int_equal(ejections(h), 1);
	probe(h, 0, false);
	probe(h, 2, false);
	assert_int_equal(asked(h, 'b', "", 0, 9), 9);
	probe(h, 0, true);
	assert_int_equal(asked(h, 'a', "", 0, 9), 9);
}

static void test_rather_than_down(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, rather_than_down);
}

/* So many percent of at least twenty, not in a row. */
static void rate(struct upstreamrig *h)
{
	h->config.eject_rate = 50;
	h->config.eject_time_ms = 1000;
	h->config.eject_max_percent = 50;
	h->config.keepalive = 100;
	upstreamrig_start(h);
	for (unsigned i = 0; i < 9; i++) {
		asked(h, 'a', "a", 0, 2);
		asked(h, 'a', "", 0, 2);
	}
	assert_int_equal(ejections(h), 0); /* eighteen */
	asked(h, 'a', "a", 0, 2);
	asked(h, 'a', "a", 0, 2);
	assert_int_equal(ejections(h), 1);
	simrig_run(&h->rig, 1100);
	/* Fewer than half, over many windows. */
	for (unsigned i = 0; i < 60; i++) {
		asked(h, 'a', "a", 0, 2);
		asked(h, 'a', "", 0, 4);
		simrig_run(&h->rig, 100);
	}
	assert_int_equal(ejections(h), 1);
	/* Failures of long ago do not count. */
	simrig_run(&h->rig, 20000);
	asked(h, 'a', "a", 0, 18);
	simrig_run(&h->rig, 20000);
	asked(h, 'a', "a", 0, 18);
	assert_int_equal(ejections(h), 1);
}

static void test_rate(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, rate);
}

/* Which answers are failures. */
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
		asked(&h, 'a', "a", rows[i].status, 12);
		assert_int_equal(ejections(&h), rows[i].failure);
		upstreamrig_close(&h);
	}
}

/* A server that refuses connections fails, too; who waits for one that is ejected is given
 * another. */
static void refuses(struct upstreamrig *h)
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

static void test_refuses(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, refuses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_a_row),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_longer_and_longer),
		cmocka_unit_test(test_a_share_only),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(shares),
		cmocka_unit_test(test_rather_than_down),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(statuses),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
