/* The memcached client: counters, and requesters that do not wait as long as their upstream may
 * take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/memcacherig.h"

static unsigned seen_n; /* calls that were decided */

static void decided(struct memcache_call *call)
{
	(void)call;
	seen_n++;
}

static struct memcache_call *ask(struct memcacherig *r, enum memcache_command command,
				 const char *key)
{
	struct memcache_call *call =
		memcache_ask(r->memcache, &(struct memcache_ask){ .command = command,
								  .key = slice_of(key),
								  .ttl_s = 60,
								  .impatient = true,
								  .done = decided,
								  .owner = r });

	assert_non_null(call);
	return call;
}

static void wait_for(struct memcacherig *r, const struct memcache_call *call)
{
	while (call->state == CALL_WAITING || call->state == CALL_SENT)
		memcacherig_run(r, 1);
}

static void assert_number(struct memcache_call *call, char digit)
{
	struct piece p;

	assert_int_equal(call->state, CALL_HIT);
	assert_int_equal(call->length, 1);
	assert_true(memcache_take(call, &p));
	assert_int_equal(p.ptr[0], digit);
	piece_put(&p);
	assert_false(memcache_take(call, &p));
}

static void counts(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct memcacherig r;
		struct memcache_call *call;

		memcacherig_open(&r, seed);
		seen_n = 0;
		r.fakes[0].raw = SLICE("VA 1\r\n7\r\n");
		r.fakes[0].cut = (unsigned)seed % 9;
		call = ask(&r, MEMCACHE_COUNT, "counter");
		wait_for(&r, call);
		memcacherig_run(&r, 1);
		assert_int_equal(seen_n, 1);
		assert_number(call, '7');
		/* Nobody waits for this one, and it is sent. */
		memcache_take_back(call);
		memcache_forget(&call);
		memcacherig_run(&r, 200);
		assert_int_equal(r.fakes[0].requests, 2);
		assert_int_equal(seen_n, 1);
		/* And this one ends with the client. */
		r.fakes[0].raw = SLICE("NF\r\n");
		call = ask(&r, MEMCACHE_COUNT, "counter");
		wait_for(&r, call);
		assert_int_equal(call->state, CALL_MISS);
		assert_false(call->unasked);
		memcache_take_back(call);
		memcache_forget(&call);
		memcacherig_close(&r);
	}
}

/* A server that is down has not said that there is no such key. */
static void unasked(void **state)
{
	struct memcacherig r;
	struct memcache_call *calls[2];

	(void)state;
	memcacherig_open(&r, 1);
	fake_unlisten(&r.fakes[0]);
	for (unsigned i = 0; i < 2; i++) {
		calls[i] = ask(&r, MEMCACHE_MG, "foo");
		wait_for(&r, calls[i]);
		assert_int_equal(calls[i]->state, CALL_MISS);
		assert_true(calls[i]->unasked);
		memcache_forget(&calls[i]);
	}
	memcacherig_close(&r);
}

/* Behind a late call a value is asked for once more, but nothing is counted twice. */
static void not_counted_again(void **state)
{
	struct memcacherig r;
	struct memcache_call *late, *count, *value;

	(void)state;
	memcacherig_open(&r, 3);
	r.fakes[0].silent = true;
	late = memcacherig_get(&r, "late");
	memcacherig_run(&r, 1000);
	count = ask(&r, MEMCACHE_COUNT, "counter");
	value = ask(&r, MEMCACHE_MG, "foo");
	wait_for(&r, late);
	wait_for(&r, count);
	assert_int_equal(count->state, CALL_FAILED);
	assert_int_equal(count->failure, CALL_TIMEOUT);
	memcacherig_run(&r, 100);
	assert_int_equal(value->state, CALL_SENT);
	fake_reply_all(&r.fakes[0]);
	wait_for(&r, value);
	assert_int_equal(value->state, CALL_HIT);
	memcache_forget(&late);
	memcache_forget(&count);
	memcache_forget(&value);
	memcacherig_close(&r);
}

static void assert_unasked(struct memcacherig *r, unsigned requests)
{
	struct memcache_call *call = ask(r, MEMCACHE_COUNT, "counter");

	memcacherig_run(r, 5);
	assert_int_equal(call->state, CALL_MISS);
	assert_true(call->unasked);
	assert_int_equal(r->fakes[0].requests, requests);
	memcache_forget(&call);
}

/* One is given up: the server is not asked for a second, except by those who have time; then by a
 * trial, whose reply ends it. */
static void slow(void **state)
{
	struct memcacherig r;
	struct memcache_call *call, *trial[2], *patient;

	(void)state;
	memcacherig_open(&r, 4);
	r.fakes[0].raw = SLICE("VA 1\r\n7\r\n");
	call = ask(&r, MEMCACHE_COUNT, "counter");
	wait_for(&r, call);
	memcache_forget(&call);
	assert_int_equal(r.fakes[0].requests, 1);
	r.fakes[0].silent = true;
	call = ask(&r, MEMCACHE_COUNT, "counter");
	memcacherig_run(&r, 20);
	assert_int_equal(call->state, CALL_SENT);
	memcache_give_up(&call);
	assert_null(call);
	assert_unasked(&r, 1);
	patient = memcache_get(r.memcache, MEMCACHE_MG, SLICE("foo"), &r);
	memcacherig_run(&r, 900);
	assert_int_equal(patient->state, CALL_SENT);
	assert_unasked(&r, 1);
	memcache_forget(&patient);
	memcacherig_run(&r, 120);
	/* All calls of one tick are the trial; the next ones are not sent until it has a reply. */
	for (unsigned i = 0; i < 2; i++)
		trial[i] = ask(&r, MEMCACHE_COUNT, "counter");
	memcacherig_run(&r, 10);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(trial[i]->state, CALL_SENT);
	assert_unasked(&r, 1);
	fake_reply_all(&r.fakes[0]);
	for (unsigned i = 0; i < 2; i++) {
		wait_for(&r, trial[i]);
		memcache_forget(&trial[i]);
	}
	call = ask(&r, MEMCACHE_COUNT, "counter");
	memcacherig_run(&r, 20);
	assert_false(call->unasked);
	memcache_forget(&call);
	memcacherig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(unasked),
		cmocka_unit_test(not_counted_again),
		cmocka_unit_test(slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
