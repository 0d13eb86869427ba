#include "lib/upstreamrig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void waiter_notified(struct task *t)
{
	CONTAINER(t, struct waiter, task)->notified++;
}

struct config_address upstreamrig_address(unsigned sim_server)
{
	struct sockaddr_in addr = simrig_address(UPSTREAMRIG_PORT + sim_server);
	struct config_address a = { .len = sizeof(addr) };

	memcpy(&a.sa, &addr, sizeof(addr));
	return a;
}

void upstreamrig_open(struct upstreamrig *h, uint64_t seed, unsigned servers)
{
	memset(h, 0, sizeof(*h));
	simrig_open(&h->rig, seed, 64);
	for (unsigned i = 0; i < UPSTREAMRIG_SIM_SERVERS; i++)
		sim_server_open(&h->sim_servers[i], &h->rig, UPSTREAMRIG_PORT + i, NULL,
				NULL);
	for (unsigned i = 0; i < UPSTREAMRIG_SERVERS; i++) {
		struct config_server *s = &h->servers[i];

		s->name = (const char *const[]){ "a", "b", "c" }[i];
		s->weight = 1;
		s->address_n = 1;
		s->addresses = h->addresses[i];
		s->addresses[0] = upstreamrig_address(i);
	}
	h->config = (struct config_upstream){ .name = "test",
					      .server_n = servers,
					      .servers = h->servers,
					      .connect_timeout_ms = 1000,
					      .keepalive = 4,
					      .idle_timeout_ms = 5000,
					      .reuse = CONFIG_REUSE_ALWAYS,
					      .queue_timeout_ms = 2000 };
	quota_init(&h->descriptors, 1000);
	quota_init(&h->queue_quota, 3);
}

/* As the owner of several upstreams does: not inside the callback, but in a task. */
static void short_of_descriptors(void *owner, uint32_t n)
{
	struct upstreamrig *h = owner;

	h->wanted = n;
	tick_run(&h->rig.tick, &h->task);
}

static void evict_idle(struct task *t)
{
	struct upstreamrig *h = CONTAINER(t, struct upstreamrig, task);

	while (h->wanted > 0 && upstream_evict(h->upstream))
		h->wanted--;
	h->wanted = 0;
}

void upstreamrig_start(struct upstreamrig *h)
{
	task_init(&h->task, evict_idle);
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

void upstreamrig_close(struct upstreamrig *h)
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
	simrig_close_peers(&h->rig);
	simrig_assert_buffers(&h->rig);
	simrig_close(&h->rig);
}

void upstreamrig_each_seed(unsigned servers, void (*test)(struct upstreamrig *h))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct upstreamrig h;

		upstreamrig_open(&h, seed, servers);
		test(&h);
		upstreamrig_close(&h);
	}
}

void waiter_init(struct waiter *w)
{
	memset(w, 0, sizeof(*w));
	task_init(&w->task, waiter_notified);
}

void waiter_lease(struct upstreamrig *h, struct waiter *w)
{
	waiter_init(w);
	upstream_lease(h->upstream, &w->lease, NULL, false, &w->task);
}

bool waiter_decided(const struct waiter *w)
{
	return w->lease.state == LEASE_READY || w->lease.state == LEASE_FAILED;
}

void waiter_wait_ready(struct upstreamrig *h, struct waiter *w)
{
	SIMRIG_UNTIL(&h->rig, waiter_decided(w), 10000);
	assert_int_equal(w->lease.state, LEASE_READY);
	simrig_run(&h->rig, 1);
	assert_true(w->notified > 0);
}

void waiter_wait_failed(struct upstreamrig *h, struct waiter *w,
			enum lease_failure failure)
{
	SIMRIG_UNTIL(&h->rig, waiter_decided(w), 10000);
	assert_int_equal(w->lease.state, LEASE_FAILED);
	assert_int_equal(w->lease.failure, failure);
	simrig_run(&h->rig, 1);
	assert_true(w->notified > 0);
	upstream_return(&w->lease, false);
}
