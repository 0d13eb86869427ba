#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <netinet/in.h>

#include "io/sim.h"
#include "lib/memcacherig.h"

#define CALLS_MAX 600

static void get_many(struct memcacherig *r, struct memcache_call **calls, unsigned n)
{
	char key[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "key%u", i);
		calls[i] = memcacherig_get(r, key);
	}
}

static void wait_many(struct memcacherig *r, struct memcache_call **calls, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		memcacherig_wait(r, calls[i]);
		memcacherig_assert_value(calls[i], 0);
		memcache_forget(&calls[i]);
	}
}

static void a_link_is_kept(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 1);
	for (unsigned i = 0; i < 10; i++) {
		get_many(&r, &call, 1);
		wait_many(&r, &call, 1);
		assert_int_equal(r.stats.connections, 1);
		assert_int_equal(r.stats.connections_idle, 1);
		memcacherig_run(&r, 2000);
	}
	assert_int_equal(r.fakes[0].accepted, 1);
	assert_int_equal(r.stats.connects, 1);
	memcacherig_close(&r);
}

/* `pipeline` calls to a link, then another link, up to `connections_per_server`. */
static void second_link_at_pipeline(void **state)
{
	static const struct {
		uint32_t pipeline, links;
		unsigned calls, links_expected;
	} rows[] = {
		{ 64, 4, 1, 1 },   { 64, 4, 64, 1 },     { 64, 4, 65, 2 },
		{ 64, 4, 129, 3 }, { 64, 4, 300, 4 },    { 1, 4, 3, 3 },
		{ 1, 4, 100, 4 },  { 1, 300, 100, 100 }, { 2, 300, 100, 50 },
	};
	struct memcache_call *calls[CALLS_MAX];

	(void)state;
	for (unsigned i = 0; i < COUNT(rows); i++) {
		struct memcacherig r;

		memcacherig_open(&r, i);
		r.upstream.pipeline = rows[i].pipeline;
		r.upstream.links = rows[i].links;
		memcacherig_reconfigure(&r);
		r.fakes[0].silent = true;
		get_many(&r, calls, rows[i].calls);
		memcacherig_run(&r, 500);
		assert_int_equal(r.fakes[0].accepted, rows[i].links_expected);
		assert_int_equal(r.stats.connections, rows[i].links_expected);
		fake_reply_all(&r.fakes[0]);
		wait_many(&r, calls, rows[i].calls);
		assert_int_equal(r.stats.connections_idle, rows[i].links_expected);
		memcacherig_close(&r);
	}
}

/* Of two links with 3 and 0 calls in flight the idle one gets the next three. */
static void the_least_busy_link(void **state)
{
	struct memcacherig r;
	struct memcache_call *calls[CALLS_MAX];
	struct memcache_link *idle;

	(void)state;
	memcacherig_open(&r, 2);
	r.upstream.pipeline = 4;
	r.upstream.links = 2;
	memcacherig_reconfigure(&r);
	r.fakes[0].silent = true;
	get_many(&r, calls, 5);
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.connections, 2);
	idle = calls[4]->link;
	assert_ptr_not_equal(calls[0]->link, idle);
	fake_reply_one(&r.fakes[0]);
	memcacherig_run(&r, 100);
	assert_int_equal(r.stats.hits, 2);
	assert_int_equal(r.stats.connections_idle, 1);
	get_many(&r, calls + 5, 4);
	memcacherig_run(&r, 100);
	for (unsigned i = 5; i < 8; i++)
		assert_ptr_equal(calls[i]->link, idle);
	fake_reply_all(&r.fakes[0]);
	wait_many(&r, calls, 9);
	memcacherig_close(&r);
}

/* 60 requests of one tick are one send. */
static void one_send_per_tick(void **state)
{
	struct memcacherig r;
	struct memcache_call *calls[CALLS_MAX];
	uint64_t submissions;

	(void)state;
	memcacherig_open(&r, 3);
	get_many(&r, calls, 1);
	wait_many(&r, calls, 1);
	memcacherig_run(&r, 100);
	r.fakes[0].silent = true;
	get_many(&r, calls, 60);
	submissions = io_stats(r.tick.loop)->submissions;
	tick_once(&r.tick);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(calls[i]->state, CALL_SENT);
	assert_int_equal(io_stats(r.tick.loop)->submissions - submissions, 1);
	fake_reply_all(&r.fakes[0]);
	wait_many(&r, calls, 60);
	memcacherig_close(&r);
}

/* More requests than a block holds, to a server that does not read. */
static void many_long_keys(void **state)
{
	struct memcacherig r;
	struct memcache_call *calls[CALLS_MAX];
	char key[MEMCACHE_KEY_MAX + 1];

	(void)state;
	memcacherig_open(&r, 4);
	sim_set_socket_bytes(r.tick.loop, 1000);
	r.upstream.pipeline = CALLS_MAX;
	r.upstream.links = 1;
	r.queue_quota.limit = CALLS_MAX;
	memcacherig_reconfigure(&r);
	memset(key, 'k', sizeof(key));
	key[MEMCACHE_KEY_MAX] = '\0';
	for (unsigned i = 0; i < CALLS_MAX; i++) {
		snprintf(key + 200, 4, "%03u", i);
		key[203] = 'k';
		calls[i] = memcacherig_get(&r, key);
	}
	wait_many(&r, calls, CALLS_MAX);
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

static void an_idle_link_that_ends_is_replaced(void **state)
{
	static const enum conn_end ends[] = { CONN_NOW, CONN_RESET };
	struct memcache_call *call;

	(void)state;
	for (unsigned i = 0; i < COUNT(ends); i++) {
		struct memcacherig r;

		memcacherig_open(&r, i);
		get_many(&r, &call, 1);
		wait_many(&r, &call, 1);
		fake_close_all(&r.fakes[0], ends[i]);
		memcacherig_run(&r, 500);
		assert_int_equal(r.stats.connections, 0);
		get_many(&r, &call, 1);
		wait_many(&r, &call, 1);
		assert_int_equal(r.fakes[0].accepted, 2);
		assert_int_equal(r.stats.errors, 0);
		memcacherig_close(&r);
	}
}

static void idle_link_with_bytes_is_closed(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 1);
	get_many(&r, &call, 1);
	wait_many(&r, &call, 1);
	fake_send_all(&r.fakes[0], SLICE("END\r\n"));
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.connections, 0);
	get_many(&r, &call, 1);
	wait_many(&r, &call, 1);
	memcacherig_close(&r);
}

/* The link never delivered a reply. */
static void a_link_that_breaks_fails_its_calls(void **state)
{
	static const enum conn_end ends[] = { CONN_NOW, CONN_RESET };

	(void)state;
	for (unsigned i = 0; i < COUNT(ends); i++) {
		struct memcache_call *calls[3];
		struct memcacherig r;

		memcacherig_open(&r, i);
		r.fakes[0].silent = true;
		get_many(&r, calls, 3);
		memcacherig_run(&r, 500);
		fake_close_all(&r.fakes[0], ends[i]);
		for (unsigned j = 0; j < 3; j++) {
			memcacherig_wait(&r, calls[j]);
			assert_int_equal(calls[j]->state, CALL_FAILED);
			assert_int_equal(calls[j]->failure, CALL_ERROR);
			memcache_forget(&calls[j]);
		}
		assert_int_equal(r.stats.errors, 3);
		assert_int_equal(r.stats.retries, 0);
		assert_int_equal(r.fakes[0].accepted, 1);
		memcacherig_close(&r);
	}
}

/* The peer closes within a reply. */
static void half_a_reply(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 2);
	r.fakes[0].cut = 20;
	get_many(&r, &call, 1);
	memcacherig_run(&r, 150);
	assert_int_equal(call->state, CALL_SENT);
	fake_close_all(&r.fakes[0], CONN_NOW);
	memcacherig_wait(&r, call);
	assert_int_equal(call->failure, CALL_ERROR);
	memcache_forget(&call);
	memcacherig_close(&r);
}

/* ---- stale links ------------------------------------------------------------ */

/* The link has delivered replies and has these calls in flight. */
static void get_on_replied_link(struct memcacherig *r, struct memcache_call **calls,
				unsigned n)
{
	get_many(r, calls, 1);
	wait_many(r, calls, 1);
	r->fakes[0].silent = true;
	get_many(r, calls, n);
	memcacherig_run(r, 500);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(calls[i]->state, CALL_SENT);
}

/* Its calls are sent again in their order, except a forgotten one. */
static void a_stale_link(void **state)
{
	static const enum conn_end ends[] = { CONN_NOW, CONN_RESET };

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct memcache_call *calls[4];
		struct memcacherig r;

		memcacherig_open(&r, i);
		get_on_replied_link(&r, calls, COUNT(calls));
		memcache_forget(&calls[1]);
		fake_close_all(&r.fakes[0], ends[i % 2]);
		memcacherig_run(&r, 500);
		assert_ptr_equal(calls[0]->node.next, &calls[2]->node);
		assert_ptr_equal(calls[2]->node.next, &calls[3]->node);
		fake_reply_all(&r.fakes[0]);
		wait_many(&r, &calls[0], 1);
		wait_many(&r, &calls[2], 2);
		assert_int_equal(r.fakes[0].requests, 4);
		assert_int_equal(r.fakes[0].accepted, 2);
		assert_int_equal(r.stats.retries, 3);
		assert_int_equal(r.stats.stale_retries, 3);
		assert_int_equal(r.stats.requests, 8);
		memcacherig_close(&r);
	}
}

/* A call is sent again only once, and not if the link never delivered a reply. */
static void stale_once(void **state)
{
	struct memcache_call *calls[3], *other;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 1);
	get_on_replied_link(&r, calls, COUNT(calls));
	fake_close_all(&r.fakes[0], CONN_NOW);
	memcacherig_run(&r, 500);
	other = memcacherig_get(&r, "other");
	memcacherig_run(&r, 100);
	assert_ptr_equal(calls[2]->node.next, &other->node);
	fake_reply_one(&r.fakes[0]);
	memcacherig_wait(&r, calls[0]);
	fake_close_all(&r.fakes[0], CONN_NOW);
	for (unsigned i = 1; i < COUNT(calls); i++) {
		memcacherig_wait(&r, calls[i]);
		assert_int_equal(calls[i]->state, CALL_FAILED);
		assert_int_equal(calls[i]->failure, CALL_ERROR);
		memcache_forget(&calls[i]);
	}
	memcache_forget(&calls[0]);
	memcacherig_run(&r, 100);
	fake_reply_all(&r.fakes[0]);
	wait_many(&r, &other, 1);
	assert_int_equal(r.stats.retries, 4);
	assert_int_equal(r.fakes[0].accepted, 3);
	memcacherig_close(&r);
}

static void server_that_only_closes(void **state)
{
	struct memcache_call *call;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 2);
	get_many(&r, &call, 1);
	wait_many(&r, &call, 1);
	r.fakes[0].closes = true;
	for (unsigned i = 0; i < 3; i++) {
		get_many(&r, &call, 1);
		memcacherig_wait(&r, call);
		assert_int_equal(call->state, CALL_FAILED);
		assert_int_equal(call->failure, CALL_ERROR);
		memcache_forget(&call);
	}
	assert_int_equal(r.stats.retries, 1);
	assert_int_equal(r.fakes[0].accepted, 4);
	memcacherig_close(&r);
}

/* The reply has begun, so this call fails; those behind it are sent again. */
static void a_stale_link_with_part_of_a_reply(void **state)
{
	static const char reply[] = "VALUE key0 0 13\r\nvalue of key0\r\nEND\r\n";

	(void)state;
	for (unsigned cut = 1; cut < sizeof(reply) - 1; cut++) {
		struct memcache_call *calls[3];
		struct memcacherig r;

		memcacherig_open(&r, cut);
		get_on_replied_link(&r, calls, COUNT(calls));
		fake_send_all(&r.fakes[0], (struct slice){ reply, cut });
		memcacherig_run(&r, 150);
		fake_close_all(&r.fakes[0], CONN_NOW);
		memcacherig_wait(&r, calls[0]);
		assert_int_equal(calls[0]->state, CALL_FAILED);
		assert_int_equal(calls[0]->failure, CALL_ERROR);
		memcache_forget(&calls[0]);
		fake_reply_all(&r.fakes[0]);
		for (unsigned i = 1; i < COUNT(calls); i++) {
			memcacherig_wait(&r, calls[i]);
			memcacherig_assert_value(calls[i], 0);
			memcache_forget(&calls[i]);
		}
		assert_int_equal(r.stats.retries, 2);
		memcacherig_close(&r);
	}
}

/* The deadline counts from the first time that the call was sent. */
static void stale_and_late(void **state)
{
	struct memcache_call *call;
	uint64_t began_ms;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 3);
	get_on_replied_link(&r, &call, 1);
	began_ms = call->sent_us / 1000;
	memcacherig_run(&r, 500);
	fake_close_all(&r.fakes[0], CONN_NOW);
	memcacherig_wait(&r, call);
	assert_int_equal(call->failure, CALL_TIMEOUT);
	assert_in_range(r.tick.now_ms - began_ms, 2000, 2016);
	assert_int_equal(r.fakes[0].accepted, 2);
	memcache_forget(&call);
	memcacherig_close(&r);
}

/* The server stays down: its keys are misses. */
static void stale_and_down(void **state)
{
	struct memcache_call *calls[3];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 4);
	get_on_replied_link(&r, calls, COUNT(calls));
	fake_unlisten(&r.fakes[0]);
	fake_close_all(&r.fakes[0], CONN_NOW);
	for (unsigned i = 0; i < COUNT(calls); i++) {
		memcacherig_wait(&r, calls[i]);
		assert_int_equal(calls[i]->state, CALL_MISS);
		memcache_forget(&calls[i]);
	}
	assert_int_equal(r.stats.connect_failures, 1);
	memcacherig_close(&r);
}

/* Idle links of the same server are closed: they have been idle for longer. */
static void stale_with_idle_links(void **state)
{
	struct memcache_call *calls[3];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 5);
	r.upstream.pipeline = 1;
	memcacherig_reconfigure(&r);
	get_many(&r, calls, COUNT(calls));
	wait_many(&r, calls, COUNT(calls));
	assert_int_equal(r.stats.connections_idle, 3);
	r.fakes[0].closes = true;
	get_many(&r, calls, 1);
	while (r.stats.retries == 0)
		tick_once(&r.tick);
	assert_int_equal(r.stats.connections, 0);
	r.fakes[0].closes = false;
	wait_many(&r, calls, 1);
	assert_int_equal(r.fakes[0].accepted, 4);
	memcacherig_close(&r);
}

/* Busy links of the same server get their replies, then end. */
static void stale_with_busy_links(void **state)
{
	struct memcache_call *calls[4];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 6);
	r.upstream.pipeline = r.upstream.links = 2;
	memcacherig_reconfigure(&r);
	get_many(&r, calls, COUNT(calls));
	wait_many(&r, calls, COUNT(calls));
	r.fakes[0].silent = true;
	get_many(&r, calls, 2);
	memcacherig_run(&r, 500);
	assert_ptr_not_equal(calls[0]->link, calls[1]->link);
	fake_close_first(&r.fakes[0]);
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.retries, 1);
	assert_int_equal(calls[0]->state, CALL_SENT);
	assert_int_equal(calls[1]->state, CALL_SENT);
	assert_ptr_not_equal(calls[0]->link, calls[1]->link);
	assert_int_equal(r.stats.connections, 2);
	fake_reply_all(&r.fakes[0]);
	wait_many(&r, calls, 2);
	memcacherig_run(&r, 100);
	assert_int_equal(r.stats.connections, 1);
	get_many(&r, calls, COUNT(calls));
	wait_many(&r, calls, COUNT(calls));
	assert_int_equal(r.stats.connections, 2);
	assert_int_equal(r.fakes[0].accepted, 4);
	assert_int_equal(r.stats.retries, 1);
	memcacherig_close(&r);
}

static void keepalive_limit(void **state)
{
	struct memcacherig r;
	struct memcache_call *calls[CALLS_MAX];

	(void)state;
	memcacherig_open(&r, 3);
	r.upstream.pipeline = 1;
	r.upstream.links = 100;
	r.upstream.keepalive = 10;
	memcacherig_reconfigure(&r);
	get_many(&r, calls, 100);
	wait_many(&r, calls, 100);
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.connections, 10);
	assert_int_equal(r.stats.connections_idle, 10);
	assert_int_equal(r.fakes[0].conns_n, 10);
	memcacherig_close(&r);
}

/* The first address refuses, the second one accepts; later the second is tried first. */
static void the_next_address(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;
	struct config_server *s;

	(void)state;
	memcacherig_open(&r, 4);
	s = &r.servers[0];
	s->addresses[1] = s->addresses[0];
	((struct sockaddr_in *)&s->addresses[0].sa)->sin_port =
		htons(MEMCACHERIG_PORT + 100);
	s->address_n = 2;
	memcacherig_reconfigure(&r);
	get_many(&r, &call, 1);
	wait_many(&r, &call, 1);
	assert_int_equal(r.stats.connect_failures, 0);
	assert_int_equal(r.stats.connects, 1);
	memcacherig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_link_is_kept),
		cmocka_unit_test(second_link_at_pipeline),
		cmocka_unit_test(the_least_busy_link),
		cmocka_unit_test(one_send_per_tick),
		cmocka_unit_test(many_long_keys),
		cmocka_unit_test(an_idle_link_that_ends_is_replaced),
		cmocka_unit_test(idle_link_with_bytes_is_closed),
		cmocka_unit_test(a_link_that_breaks_fails_its_calls),
		cmocka_unit_test(half_a_reply),
		cmocka_unit_test(a_stale_link),
		cmocka_unit_test(stale_once),
		cmocka_unit_test(server_that_only_closes),
		cmocka_unit_test(a_stale_link_with_part_of_a_reply),
		cmocka_unit_test(stale_and_late),
		cmocka_unit_test(stale_and_down),
		cmocka_unit_test(stale_with_idle_links),
		cmocka_unit_test(stale_with_busy_links),
		cmocka_unit_test(keepalive_limit),
		cmocka_unit_test(the_next_address),
	};

	return cmocka_run_group_tests_name("memcachelink", tests, NULL, NULL);
}
