#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/memcacherig.h"

#define CALLS_MAX 300

static void get_many(struct memcacherig *r, struct memcache_call **calls, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		calls[i] = memcacherig_get(r, "foo");
}

static void assert_outcome(struct memcacherig *r, struct memcache_call **call,
			   enum call_state state, enum call_failure failure)
{
	memcacherig_wait(r, *call);
	assert_int_equal((*call)->state, state);
	if (state == CALL_FAILED)
		assert_int_equal((*call)->failure, failure);
	memcache_forget(call);
}

static void limit(struct memcacherig *r, uint32_t pipeline, uint32_t links,
		  uint32_t queue)
{
	r->upstream.pipeline = pipeline;
	r->upstream.links = links;
	r->queue_quota.limit = queue;
	memcacherig_reconfigure(r);
}

/* 2 links with 3 calls each, a queue of 5: the twelfth call is refused. The queue counts
 * only calls beyond the links, also while these are connecting. */
static void queue_full(void **state)
{
	struct memcache_call *calls[12], *more;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 1);
	limit(&r, 3, 2, 5);
	r.fakes[0].silent = true;
	get_many(&r, calls, 12);
	assert_outcome(&r, &calls[11], CALL_FAILED, CALL_QUEUE_FULL);
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.waiting, 5);
	assert_int_equal(r.stats.queue_refusals, 1);
	more = memcacherig_get(&r, "foo");
	assert_outcome(&r, &more, CALL_FAILED, CALL_QUEUE_FULL);
	fake_reply_all(&r.fakes[0]);
	for (unsigned i = 0; i < 11; i++)
		assert_outcome(&r, &calls[i], CALL_HIT, 0);
	assert_int_equal(r.stats.waiting, 0);
	memcacherig_close(&r);
}

static void no_queue(void **state)
{
	struct memcache_call *calls[3];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 1);
	limit(&r, 1, 2, 0);
	get_many(&r, calls, 3);
	assert_outcome(&r, &calls[0], CALL_HIT, 0);
	assert_outcome(&r, &calls[1], CALL_HIT, 0);
	assert_outcome(&r, &calls[2], CALL_FAILED, CALL_QUEUE_FULL);
	memcacherig_close(&r);
}

/* The queue advances as replies come, in order. */
static void queue_order(void **state)
{
	struct memcache_call *calls[CALLS_MAX];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 2);
	limit(&r, 1, 1, CALLS_MAX);
	get_many(&r, calls, CALLS_MAX / 10);
	for (unsigned i = 0; i < CALLS_MAX / 10; i++) {
		memcacherig_wait(&r, calls[i]);
		assert_int_equal(calls[i]->state, CALL_HIT);
		if (i + 1 < CALLS_MAX / 10)
			assert_false(memcacherig_decided(calls[i + 1]));
		memcache_forget(&calls[i]);
	}
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

static void queue_timeout(void **state)
{
	struct memcache_call *calls[3];
	uint64_t began_ms;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 3);
	limit(&r, 2, 1, 10);
	r.upstream.timeout_ms = 5000;
	calls[0] = memcacherig_get(&r, "foo");
	assert_outcome(&r, &calls[0], CALL_HIT, 0);
	r.fakes[0].silent = true;
	began_ms = r.tick.now_ms;
	get_many(&r, calls, 3);
	assert_outcome(&r, &calls[2], CALL_FAILED, CALL_TIMEOUT);
	assert_in_range(r.tick.now_ms - began_ms, 1000, 1016);
	assert_int_equal(r.stats.queue_timeouts, 1);
	assert_int_equal(r.stats.timeouts, 0);
	fake_reply_all(&r.fakes[0]);
	assert_outcome(&r, &calls[0], CALL_HIT, 0);
	assert_outcome(&r, &calls[1], CALL_HIT, 0);
	memcacherig_close(&r);
}

/* ---- down ------------------------------------------------------------------- */

static void a_server_that_refuses_is_a_miss(void **state)
{
	struct memcache_call *calls[5];
	uint64_t began_ms;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 4);
	fake_unlisten(&r.fakes[0]);
	get_many(&r, calls, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_outcome(&r, &calls[i], CALL_MISS, 0);
	assert_int_equal(r.stats.connect_failures, 1);
	assert_int_equal(r.stats.misses, 5);

	/* Now at once, and without another connect. */
	began_ms = r.tick.now_ms;
	get_many(&r, calls, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_outcome(&r, &calls[i], CALL_MISS, 0);
	assert_int_equal(r.tick.now_ms, began_ms);
	assert_int_equal(r.stats.connect_failures, 1);
	memcacherig_close(&r);
}

/* After a second one call starts a trial connect, and does not wait for it. */
static void one_trial_connect(void **state)
{
	struct memcache_call *calls[5];
	uint64_t began_ms;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 5);
	fake_unlisten(&r.fakes[0]);
	get_many(&r, calls, 1);
	assert_outcome(&r, &calls[0], CALL_MISS, 0);
	memcacherig_run(&r, 1100);
	began_ms = r.tick.now_ms;
	get_many(&r, calls, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_outcome(&r, &calls[i], CALL_MISS, 0);
	assert_int_equal(r.tick.now_ms, began_ms);
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.connect_failures, 2);

	fake_listen(&r.fakes[0]);
	get_many(&r, calls, 1);
	assert_outcome(&r, &calls[0], CALL_MISS, 0);
	memcacherig_run(&r, 1100);
	get_many(&r, calls, 1);
	assert_outcome(&r, &calls[0], CALL_MISS, 0);
	memcacherig_run(&r, 500);
	get_many(&r, calls, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_outcome(&r, &calls[i], CALL_HIT, 0);
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

/* The backlog is full and nothing is accepted: the connect does not complete. */
static void connect_timeout(void **state)
{
	struct memcache_call *calls[10];
	uint64_t began_ms;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 6);
	limit(&r, 1, 500, 1024);
	fake_stall(&r.fakes[0]);
	began_ms = r.tick.now_ms;
	get_many(&r, calls, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_outcome(&r, &calls[i], CALL_MISS, 0);
	assert_in_range(r.tick.now_ms - began_ms, 1000, 1040);
	assert_int_equal(r.stats.queue_timeouts, 0);
	memcacherig_close(&r);
}

/* A link could not be connected but there is another one: the server is not down. */
static void one_link_is_enough(void **state)
{
	struct memcache_call *calls[10];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 7);
	limit(&r, 1, 20, 1024);
	get_many(&r, calls, 1);
	assert_outcome(&r, &calls[0], CALL_HIT, 0);
	fake_unlisten(&r.fakes[0]);
	get_many(&r, calls, COUNT(calls));
	for (unsigned i = 0; i < COUNT(calls); i++)
		assert_outcome(&r, &calls[i], CALL_HIT, 0);
	/* One for each call but the first, and no more before the retry time. */
	assert_int_equal(r.stats.connect_failures, COUNT(calls) - 1);
	memcacherig_close(&r);
}

/* The shortage is ours and says nothing about the key: an error, not a miss. */
static void no_descriptor(void **state)
{
	struct memcache_call *calls[3];
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 8);
	limit(&r, 1, 4, 1024);
	r.descriptors.limit = 0;
	get_many(&r, calls, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_outcome(&r, &calls[i], CALL_FAILED, CALL_ERROR);
	r.descriptors.limit = 1;
	memcacherig_run(&r, 1100);
	get_many(&r, calls, 1);
	assert_outcome(&r, &calls[0], CALL_FAILED, CALL_ERROR);
	memcacherig_run(&r, 500);
	/* One link is possible, and serves all calls. */
	get_many(&r, calls, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_outcome(&r, &calls[i], CALL_HIT, 0);
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

/* Keys do not move: a server that is down is a miss for its own keys only. */
static void no_key_moves(void **state)
{
	struct memcache_call *calls[100];
	unsigned hits = 0, misses = 0;
	char key[32];
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 9, 3);
	fake_unlisten(&r.fakes[1]);
	for (unsigned i = 0; i < COUNT(calls); i++) {
		snprintf(key, sizeof(key), "key%u", i);
		calls[i] = memcacherig_get(&r, key);
	}
	for (unsigned i = 0; i < COUNT(calls); i++) {
		memcacherig_wait(&r, calls[i]);
		if (calls[i]->state == CALL_HIT)
			hits++;
		else if (calls[i]->state == CALL_MISS)
			misses++;
		memcache_forget(&calls[i]);
	}
	assert_int_equal(hits + misses, COUNT(calls));
	assert_int_equal(hits, r.fakes[0].requests + r.fakes[2].requests);
	assert_true(r.fakes[0].requests > 0 && r.fakes[2].requests > 0 && misses > 0);
	memcacherig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_full),
		cmocka_unit_test(no_queue),
		cmocka_unit_test(queue_order),
		cmocka_unit_test(queue_timeout),
		cmocka_unit_test(a_server_that_refuses_is_a_miss),
		cmocka_unit_test(one_trial_connect),
		cmocka_unit_test(connect_timeout),
		cmocka_unit_test(one_link_is_enough),
		cmocka_unit_test(no_descriptor),
		cmocka_unit_test(no_key_moves),
	};

	return cmocka_run_group_tests_name("memcacheserver", tests, NULL, NULL);
}
