/* The servers of an upstream are added, changed and removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/back/server.h"
#include "lib/upstreamrig.h"

#define WAITERS 30

/* Allocation of servers fails. */
static bool short_of_memory;

void *calloc(size_t n, size_t size)
{
	void *(*volatile take)(size_t) = malloc; /* else compiled to a calloc() */
	void *p = short_of_memory ? NULL : take(n * size);

	return p ? memset(p, 0, n * size) : NULL;
}

/* Leases n origins at once and returns them as idle. */
static void fill_and_idle(struct upstreamrig *h, unsigned n)
{
	struct waiter a[12];

	for (unsigned i = 0; i < n; i++) {
		waiter_lease(h, &a[i]);
		waiter_wait_ready(h, &a[i]);
	}
	for (unsigned i = 0; i < n; i++)
		upstream_return(&a[i].lease, true);
}

/* The number of connections that each host has accepted, as "2110". */
static void assert_accepted(struct upstreamrig *h, const char *expected)
{
	simrig_run(&h->rig, 100);
	for (unsigned i = 0; expected[i]; i++)
		assert_int_equal(h->sim_servers[i].accepted, expected[i] - '0');
}

static void resolve(struct upstreamrig *h, unsigned index, const char *hosts)
{
	struct config_address a[UPSTREAMRIG_SIM_SERVERS];
	unsigned n = 0;

	for (; hosts[n]; n++)
		a[n] = upstreamrig_address((unsigned)(hosts[n] - '0'));
	assert_true(upstream_resolved(h->upstream, index, a, n));
}

/* Connections to addresses that stay are kept; others end. */
static void addresses_change(struct upstreamrig *h)
{
	upstreamrig_start(h);
	resolve(h, 0, "012");
	fill_and_idle(h, 6);
	assert_accepted(h, "2220");
	resolve(h, 0, "123");
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 4);
	assert_true(sim_peer_finished(h->sim_servers[0].last));
	assert_false(sim_peer_finished(h->sim_servers[1].last));
	fill_and_idle(h, 6);
	assert_accepted(h, "2222");
	assert_int_equal(h->stats.connections, 6);
	resolve(h, 0, "3");
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 2);
}

static void test_addresses_change(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, addresses_change);
}

/* A leased origin of a removed server stays usable, and ends when it is returned. */
static void leased_finishes(struct upstreamrig *h)
{
	struct waiter a, b, c;

	h->config.connections = 1;
	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	waiter_lease(h, &b);
	assert_int_equal(b.lease.state, LEASE_WAITING);
	waiter_lease(h, &c);
	simrig_run(&h->rig, 10);
	resolve(h, 0, "1");
	waiter_wait_ready(h, &b); /* there is capacity now */
	assert_int_equal(c.lease.state, LEASE_WAITING);
	assert_string_equal(lease_server(&a.lease), "a");
	assert_int_equal(h->stats.connections, 2);
	upstream_return(&a.lease, true);
	assert_string_equal(lease_server(&b.lease), "a");
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 1);
	assert_int_equal(c.lease.state, LEASE_WAITING);
	upstream_return(&b.lease, true);
	waiter_wait_ready(h, &c);
	upstream_return(&c.lease, true);
	assert_accepted(h, "11");
}

static void test_leased_finishes(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, leased_finishes);
}

/* The server is removed while it is being connected. */
static void leaves_connecting(struct upstreamrig *h)
{
	struct waiter a;
	bool is_there = simrig_draw(&h->rig, 2);

	upstreamrig_start(h);
	if (!is_there)
		sim_server_close(&h->sim_servers[0]);
	waiter_lease(h, &a);
	assert_int_equal(a.lease.state, LEASE_CONNECTING);
	resolve(h, 0, "1");
	waiter_wait_ready(h, &a);
	upstream_return(&a.lease, true);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, is_there ? 0 : 1);
	assert_int_equal(h->sim_servers[1].accepted, !is_there);
}

static void test_leaves_connecting(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, leaves_connecting);
}

/* A request waits for the only server that it has not tried, and this one is removed. */
static void last_choice_leaves(struct upstreamrig *h)
{
	struct waiter a, b;

	h->config.connections = 1;
	upstreamrig_start(h);
	sim_server_close(&h->sim_servers[1]);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	waiter_lease(h, &b); /* the other one refuses */
	SIMRIG_UNTIL(&h->rig, b.lease.state == LEASE_WAITING, 1000);
	h->config.server_n = 1;
	h->config.servers = &h->servers[1];
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	waiter_wait_failed(h, &b, LEASE_REFUSED);
	upstream_return(&a.lease, true);
}

static void test_last_choice_leaves(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, last_choice_leaves);
}

/* A server that is down is used only if there is no other. */
static void probed(struct upstreamrig *h)
{
	struct config_address address[3] = { upstreamrig_address(0),
					     upstreamrig_address(1),
					     upstreamrig_address(2) };

	upstreamrig_start(h);
	upstream_probed(h->upstream, 1, &address[1], false);
	upstream_probed(h->upstream, 1, &address[2], false); /* not of that name */
	upstream_probed(h->upstream, 3, &address[2], false);
	fill_and_idle(h, 6);
	assert_accepted(h, "303");
	upstream_probed(h->upstream, 0, &address[0], false);
	upstream_probed(h->upstream, 2, &address[2], false);
	upstream_probed(h->upstream, 1, &address[1], true);
	fill_and_idle(h, 4);
	assert_accepted(h, "343");
	upstream_probed(h->upstream, 1, &address[1], false);
	fill_and_idle(h, 9);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 10);
}

/* A name has new addresses and there is no memory for their servers: the old ones stay
 * until the call is repeated. */
static void no_memory_for_new(struct upstreamrig *h)
{
	struct config_address now[2] = { upstreamrig_address(1), upstreamrig_address(2) };

	h->servers[0].address_n = 2;
	h->servers[0].addresses[1] = upstreamrig_address(1);
	upstreamrig_start(h);
	fill_and_idle(h, 4);
	assert_accepted(h, "2200");
	short_of_memory = true;
	assert_false(upstream_resolved(h->upstream, 0, now, 2));
	now[0] = upstreamrig_address(3);
	assert_false(upstream_resolved(h->upstream, 0, now, 2));
	short_of_memory = false;
	fill_and_idle(h, 8);
	assert_accepted(h, "4400");
	assert_true(upstream_resolved(h->upstream, 0, now, 2));
	fill_and_idle(h, 4);
	assert_accepted(h, "4422");
	assert_int_equal(h->stats.connections, 4);
}

static void test_no_memory_for_new(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, no_memory_for_new);
}

/* The same with another configuration; its indices are valid nevertheless: "a" is now the
 * second name, and the first is new. */
static void no_memory_to_reconfigure(struct upstreamrig *h)
{
	struct config_server servers[2] = { h->servers[1], h->servers[0] };
	struct config_upstream other = h->config;
	struct config_address address = upstreamrig_address(0);

	upstreamrig_start(h);
	other.servers = servers;
	other.server_n = 2;
	assert_true(upstream_prepare(h->upstream, &other));
	short_of_memory = true;
	assert_false(upstream_reconfigure(h->upstream, &other));
	upstream_probed(h->upstream, 0, &address, false);
	assert_true(upstream_resolved(h->upstream, 1, &address, 1));
	short_of_memory = false;
	fill_and_idle(h, 2);
	assert_accepted(h, "20");
	servers[1] = h->servers[2];
	short_of_memory = true;
	assert_false(upstream_reconfigure(h->upstream, &other));
	short_of_memory = false;
	resolve(h, 1, "2");
	fill_and_idle(h, 2);
	assert_accepted(h, "202");
	assert_true(upstream_reconfigure(h->upstream, &other));
	fill_and_idle(h, 4);
	assert_accepted(h, "222");
	assert_int_equal(h->stats.connections, 4);
}

static void test_no_memory_to_reconfigure(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, no_memory_to_reconfigure);
}

/* Servers of an SRV record have their own weights. */
static void srv_weights(struct upstreamrig *h)
{
	struct config_address addresses[2] = { upstreamrig_address(0),
					       upstreamrig_address(1) };

	addresses[0].weight = 3;
	addresses[1].weight = 1;
	upstreamrig_start(h);
	assert_true(upstream_resolved(h->upstream, 0, addresses, 2));
	fill_and_idle(h, 8);
	assert_accepted(h, "620");
}

static void test_srv_weights(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, srv_weights);
}

/* A configuration without health checks: results of earlier ones are forgotten. */
static void checks_turned_off(struct upstreamrig *h)
{
	struct config_address address = upstreamrig_address(1);

	h->config.health.on = true;
	upstreamrig_start(h);
	upstream_probed(h->upstream, 1, &address, false);
	h->config.servers = h->servers;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	fill_and_idle(h, 4);
	assert_accepted(h, "202");
	h->config.health.on = false;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	fill_and_idle(h, 3);
	assert_int_equal(h->sim_servers[1].accepted, 1);
}

static void test_checks_turned_off(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, checks_turned_off);
}

static void test_probed(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, probed);
}

/* Servers are identified by name and address, at any index; all else is as configured. */
static void reconfigured(struct upstreamrig *h)
{
	struct config_server servers[3] = { h->servers[2], h->servers[0], h->servers[1] };
	struct config_upstream other = h->config;
	char name[8] = "other";

	h->config.keepalive = 12;
	upstreamrig_start(h);
	fill_and_idle(h, 6);
	assert_accepted(h, "2220");
	servers[1].weight = 4;
	servers[2].addresses[0] = upstreamrig_address(3);
	other.servers = servers;
	other.name = name;
	other.keepalive = 12;
	assert_true(upstream_reconfigure(h->upstream, &other));
	/* The old configuration is not read any more. */
	memset(servers, 0xff, sizeof(servers));
	memset(name, 0xff, sizeof(name));
	memset(&h->servers, 0xff, sizeof(h->servers));
	other.keepalive = 0;
	assert_string_equal(h->upstream->table.config.name, "other");
	assert_int_equal(h->upstream->table.config.keepalive, 12);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 4);
	fill_and_idle(h, 12);
	assert_accepted(h, "8222");
}

static void test_reconfigured(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, reconfigured);
}

/* A name without addresses has no servers until it is resolved. A resolved name keeps its
 * servers over a configuration that could not resolve it, whatever addresses that has. */
static void unresolved(struct upstreamrig *h)
{
	struct config_upstream other = h->config;
	struct config_server servers[3];
	struct waiter a;

	h->config.server_n = 1;
	h->servers[0].unresolved = true;
	h->servers[0].address_n = 0;
	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_NO_SERVER);
	upstream_return(&a.lease, false);
	assert_true(upstream_resolved(h->upstream, 0,
				      (struct config_address[]){ upstreamrig_address(0),
								 upstreamrig_address(1) },
				      2));
	fill_and_idle(h, 4);
	assert_accepted(h, "2200");
	/* Such a configuration again, with a second name that is resolved. */
	memcpy(servers, h->servers, sizeof(servers));
	servers[0].address_n = 1; /* outdated */
	servers[0].addresses = (struct config_address[]){ upstreamrig_address(3) };
	servers[1].name = "b";
	other.server_n = 2;
	other.servers = servers;
	assert_true(upstream_reconfigure(h->upstream, &other));
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 4);
	fill_and_idle(h, 6);
	assert_accepted(h, "2400");
	/* Finally it is resolved. */
	servers[0].unresolved = false;
	assert_true(upstream_reconfigure(h->upstream, &other));
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 2);
}

static void test_unresolved(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, unresolved);
}

/* More addresses than servers are possible: each name gets its first address. */
static void test_too_many_addresses(void **state)
{
	static struct config_server servers[CONFIG_SERVERS_MAX];
	struct upstreamrig h;
	struct waiter a;

	(void)state;
	upstreamrig_open(&h, 1, 1);
	for (unsigned i = 0; i < CONFIG_SERVERS_MAX; i++) {
		servers[i] = h.servers[0];
		servers[i].name = "x";
		servers[i].address_n = 3;
		for (unsigned k = 0; k < 3; k++)
			servers[i].addresses[k] = upstreamrig_address(k);
	}
	for (unsigned i = 1; i < CONFIG_SERVERS_MAX; i++) {
		static char names[CONFIG_SERVERS_MAX][8];

		snprintf(names[i], sizeof(names[i]), "s%u", i);
		servers[i].name = names[i];
	}
	h.config.servers = servers;
	h.config.server_n = CONFIG_SERVERS_MAX - 1;
	h.config.keepalive = 0;
	upstreamrig_start(&h);
	for (unsigned i = 0; i < CONFIG_SERVERS_MAX; i++) {
		waiter_lease(&h, &a);
		waiter_wait_ready(&h, &a);
		upstream_return(&a.lease, true);
	}
	simrig_run(&h.rig, 100);
	assert_int_equal(h.sim_servers[0].accepted, CONFIG_SERVERS_MAX - 1);
	assert_int_equal(h.sim_servers[1].accepted, 1);
	assert_int_equal(h.sim_servers[2].accepted, 0);
	upstreamrig_close(&h);
}

/* A random set of hosts, at least one, as text. */
static void draw_hosts(struct upstreamrig *h, char *hosts)
{
	unsigned n = 0;

	for (unsigned i = 0; i < UPSTREAMRIG_SIM_SERVERS; i++)
		if (simrig_draw(&h->rig, 3) == 0)
			hosts[n++] = (char)('0' + i);
	if (n == 0)
		hosts[n++] = '0';
	hosts[n] = '\0';
}

static void change_at_random(struct upstreamrig *h)
{
	struct config_server servers[UPSTREAMRIG_SERVERS] = { h->servers[0],
							      h->servers[1],
							      h->servers[2] };
	struct config_upstream other = h->config;
	char hosts[UPSTREAMRIG_SIM_SERVERS + 1];
	struct config_address a = upstreamrig_address(
		(unsigned)simrig_draw(&h->rig, UPSTREAMRIG_SIM_SERVERS));
	unsigned index = (unsigned)simrig_draw(&h->rig, UPSTREAMRIG_SERVERS);

	draw_hosts(h, hosts);
	switch (simrig_draw(&h->rig, 3)) {
	case 0:
		resolve(h, index, hosts);
		break;
	case 1:
		upstream_probed(h->upstream, index, &a, simrig_draw(&h->rig, 2));
		break;
	case 2:
		other.server_n = 1 + (unsigned)simrig_draw(&h->rig, UPSTREAMRIG_SERVERS);
		other.connections = (uint32_t)simrig_draw(&h->rig, 4);
		other.servers = servers;
		servers[0].name = h->servers[index].name;
		servers[index].name = h->servers[0].name;
		servers[0].weight = 1 + (unsigned)simrig_draw(&h->rig, 10);
		for (; hosts[servers[0].address_n]; servers[0].address_n++)
			servers[0].addresses[servers[0].address_n] = upstreamrig_address(
				(unsigned)(hosts[servers[0].address_n] - '0'));
		assert_true(upstream_reconfigure(h->upstream, &other));
		break;
	}
}

/* Servers change during requests; none is lost, nothing leaks. */
static void random_changes(struct upstreamrig *h)
{
	struct waiter a[WAITERS];

	h->config.connections = (uint32_t)simrig_draw(&h->rig, 4);
	quota_init(&h->queue_quota, 20);
	upstreamrig_start(h);
	for (unsigned i = 0; i < WAITERS; i++)
		waiter_init(&a[i]);
	for (unsigned n = 0; n < 200; n++) {
		struct waiter *x = &a[simrig_draw(&h->rig, WAITERS)];
		struct sim_server *host =
			&h->sim_servers[simrig_draw(&h->rig, UPSTREAMRIG_SIM_SERVERS)];

		if (x->lease.state == LEASE_NONE)
			upstream_lease(h->upstream, &x->lease, NULL, simrig_draw(&h->rig, 8) == 0,
				       &x->task);
		else
			upstream_return(&x->lease, simrig_draw(&h->rig, 2));
		if (simrig_draw(&h->rig, 10) == 0 && host->last && host->last->fd >= 0)
			sim_peer_reset_now(host->last);
		if (simrig_draw(&h->rig, 5) == 0)
			change_at_random(h);
		simrig_run(&h->rig, (uint32_t)simrig_draw(&h->rig, simrig_draw(&h->rig, 20) ?
								       10 : 3000));
	}
	for (unsigned i = 0; i < WAITERS; i++) {
		upstream_return(&a[i].lease, simrig_draw(&h->rig, 2));
		task_stop(&a[i].task);
	}
}

static void test_random_changes(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, random_changes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_change),
		cmocka_unit_test(test_leased_finishes),
		cmocka_unit_test(test_leaves_connecting),
		cmocka_unit_test(test_last_choice_leaves),
		cmocka_unit_test(test_probed),
		cmocka_unit_test(test_checks_turned_off),
		cmocka_unit_test(test_no_memory_for_new),
		cmocka_unit_test(test_no_memory_to_reconfigure),
		cmocka_unit_test(test_srv_weights),
		cmocka_unit_test(test_reconfigured),
		cmocka_unit_test(test_unresolved),
		cmocka_unit_test(test_too_many_addresses),
		cmocka_unit_test(test_random_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
