/* An upstream, the hosts behind it and those who ask, in one simulated loop. */
#ifndef LIB_HOUSE_H
#define LIB_HOUSE_H

#include "back/upstream.h"
#include "lib/simrig.h"

#define HOUSE_PORT 6000
#define HOUSE_SERVERS 3 /* that are configured: "a", "b", "c" */
#define HOUSE_HOSTS 8   /* on HOUSE_PORT and the next ones; the first three of those servers */

struct house {
	struct simrig rig;
	struct config_server servers[HOUSE_SERVERS];
	struct config_address addresses[HOUSE_SERVERS][HOUSE_HOSTS + 1]; /* of them */
	struct config_upstream config;
	struct upstream_stats stats;
	struct quota descriptors, queue_quota;
	struct upstream *upstream;
	struct registry *registry; /* NULL: its own */
	struct host hosts[HOUSE_HOSTS];
	struct task task;
	uint32_t wanted;
};

/* Who wants an origin. */
struct waiter {
	struct task task;
	struct lease lease;
	unsigned told;
};

/* Calls the test with each seed, and before it house_open(), after it house_close(). */
void house_each_seed(unsigned servers, void (*test)(struct house *h));

void house_open(struct house *h, uint64_t seed, unsigned servers);

/* After the configuration was changed. */
void house_start(struct house *h);

/* Asserts that nothing is left anywhere. */
void house_close(struct house *h);

struct config_address house_address(unsigned host);

void waiter_init(struct waiter *a);
void waiter_leases(struct house *h, struct waiter *a);
bool waiter_settled(const struct waiter *a);
void waiter_waits(struct house *h, struct waiter *a); /* until it is ready */
void waiter_fails(struct house *h, struct waiter *a, enum lease_failure failure);

#endif
