/* The ranks of servers are counted correctly, whatever happens to the servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/back/server.h"
#include "lib/upstreamrig.h"

#define SERVERS_MAX 200

static struct config_server servers[SERVERS_MAX];
static char names[SERVERS_MAX][8];

/* Another set of servers, some of them as before. */
static void servers_draw(struct upstreamrig *h)
{
	unsigned first = (unsigned)simrig_draw(&h->rig, 50);

	h->config.server_n = 1 + (unsigned)simrig_draw(&h->rig, SERVERS_MAX);
	h->config.servers = servers;
	for (unsigned i = 0; i < h->config.server_n; i++) {
		snprintf(names[i], sizeof(names[i]), "s%u", first + i);
		servers[i] = h->servers[0];
		servers[i].name = names[i];
		servers[i].weight = 1 + (uint32_t)simrig_draw(&h->rig, 9);
		servers[i].backup = simrig_draw(&h->rig, 4) == 0;
	}
}

static void happen(struct upstreamrig *h)
{
	struct upstream *u = h->upstream;
	struct server *s = server_at(u, simrig_draw(&h->rig, u->table.n));
	struct config_address address = upstreamrig_address(0);

	switch (simrig_draw(&h->rig, 7)) {
	case 0:
		upstream_probed(u, s->member.index, &address, false);
		break;
	case 1:
		upstream_probed(u, s->member.index, &address, true);
		break;
	case 2:
		server_failed(s);
		break;
	case 3:
		rank_connect_failed(s);
		break;
	case 4:
		rank_connect_succeeded(s);
		break;
	case 5:
		simrig_run(&h->rig, (unsigned)simrig_draw(&h->rig, 2000));
		break;
	case 6:
		if (simrig_draw(&h->rig, 10) > 0)
			break;
		servers_draw(h);
		assert_true(upstream_reconfigure(u, &h->config));
		break;
	}
}

/* The same, by a look at each server. */
static uint8_t best_rank_slowly(const struct upstream *u, const struct tried *tried)
{
	uint8_t best = RANK_NONE;

	for (unsigned i = 0; i < u->table.n; i++)
		if (!tried_has(tried, server_at(u, i)->id) &&
		    server_at(u, i)->rank < best)
			best = server_at(u, i)->rank;
	return best;
}

static void counts(struct upstreamrig *h)
{
	struct tried tried = { 0 };

	servers_draw(h);
	h->config.health.on = true;
	h->config.eject_failures = 1;
	h->config.eject_time_ms = 500;
	h->config.eject_max_percent = 70;
	upstreamrig_start(h);
	for (unsigned i = 0; i < 400; i++) {
		happen(h);
		rank_check(h->upstream);
		tried_add(&tried, server_at(h->upstream, 0)->id);
		assert_int_equal(rank_best(h->upstream, &tried),
				 best_rank_slowly(h->upstream, &tried));
		assert_int_equal(upstream_has_other(h->upstream, &tried),
				 best_rank_slowly(h->upstream, &tried) < RANK_EJECTED);
	}
}

static void test_counts(void **state)
{
	(void)state;
	upstreamrig_each_seed(1, counts);
}

/* A server to which a connect failed is down for a second, or until one succeeds. */
static void unreachable(struct upstreamrig *h)
{
	struct server *s;

	upstreamrig_start(h);
	s = server_at(h->upstream, 0);
	rank_connect_failed(s);
	assert_int_equal(s->rank, RANK_DOWN);
	simrig_run(&h->rig, UPSTREAM_DOWN_MS - 100);
	assert_int_equal(s->rank, RANK_DOWN);
	simrig_run(&h->rig, 200);
	assert_int_equal(s->rank, 0);
	rank_connect_failed(s);
	rank_connect_succeeded(s);
	assert_int_equal(s->rank, 0);
}

static void test_unreachable(void **state)
{
	(void)state;
	upstreamrig_each_seed(2, unreachable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_unreachable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
