#include "lib/house.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void told(struct task *t)
{
	CONTAINER(t, struct waiter, task)->told++;
}

struct config_address house_address(unsigned host)
{
	struct sockaddr_in addr = simrig_address(HOUSE_PORT + host);
	struct config_address a = { .len = sizeof(addr) };

	memcpy(&a.sa, &addr, sizeof(addr));
	return a;
}

void house_open(struct house *h, uint64_t seed, unsigned servers)
{
	memset(h, 0, sizeof(*h));
	simrig_open(&h->rig, seed, 64);
	for (unsigned i = 0; i < HOUSE_HOSTS; i++)
		host_open(&h->hosts[i], &h->rig, HOUSE_PORT + i, NULL, NULL);
	for (unsigned i = 0; i < HOUSE_SERVERS; i++) {
		struct config_server *s = &h->servers[i];

		s->name = (const char *const[]){ "a", "b", "c" }[i];
		s->weight = 1;
		s->address_n = 1;
		s->addresses = h->addresses[i];
		s->addresses[0] = house_address(i);
	}
	h->config = (struct config_upstream){ .name = "test", .server_n = servers,
					      .servers = h->servers,
					      .connect_timeout_ms = 1000, .keepalive = 4,
					      .idle_timeout_ms = 5000,
					      .reuse = CONFIG_REUSE_ALWAYS,
					      .queue_timeout_ms = 2000 };
	quota_init(&h->descriptors, 1000);
	quota_init(&h->queue_quota, 3);
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
void house_start(struct house *h)
{
	task_init(&h->task, make_room);
	h->upstream = upstream_new(
		&(struct upstream_options){ .tick = &h->rig.tick,
					    .config = &h->config,
					    .stats = &h->stats,
					    .short_of_descriptors = short_of_descriptors,
					    .owner = h,
					    .descriptors = &h->descriptors,
					    .queue_quota = &h->queue_quota,
					    .registry = h->registry,
					    .window = 65536 });
	assert_non_null(h->upstream);
}

void house_close(struct house *h)
{
	task_stop(&h->task);
	upstream_close(h->upstream);
	SIMRIG_UNTIL(&h->rig, upstream_idle(h->upstream), 1000);
	assert_int_equal(h->descriptors.used, 0);
	assert_int_equal(h->queue_quota.used, 0);
	assert_int_equal(h->stats.connections, 0);
	assert_int_equal(h->stats.connections_idle, 0);
	assert_int_equal(h->stats.waiting, 0);
	upstream_free(h->upstream);
	simrig_leave(&h->rig);
	simrig_assert_buffers(&h->rig);
	simrig_close(&h->rig);
}

void house_each_seed(unsigned servers, void (*test)(struct house *h))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct house h;

		house_open(&h, seed, servers);
		test(&h);
		house_close(&h);
	}
}

void waiter_init(struct waiter *a)
{
	memset(a, 0, sizeof(*a));
	task_init(&a->task, told);
}

void waiter_leases(struct house *h, struct waiter *a)
{
	waiter_init(a);
	upstream_lease(h->upstream, &a->lease, NULL, false, &a->task);
}

bool waiter_settled(const struct waiter *a)
{
	return a->lease.state == LEASE_READY || a->lease.state == LEASE_FAILED;
}

void waiter_waits(struct house *h, struct waiter *a)
{
	SIMRIG_UNTIL(&h->rig, waiter_settled(a), 10000);
	assert_int_equal(a->lease.state, LEASE_READY);
	simrig_run(&h->rig, 1);
	assert_true(a->told > 0);
}

void waiter_fails(struct house *h, struct waiter *a, enum lease_failure failure)
{
	SIMRIG_UNTIL(&h->rig, waiter_settled(a), 10000);
	assert_int_equal(a->lease.state, LEASE_FAILED);
	assert_int_equal(a->lease.failure, failure);
	simrig_run(&h->rig, 1);
	assert_true(a->told > 0);
	upstream_return(&a->lease, false);
}
