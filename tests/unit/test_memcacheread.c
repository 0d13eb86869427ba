#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/memcacherig.h"

/* Longer than any reply below. */
#define REPLY_MAX 64

static void get_and_meta_get(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct memcacherig r;
		struct memcache_call *hit, *meta, *miss;

		memcacherig_open(&r, seed);
		hit = memcacherig_get(&r, "foo");
		meta = memcache_get(r.memcache, MEMCACHE_MG, SLICE("bar"), &r);
		miss = memcacherig_get(&r, "missing");
		assert_int_equal(r.answered, 0);
		memcacherig_wait(&r, miss);
		memcacherig_assert_value(hit, 0);
		memcacherig_assert_value(meta, 0);
		assert_int_equal(miss->state, CALL_MISS);
		assert_int_equal(r.answered, 3);
		assert_int_equal(r.stats.hits, 2);
		assert_int_equal(r.stats.misses, 1);
		assert_int_equal(r.stats.requests, 3);
		memcache_forget(&hit);
		assert_null(hit);
		memcache_forget(&meta);
		memcache_forget(&miss);
		memcacherig_close(&r);
	}
}

/* A reply that comes in two parts, wherever it is cut, and then another one. */
static void reply_cut_at_every_byte(void **state)
{
	(void)state;
	for (unsigned cut = 1; cut < REPLY_MAX; cut++) {
		struct memcacherig r;
		struct memcache_call *calls[4];

		memcacherig_open(&r, cut);
		r.fakes[0].cut = cut;
		calls[0] = memcacherig_get(&r, "foo");
		calls[1] = memcache_get(r.memcache, MEMCACHE_MG, SLICE("bar"), &r);
		calls[2] = memcacherig_get(&r, "miss");
		calls[3] = memcacherig_get(&r, "after");
		memcacherig_wait(&r, calls[3]);
		for (unsigned i = 0; i < 4; i++) {
			if (i == 2)
				assert_int_equal(calls[i]->state, CALL_MISS);
			else
				memcacherig_assert_value(calls[i], 0);
			memcache_forget(&calls[i]);
		}
		memcacherig_close(&r);
	}
}

static void long_values(void **state)
{
	static const size_t sizes[] = { 1, 16383, 16384, 16385, 70000, 1 << 20 };

	(void)state;
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		struct memcacherig r;
		struct memcache_call *a, *b;

		memcacherig_open(&r, i);
		r.fakes[0].value_bytes = sizes[i];
		a = memcacherig_get(&r, "a");
		b = memcacherig_get(&r, "b");
		memcacherig_wait(&r, a);
		memcacherig_assert_value(a, sizes[i]);
		memcache_forget(&a);
		memcacherig_wait(&r, b);
		/* Forgotten with its value: all buffers are freed. */
		memcache_forget(&b);
		memcacherig_close(&r);
	}
}

static void value_of_no_length(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;
	struct piece p;

	(void)state;
	memcacherig_open(&r, 1);
	r.fakes[0].raw = SLICE("VALUE foo 0 0\r\n\r\nEND\r\n");
	call = memcacherig_get(&r, "foo");
	memcacherig_wait(&r, call);
	assert_int_equal(call->state, CALL_HIT);
	assert_int_equal(call->length, 0);
	assert_false(memcache_take(call, &p));
	memcache_forget(&call);
	memcacherig_close(&r);
}

static void too_large_value_is_dropped(void **state)
{
	struct memcacherig r;
	struct memcache_call *large, *next;

	(void)state;
	memcacherig_open(&r, 3);
	r.upstream.value_max = 50000;
	memcacherig_reconfigure(&r);
	r.fakes[0].value_bytes = 50001;
	large = memcacherig_get(&r, "large");
	next = memcacherig_get(&r, "miss");
	memcacherig_wait(&r, next);
	assert_int_equal(large->state, CALL_FAILED);
	assert_int_equal(large->failure, CALL_VALUE_LARGE);
	assert_int_equal(next->state, CALL_MISS);
	memcache_forget(&large);
	memcache_forget(&next);
	r.fakes[0].value_bytes = 50000;
	large = memcacherig_get(&r, "large");
	memcacherig_wait(&r, large);
	memcacherig_assert_value(large, 50000);
	memcache_forget(&large);
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

/* Malformed replies to "get foo": the calls of the link fail and it is closed. */
static void malformed_replies(void **state)
{
	static const struct slice rows[] = {
		SLICE("VALUE fop 0 3\r\nbar\r\nEND\r\n"),
		SLICE("VALUE foo 0 2\r\nbar\r\nEND\r\n"),
		SLICE("VALUE foo 0 4\r\nbar\r\nEND\r\nEND\r\n"),
		SLICE("VALUE foo 0 3\r\nbar\r\nVALUE foo 0 3\r\nbar\r\nEND\r\n"),
		SLICE("VALUE foo 0 99999999999\r\nbar\r\nEND\r\n"),
		SLICE("VA 3\r\nbar\r\n"),
		SLICE("STORED\r\n"),
		SLICE("HTTP/1.1 400 Bad Request\r\n"),
		SLICE("\r\n"),
		SLICE("\n"),
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(rows); i++) {
		struct memcacherig r;
		struct memcache_call *first, *second;

		memcacherig_open(&r, i);
		r.fakes[0].raw = rows[i];
		r.fakes[0].silent_after = 1;
		first = memcacherig_get(&r, "foo");
		second = memcacherig_get(&r, "foo");
		memcacherig_wait(&r, first);
		assert_int_equal(first->state, CALL_FAILED);
		assert_int_equal(first->failure, CALL_ERROR);
		memcacherig_wait(&r, second);
		assert_int_equal(second->state, CALL_FAILED);
		assert_int_equal(second->failure, CALL_ERROR);
		assert_int_equal(r.stats.errors, 2);
		memcache_forget(&first);
		memcache_forget(&second);
		memcacherig_run(&r, 500);
		assert_int_equal(r.fakes[0].conns_n, 0);

		/* And nothing else has happened. */
		r.fakes[0].raw.len = 0;
		r.fakes[0].silent_after = 0;
		first = memcacherig_get(&r, "foo");
		memcacherig_wait(&r, first);
		memcacherig_assert_value(first, 0);
		memcache_forget(&first);
		memcacherig_close(&r);
	}
}

static void bytes_after_the_reply(void **state)
{
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memcacherig_open(&r, 5);
	r.fakes[0].raw = SLICE("VALUE foo 0 3\r\nbar\r\nEND\r\nmore");
	call = memcacherig_get(&r, "foo");
	memcacherig_wait(&r, call);
	assert_int_equal(call->state, CALL_HIT);
	memcache_forget(&call);
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[0].conns_n, 0);
	memcacherig_close(&r);
}

static void errors_keep_the_link(void **state)
{
	static const struct slice rows[] = {
		SLICE("ERROR\r\n"),
		SLICE("CLIENT_ERROR bad command line format\r\n"),
		SLICE("SERVER_ERROR out of memory\r\n"),
	};
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 6);
	for (unsigned i = 0; i < COUNT(rows); i++) {
		struct memcache_call *call;

		r.fakes[0].raw = rows[i];
		call = memcacherig_get(&r, "foo");
		memcacherig_wait(&r, call);
		assert_int_equal(call->state, CALL_FAILED);
		assert_int_equal(call->failure, CALL_ERROR);
		memcache_forget(&call);
	}
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[0].conns_n, 1);
	assert_int_equal(r.fakes[0].accepted, 1);
	memcacherig_close(&r);
}

static void line_without_end(void **state)
{
	char line[2000];
	struct memcacherig r;
	struct memcache_call *call;

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "SERVER_ERROR ", 13);
	memcacherig_open(&r, 7);
	r.fakes[0].raw = (struct slice){ line, sizeof(line) };
	call = memcacherig_get(&r, "foo");
	memcacherig_wait(&r, call);
	assert_int_equal(call->failure, CALL_ERROR);
	memcache_forget(&call);
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[0].conns_n, 0);
	memcacherig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_and_meta_get),
		cmocka_unit_test(reply_cut_at_every_byte),
		cmocka_unit_test(long_values),
		cmocka_unit_test(value_of_no_length),
		cmocka_unit_test(too_large_value_is_dropped),
		cmocka_unit_test(malformed_replies),
		cmocka_unit_test(bytes_after_the_reply),
		cmocka_unit_test(errors_keep_the_link),
		cmocka_unit_test(line_without_end),
	};

	return cmocka_run_group_tests_name("memcacheread", tests, NULL, NULL);
}
