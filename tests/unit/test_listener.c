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

struct listener_fixture {
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
	struct listener_fixture *f = l->owner;

	assert_true(f->n < MANY);
	assert_int_equal(peer->family, AF_INET);
	for (unsigned i = 0; i < f->n; i++)
		assert_int_not_equal(f->ports[i], peer->port); /* each has its own peer */
	f->ports[f->n] = peer->port;
	f->fds[f->n++] = fd;
}

static const struct listener_events events = { .accepted = accepted };

static void fixture_open(struct listener_fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	simrig_open(&f->rig, seed, 16);
	quota_init(&f->quota, LIMIT);
	listener_start(&f->listener, &f->rig.tick, simrig_listen(&f->rig, PORT),
		       &f->quota, &f->stats, &events, f);
}

static void client_close(struct listener_fixture *f, unsigned i)
{
	io_close(f->rig.tick.loop, f->fds[i]);
	f->fds[i] = -1;
	quota_put(&f->quota);
}

static void fixture_close(struct listener_fixture *f)
{
	listener_stop(&f->listener);
	listener_stop(&f->listener);
	listener_abandon(&f->listener);
	SIMRIG_UNTIL(&f->rig, listener_stopped(&f->listener), 100);
	for (unsigned i = 0; i < f->n; i++)
		if (f->fds[i] >= 0)
			client_close(f, i);
	assert_int_equal(f->quota.used, 0);
	simrig_close(&f->rig);
}

static void each_seed(void (*test)(struct listener_fixture *f))
{
	for (uint64_t seed = 1; seed <= SIMRIG_SEEDS; seed++) {
		struct listener_fixture f;

		fixture_open(&f, seed);
		test(&f);
		fixture_close(&f);
	}
}

static void clients_connect(struct listener_fixture *f, unsigned n)
{
	while (n-- > 0)
		sim_peer_connect(&f->rig, PORT);
}

/* Connections beyond the limit wait until others have closed, and are never refused. */
static void limit_reached(struct listener_fixture *f)
{
	uint64_t enters;

	clients_connect(f, MANY);
	simrig_run(&f->rig, 200);
	assert_int_equal(f->n, LIMIT);
	assert_int_equal(f->quota.used, LIMIT);
	assert_true(f->stats.accept_pauses > 0);
	enters = io_stats(f->rig.tick.loop)->enters;
	simrig_run(&f->rig, 1000);
	assert_true(io_stats(f->rig.tick.loop)->enters - enters < 100); /* no spin */
	for (unsigned i = 0; i < MANY; i++) {
		SIMRIG_UNTIL(&f->rig, f->n > i, LISTENER_PAUSE_MS + 100);
		client_close(f, i);
		assert_true(f->quota.used <= LIMIT);
	}
	assert_int_equal(f->stats.accepted, MANY);
	LIST_EACH(&f->rig.peers, node)
		assert_int_equal(LIST_ITEM(node, struct sim_peer, node)->error, 0);
	/* The quota is as before. */
	clients_connect(f, 0);
	assert_int_equal(f->quota.used, 0);
}

static void test_limit_reached(void **state)
{
	(void)state;
	each_seed(limit_reached);
}

/* Stopped while some connections are parked, being accepted, or in the backlog. */
static void stop(struct listener_fixture *f)
{
	unsigned n;

	clients_connect(f, (unsigned)simrig_draw(&f->rig, MANY));
	simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 100));
	listener_stop(&f->listener);
	assert_int_equal(f->quota.used, f->n);
	simrig_run(&f->rig, 200);
	assert_int_equal(f->quota.used, f->n);
	n = f->n;
	clients_connect(f, 3);
	simrig_run(&f->rig, 200);
	assert_int_equal(f->n, n); /* only connections accepted before that are served */
	if (n < LIMIT)
		assert_true(listener_stopped(&f->listener));
}

static void test_stop(void **state)
{
	(void)state;
	each_seed(stop);
}

/* The quota is shared: others may use it up. */
static void shared_quota(struct listener_fixture *f)
{
	for (unsigned i = 0; i < LIMIT; i++)
		assert_true(quota_take(&f->quota));
	assert_false(quota_take(&f->quota));
	clients_connect(f, 3);
	simrig_run(&f->rig, 300);
	assert_int_equal(f->n, 0);
	for (unsigned i = 0; i < LIMIT; i++)
		quota_put(&f->quota);
	SIMRIG_UNTIL(&f->rig, f->n == 3, LISTENER_PAUSE_MS + 100);
}

static void test_shared_quota(void **state)
{
	(void)state;
	each_seed(shared_quota);
}

/* Two processes accept from one socket. */
static void listener_share(struct listener_fixture *f, struct listener *other)
{
	quota_init(&f->quota, MANY);
	simrig_run(&f->rig, 1); /* the accepts of the first one wait first */
	listener_start(other, &f->rig.tick,
		       sim_dup_listener(f->rig.tick.loop, f->listener.fd), &f->quota,
		       &f->stats, &events, f);
	simrig_run(&f->rig, (uint32_t)simrig_draw(&f->rig, 4));
}

static void other_close(struct listener_fixture *f, struct listener *other)
{
	listener_stop(other);
	SIMRIG_UNTIL(&f->rig, listener_stopped(other), 100);
}

/* One of them stops: every connection is accepted by one of both, without further ones. */
static void stop_shared(struct listener_fixture *f)
{
	unsigned n = 1 + (unsigned)simrig_draw(&f->rig, MANY);
	struct listener other;

	listener_share(f, &other);
	clients_connect(f, n);
	for (uint64_t ticks = simrig_draw(&f->rig, 8); ticks > 0; ticks--)
		tick_once(&f->rig.tick);
	listener_stop(&f->listener);
	SIMRIG_UNTIL(&f->rig, f->n == n, 100);
	SIMRIG_UNTIL(&f->rig, listener_stopped(&f->listener), 100);
	other_close(f, &other);
}

static void test_stop_shared(void **state)
{
	(void)state;
	each_seed(stop_shared);
}

/* The kernel ends the accepts of a killed process; one that completes is lost with it. */
static void listener_kill(struct listener *l)
{
	l->stopped = l->abandoned = l->closed = true;
	io_close(l->tick->loop, l->fd);
}

/* One of them is killed when it was woken; the other was notified before. */
static void rearm(struct listener_fixture *f)
{
	struct listener other;
	struct sim_peer *p;

	listener_share(f, &other);
	p = sim_peer_connect(&f->rig, PORT);
	listener_rearm(&other);
	SIMRIG_UNTIL(&f->rig, p->connected, 100);
	listener_kill(&f->listener);
	SIMRIG_UNTIL(&f->rig, f->n == 1 || sim_peer_finished(p),
		     2 * LISTENER_REARM_LAST_MS + 100);
	simrig_run(&f->rig, 2 * LISTENER_REARM_LAST_MS + 100);
	assert_false(timer_armed(&other.rearm)); /* not for ever */
	other_close(f, &other);
}

static void test_rearm(void **state)
{
	(void)state;
	each_seed(rearm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_reached),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_shared_quota),
		cmocka_unit_test(test_stop_shared),
		cmocka_unit_test(test_rearm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
