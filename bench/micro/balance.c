/* Choosing a server: how the cost depends on the number of servers of the upstream. */
#include <stdio.h>
#include <stdlib.h>

#include "../../src/back/server.h"
#include "base/hash.h"
#include "micro.h"

#define IN_FLIGHT 256 /* requests that have a server, at any time */

static struct tick tick;
static struct upstream_stats stats;
static struct quota descriptors, queue_quota;
static struct upstream *upstream;
static struct server *in_flight[IN_FLIGHT];
static uint64_t key;

/* Each choice is followed by the end of the request that was chosen 256 choices ago. */
static void choose(unsigned n)
{
	struct lease lease = { .upstream = upstream };
	bool untried;

	for (; n > 0; n--) {
		struct server **oldest = &in_flight[++key % IN_FLIGHT];

		lease.hash = hash_mix(key);
		if (*oldest) {
			(*oldest)->busy_n--;
			upstream->busy_n--;
		}
		*oldest = server_choose(upstream, &lease, &untried);
		micro_must(*oldest != NULL, "a server");
		(*oldest)->busy_n++;
		upstream->busy_n++;
	}
}

/* As a route with `hedge` and one with `retry` ask; the first server was tried, and all but the
 * last are down. */
static void ask(unsigned n)
{
	static const struct tried tried = { .n = 1, .ids = { 0 } };

	for (; n > 0; n--) {
		micro_must(upstream_has_spare(upstream, &tried), "a spare server");
		micro_must(upstream_has_other(upstream, &tried), "another server");
	}
}

static void prepare_servers(void)
{
	tick.now_us = 1000000;
	tick.now_ms = 1000;
	wheel_init(&tick.wheel, tick.now_ms);
	list_init(&tick.runnable);
	list_init(&tick.reap_list);
	quota_init(&descriptors, 1000);
	quota_init(&queue_quota, 1000);
}

static void upstream_make(enum config_balance balance, unsigned n)
{
	struct config_server *servers = calloc(n, sizeof(servers[0]));
	struct config_address *addresses = calloc(n, sizeof(addresses[0]));
	char *names = calloc(n, 24);

	micro_must(servers && addresses && names, "memory");
	for (unsigned i = 0; i < n; i++) {
		snprintf(names + 24 * (size_t)i, 24, "server%u:80", i);
		addresses[i].sa.ss_family = AF_UNIX;
		addresses[i].len = sizeof(sa_family_t);
		servers[i] = (struct config_server){ .name = names + 24 * (size_t)i,
						     .weight = 1 + i % 3,
						     .address_n = 1,
						     .addresses = &addresses[i] };
	}
	upstream = upstream_new(&(struct upstream_options){
		.tick = &tick,
		.config = &(struct config_upstream){ .name = "a",
						     .server_n = n,
						     .servers = servers,
						     .balance = balance,
						     .eject_failures = 3,
						     .hash_balance_factor = 125,
						     .keepalive = 1 },
		.stats = &stats,
		.descriptors = &descriptors,
		.queue_quota = &queue_quota,
		.window = 65536 });
	micro_must(upstream != NULL, "an upstream");
	free(names);
	free(addresses);
	free(servers);
}

#define ROWS(X)                                                                \
	X("round-robin", "round robin", CONFIG_ROUND_ROBIN, choose)            \
	X("least", "least connections", CONFIG_LEAST_CONNECTIONS, choose)      \
	X("random", "the less busy of two random ones", CONFIG_RANDOM, choose) \
	X("hash", "hash, 125 % at most", CONFIG_HASH, choose)                  \
	X("spare", "is there another, all but one are down", CONFIG_ROUND_ROBIN, ask)

static const struct micro rows[] = {
#define X(name, what, balance, run)                                           \
	{ "servers-10-" name, "one of 10 servers: " what, run },              \
		{ "servers-1000-" name, "one of 1,000 servers: " what, run }, \
		{ "servers-4096-" name, "one of 4,096 servers: " what, run },
	ROWS(X)
#undef X
};

static void prepare_upstream(size_t row)
{
	static const enum config_balance ways[] = {
#define X(name, what, balance, run) balance,
		ROWS(X)
#undef X
	};
	static const unsigned counts[] = { 10, 1000, 4096 };
	const struct config_address address = { .sa.ss_family = AF_UNIX,
						.len = sizeof(sa_family_t) };

	upstream_make(ways[row / 3], counts[row % 3]);
	for (unsigned i = 1; rows[row].run == ask && i < counts[row % 3] - 1; i++)
		upstream_probed(upstream, i, &address, false);
}

const struct micro_set micro_balance = { rows, sizeof(rows) / sizeof(rows[0]),
					 prepare_servers, prepare_upstream };
