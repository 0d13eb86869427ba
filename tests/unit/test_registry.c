/* tsan */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "back/registry.h"
#include "base/check.h"

#define WORKERS 3
#define LIMIT 2

static struct mailbox boxes[WORKERS];
static unsigned notified_n[WORKERS], changes;

static void nothing(void *sleeper)
{
	(void)sleeper;
}

static void permits_granted(void *owner)
{
	++*(unsigned *)owner;
}

static void changed(struct mail *m)
{
	struct registry *r = CONTAINER(m, struct registry, changed);

	atomic_store(&r->changed_posted, false);
	changes++;
}

static struct registry *registry_open(struct mailbox *control)
{
	struct registry *r = registry_new("app", WORKERS, control, changed);

	assert_non_null(r);
	memset(notified_n, 0, sizeof(notified_n));
	for (unsigned i = 0; i < WORKERS; i++) {
		mailbox_init(&boxes[i], nothing, NULL);
		registry_attach(r, i, &boxes[i], permits_granted, &notified_n[i]);
	}
	return r;
}

/* All workers share the entry of a server, found by name and address. */
static void test_one_entry_per_server(void **state)
{
	struct registry *r = registry_open(NULL);
	struct registry_entry *a = registry_enter(r, 0, "a", "127.0.0.1:1");

	(void)state;
	assert_ptr_equal(registry_enter(r, 1, "a", "127.0.0.1:1"), a);
	assert_ptr_not_equal(registry_enter(r, 1, "a", "127.0.0.1:2"), a);
	assert_ptr_not_equal(registry_enter(r, 1, "b", "127.0.0.1:1"), a);
	assert_string_equal(a->name, "a");
	assert_string_equal(a->address, "127.0.0.1:1");
	assert_true(registry_record(r, a, 0)->entered && registry_record(r, a, 1)->entered);
	assert_false(registry_record(r, a, 2)->entered);
	stat_add(&registry_record(r, a, 0)->requests, 7);
	registry_withdraw(r, a, 0, LIMIT, 0);
	assert_false(registry_record(r, a, 0)->entered);
	registry_leave(a);
	assert_ptr_equal(registry_enter(r, 0, "a", "127.0.0.1:1"), a); /* found again */
	assert_int_equal(registry_record(r, a, 0)->requests, 7);
	registry_free(r);
}

static unsigned entries_count(const struct registry *r)
{
	unsigned n = 0;

	REGISTRY_EACH(r, entry)
		n++;
	return n;
}

/* Each server has an entry, however many there are. Some unused entries are kept; others
 * are taken over. */
static void test_many_entries(void **state)
{
	struct registry *r = registry_open(NULL);
	struct registry_entry *entries[5000];
	unsigned n;
	char name[16];

	(void)state;
	for (unsigned i = 0; i < COUNT(entries); i++) {
		snprintf(name, sizeof(name), "s%u", i);
		entries[i] = registry_enter(r, 0, name, "x");
		assert_non_null(entries[i]);
		stat_add(&registry_record(r, entries[i], 0)->requests, 7);
	}
	assert_int_equal(entries_count(r), COUNT(entries));
	assert_ptr_equal(registry_enter(r, 1, "s100", "x"), entries[100]);
	for (unsigned i = 0; i < COUNT(entries); i++)
		registry_leave(entries[i]);
	for (unsigned i = 0; i < 3 * COUNT(entries); i++) {
		struct registry_entry *entry;

		snprintf(name, sizeof(name), "t%u", i);
		entry = registry_enter(r, 2, name, "x");
		assert_string_equal(entry->name, name);
		assert_int_equal(registry_record(r, entry, 0)->requests, 0);
		assert_int_equal(entry->permits_used, 0);
		registry_leave(entry);
	}
	n = entries_count(r);
	assert_int_equal(n, COUNT(entries));
	/* Still in use by worker 1. */
	assert_ptr_equal(registry_enter(r, 0, "s100", "x"), entries[100]);
	assert_int_equal(registry_record(r, entries[100], 0)->requests, 7);
	registry_free(r);
}

/* An entry stays until its server is entered again. */
static void test_entry_reused(void **state)
{
	struct registry *r = registry_open(NULL);
	struct registry_entry *entry = registry_enter(r, 0, "a", "x");

	(void)state;
	stat_add(&registry_record(r, entry, 0)->requests, 7);
	registry_leave(entry);
	for (unsigned i = 0; i < REGISTRY_UNUSED_KEPT; i++) {
		char name[16];

		snprintf(name, sizeof(name), "s%u", i);
		registry_leave(registry_enter(r, 0, name, "x"));
	}
	assert_ptr_equal(registry_enter(r, 0, "a", "x"), entry);
	assert_int_equal(registry_record(r, entry, 0)->requests, 7);
	registry_free(r);
}

/* The control thread is notified once, however many changes there are until it runs. */
static void test_status_changes(void **state)
{
	struct mailbox control;
	struct registry *r;
	struct registry_entry *entry;

	(void)state;
	mailbox_init(&control, nothing, NULL);
	r = registry_open(&control);
	entry = registry_enter(r, 0, "a", "x");
	changes = 0;
	registry_set_status(r, registry_record(r, entry, 0), SERVER_STATUS_EJECTED);
	registry_set_status(r, registry_record(r, entry, 1), SERVER_STATUS_DOWN);
	mailbox_drain(&control);
	assert_int_equal(changes, 1);
	registry_set_status(r, registry_record(r, entry, 0), SERVER_STATUS_UP);
	mailbox_drain(&control);
	assert_int_equal(changes, 2);
	assert_int_equal(registry_record(r, entry, 1)->status, SERVER_STATUS_DOWN);
	registry_free(r);
}

/* A permit that is put back goes to the worker that has waited longest; no other can take
 * it. */
static void test_longest_waiting_first(void **state)
{
	struct registry *r = registry_open(NULL);
	struct registry_entry *entry = NULL;

	(void)state;
	for (unsigned i = 0; i < WORKERS; i++)
		entry = registry_enter(r, i, "a", "x");
	assert_true(registry_take_permit(entry, LIMIT) &&
		    registry_take_permit(entry, LIMIT));
	assert_false(registry_has_permit(entry, LIMIT) ||
		     registry_take_permit(entry, LIMIT));
	registry_set_waiting(r, 0, 20);
	registry_set_waiting(r, 1, 30);
	registry_set_waiting(r, 2, 10);
	registry_put_permit(r, entry, 0, LIMIT);
	mailbox_drain(&boxes[2]);
	assert_int_equal(notified_n[2], 1);
	assert_false(registry_take_permit(entry, LIMIT)); /* it is granted */
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 2)), 1);
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 2)), 0);
	registry_set_waiting(r, 2, 0);
	registry_put_permit(r, entry, 0, LIMIT); /* its own queue is next */
	assert_true(registry_take_permit(entry, LIMIT));
	registry_set_waiting(r, 0, 0);
	registry_put_permit(r, entry, 0, LIMIT);
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 1)), 1);
	registry_set_waiting(r, 1, 0);
	registry_put_permit(r, entry, 1, LIMIT); /* no queue waits */
	registry_put_permit(r, entry, 0, LIMIT);
	assert_int_equal(entry->permits_used, 0);
	registry_free(r);
}

/* A worker that has withdrawn is granted no permits, and those granted to it are put
 * back. */
static void test_withdrawn(void **state)
{
	struct registry *r = registry_open(NULL);
	struct registry_entry *entry = NULL;

	(void)state;
	for (unsigned i = 0; i < WORKERS; i++)
		entry = registry_enter(r, i, "a", "x");
	assert_true(registry_take_permit(entry, LIMIT) &&
		    registry_take_permit(entry, LIMIT));
	registry_set_waiting(r, 1, 10);
	registry_set_waiting(r, 2, 20);
	registry_put_permit(r, entry, 0, LIMIT);
	registry_withdraw(r, entry, 1, LIMIT, 0); /* it was granted to 1 */
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 2)), 1);
	registry_put_permit(r, entry, 0, LIMIT);
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 1)), 0);
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 2)), 1);
	registry_withdraw(r, entry, 2, LIMIT, 2);
	assert_int_equal(entry->permits_used, 0);
	registry_free(r);
}

/* After the limit was lowered, permits that are put back are not granted until it is
 * reached. */
static void test_lowered_limit(void **state)
{
	struct registry *r = registry_open(NULL);
	struct registry_entry *entry = registry_enter(r, 0, "a", "x");

	(void)state;
	registry_enter(r, 1, "a", "x");
	for (unsigned i = 0; i < 4; i++)
		assert_true(registry_take_permit(entry, 4));
	registry_set_waiting(r, 1, 10);
	registry_put_permit(r, entry, 0, 2);
	registry_put_permit(r, entry, 0, 2);
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 1)), 0);
	assert_int_equal(entry->permits_used, 2);
	registry_put_permit(r, entry, 0, 2);
	assert_int_equal(registry_collect_permits(registry_record(r, entry, 1)), 1);
	registry_free(r);
}

/* ---- threads: never more than the limit, and no worker waits for ever ---------- */

#define ROUNDS 20000

static struct registry *shared;
static _Atomic unsigned inside, most;
static _Atomic uint64_t now;

static void hold(struct registry_entry *entry)
{
	unsigned n = atomic_fetch_add(&inside, 1) + 1, seen = atomic_load(&most);

	while (n > seen && !atomic_compare_exchange_weak(&most, &seen, n))
		;
	sched_yield();
	(void)entry;
	atomic_fetch_sub(&inside, 1);
}

static void *worker_run(void *arg)
{
	unsigned worker = (unsigned)(uintptr_t)arg;
	struct registry_entry *entry = registry_enter(shared, worker, "a", "x");

	for (unsigned i = 0; i < ROUNDS; i++) {
		bool has = registry_take_permit(entry, LIMIT);
		uint32_t n = 0;

		if (!has) {
			registry_set_waiting(shared, worker,
					     atomic_fetch_add(&now, 1) + 1);
			has = registry_take_permit(entry, LIMIT);
		}
		while (!has) {
			mailbox_drain(&boxes[worker]);
			n = registry_collect_permits(
				registry_record(shared, entry, worker));
			has = n > 0;
			if (!has)
				sched_yield();
		}
		registry_set_waiting(shared, worker, 0);
		for (; n > 1; n--)
			registry_put_permit(shared, entry, worker, LIMIT);
		hold(entry);
		registry_put_permit(shared, entry, worker, LIMIT);
		/* A permit may have been granted although another one was taken
		 * meanwhile. */
		mailbox_drain(&boxes[worker]);
		for (n = registry_collect_permits(registry_record(shared, entry, worker));
		     n > 0; n--)
			registry_put_permit(shared, entry, worker, LIMIT);
	}
	registry_withdraw(shared, entry, worker, LIMIT, 0);
	registry_leave(entry);
	return NULL;
}

static void test_shared_by_threads(void **state)
{
	pthread_t threads[WORKERS];

	(void)state;
	shared = registry_open(NULL);
	atomic_store(&now, 1);
	for (uintptr_t i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker_run, (void *)i),
				 0);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(atomic_load(&most), 1, LIMIT);
	assert_int_equal(shared->first->permits_used, 0);
	assert_int_equal(shared->first->users, 0);
	assert_null(shared->first->next); /* one entry for all */
	registry_free(shared);
}

/* Entries are taken over: workers that enter the same server at once share one entry. */
#define TAKINGS 1000

static _Atomic unsigned arrived;
static struct registry_entry *taken[WORKERS];

/* All threads continue at the same moment, as far as there are processors. */
static void barrier(unsigned times)
{
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < times * WORKERS)
		sched_yield();
}

static void *take_over_run(void *arg)
{
	unsigned worker = (unsigned)(uintptr_t)arg;
	char name[32];

	for (unsigned i = 0; i < TAKINGS; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		barrier(3 * i + 1);
		taken[worker] = registry_enter(shared, worker, name, "x");
		barrier(3 * i + 2);
		ASSERT(taken[worker] && taken[worker] == taken[0]);
		barrier(3 * i + 3);
		registry_leave(taken[worker]);
	}
	return NULL;
}

static void test_taken_over_by_threads(void **state)
{
	pthread_t threads[WORKERS];
	char name[16];

	(void)state;
	shared = registry_open(NULL);
	for (unsigned i = 0; i < 4 * REGISTRY_UNUSED_KEPT; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		registry_leave(registry_enter(shared, 0, name, "x"));
	}
	for (uintptr_t i = 0; i < WORKERS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, take_over_run, (void *)i), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	registry_free(shared);
}

static _Atomic bool entered;

static void *enter_run(void *arg)
{
	(void)arg;
	registry_leave(registry_enter(shared, 1, "b", "x"));
	atomic_store(&entered, true);
	return NULL;
}

/* While an order is given to an entry no thread can make it that of another server. */
static void test_locked(void **state)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	pthread_t thread;

	(void)state;
	shared = registry_open(NULL);
	registry_lock(shared);
	assert_int_equal(pthread_create(&thread, NULL, enter_run, NULL), 0);
	nanosleep(&pause, NULL);
	assert_false(atomic_load(&entered));
	registry_unlock(shared);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&entered));
	registry_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_entry_per_server),
		cmocka_unit_test(test_many_entries),
		cmocka_unit_test(test_entry_reused),
		cmocka_unit_test(test_status_changes),
		cmocka_unit_test(test_longest_waiting_first),
		cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_lowered_limit),
		cmocka_unit_test(test_shared_by_threads),
		cmocka_unit_test(test_taken_over_by_threads),
		cmocka_unit_test(test_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
