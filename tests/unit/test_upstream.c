#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/back/server.h"
#include "lib/upstreamrig.h"

#define WAITERS 40

/* Last in, first out. */
static void last_in_first_out(struct upstreamrig *h)
{
	struct waiter a[4];
	struct origin *o[4];

	upstreamrig_start(h);
	for (unsigned i = 0; i < 4; i++)
		waiter_lease(h, &a[i]);
	for (unsigned i = 0; i < 4; i++) {
		waiter_wait_ready(h, &a[i]);
		assert_false(a[i].lease.reused);
		o[i] = a[i].lease.origin;
	}
	for (unsigned i = 0; i < 4; i++)
		upstream_return(&a[i].lease, true);
	assert_int_equal(h->stats.connections_idle, 4);
	for (unsigned i = 0; i < 4; i++) {
		waiter_lease(h, &a[i]);
		assert_int_equal(a[i].lease.state, LEASE_READY);
		assert_true(a[i].lease.reused);
		assert_ptr_equal(a[i].lease.origin, o[3 - i]);
	}
	simrig_run(&h->rig, 10);
	for (unsigned i = 0; i < 4; i++)
		upstream_return(&a[i].lease, i % 2);
	assert_int_equal(h->stats.connections_idle, 2);
	simrig_run(&h->rig, 100);
	assert_int_equal(h->stats.connections, 2);
	SIMRIG_UNTIL(&h->rig, h->stats.connections == 0, 5100); /* idle_timeout */
}

static void test_reuse(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, last_in_first_out);
}

static void keepalive_limit(struct upstreamrig *h)
{
	struct waiter a[6];

	h->config.keepalive = (uint32_t)simrig_draw(&h->rig, 7);
	upstreamrig_start(h);
	for (unsigned i = 0; i < 6; i++)
		waiter_lease(h, &a[i]);
	for (unsigned i = 0; i < 6; i++)
		waiter_wait_ready(h, &a[i]);
	for (unsigned i = 0; i < 6; i++)
		upstream_return(&a[i].lease, true);
	assert_int_equal(h->stats.connections_idle,
			 h->config.keepalive < 6 ? h->config.keepalive : 6);
}

static void test_keepalive(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, keepalive_limit);
}

/* At the limit: a queue, first come, first served, up to its limit and its timeout. */
static void queue_order(struct upstreamrig *h)
{
	struct waiter a[6];
	bool reusable = simrig_draw(&h->rig, 2);

	h->config.connections = 2;
	upstreamrig_start(h);
	for (unsigned i = 0; i < 6; i++)
		waiter_lease(h, &a[i]);
	waiter_wait_ready(h, &a[0]);
	waiter_wait_ready(h, &a[1]);
	assert_int_equal(h->stats.waiting, 3);
	waiter_wait_failed(h, &a[5], LEASE_QUEUE_FULL);
	upstream_return(&a[3].lease, false); /* leaves the queue */
	upstream_return(&a[0].lease, reusable);
	waiter_wait_ready(h, &a[2]);
	assert_int_equal(a[2].lease.reused, reusable);
	assert_int_equal(a[4].lease.state, LEASE_WAITING);
	assert_true(h->stats.connections <= 2);
	if (simrig_draw(&h->rig, 2)) {
		waiter_wait_failed(h, &a[4], LEASE_QUEUE_TIMEOUT);
	} else {
		upstream_return(&a[1].lease, !reusable);
		waiter_wait_ready(h, &a[4]);
		upstream_return(&a[4].lease, false);
	}
	if (a[1].lease.state == LEASE_READY)
		upstream_return(&a[1].lease, false);
	upstream_return(&a[2].lease, true);
	assert_int_equal(h->queue_quota.used, 0);
}

static void test_queue_order(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, queue_order);
}

/* Only one server of three accepts connections. */
static void next_server(struct upstreamrig *h)
{
	unsigned up = (unsigned)simrig_draw(&h->rig, 3);
	struct waiter a[6];

	upstreamrig_start(h);
	for (unsigned i = 0; i < 3; i++)
		if (i != up)
			sim_server_close(&h->sim_servers[i]);
	for (unsigned i = 0; i < 6; i++)
		waiter_lease(h, &a[i]);
	for (unsigned i = 0; i < 6; i++) {
		waiter_wait_ready(h, &a[i]);
		assert_string_equal(lease_server(&a[i].lease), h->servers[up].name);
	}
	/* The servers that refused get no requests while they are down, and do after
	 * that. */
	uint64_t failures = h->stats.connect_failures;

	for (unsigned i = 0; i < 6; i++)
		upstream_return(&a[i].lease, false);
	waiter_lease(h, &a[0]);
	waiter_wait_ready(h, &a[0]);
	assert_int_equal(h->stats.connect_failures, failures);
	upstream_return(&a[0].lease, false);
	simrig_run(&h->rig, UPSTREAM_DOWN_MS + 100);
	for (unsigned i = 0; i < 3; i++) {
		waiter_lease(h, &a[i]);
		waiter_wait_ready(h, &a[i]);
	}
	assert_true(h->stats.connect_failures > failures);
	for (unsigned i = 0; i < 3; i++)
		upstream_return(&a[i].lease, false);
}

static void test_next_server(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, next_server);
}

/* All servers refuse: each was tried once. */
static void all_refuse(struct upstreamrig *h)
{
	struct waiter a;

	upstreamrig_start(h);
	for (unsigned i = 0; i < 3; i++)
		sim_server_close(&h->sim_servers[i]);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connects, 3);
	waiter_lease(h, &a); /* all are down: they are tried nevertheless */
	waiter_wait_failed(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connects, 6);
}

static void test_all_refuse(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, all_refuse);
}

/* The same after waiting in the queue. */
static void all_refuse_after_queue(struct upstreamrig *h)
{
	struct waiter holds, waits;

	h->config.connections = 1;
	upstreamrig_start(h);
	waiter_lease(h, &holds);
	waiter_wait_ready(h, &holds);
	waiter_lease(h, &waits);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	sim_server_close(&h->sim_servers[0]);
	upstream_return(&holds.lease, false);
	waiter_wait_failed(h, &waits, LEASE_REFUSED);
	assert_int_equal(h->stats.connects, 2);
}

static void test_all_refuse_after_queue(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, all_refuse_after_queue);
}

/* Each address is a server: if one refuses another one is used. */
static void addresses(struct upstreamrig *h)
{
	struct config_server *s = &h->servers[0];
	struct waiter a;

	s->address_n = 3;
	s->addresses[1] = h->servers[1].addresses[0];
	s->addresses[2] = h->servers[2].addresses[0];
	upstreamrig_start(h);
	sim_server_close(&h->sim_servers[0]);
	sim_server_close(&h->sim_servers[1]);
	for (unsigned i = 0; i < 3; i++) {
		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		assert_string_equal(lease_server(&a.lease), "a");
		upstream_return(&a.lease, false);
	}
	assert_int_equal(h->stats.connects, 5);
	assert_int_equal(h->stats.connect_failures, 2);
	assert_int_equal(h->sim_servers[2].accepted, 3);
	sim_server_close(&h->sim_servers[2]);
	waiter_lease(h, &a);
	waiter_wait_failed(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connect_failures, 5);
}

static void test_addresses(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, addresses);
}

/* The backlog of the server is full: after connect_timeout the next server is tried, if
 * any. */
static void connect_timeout(struct upstreamrig *h)
{
	bool other = simrig_draw(&h->rig, 2);
	struct sim_peer *crowd;
	struct waiter a;
	uint64_t from_ms;
	int fd;

	h->config.server_n = other ? 2 : 1;
	upstreamrig_start(h);
	sim_server_close(&h->sim_servers[0]);
	fd = sim_listen(h->rig.tick.loop, (struct sockaddr *)&h->sim_servers[0].addr,
			sizeof(h->sim_servers[0].addr), 1);
	crowd = sim_peer_connect(&h->rig, UPSTREAMRIG_PORT);
	SIMRIG_UNTIL(&h->rig, crowd->connected, 1000);
	from_ms = h->rig.tick.now_ms;
	waiter_lease(h, &a);
	if (other) {
		waiter_wait_ready(h, &a);
		upstream_return(&a.lease, true);
	} else {
		waiter_wait_failed(h, &a, LEASE_CONNECT_TIMEOUT);
		assert_true(h->rig.tick.now_ms >= from_ms + 1000);
		assert_true(h->rig.tick.now_ms <= from_ms + 1050);
	}
	io_close(h->rig.tick.loop, fd);
}

static void test_connect_timeout(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, connect_timeout);
}

/* No descriptor is left: an idle connection is closed, else the request waits. */
static void descriptors(struct upstreamrig *h)
{
	struct waiter a[3];

	quota_init(&h->descriptors, 2);
	upstreamrig_start(h);
	waiter_lease(h, &a[0]);
	waiter_lease(h, &a[1]);
	waiter_wait_ready(h, &a[0]);
	waiter_wait_ready(h, &a[1]);
	waiter_lease(h, &a[2]);
	assert_int_equal(a[2].lease.state, LEASE_WAITING);
	simrig_run(&h->rig, 100);
	upstream_return(&a[0].lease, simrig_draw(&h->rig, 2));
	waiter_wait_ready(h, &a[2]);
	assert_true(h->descriptors.used <= 2);
	upstream_return(&a[1].lease, true);
	upstream_return(&a[2].lease, false);
}

static void test_descriptors(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, descriptors);
}

/* Servers to be avoided are not used as long as there is another. */
static void avoid_tried(struct upstreamrig *h)
{
	struct tried avoid = { 0 };
	struct waiter a;
	char names[4] = "";

	upstreamrig_start(h);
	for (unsigned i = 0; i < 3; i++) {
		waiter_init(&a);
		assert_true(upstream_has_other(h->upstream, &avoid));
		upstream_lease(h->upstream, &a.lease, &avoid, false, &a.task);
		waiter_wait_ready(h, &a);
		names[i] = lease_server(&a.lease)[0];
		upstream_return(&a.lease, simrig_draw(&h->rig, 2));
		avoid = a.lease.tried;
	}
	assert_true(strchr(names, 'a') && strchr(names, 'b') && strchr(names, 'c'));
	assert_false(upstream_has_other(h->upstream, &avoid));
	upstream_lease(h->upstream, &a.lease, &avoid, false, &a.task);
	waiter_wait_ready(h, &a);
	upstream_return(&a.lease, true);
}

static void test_avoid_tried(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, avoid_tried);
}

/* Servers for a hedge: not unavailable, not full, not tried, no backup. */
static void spare(struct upstreamrig *h)
{
	struct tried tried = { .n = 1 }; /* the first server */
	struct config_address b = upstreamrig_address(1);
	struct waiter holds;

	h->servers[2].backup = true;
	h->config.requests = 1;
	upstreamrig_start(h);
	assert_true(upstream_has_spare(h->upstream, &tried));
	upstream_probed(h->upstream, 1, &b, false);
	assert_false(upstream_has_spare(h->upstream, &tried));
	assert_true(upstream_has_other(h->upstream, &tried));
	upstream_probed(h->upstream, 1, &b, true);
	assert_true(upstream_has_spare(h->upstream, &tried));
	waiter_init(&holds);
	upstream_lease(h->upstream, &holds.lease, &tried, false, &holds.task);
	waiter_wait_ready(h, &holds);
	assert_string_equal(lease_server(&holds.lease), "b");
	assert_false(upstream_has_spare(h->upstream, &tried));
	upstream_return(&holds.lease, true);
	assert_true(upstream_has_spare(h->upstream, &tried));
	tried_add(&tried, 1);
	assert_false(upstream_has_spare(h->upstream, &tried));
}

static void set_drained(struct upstreamrig *h, const char *name, bool drained)
{
	REGISTRY_EACH(h->upstream->table.registry, entry)
		if (strcmp(entry->name, name) == 0)
			atomic_store(&entry->order, drained ? SERVER_ORDER_DRAIN : SERVER_ORDER_UP);
	upstream_ordered(h->upstream);
}

/* The operator's word and the health check's: one of both suffices. */
static void drained(struct upstreamrig *h)
{
	struct tried tried = { .n = 1 }; /* the first server */
	struct config_address b = upstreamrig_address(1);

	h->servers[2].backup = true;
	upstreamrig_start(h);
	assert_true(upstream_has_spare(h->upstream, &tried));
	set_drained(h, "b", true);
	assert_false(upstream_has_spare(h->upstream, &tried));
	upstream_probed(h->upstream, 1, &b, true);
	assert_false(upstream_has_spare(h->upstream, &tried));
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	assert_false(upstream_has_spare(h->upstream, &tried));
	upstream_probed(h->upstream, 1, &b, false);
	set_drained(h, "b", false);
	assert_false(upstream_has_spare(h->upstream, &tried));
	upstream_probed(h->upstream, 1, &b, true);
	assert_true(upstream_has_spare(h->upstream, &tried));
}

static struct registry_entry *entry_of(const struct upstreamrig *h, const char *name)
{
	REGISTRY_EACH(h->upstream->table.registry, entry)
		if (strcmp(entry->name, name) == 0)
			return entry;
	return NULL;
}

static void order_state(struct upstreamrig *h, const char *name, enum server_order order)
{
	atomic_store(&entry_of(h, name)->order, (uint8_t)order);
	upstream_ordered(h->upstream);
}

/* A server that is down is not used, not even as the last one; a request that waits fails when it
 * cannot wait for any. */
static void ordered_down(struct upstreamrig *h)
{
	struct waiter holds, waits, fails;

	h->config.requests = 1;
	h->config.balance = (enum config_balance)simrig_draw(&h->rig, CONFIG_HASH + 1);
	upstreamrig_start(h);
	order_state(h, "a", SERVER_ORDER_DOWN);
	waiter_lease(h, &holds);
	waiter_wait_ready(h, &holds);
	assert_string_equal(lease_server(&holds.lease), "b");
	waiter_lease(h, &waits);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	order_state(h, "b", SERVER_ORDER_DOWN);
	waiter_wait_failed(h, &waits, LEASE_ORDERED_DOWN);
	upstream_return(&waits.lease, false);
	waiter_lease(h, &fails);
	waiter_wait_failed(h, &fails, LEASE_ORDERED_DOWN);
	upstream_return(&fails.lease, false);
	/* What it has is completed. */
	assert_int_equal(holds.lease.state, LEASE_READY);
	upstream_return(&holds.lease, true);
	order_state(h, "a", SERVER_ORDER_DRAIN);
	waiter_lease(h, &holds);
	waiter_wait_ready(h, &holds);
	assert_string_equal(lease_server(&holds.lease), "a");
	upstream_return(&holds.lease, true);
	order_state(h, "b", SERVER_ORDER_UP);
	waiter_lease(h, &holds);
	waiter_wait_ready(h, &holds);
	assert_string_equal(lease_server(&holds.lease), "b");
	upstream_return(&holds.lease, true);
}

static void test_ordered_down(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, ordered_down);
}

static void ordered_down_alone(struct upstreamrig *h)
{
	struct waiter fails;

	upstreamrig_start(h);
	order_state(h, "a", SERVER_ORDER_DOWN);
	waiter_lease(h, &fails);
	waiter_wait_failed(h, &fails, LEASE_ORDERED_DOWN);
	upstream_return(&fails.lease, false);
	order_state(h, "a", SERVER_ORDER_UP);
	waiter_lease(h, &fails);
	waiter_wait_ready(h, &fails);
	upstream_return(&fails.lease, true);
}

static void test_ordered_down_alone(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, ordered_down_alone);
}

static unsigned first_of_40(struct upstreamrig *h)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 40; i++) {
		struct waiter w;

		waiter_lease(h, &w);
		waiter_wait_ready(h, &w);
		n += strcmp(lease_server(&w.lease), "a") == 0;
		upstream_return(&w.lease, true);
	}
	return n;
}

/* An ordered weight takes effect at once, holds over a reload of the same weight, and gives way to
 * another one in the file. */
static void ordered_weight(struct upstreamrig *h)
{
	struct registry_entry *a;

	upstreamrig_start(h);
	a = entry_of(h, "a");
	assert_int_equal(first_of_40(h), 20);
	registry_order_weight(a, 1, 3);
	upstream_ordered(h->upstream);
	assert_int_equal(first_of_40(h), 30);
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	assert_int_equal(first_of_40(h), 30);
	assert_int_equal(registry_record(h->upstream->table.registry, a, 0)->weight, 3);
	h->servers[0].weight = 4;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	assert_int_equal(first_of_40(h), 32);
	registry_order_weight(a, 4, 0);
	upstream_ordered(h->upstream);
	assert_int_equal(first_of_40(h), 32);
	/* While it is in no rank, too. */
	order_state(h, "a", SERVER_ORDER_DOWN);
	registry_order_weight(a, 4, 1);
	upstream_ordered(h->upstream);
	order_state(h, "a", SERVER_ORDER_UP);
	assert_int_equal(first_of_40(h), 20);
}

static void test_ordered_weight(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, ordered_weight);
}

static void test_drained(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, drained);
}

static void test_spare(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, spare);
}

/* A request that waits for one server does not block others that can use another one. */
static void no_head_of_line_blocking(struct upstreamrig *h)
{
	struct tried avoid = { .n = 1 }; /* the first server */
	struct waiter holds[2], waits, next;

	if (simrig_draw(&h->rig, 2))
		h->config.requests = 1;
	else
		h->config.connections = 1;
	upstreamrig_start(h);
	waiter_init(&holds[0]);
	upstream_lease(h->upstream, &holds[0].lease, &avoid, false, &holds[0].task);
	waiter_wait_ready(h, &holds[0]);
	assert_string_equal(lease_server(&holds[0].lease), "b");
	sim_server_close(&h->sim_servers[0]); /* refuses one, then listens again */
	waiter_lease(h, &waits);
	SIMRIG_UNTIL(&h->rig, waits.lease.state == LEASE_WAITING, 100);
	sim_server_open(&h->sim_servers[0], &h->rig, UPSTREAMRIG_PORT, NULL, NULL);
	simrig_run(&h->rig, UPSTREAM_DOWN_MS + 100);
	waiter_lease(h, &holds[1]);
	waiter_wait_ready(h, &holds[1]);
	assert_string_equal(lease_server(&holds[1].lease), "a");
	waiter_lease(h, &next);
	assert_int_equal(next.lease.state, LEASE_WAITING);
	upstream_return(&holds[1].lease, simrig_draw(&h->rig, 2));
	waiter_wait_ready(h, &next);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	upstream_return(&holds[0].lease, simrig_draw(&h->rig, 2));
	waiter_wait_ready(h, &waits);
	upstream_return(&next.lease, true);
	upstream_return(&waits.lease, true);
}

static void test_no_head_of_line_blocking(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, no_head_of_line_blocking);
}

/* A server to be avoided is used before the request would wait or fail. */
static void avoided_before_waiting(struct upstreamrig *h)
{
	struct tried avoid = { .n = 1 }; /* the first server */
	bool refused = simrig_draw(&h->rig, 2);
	struct waiter a[3];

	h->config.requests = 1;
	upstreamrig_start(h);
	if (refused)
		sim_server_close(&h->sim_servers[1]);
	for (unsigned i = 0; i < 3; i++)
		waiter_init(&a[i]);
	if (!refused) {
		upstream_lease(h->upstream, &a[0].lease, &avoid, false, &a[0].task);
		waiter_wait_ready(h, &a[0]);
		assert_string_equal(lease_server(&a[0].lease), "b");
	}
	upstream_lease(h->upstream, &a[1].lease, &avoid, false, &a[1].task);
	waiter_wait_ready(h, &a[1]);
	assert_string_equal(lease_server(&a[1].lease), "a");
	upstream_lease(h->upstream, &a[2].lease, &avoid, false, &a[2].task);
	SIMRIG_UNTIL(&h->rig, a[2].lease.state == LEASE_WAITING, 100);
	upstream_return(&a[1].lease, true);
	waiter_wait_ready(h, &a[2]);
	for (unsigned i = 0; i < 3; i++)
		upstream_return(&a[i].lease, true);
}

static void test_avoided_before_waiting(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, avoided_before_waiting);
}

/* The deadline of the request passes while it connects: a failure of the server. */
static void request_deadline(struct upstreamrig *h)
{
	struct sim_peer *crowd;
	struct waiter a;
	int fd;

	h->config.connect_timeout_ms = 60000;
	h->config.eject_failures = 1;
	h->config.eject_time_ms = 5000;
	h->config.eject_max_percent = 50;
	upstreamrig_start(h);
	sim_server_close(&h->sim_servers[0]);
	fd = sim_listen(h->rig.tick.loop, (struct sockaddr *)&h->sim_servers[0].addr,
			sizeof(h->sim_servers[0].addr), 1);
	crowd = sim_peer_connect(&h->rig, UPSTREAMRIG_PORT);
	SIMRIG_UNTIL(&h->rig, crowd->connected, 1000);
	waiter_lease(h, &a);
	simrig_run(&h->rig, 500);
	assert_int_equal(a.lease.state, LEASE_CONNECTING);
	upstream_failed(&a.lease);
	upstream_return(&a.lease, false);
	assert_int_equal(h->stats.ejections, 1);
	for (unsigned i = 0; i < 4; i++) {
		waiter_lease(h, &a);
		waiter_wait_ready(h, &a);
		assert_string_equal(lease_server(&a.lease), "b");
		upstream_return(&a.lease, true);
	}
	io_close(h->rig.tick.loop, fd);
}

static void test_request_deadline(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, request_deadline);
}

/* A fresh connection at the limit `connections`: an idle one is closed. */
static void fresh_at_the_limit(struct upstreamrig *h)
{
	struct waiter a, b;

	h->config.connections = 1;
	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	upstream_return(&a.lease, true);
	waiter_init(&b);
	upstream_lease(h->upstream, &b.lease, NULL, true, &b.task);
	waiter_wait_ready(h, &b);
	assert_false(b.lease.reused);
	assert_true(h->stats.connections <= 1);
	upstream_return(&b.lease, true);
}

static void test_fresh_at_the_limit(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, fresh_at_the_limit);
}

/* An origin whose send has failed is not reused, even if it can still receive. */
static void send_failed(struct upstreamrig *h)
{
	struct waiter a;

	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	a.lease.origin->conn.send_error = -32;
	a.lease.stream->send_failed = true;
	upstream_return(&a.lease, true);
	assert_int_equal(h->stats.connections_idle, 0);
}

static void test_send_failed(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, send_failed);
}

/* Idle origins that are closed by the server, or receive bytes, end. */
static void stale_idle(struct upstreamrig *h)
{
	struct waiter a;
	struct sim_peer *peer;

	upstreamrig_start(h);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	SIMRIG_UNTIL(&h->rig, h->sim_servers[0].last, 1000);
	peer = h->sim_servers[0].last;
	upstream_return(&a.lease, true);
	assert_int_equal(h->stats.connections_idle, 1);
	switch (simrig_draw(&h->rig, 3)) {
	case 0:
		sim_peer_close(peer);
		break;
	case 1:
		sim_peer_reset_now(peer);
		break;
	case 2:
		sim_peer_send_text(peer, "hello?");
		break;
	}
	SIMRIG_UNTIL(&h->rig, h->stats.connections == 0, 1000);
	waiter_lease(h, &a);
	waiter_wait_ready(h, &a);
	assert_false(a.lease.reused);
	upstream_return(&a.lease, false);
}

static void test_stale_idle(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, stale_idle);
}

static void balanced(struct upstreamrig *h)
{
	struct waiter a[12];

	h->servers[0].weight = 2;
	h->config.balance = simrig_draw(&h->rig, 2) ? CONFIG_ROUND_ROBIN :
						      CONFIG_LEAST_CONNECTIONS;
	upstreamrig_start(h);
	for (unsigned i = 0; i < 12; i++) {
		waiter_lease(h, &a[i]);
		waiter_wait_ready(h, &a[i]);
	}
	simrig_run(&h->rig, 10);
	assert_int_equal(h->sim_servers[0].accepted, 6);
	assert_int_equal(h->sim_servers[1].accepted, 3);
	assert_int_equal(h->sim_servers[2].accepted, 3);
	for (unsigned i = 0; i < 12; i++)
		upstream_return(&a[i].lease, false);
}

static void test_balance(void **state)
{
	(void)state;
	upstreamrig_each_seed(3, balanced);
}

/* Requests begin and end, and servers refuse and accept, at random times. */
static void random_changes(struct upstreamrig *h)
{
	struct waiter a[WAITERS];

	h->config.connections = (uint32_t)simrig_draw(&h->rig, 4);
	h->config.keepalive = (uint32_t)simrig_draw(&h->rig, 3);
	quota_init(&h->descriptors, 3 + (uint32_t)simrig_draw(&h->rig, 20));
	upstreamrig_start(h);
	for (unsigned i = 0; i < WAITERS; i++)
		waiter_init(&a[i]);
	for (unsigned n = 0; n < 300; n++) {
		struct waiter *x = &a[simrig_draw(&h->rig, WAITERS)];
		struct sim_server *host =
			&h->sim_servers[simrig_draw(&h->rig, UPSTREAMRIG_SERVERS)];

		if (x->lease.state == LEASE_NONE)
			upstream_lease(h->upstream, &x->lease, NULL, simrig_draw(&h->rig, 8) == 0,
				       &x->task);
		else
			upstream_return(&x->lease, simrig_draw(&h->rig, 2));
		if (simrig_draw(&h->rig, 10) == 0 && host->last && host->last->fd >= 0)
			sim_peer_reset_now(host->last);
		if (simrig_draw(&h->rig, 20) == 0) {
			if (host->listener >= 0)
				sim_server_close(host);
			else
				sim_server_open(host, &h->rig, ntohs(host->addr.sin_port),
						NULL, NULL);
		}
		if (simrig_draw(&h->rig, 30) == 0)
			slab_fail_at(1 + (unsigned)simrig_draw(&h->rig, 3));
		assert_true(h->config.connections == 0 ||
			    h->stats.connections <=
				    h->config.connections * UPSTREAMRIG_SERVERS);
		simrig_run(&h->rig, (uint32_t)simrig_draw(&h->rig, simrig_draw(&h->rig, 20) ?
								       10 : 3000));
	}
	slab_fail_at(0);
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

/* After upstream_close() waiting leases fail at once; one that is connecting gets its
 * connection, and one whose connect fails does not try another server. */
static void closing(struct upstreamrig *h)
{
	struct waiter connecting, refused, waits;
	unsigned connects;

	h->config.connections = 1;
	sim_server_close(&h->sim_servers[1]);
	upstreamrig_start(h);
	waiter_lease(h, &connecting);
	waiter_lease(h, &refused);
	waiter_lease(h, &waits);
	assert_int_equal(connecting.lease.state, LEASE_CONNECTING);
	assert_int_equal(refused.lease.state, LEASE_CONNECTING);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	connects = (unsigned)h->stats.connects;
	upstream_close(h->upstream);
	assert_int_equal(waits.lease.state, LEASE_FAILED);
	assert_int_equal(h->stats.waiting, 0);
	waiter_wait_failed(h, &waits, LEASE_REFUSED);
	waiter_wait_failed(h, &refused, LEASE_REFUSED);
	waiter_wait_ready(h, &connecting);
	assert_int_equal(h->stats.connects, connects);
	waiter_lease(h, &waits);
	waiter_wait_failed(h, &waits, LEASE_REFUSED);
	upstream_return(&connecting.lease, true);
	SIMRIG_UNTIL(&h->rig, upstream_idle(h->upstream), 1000);
}

static void test_closing(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, closing);
}

/* A lease for a client, as requests to an upstream with `proxy_protocol` have it. */
static void introduced_lease(struct upstreamrig *h, struct waiter *w, struct buf *preamble,
			     struct list *held)
{
	waiter_init(w);
	w->lease.preamble = preamble;
	w->lease.hold_on_return = preamble != NULL;
	w->lease.held_list = held;
	upstream_lease(h->upstream, &w->lease, NULL, false, &w->task);
	waiter_wait_ready(h, w);
}

/* A connection that begins with a preamble is for one client only; without its list it is for one
 * request. After a reload that changes the preamble no connection from before is used. */
static void introduced(struct upstreamrig *h)
{
	struct buf *preamble = buf_new(io_bufs(h->rig.tick.loop), 6);
	struct list mine, theirs;
	struct waiter a, b;

	assert_non_null(preamble);
	preamble->end = (uint32_t)sprintf(preamble->data, "HELLO");
	list_init(&mine);
	list_init(&theirs);
	h->config.proxy_protocol = CONFIG_PROXY_V1;
	upstreamrig_start(h);
	for (unsigned i = 0; i < 3; i++) {
		introduced_lease(h, &a, preamble, &mine);
		assert_int_equal(a.lease.reused, i > 0);
		upstream_return(&a.lease, true);
	}
	SIMRIG_UNTIL(&h->rig, h->sim_servers[0].last && h->sim_servers[0].last->in_n == 5, 1000);
	assert_string_equal(h->sim_servers[0].last->in, "HELLO");
	introduced_lease(h, &b, preamble, &theirs);
	assert_false(b.lease.reused);
	upstream_return(&b.lease, true);
	introduced_lease(h, &b, preamble, NULL);
	assert_false(b.lease.reused);
	upstream_return(&b.lease, true);
	assert_int_equal(h->stats.connections, 2);
	assert_int_equal(h->stats.connections_held, 2);
	upstream_close_held(&theirs);

	h->config.proxy_protocol = CONFIG_PROXY_OFF;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	introduced_lease(h, &b, NULL, &mine);
	assert_false(b.lease.reused);
	upstream_return(&b.lease, true);
	assert_int_equal(h->stats.connections_idle, 1);
	h->config.proxy_protocol = CONFIG_PROXY_V2;
	assert_true(upstream_reconfigure(h->upstream, &h->config));
	introduced_lease(h, &b, preamble, &theirs);
	assert_false(b.lease.reused);
	upstream_return(&b.lease, true);
	upstream_close_held(&mine);
	upstream_close_held(&theirs);
	buf_put(preamble);
}

static void test_introduced(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, introduced);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_keepalive),
		cmocka_unit_test(test_queue_order),
		cmocka_unit_test(test_next_server),
		cmocka_unit_test(test_all_refuse),
		cmocka_unit_test(test_all_refuse_after_queue),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_avoid_tried),
		cmocka_unit_test(test_spare),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_ordered_down),
		cmocka_unit_test(test_ordered_down_alone),
		cmocka_unit_test(test_ordered_weight),
		cmocka_unit_test(test_no_head_of_line_blocking),
		cmocka_unit_test(test_avoided_before_waiting),
		cmocka_unit_test(test_request_deadline),
		cmocka_unit_test(test_fresh_at_the_limit),
		cmocka_unit_test(test_send_failed),
		cmocka_unit_test(test_stale_idle),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_closing),
		cmocka_unit_test(test_introduced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
