#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "back/upstream.h"
#include "lib/simrig.h"

#define PORT 6000
#define SERVERS 3
#define ASKERS 40

struct house {
	struct simrig rig;
	struct config_server servers[SERVERS];
	struct config_upstream config;
	struct upstream_stats stats;
	struct quota descriptors, line;
	struct upstream *upstream;
	struct host hosts[SERVERS];
	struct task task;
	uint32_t wanted;
};

/* Who wants an origin. */
struct asker {
	struct task task;
	struct lease lease;
	unsigned told;
};

static void told(struct task *t)
{
	CONTAINER(t, struct asker, task)->told++;
}

static void house_open(struct house *h, uint64_t seed, unsigned servers)
{
	memset(h, 0, sizeof(*h));
	simrig_open(&h->rig, seed, 64);
	for (unsigned i = 0; i < SERVERS; i++) {
		struct sockaddr_in addr = simrig_address(PORT + i);
		struct config_server *s = &h->servers[i];

		s->name = (const char *const[]){ "a", "b", "c" }[i];
		s->weight = 1;
		s->address_n = 1;
		s->addresses[0].len = sizeof(addr);
		memcpy(&s->addresses[0].sa, &addr, sizeof(addr));
		host_open(&h->hosts[i], &h->rig, PORT + i, NULL, NULL);
	}
	h->config = (struct config_upstream){ .server_n = servers, .servers = h->servers,
					      .connect_timeout_ms = 1000, .keepalive = 4,
					      .queue_timeout_ms = 2000 };
	quota_init(&h->descriptors, 1000);
	quota_init(&h->line, 3);
}

/* As the owner of many upstreams does it, by and by. */
static void short_of_descriptors(void *owner, uint32_t n)
{
	struct house *h = owner;

	h->wanted = n;
	tick_run(&h->rig.tick, &h->task);
}

static void make_room(struct task *t)
{
	struct house *h = CONTAINER(t, struct house, task);

	while (h->wanted > 0 && upstream_evict(h->upstream))
		h->wanted--;
	h->wanted = 0;
}

/* After the configuration was changed. */
static void house_start(struct house *h)
{
	task_init(&h->task, make_room);
	h->upstream = upstream_new(&(struct upstream_options){
		.tick = &h->rig.tick, .config = &h->config, .stats = &h->stats,
		.short_of_descriptors = short_of_descriptors, .owner = h,
		.descriptors = &h->descriptors, .line = &h->line, .window = 65536,
		.idle_timeout_ms = 5000 });
	assert_non_null(h->upstream);
}

static void house_close(struct house *h)
{
	task_stop(&h->task);
	upstream_close(h->upstream);
	SIMRIG_UNTIL(&h->rig, upstream_idle(h->upstream), 1000);
	assert_int_equal(h->descriptors.used, 0);
	assert_int_equal(h->line.used, 0);
	assert_int_equal(h->stats.connections, 0);
	assert_int_equal(h->stats.connections_idle, 0);
	assert_int_equal(h->stats.waiting, 0);
	upstream_free(h->upstream);
	simrig_leave(&h->rig);
	simrig_assert_buffers(&h->rig);
	simrig_close(&h->rig);
}

static void each_seed(unsigned servers, void (*test)(struct house *h))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct house h;

		house_open(&h, seed, servers);
		test(&h);
		house_close(&h);
	}
}

static void ask(struct house *h, struct asker *a)
{
	memset(a, 0, sizeof(*a));
	task_init(&a->task, told);
	upstream_lease(h->upstream, &a->lease, NULL, false, &a->task);
}

static bool settled(const struct asker *a)
{
	return a->lease.state == LEASE_READY || a->lease.state == LEASE_FAILED;
}

static void wait_ready(struct house *h, struct asker *a)
{
	SIMRIG_UNTIL(&h->rig, settled(a), 10000);
	assert_int_equal(a->lease.state, LEASE_READY);
	simrig_run(&h->rig, 1);
	assert_true(a->told > 0);
}

static void assert_fails(struct house *h, struct asker *a, enum lease_failure failure)
{
	SIMRIG_UNTIL(&h->rig, settled(a), 10000);
	assert_int_equal(a->lease.state, LEASE_FAILED);
	assert_int_equal(a->lease.failure, failure);
	simrig_run(&h->rig, 1);
	assert_true(a->told > 0);
	upstream_return(&a->lease, false);
}

/* The one returned last is taken first. */
static void last_in_first_out(struct house *h)
{
	struct asker a[4];
	struct origin *o[4];

	house_start(h);
	for (unsigned i = 0; i < 4; i++)
		ask(h, &a[i]);
	for (unsigned i = 0; i < 4; i++) {
		wait_ready(h, &a[i]);
		assert_false(a[i].lease.reused);
		o[i] = a[i].lease.origin;
	}
	for (unsigned i = 0; i < 4; i++)
		upstream_return(&a[i].lease, true);
	assert_int_equal(h->stats.connections_idle, 4);
	for (unsigned i = 0; i < 4; i++) {
		ask(h, &a[i]);
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
	each_seed(1, last_in_first_out);
}

static void keeps_so_many(struct house *h)
{
	struct asker a[6];

	h->config.keepalive = (uint32_t)simrig_draw(&h->rig, 7);
	house_start(h);
	for (unsigned i = 0; i < 6; i++)
		ask(h, &a[i]);
	for (unsigned i = 0; i < 6; i++)
		wait_ready(h, &a[i]);
	for (unsigned i = 0; i < 6; i++)
		upstream_return(&a[i].lease, true);
	assert_int_equal(h->stats.connections_idle,
			 h->config.keepalive < 6 ? h->config.keepalive : 6);
}

static void test_keepalive(void **state)
{
	(void)state;
	each_seed(1, keeps_so_many);
}

/* Full: a line, first come first served, as long as it may be and no longer. */
static void line(struct house *h)
{
	struct asker a[6];
	bool reusable = simrig_draw(&h->rig, 2);

	h->config.connections = 2;
	house_start(h);
	for (unsigned i = 0; i < 6; i++)
		ask(h, &a[i]);
	wait_ready(h, &a[0]);
	wait_ready(h, &a[1]);
	assert_int_equal(h->stats.waiting, 3);
	assert_fails(h, &a[5], LEASE_QUEUE_FULL);
	upstream_return(&a[3].lease, false); /* leaves the line */
	upstream_return(&a[0].lease, reusable);
	wait_ready(h, &a[2]);
	assert_int_equal(a[2].lease.reused, reusable);
	assert_int_equal(a[4].lease.state, LEASE_WAITING);
	assert_true(h->stats.connections <= 2);
	if (simrig_draw(&h->rig, 2)) {
		assert_fails(h, &a[4], LEASE_QUEUE_TIMEOUT);
	} else {
		upstream_return(&a[1].lease, !reusable);
		wait_ready(h, &a[4]);
		upstream_return(&a[4].lease, false);
	}
	if (a[1].lease.state == LEASE_READY)
		upstream_return(&a[1].lease, false);
	upstream_return(&a[2].lease, true);
	assert_int_equal(h->line.used, 0);
}

static void test_line(void **state)
{
	(void)state;
	each_seed(1, line);
}

/* One server of three takes connections. */
static void moves_on(struct house *h)
{
	unsigned up = (unsigned)simrig_draw(&h->rig, 3);
	struct asker a[6];

	house_start(h);
	for (unsigned i = 0; i < 3; i++)
		if (i != up)
			host_close(&h->hosts[i]);
	for (unsigned i = 0; i < 6; i++)
		ask(h, &a[i]);
	for (unsigned i = 0; i < 6; i++) {
		wait_ready(h, &a[i]);
		assert_string_equal(lease_server(&a[i].lease), h->servers[up].name);
	}
	/* Those that refused are not asked while they are down, and asked after that. */
	uint64_t failures = h->stats.connect_failures;

	for (unsigned i = 0; i < 6; i++)
		upstream_return(&a[i].lease, false);
	ask(h, &a[0]);
	wait_ready(h, &a[0]);
	assert_int_equal(h->stats.connect_failures, failures);
	upstream_return(&a[0].lease, false);
	simrig_run(&h->rig, UPSTREAM_DOWN_MS + 100);
	for (unsigned i = 0; i < 3; i++) {
		ask(h, &a[i]);
		wait_ready(h, &a[i]);
	}
	assert_true(h->stats.connect_failures > failures);
	for (unsigned i = 0; i < 3; i++)
		upstream_return(&a[i].lease, false);
}

static void test_moves_on(void **state)
{
	(void)state;
	each_seed(3, moves_on);
}

/* Nobody listens: each server was tried once, and no more. */
static void nobody(struct house *h)
{
	struct asker a;

	house_start(h);
	for (unsigned i = 0; i < 3; i++)
		host_close(&h->hosts[i]);
	ask(h, &a);
	assert_fails(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connects, 3);
	ask(h, &a); /* all are down: they are tried nevertheless */
	assert_fails(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connects, 6);
}

static void test_nobody(void **state)
{
	(void)state;
	each_seed(3, nobody);
}

/* The same for who has waited in the line. */
static void nobody_after_the_line(struct house *h)
{
	struct asker holds, waits;

	h->config.connections = 1;
	house_start(h);
	ask(h, &holds);
	wait_ready(h, &holds);
	ask(h, &waits);
	assert_int_equal(waits.lease.state, LEASE_WAITING);
	host_close(&h->hosts[0]);
	upstream_return(&holds.lease, false);
	assert_fails(h, &waits, LEASE_REFUSED);
	assert_int_equal(h->stats.connects, 2);
}

static void test_nobody_after_the_line(void **state)
{
	(void)state;
	each_seed(1, nobody_after_the_line);
}

/* A server of several addresses is one server; the address that works is kept. */
static void addresses(struct house *h)
{
	struct config_server *s = &h->servers[0];
	struct asker a;

	s->address_n = 3;
	s->addresses[1] = h->servers[1].addresses[0];
	s->addresses[2] = h->servers[2].addresses[0];
	house_start(h);
	host_close(&h->hosts[0]);
	host_close(&h->hosts[1]);
	for (unsigned i = 0; i < 3; i++) {
		ask(h, &a);
		wait_ready(h, &a);
		upstream_return(&a.lease, false);
	}
	assert_int_equal(h->stats.connects, 3);
	assert_int_equal(h->stats.connect_failures, 0);
	assert_int_equal(h->hosts[2].accepted, 3);
	host_close(&h->hosts[2]);
	ask(h, &a);
	assert_fails(h, &a, LEASE_REFUSED);
	assert_int_equal(h->stats.connect_failures, 1);
}

static void test_addresses(void **state)
{
	(void)state;
	each_seed(1, addresses);
}

/* Its door is shut by a crowd: after connect_timeout the next server is asked, or none. */
static void not_in_time(struct house *h)
{
	bool other = simrig_draw(&h->rig, 2);
	struct actor *crowd;
	struct asker a;
	uint64_t from_ms;
	int fd;

	h->config.server_n = other ? 2 : 1;
	house_start(h);
	host_close(&h->hosts[0]);
	fd = sim_listen(h->rig.tick.loop, (struct sockaddr *)&h->hosts[0].addr,
			sizeof(h->hosts[0].addr), 1);
	crowd = actor_connect(&h->rig, PORT);
	SIMRIG_UNTIL(&h->rig, crowd->connected, 1000);
	from_ms = h->rig.tick.now_ms;
	ask(h, &a);
	if (other) {
		wait_ready(h, &a);
		upstream_return(&a.lease, true);
	} else {
		assert_fails(h, &a, LEASE_CONNECT_TIMEOUT);
		assert_true(h->rig.tick.now_ms >= from_ms + 1000);
		assert_true(h->rig.tick.now_ms <= from_ms + 1050);
	}
	io_close(h->rig.tick.loop, fd);
}

static void test_not_in_time(void **state)
{
	(void)state;
	each_seed(1, not_in_time);
}

/* Descriptors of the process have run out: an idle one makes room, else the line. */
static void descriptors(struct house *h)
{
	struct asker a[3];

	quota_init(&h->descriptors, 2);
	house_start(h);
	ask(h, &a[0]);
	ask(h, &a[1]);
	wait_ready(h, &a[0]);
	wait_ready(h, &a[1]);
	ask(h, &a[2]);
	assert_int_equal(a[2].lease.state, LEASE_WAITING);
	simrig_run(&h->rig, 100);
	upstream_return(&a[0].lease, simrig_draw(&h->rig, 2));
	wait_ready(h, &a[2]);
	assert_true(h->descriptors.used <= 2);
	upstream_return(&a[1].lease, true);
	upstream_return(&a[2].lease, false);
}

static void test_descriptors(void **state)
{
	(void)state;
	each_seed(2, descriptors);
}

/* A new connection is wanted where idle ones stand at the limit. */
static void fresh_at_the_limit(struct house *h)
{
	struct asker a, b;

	h->config.connections = 1;
	house_start(h);
	ask(h, &a);
	wait_ready(h, &a);
	upstream_return(&a.lease, true);
	memset(&b, 0, sizeof(b));
	task_init(&b.task, told);
	upstream_lease(h->upstream, &b.lease, NULL, true, &b.task);
	wait_ready(h, &b);
	assert_false(b.lease.reused);
	assert_true(h->stats.connections <= 1);
	upstream_return(&b.lease, true);
}

static void test_fresh_at_the_limit(void **state)
{
	(void)state;
	each_seed(1, fresh_at_the_limit);
}

/* An origin whose sending has failed is of no more use, though it still listens. */
static void send_failed(struct house *h)
{
	struct asker a;
	struct piece p = { NULL, "GET", 3 };

	house_start(h);
	ask(h, &a);
	wait_ready(h, &a);
	a.lease.origin->conn.send_error = -32;
	(void)p;
	upstream_return(&a.lease, true);
	assert_int_equal(h->stats.connections_idle, 0);
}

static void test_send_failed(void **state)
{
	(void)state;
	each_seed(1, send_failed);
}

/* Idle ones that end or speak are dropped. */
static void idle_ones(struct house *h)
{
	struct asker a;
	struct actor *peer;

	house_start(h);
	ask(h, &a);
	wait_ready(h, &a);
	SIMRIG_UNTIL(&h->rig, h->hosts[0].last, 1000);
	peer = h->hosts[0].last;
	upstream_return(&a.lease, true);
	assert_int_equal(h->stats.connections_idle, 1);
	switch (simrig_draw(&h->rig, 3)) {
	case 0:
		actor_close(peer);
		break;
	case 1:
		actor_reset(peer);
		break;
	case 2:
		actor_says(peer, "hello?");
		break;
	}
	SIMRIG_UNTIL(&h->rig, h->stats.connections == 0, 1000);
	ask(h, &a);
	wait_ready(h, &a);
	assert_false(a.lease.reused);
	upstream_return(&a.lease, false);
}

static void test_idle(void **state)
{
	(void)state;
	each_seed(1, idle_ones);
}

static void balanced(struct house *h)
{
	struct asker a[12];

	h->servers[0].weight = 2;
	h->config.balance = simrig_draw(&h->rig, 2) ? CONFIG_ROUND_ROBIN :
						      CONFIG_LEAST_CONNECTIONS;
	house_start(h);
	for (unsigned i = 0; i < 12; i++) {
		ask(h, &a[i]);
		wait_ready(h, &a[i]);
	}
	simrig_run(&h->rig, 10);
	assert_int_equal(h->hosts[0].accepted, 6);
	assert_int_equal(h->hosts[1].accepted, 3);
	assert_int_equal(h->hosts[2].accepted, 3);
	for (unsigned i = 0; i < 12; i++)
		upstream_return(&a[i].lease, false);
}

static void test_balance(void **state)
{
	(void)state;
	each_seed(3, balanced);
}

/* Anybody asks, lets go, and servers come and go, at any time. */
static void turmoil(struct house *h)
{
	struct asker a[ASKERS];

	h->config.connections = (uint32_t)simrig_draw(&h->rig, 4);
	h->config.keepalive = (uint32_t)simrig_draw(&h->rig, 3);
	quota_init(&h->descriptors, 3 + (uint32_t)simrig_draw(&h->rig, 20));
	house_start(h);
	memset(a, 0, sizeof(a));
	for (unsigned i = 0; i < ASKERS; i++)
		task_init(&a[i].task, told);
	for (unsigned n = 0; n < 300; n++) {
		struct asker *x = &a[simrig_draw(&h->rig, ASKERS)];
		struct host *host = &h->hosts[simrig_draw(&h->rig, SERVERS)];

		if (x->lease.state == LEASE_NONE)
			upstream_lease(h->upstream, &x->lease, NULL, simrig_draw(&h->rig, 8) == 0,
				       &x->task);
		else
			upstream_return(&x->lease, simrig_draw(&h->rig, 2));
		if (simrig_draw(&h->rig, 10) == 0 && host->last && host->last->fd >= 0)
			actor_reset(host->last);
		if (simrig_draw(&h->rig, 20) == 0) {
			if (host->listener >= 0)
				host_close(host);
			else
				host_open(host, &h->rig, ntohs(host->addr.sin_port), NULL, NULL);
		}
		if (simrig_draw(&h->rig, 30) == 0)
			slab_fail_at(1 + (unsigned)simrig_draw(&h->rig, 3));
		assert_true(h->config.connections == 0 ||
			    h->stats.connections <= h->config.connections * SERVERS);
		simrig_run(&h->rig, (uint32_t)simrig_draw(&h->rig, simrig_draw(&h->rig, 20) ?
								       10 : 3000));
	}
	slab_fail_at(0);
	for (unsigned i = 0; i < ASKERS; i++) {
		upstream_return(&a[i].lease, simrig_draw(&h->rig, 2));
		task_stop(&a[i].task);
	}
}

static void test_turmoil(void **state)
{
	(void)state;
	each_seed(3, turmoil);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_keepalive),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_moves_on),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_nobody_after_the_line),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_not_in_time),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_fresh_at_the_limit),
		cmocka_unit_test(test_send_failed),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_turmoil),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
