#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "back/ketama.h"
#include "lib/memcacherig.h"

static void assert_outcome(struct memcacherig *r, struct memcache_call **call,
			   enum call_state state, enum call_failure failure)
{
	memcacherig_wait(r, *call);
	assert_int_equal((*call)->state, state);
	if (state == CALL_FAILED)
		assert_int_equal((*call)->failure, failure);
	memcache_forget(call);
}

/* ---- forgetting ------------------------------------------------------------- */

static void forgotten_at_once(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 1);
	call = memcacherig_get(&r, "foo");
	memcache_forget(&call);
	memcacherig_run(&r, 500);
	assert_int_equal(r.answered, 0);
	assert_int_equal(r.fakes[0].requests, 0);
	memcacherig_close(&r);
}

static void forgotten_in_queue(void **state)
{
	struct memcacherig r;
	struct memcache_call *first, *second, *third;

	(void)state;
	memcacherig_open(&r, 2);
	r.upstream.pipeline = r.upstream.links = 1;
	memcacherig_reconfigure(&r);
	r.fakes[0].silent = true;
	first = memcacherig_get(&r, "a");
	second = memcacherig_get(&r, "b");
	third = memcacherig_get(&r, "c");
	memcacherig_run(&r, 300);
	assert_int_equal(r.stats.waiting, 2);
	memcache_forget(&second);
	assert_int_equal(r.stats.waiting, 1);
	fake_reply_all(&r.fakes[0]);
	assert_outcome(&r, &first, CALL_HIT, 0);
	assert_outcome(&r, &third, CALL_HIT, 0);
	assert_int_equal(r.fakes[0].requests, 2);
	memcacherig_close(&r);
}

/* Its reply is read and dropped, and the next one is found. */
static void forgotten_when_sent(void **state)
{
	(void)state;
	for (unsigned cut = 0; cut < 30; cut++) {
		struct memcacherig r;
		struct memcache_call *first, *second;

		memcacherig_open(&r, cut);
		r.fakes[0].silent = true;
		first = memcacherig_get(&r, "a");
		second = memcacherig_get(&r, "b");
		memcacherig_run(&r, 100);
		assert_int_equal(first->state, CALL_SENT);
		r.fakes[0].cut = cut;
		if (cut % 2 == 0)
			memcache_forget(&first);
		fake_reply_all(&r.fakes[0]);
		memcacherig_run(&r, 100);
		if (first)
			memcache_forget(&first);
		memcacherig_wait(&r, second);
		memcacherig_assert_value(second, 0);
		memcache_forget(&second);
		assert_int_equal(r.fakes[0].accepted, 1);
		memcacherig_close(&r);
	}
}

/* The rest of its value is dropped. */
static void forgotten_before_its_value(void **state)
{
	const struct buf_pool *bufs;
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 14);
	bufs = io_bufs(r.tick.loop);
	r.fakes[0].value_bytes = 100000;
	r.fakes[0].cut = 50000;
	r.fakes[0].silent = true;
	call = memcacherig_get(&r, "a");
	memcacherig_run(&r, 100);
	assert_int_equal(call->state, CALL_SENT);
	memcache_forget(&call);
	fake_reply_all(&r.fakes[0]);
	memcacherig_run(&r, 150);
	assert_int_equal(r.stats.hits, 0);
	assert_int_equal(bufs->free_n, bufs->count);
	memcacherig_run(&r, 500);
	assert_int_equal(r.stats.hits, 1);
	memcacherig_close(&r);
}

/* Part of the value has been received. */
static void forgotten_within_value(void **state)
{
	struct memcacherig r;
	struct memcache_call *first, *second;

	(void)state;
	memcacherig_open(&r, 3);
	r.fakes[0].value_bytes = 100000;
	r.fakes[0].cut = 50000;
	first = memcacherig_get(&r, "a");
	second = memcacherig_get(&r, "b");
	memcacherig_run(&r, 180);
	assert_int_equal(first->state, CALL_SENT);
	assert_int_not_equal(first->value.len, 0);
	memcache_forget(&first);
	memcacherig_wait(&r, second);
	memcacherig_assert_value(second, 100000);
	memcache_forget(&second);
	memcacherig_close(&r);
}

static void forgotten_when_decided(void **state)
{
	struct memcacherig r;
	struct memcache_call *first, *second;

	(void)state;
	memcacherig_open(&r, 4);
	first = memcacherig_get(&r, "a");
	second = memcacherig_get(&r, "b");
	r.forget_when_answered = &first;
	memcacherig_wait(&r, second);
	assert_null(first);
	memcache_forget(&second);
	memcacherig_close(&r);
}

/* Decided in the same step as another call, and forgotten before the notification. */
static void forgotten_before_notification(void **state)
{
	struct memcacherig r;
	struct memcache_call *first, *second;

	(void)state;
	memcacherig_open(&r, 5);
	fake_unlisten(&r.fakes[0]);
	first = memcacherig_get(&r, "a");
	second = memcacherig_get(&r, "b");
	r.forget_when_answered = &second;
	memcacherig_wait(&r, first);
	assert_null(second);
	assert_int_equal(r.answered, 1);
	memcache_forget(&first);
	memcacherig_close(&r);
}

/* ---- timeouts --------------------------------------------------------------- */

static void call_timeout(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;
	uint64_t began_ms;

	(void)state;
	memcacherig_open(&r, 6);
	r.fakes[0].silent = true;
	call = memcacherig_get(&r, "a");
	memcacherig_run(&r, 500);
	began_ms = call->sent_us / 1000;
	memcacherig_wait(&r, call);
	assert_in_range(r.tick.now_ms - began_ms, 2000, 2016);
	assert_outcome(&r, &call, CALL_FAILED, CALL_TIMEOUT);
	assert_int_equal(r.stats.timeouts, 1);
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[0].conns_n, 0);
	memcacherig_close(&r);
}

/* All calls of one tick are late: none is sent again. */
static void all_late(void **state)
{
	struct memcacherig r;
	struct memcache_call *calls[20];

	(void)state;
	memcacherig_open(&r, 7);
	r.fakes[0].silent = true;
	for (unsigned i = 0; i < COUNT(calls); i++)
		calls[i] = memcacherig_get(&r, "a");
	for (unsigned i = 0; i < COUNT(calls); i++)
		assert_outcome(&r, &calls[i], CALL_FAILED, CALL_TIMEOUT);
	assert_int_equal(r.stats.timeouts, COUNT(calls));
	assert_int_equal(r.stats.retries, 0);
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

/* The calls behind a late one are sent again over another link, in their order. */
static void sent_again(void **state)
{
	struct memcacherig r;
	struct memcache_call *late, *calls[5];

	(void)state;
	memcacherig_open(&r, 8);
	r.fakes[0].silent = true;
	late = memcacherig_get(&r, "late");
	memcacherig_run(&r, 1000);
	for (unsigned i = 0; i < COUNT(calls); i++)
		calls[i] = memcacherig_get(&r, "a");
	memcacherig_run(&r, 100);
	assert_int_equal(calls[4]->state, CALL_SENT);
	assert_outcome(&r, &late, CALL_FAILED, CALL_TIMEOUT);
	memcacherig_run(&r, 100);
	for (unsigned i = 0; i + 1 < COUNT(calls); i++)
		assert_ptr_equal(calls[i]->node.next, &calls[i + 1]->node);
	fake_reply_all(&r.fakes[0]);
	for (unsigned i = 0; i < COUNT(calls); i++) {
		memcacherig_wait(&r, calls[i]);
		memcacherig_assert_value(calls[i], 0);
		memcache_forget(&calls[i]);
	}
	assert_int_equal(r.stats.retries, 5);
	assert_int_equal(r.stats.timeouts, 1);
	assert_int_equal(r.fakes[0].accepted, 2);
	memcacherig_close(&r);
}

/* Only once, and with the old deadline, counted from the first time. */
static void sent_again_only_once(void **state)
{
	struct memcacherig r;
	struct memcache_call *first, *second, *third;
	uint64_t began_ms;

	(void)state;
	memcacherig_open(&r, 9);
	r.fakes[0].silent = true;
	first = memcacherig_get(&r, "a");
	memcacherig_run(&r, 500);
	second = memcacherig_get(&r, "b");
	memcacherig_run(&r, 500);
	third = memcacherig_get(&r, "c");
	memcacherig_run(&r, 50);
	began_ms = second->sent_us / 1000;
	assert_outcome(&r, &first, CALL_FAILED, CALL_TIMEOUT);
	assert_outcome(&r, &second, CALL_FAILED, CALL_TIMEOUT);
	assert_in_range(r.tick.now_ms - began_ms, 2000, 2016);
	assert_true(memcacherig_decided(third));
	assert_outcome(&r, &third, CALL_FAILED, CALL_TIMEOUT);
	assert_int_equal(r.stats.retries, 2);
	memcacherig_close(&r);
}

/* ---- placing ---------------------------------------------------------------- */

/* Keys are mapped by name, else by the address as configured, without the default port. */
static void keys_mapped_by_name(void **state)
{
	static const char *const addresses[] = { "10.0.0.1:11211", "10.0.0.2:11300",
						 "x:1" };
	struct ketama_server expected[] = { { SLICE("10.0.0.1"), 1 },
					    { SLICE("10.0.0.2:11300"), 2 },
					    { SLICE("x:11211"), 1 } };
	struct ketama *k = ketama_new(expected, COUNT(expected));
	char key[32];
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 10, 3);
	for (unsigned i = 0; i < 3; i++) {
		r.servers[i].name = r.servers[i].address = addresses[i];
		r.servers[i].weight = expected[i].weight;
	}
	r.servers[2].name = "x:11211";
	memcacherig_reconfigure(&r);
	for (unsigned i = 0; i < 200; i++) {
		struct memcache_call *call;

		snprintf(key, sizeof(key), "key%u", i);
		call = memcacherig_get(&r, key);
		memcacherig_wait(&r, call);
		assert_int_equal(call->state, CALL_HIT);
		memcache_forget(&call);
		for (unsigned j = 0; j < 3; j++) {
			bool here = ketama_server(k, slice_of(key)) == j;

			assert_int_equal(r.fakes[j].requests, here);
			r.fakes[j].requests = 0;
		}
	}
	ketama_free(k);
	memcacherig_close(&r);
}

/* ---- death ------------------------------------------------------------------ */

/* Closed at any moment: each call is decided, nothing leaks. */
static void closed_at_any_moment(void **state)
{
	(void)state;
	for (unsigned ticks = 0; ticks < 40; ticks++) {
		struct memcache_call *calls[6];
		struct memcacherig r;

		memcacherig_open(&r, ticks);
		r.upstream.pipeline = 2;
		r.upstream.links = 2;
		memcacherig_reconfigure(&r);
		for (unsigned i = 0; i < COUNT(calls); i++)
			calls[i] = memcacherig_get(&r, "foo");
		for (unsigned i = 0; i < ticks; i++)
			tick_once(&r.tick);
		memcache_close(r.memcache);
		for (unsigned i = 0; i < COUNT(calls); i++) {
			memcacherig_wait(&r, calls[i]);
			memcache_forget(&calls[i]);
		}
		memcacherig_close(&r);
	}
}

/* The same while calls of stale links are sent again. */
static void closed_with_stale_links(void **state)
{
	(void)state;
	for (unsigned ticks = 0; ticks < 40; ticks++) {
		struct memcache_call *calls[6];
		struct memcacherig r;

		memcacherig_open(&r, ticks);
		r.upstream.pipeline = 2;
		memcacherig_reconfigure(&r);
		for (unsigned n = 0; n < 2; n++) {
			for (unsigned i = 0; i < COUNT(calls); i++)
				calls[i] = memcacherig_get(&r, "foo");
			for (unsigned i = 0; n == 0 && i < COUNT(calls); i++) {
				memcacherig_wait(&r, calls[i]);
				memcache_forget(&calls[i]);
			}
			r.fakes[0].silent = true;
		}
		memcacherig_run(&r, 100);
		fake_close_all(&r.fakes[0], CONN_NOW);
		for (unsigned i = 0; i < ticks; i++)
			tick_once(&r.tick);
		memcache_close(r.memcache);
		for (unsigned i = 0; i < COUNT(calls); i++) {
			memcacherig_wait(&r, calls[i]);
			assert_int_equal(calls[i]->state, CALL_FAILED);
			memcache_forget(&calls[i]);
		}
		memcacherig_close(&r);
	}
}

static void call_after_close(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 11);
	memcache_close(r.memcache);
	call = memcacherig_get(&r, "foo");
	assert_outcome(&r, &call, CALL_FAILED, CALL_ERROR);
	memcacherig_close(&r);
}

/* ---- scarcity --------------------------------------------------------------- */

/* Some calls, at first with a slab whose n-th allocation fails. Returns how many of them
 * had the outcome that they have with memory. */
static unsigned calls_with_failing_slab(unsigned n)
{
	struct memcache_call *calls[8];
	unsigned good = 0;
	struct memcacherig r;

	memcacherig_open(&r, 12);
	r.upstream.pipeline = 2;
	memcacherig_reconfigure(&r);
	r.fakes[0].value_bytes = 40000;
	slab_fail_at(n);
	for (unsigned i = 0; i < COUNT(calls); i++)
		calls[i] = memcache_get(r.memcache, MEMCACHE_GET, SLICE("foo"), &r);
	for (unsigned i = 0; i < COUNT(calls); i++) {
		if (!calls[i])
			continue;
		memcacherig_wait(&r, calls[i]);
		if (calls[i]->state == CALL_HIT) {
			memcacherig_assert_value(calls[i], 40000);
			good++;
		}
		memcache_forget(&calls[i]);
	}
	slab_fail_at(0);
	memcacherig_run(&r, 1100);
	/* It works again afterwards. */
	calls[0] = memcacherig_get(&r, "foo");
	memcacherig_wait(&r, calls[0]);
	if (calls[0]->state != CALL_HIT) {
		memcache_forget(&calls[0]);
		memcacherig_run(&r, 1100);
		calls[0] = memcacherig_get(&r, "foo");
		memcacherig_wait(&r, calls[0]);
	}
	memcacherig_assert_value(calls[0], 40000);
	memcache_forget(&calls[0]);
	memcacherig_close(&r);
	return good;
}

static void every_allocation_may_fail(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (unsigned n = 1; n <= 100; n++)
		failed += calls_with_failing_slab(n) < 8;
	assert_int_equal(calls_with_failing_slab(0), 8);
	assert_true(failed > 20);
}

/* ---- many ------------------------------------------------------------------- */

#define CALLS_MANY 10000

/* A slow server that handles one command at a time; a link for each call. */
static void ten_thousand_calls(void **state)
{
	uint64_t began_ms;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 13);
	r.upstream.pipeline = 1;
	r.upstream.links = CALLS_MANY;
	r.upstream.timeout_ms = 5000;
	r.upstream.connect_timeout_ms = 5000;
	r.descriptors.limit = CALLS_MANY;
	memcacherig_reconfigure(&r);
	r.fakes[0].delay_ms = 2000;
	r.forget_hits = true;
	began_ms = r.tick.now_ms;
	for (unsigned i = 0; i < CALLS_MANY; i++)
		memcacherig_get(&r, "foo");
	while (r.answered < CALLS_MANY)
		tick_once(&r.tick);
	assert_in_range(r.tick.now_ms - began_ms, 2000, 4000);
	assert_int_equal(r.stats.hits, CALLS_MANY);
	assert_int_equal(r.fakes[0].accepted, CALLS_MANY);
	memcacherig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forgotten_at_once),
		cmocka_unit_test(forgotten_in_queue),
		cmocka_unit_test(forgotten_when_sent),
		cmocka_unit_test(forgotten_before_its_value),
		cmocka_unit_test(forgotten_within_value),
		cmocka_unit_test(forgotten_when_decided),
		cmocka_unit_test(forgotten_before_notification),
		cmocka_unit_test(call_timeout),
		cmocka_unit_test(all_late),
		cmocka_unit_test(sent_again),
		cmocka_unit_test(sent_again_only_once),
		cmocka_unit_test(keys_mapped_by_name),
		cmocka_unit_test(closed_at_any_moment),
		cmocka_unit_test(closed_with_stale_links),
		cmocka_unit_test(call_after_close),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(ten_thousand_calls),
	};

	return cmocka_run_group_tests_name("memcache", tests, NULL, NULL);
}
