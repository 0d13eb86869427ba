/* Test fixture: one upstream, simulated servers for it, and users of its leases (struct
 * waiter), in one simulated loop. Owner: one test. */
#ifndef LIB_UPSTREAMRIG_H
#define LIB_UPSTREAMRIG_H

#include "back/upstream.h"
#include "lib/simrig.h"

#define UPSTREAMRIG_PORT 6000
#define UPSTREAMRIG_SERVERS 3 /* that can be configured: "a", "b", "c" */
/* Listening sockets, on UPSTREAMRIG_PORT and the next ports. The first three belong to the
 * configured servers, the others are addresses that a server may get later. */
#define UPSTREAMRIG_SIM_SERVERS 8

struct upstreamrig {
	struct simrig rig;
	struct config_server servers[UPSTREAMRIG_SERVERS];
	struct config_address addresses[UPSTREAMRIG_SERVERS]
				       [UPSTREAMRIG_SIM_SERVERS + 1]; /* of `servers` */
	struct config_upstream config;
	struct upstream_stats stats;
	struct quota descriptors, queue_quota;
	struct upstream *upstream;
	struct registry *registry; /* NULL: the upstream makes its own */
	struct sim_server sim_servers[UPSTREAMRIG_SIM_SERVERS];
	struct task task;
	uint32_t wanted; /* idle connections to close, for descriptors */
};

/* A user of one lease, and the task that the lease notifies. */
struct waiter {
	struct task task;
	struct lease lease;
	unsigned notified; /* how often */
};

/* For each of SIMRIG_SEEDS seeds: upstreamrig_open(), the test, upstreamrig_close(). */
void upstreamrig_each_seed(unsigned servers, void (*test)(struct upstreamrig *h));

/* Prepares a configuration with the first `servers` servers; the test may change it before it
 * calls upstreamrig_start(). */
void upstreamrig_open(struct upstreamrig *h, uint64_t seed, unsigned servers);

/* Makes the upstream from h->config. */
void upstreamrig_start(struct upstreamrig *h);

/* Frees everything; asserts that no connection, waiter, socket or buffer is left. */
void upstreamrig_close(struct upstreamrig *h);

/* The address of one of `sim_servers`. */
struct config_address upstreamrig_address(unsigned sim_server);

void waiter_init(struct waiter *w);

/* waiter_init(), and asks for a lease. */
void waiter_lease(struct upstreamrig *h, struct waiter *w);

/* The lease is ready or has failed. */
bool waiter_decided(const struct waiter *w);

/* Run the loop until the lease is decided. They assert the result and that the waiter was
 * notified; a failed lease is returned. */
void waiter_wait_ready(struct upstreamrig *h, struct waiter *w);
void waiter_wait_failed(struct upstreamrig *h, struct waiter *w,
			enum lease_failure failure);

#endif
