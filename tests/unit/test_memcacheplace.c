/* The servers of a memcached upstream are added, changed and removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/in.h>

#include "lib/memcacherig.h"

#define KEYS 60

static void get_all(struct memcacherig *r, struct memcache_call **calls)
{
	char key[16];

	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key%u", i);
		calls[i] = memcacherig_get(r, key);
	}
}

static void forget_all(struct memcacherig *r, struct memcache_call **calls,
		       enum call_state state)
{
	for (unsigned i = 0; i < KEYS; i++) {
		memcacherig_wait(r, calls[i]);
		assert_int_equal(calls[i]->state, state);
		memcache_forget(&calls[i]);
	}
}

static void reset_counts(struct memcacherig *r)
{
	for (unsigned i = 0; i < MEMCACHERIG_SERVERS; i++)
		r->fakes[i].requests = r->fakes[i].accepted = 0;
}

/* The address of another fake server. */
static struct config_address address_of(struct memcacherig *r, unsigned i)
{
	return r->servers[i].addresses[0];
}

/* Links to an address that stays are kept; a new address of the same name gets its keys. */
static void resolved(void **state)
{
	struct memcache_call *calls[KEYS];
	struct config_address both[2], none;
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 3);
	r.upstream.server_n = 1;
	memcacherig_reconfigure(&r);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[0].accepted, 1);
	both[0] = address_of(&r, 1);
	both[1] = address_of(&r, 0);
	none = both[0];
	((struct sockaddr_in *)&none.sa)->sin_port = 1;
	memcache_resolved(r.memcache, 0, both, 2);
	memcache_resolved(r.memcache, 7, both, 2); /* no server */
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[0].accepted, 1);
	assert_int_equal(r.fakes[0].requests, 2 * KEYS);
	memcache_resolved(r.memcache, 0, both, 1);
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[0].conns_n, 0);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[1].requests, KEYS);
	r.upstream.server_n = 3;
	memcacherig_close(&r);
}

/* Calls in flight get their replies over the link to the old address, which then ends. */
static void resolved_in_flight(void **state)
{
	struct memcache_call *calls[KEYS], *later[KEYS];
	struct config_address other;
	struct memcacherig r;

	(void)state;
	for (unsigned seed = 0; seed < 40; seed++) {
		memcacherig_open_servers(&r, seed, 3);
		r.upstream.server_n = 1;
		memcacherig_reconfigure(&r);
		r.fakes[0].silent = true;
		get_all(&r, calls);
		memcacherig_run(&r,
				seed * 5); /* includes links that are still connecting */
		other = address_of(&r, 1);
		memcache_resolved(r.memcache, 0, &other, 1);
		get_all(&r, later);
		forget_all(&r, later, CALL_HIT);
		fake_reply_all(&r.fakes[0]);
		forget_all(&r, calls, CALL_HIT);
		memcacherig_run(&r, 500);
		assert_int_equal(r.fakes[0].conns_n, 0);
		assert_int_equal(r.fakes[0].requests + r.fakes[1].requests, 2 * KEYS);
		r.upstream.server_n = 3;
		memcacherig_close(&r);
	}
}

/* A server that is down is a miss at once, until it is up again. */
static void probed(void **state)
{
	struct memcache_call *calls[KEYS];
	struct config_address a, other;
	struct memcacherig r;

	(void)state;
	memcacherig_open(&r, 1);
	a = address_of(&r, 0);
	other = a;
	((struct sockaddr_in *)&other.sa)->sin_port = 1;
	memcache_probed(r.memcache, 0, &other, false);
	memcache_probed(r.memcache, 1, &a, false);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	memcache_probed(r.memcache, 0, &a, false);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_MISS);
	assert_int_equal(r.fakes[0].requests, KEYS);
	memcache_probed(r.memcache, 0, &a, true);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	/* Health checks turned off: results of earlier ones are forgotten. */
	memcache_probed(r.memcache, 0, &a, false);
	memcacherig_reconfigure(&r);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	memcacherig_close(&r);
}

/* The status in the registry. */
static void status_in_registry(void **state)
{
	struct memcache_call *calls[KEYS];
	struct config_address a;
	struct registry_record *first, *second;
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 2);
	first = registry_record(r.registry, r.registry->first, 0);
	second = registry_record(r.registry, r.registry->first->next, 0);
	assert_string_equal(((struct registry_entry *)r.registry->first->next)->name,
			    "b");
	get_all(&r, calls);
	memcacherig_run(&r, 0);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(first->requests + second->requests, KEYS);
	assert_int_equal(first->requests, r.fakes[0].requests);
	fake_unlisten(&r.fakes[1]);
	fake_close_all(&r.fakes[1], CONN_NOW);
	memcacherig_run(&r, 500);
	get_all(&r, calls);
	for (unsigned i = 0; i < KEYS; i++) {
		memcacherig_wait(&r, calls[i]);
		memcache_forget(&calls[i]);
	}
	assert_int_equal(second->status, SERVER_STATUS_EJECTED);
	assert_int_equal(second->reason, REASON_UNREACHED);
	assert_true(second->failures > 0);
	assert_int_equal(first->status, SERVER_STATUS_UP);
	a = address_of(&r, 0);
	memcache_probed(r.memcache, 0, &a, false);
	assert_int_equal(first->status, SERVER_STATUS_DOWN);
	memcache_probed(r.memcache, 0, &a, true);
	assert_int_equal(first->status, SERVER_STATUS_UP);
	fake_listen(&r.fakes[1]);
	a = address_of(&r, 1);
	memcache_probed(r.memcache, 1, &a, true);
	assert_int_equal(second->status, SERVER_STATUS_UP);
	r.upstream.server_n = 1;
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	assert_false(second->entered);
	assert_true(first->entered);
	r.upstream.server_n = 2;
	memcacherig_close(&r);
}

/* One of two addresses is down; then the other, on which calls wait: they are misses. */
static void probed_down_with_queue(void **state)
{
	struct memcache_call *calls[KEYS];
	struct config_address both[2];
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 2);
	both[0] = address_of(&r, 0);
	both[1] = address_of(&r, 1);
	r.upstream.server_n = r.upstream.pipeline = r.upstream.links = 1;
	memcacherig_reconfigure(&r);
	memcache_resolved(r.memcache, 0, both, 2);
	memcache_probed(r.memcache, 0, &both[0], false);
	r.fakes[1].silent = true;
	get_all(&r, calls);
	memcacherig_run(&r, 300);
	assert_int_equal(r.fakes[0].accepted, 0);
	assert_int_equal(r.stats.waiting, KEYS - 1);
	memcache_probed(r.memcache, 0, &both[1], false);
	assert_int_equal(r.stats.waiting, 0);
	fake_reply_all(&r.fakes[1]);
	memcacherig_wait(&r, calls[0]);
	assert_int_equal(calls[0]->state, CALL_HIT);
	memcache_forget(&calls[0]);
	calls[0] = memcacherig_get(&r, "one");
	forget_all(&r, calls, CALL_MISS);
	r.upstream.server_n = 2;
	memcacherig_close(&r);
}

/* Servers that stay keep their links, whatever else changes; keys are mapped by the new
 * ring. */
static void reconfigured(void **state)
{
	struct memcache_call *calls[KEYS];
	struct config_server servers[MEMCACHERIG_SERVERS];
	struct config_upstream other;
	unsigned of_c, of_a;
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 3);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	of_a = r.fakes[0].requests;
	of_c = r.fakes[2].requests;
	reset_counts(&r);
	other = r.upstream;
	other.servers = servers;
	other.server_n = 2;
	other.pipeline = 3;
	servers[0] = r.servers[2];
	servers[1] = r.servers[0];
	assert_true(memcache_reconfigure(r.memcache, &other));
	memset(servers, 0xff, sizeof(servers)); /* must not be read any more */
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[1].conns_n, 0);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[1].requests, 0);
	assert_true(r.fakes[0].requests >= of_a && r.fakes[2].requests >= of_c);
	assert_true(r.fakes[0].conns_n > 1); /* three calls to a link */
	assert_int_equal(r.stats.connections, r.fakes[0].conns_n + r.fakes[2].conns_n);
	reset_counts(&r);
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[0].requests, of_a);
	assert_int_equal(r.fakes[2].requests, of_c);
	memcacherig_close(&r);
}

/* At any moment: waiting calls go to the new servers of their keys, those in flight get
 * replies. */
static void reconfigured_in_flight(void **state)
{
	struct memcache_call *calls[KEYS];
	struct memcacherig r;

	(void)state;
	for (unsigned seed = 0; seed < 60; seed++) {
		memcacherig_open_servers(&r, seed, 3);
		r.upstream.pipeline = r.upstream.links = 2;
		memcacherig_reconfigure(&r);
		if (seed % 2)
			r.fakes[1].silent = true;
		get_all(&r, calls);
		memcacherig_run(&r, seed * 3);
		r.upstream.server_n = 1;
		r.upstream.pipeline = 1 + seed % 5;
		assert_true(memcache_reconfigure(r.memcache, &r.upstream));
		memcacherig_run(&r, seed % 3 * 100);
		fake_reply_all(&r.fakes[1]);
		forget_all(&r, calls, CALL_HIT);
		memcacherig_run(&r, 500);
		assert_int_equal(r.fakes[1].conns_n + r.fakes[2].conns_n, 0);
		r.upstream.server_n = 3;
		memcacherig_close(&r);
	}
}

/* A call is late on a link whose server leaves: those behind it are sent to another
 * server. */
static void late_on_a_server_that_leaves(void **state)
{
	struct memcache_call *calls[KEYS], *late;
	unsigned hits = 0;
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 2);
	r.fakes[1].silent = true;
	r.fakes[0].silent = true;
	late = memcacherig_get(&r, "first");
	memcacherig_run(&r, 500);
	get_all(&r, calls);
	memcacherig_run(&r, 500);
	r.upstream.server_n = 1;
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	memcacherig_wait(&r, late);
	fake_reply_all(&r.fakes[0]);
	for (unsigned i = 0; i < KEYS; i++) {
		memcacherig_wait(&r, calls[i]);
		hits += calls[i]->state == CALL_HIT;
		memcache_forget(&calls[i]);
	}
	memcache_forget(&late);
	assert_true(hits > 0);
	memcacherig_run(&r, 500);
	assert_int_equal(r.fakes[1].conns_n, 0);
	r.upstream.server_n = 2;
	memcacherig_close(&r);
}

/* All links have delivered replies and have calls in flight. */
static void get_on_replied_links(struct memcacherig *r, struct memcache_call **calls)
{
	get_all(r, calls);
	forget_all(r, calls, CALL_HIT);
	for (unsigned i = 0; i < r->upstream.server_n; i++)
		r->fakes[i].silent = true;
	get_all(r, calls);
	memcacherig_run(r, 500);
}

static void stale_on_a_server_that_leaves(void **state)
{
	struct memcache_call *calls[KEYS];
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 2);
	get_on_replied_links(&r, calls);
	r.upstream.server_n = 1;
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	fake_close_all(&r.fakes[1], CONN_NOW);
	fake_reply_all(&r.fakes[0]);
	forget_all(&r, calls, CALL_HIT);
	assert_true(r.stats.stale_retries > 0);
	assert_int_equal(r.fakes[0].requests + r.fakes[1].requests, 2 * KEYS);
	assert_int_equal(r.fakes[1].accepted, 1);
	r.upstream.server_n = 2;
	memcacherig_close(&r);
}

/* A server that is probed down gets no calls, neither those of a stale link nor those
 * behind a late one. */
static void stale_or_late_on_a_server_that_is_down(void **state)
{
	struct memcache_call *calls[KEYS], *late;
	struct config_address a;
	struct memcacherig r;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		memcacherig_open(&r, i);
		a = address_of(&r, 0);
		late = memcacherig_get(&r, "first");
		memcacherig_wait(&r, late);
		if (i == 1) {
			memcache_forget(&late);
			r.fakes[0].silent = true;
			late = memcacherig_get(&r, "first");
			memcacherig_run(&r, 1000);
		}
		r.fakes[0].silent = true;
		get_all(&r, calls);
		memcacherig_run(&r, 100);
		assert_int_equal(calls[0]->state, CALL_SENT);
		memcache_probed(r.memcache, 0, &a, false);
		if (i == 0)
			fake_close_all(&r.fakes[0], CONN_NOW);
		forget_all(&r, calls, CALL_MISS);
		memcache_forget(&late);
		assert_int_equal(r.fakes[0].accepted, 1);
		memcacherig_close(&r);
	}
}

/* A name without addresses is a miss until it is resolved. It keeps its addresses over a
 * configuration that could not resolve it. */
static void unresolved(void **state)
{
	struct memcache_call *calls[KEYS];
	struct config_address a;
	struct memcacherig r;

	(void)state;
	memcacherig_open_servers(&r, 1, 2);
	a = address_of(&r, 0);
	r.upstream.server_n = 1;
	r.servers[0].unresolved = true;
	r.servers[0].address_n = 0;
	memcacherig_reconfigure(&r);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_MISS);
	memcache_resolved(r.memcache, 0, &a, 1);
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[0].accepted, 1);
	assert_true(memcache_reconfigure(r.memcache, &r.upstream));
	get_all(&r, calls);
	forget_all(&r, calls, CALL_HIT);
	assert_int_equal(r.fakes[0].accepted, 1);
	r.upstream.server_n = 2;
	memcacherig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolved),
		cmocka_unit_test(unresolved),
		cmocka_unit_test(resolved_in_flight),
		cmocka_unit_test(probed),
		cmocka_unit_test(probed_down_with_queue),
		cmocka_unit_test(status_in_registry),
		cmocka_unit_test(reconfigured),
		cmocka_unit_test(reconfigured_in_flight),
		cmocka_unit_test(late_on_a_server_that_leaves),
		cmocka_unit_test(stale_on_a_server_that_leaves),
		cmocka_unit_test(stale_or_late_on_a_server_that_is_down),
	};

	return cmocka_run_group_tests_name("memcacheplace", tests, NULL, NULL);
}
