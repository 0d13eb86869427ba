#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "front/listener.h"
#include "lib/simrig.h"

#define PORT 8080
#define LIMIT 5
#define MANY 30

struct door {
	struct simrig rig;
	struct listener listener;
	struct quota quota;
	struct worker_stats stats;
	int fds[MANY];
	unsigned n;
	unsigned short ports[MANY];
};

static void accepted(struct listener *l, int fd, const struct peer *peer)
{
	struct door *d = l->owner;

	assert_true(d->n < MANY);
	assert_int_equal(peer->family, AF_INET);
	for (unsigned i = 0; i < d->n; i++)
		assert_int_not_equal(d->ports[i], peer->port); /* each its own */
	d->ports[d->n] = peer->port;
	d->fds[d->n++] = fd;
}

static const struct listener_events events = { .accepted = accepted };

static void door_open(struct door *d, uint64_t seed)
{
	memset(d, 0, sizeof(*d));
	simrig_open(&d->rig, seed, 16);
	quota_init(&d->quota, LIMIT);
	listener_start(&d->listener, &d->rig.tick, simrig_listen(&d->rig, PORT), &d->quota,
		       &d->stats, &events, d);
}

static void let_go(struct door *d, unsigned i)
{
	io_close(d->rig.tick.loop, d->fds[i]);
	d->fds[i] = -1;
	quota_put(&d->quota);
}

static void door_close(struct door *d)
{
	listener_stop(&d->listener);
	listener_stop(&d->listener);
	listener_abandon(&d->listener);
	SIMRIG_UNTIL(&d->rig, listener_stopped(&d->listener), 100);
	for (unsigned i = 0; i < d->n; i++)
		if (d->fds[i] >= 0)
			let_go(d, i);
	assert_int_equal(d->quota.used, 0);
	simrig_close(&d->rig);
}

static void each_seed(void (*test)(struct door *d))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct door d;

		door_open(&d, seed);
		test(&d);
		door_close(&d);
	}
}

static void knock(struct door *d, unsigned n)
{
	while (n-- > 0)
		sim_peer_connect(&d->rig, PORT);
}

/* Beyond the limit they wait, are taken in when others have left, and are never cut off. */
static void full(struct door *d)
{
	uint64_t enters;

	knock(d, MANY);
	simrig_run(&d->rig, 200);
	assert_int_equal(d->n, LIMIT);
	assert_int_equal(d->quota.used, LIMIT);
	assert_true(d->stats.accept_pauses > 0);
	enters = io_stats(d->rig.tick.loop)->enters;
	simrig_run(&d->rig, 1000);
	assert_true(io_stats(d->rig.tick.loop)->enters - enters < 100); /* no spin */
	for (unsigned i = 0; i < MANY; i++) {
		SIMRIG_UNTIL(&d->rig, d->n > i, LISTENER_PAUSE_MS + 100);
		let_go(d, i);
		assert_true(d->quota.used <= LIMIT);
	}
	assert_int_equal(d->stats.accepted, MANY);
	LIST_EACH(&d->rig.peers, node)
		assert_int_equal(LIST_ITEM(node, struct sim_peer, node)->error, 0);
	/* And all is as it was. */
	knock(d, 0);
	assert_int_equal(d->quota.used, 0);
}

static void test_full(void **state)
{
	(void)state;
	each_seed(full);
}

/* Stopped while some are parked, others are under way or in the backlog. */
static void stopped(struct door *d)
{
	unsigned n;

	knock(d, (unsigned)simrig_draw(&d->rig, MANY));
	simrig_run(&d->rig, (uint32_t)simrig_draw(&d->rig, 100));
	listener_stop(&d->listener);
	assert_int_equal(d->quota.used, d->n);
	simrig_run(&d->rig, 200);
	assert_int_equal(d->quota.used, d->n);
	n = d->n;
	knock(d, 3);
	simrig_run(&d->rig, 200);
	assert_int_equal(d->n, n); /* nobody came in after that but who was accepted by then */
	if (n < LIMIT)
		assert_true(listener_stopped(&d->listener));
}

static void test_stopped(void **state)
{
	(void)state;
	each_seed(stopped);
}

/* Others use up the limit: it is shared. */
static void shared(struct door *d)
{
	for (unsigned i = 0; i < LIMIT; i++)
		assert_true(quota_take(&d->quota));
	assert_false(quota_take(&d->quota));
	knock(d, 3);
	simrig_run(&d->rig, 300);
	assert_int_equal(d->n, 0);
	for (unsigned i = 0; i < LIMIT; i++)
		quota_put(&d->quota);
	SIMRIG_UNTIL(&d->rig, d->n == 3, LISTENER_PAUSE_MS + 100);
}

static void test_shared(void **state)
{
	(void)state;
	each_seed(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
