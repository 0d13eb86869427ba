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

#include <cmocka.h>

#include "back/registry.h"
#include "base/check.h"

#define WORKERS 3
#define LIMIT 2

static struct mailbox boxes[WORKERS];
static unsigned told[WORKERS], changes;

static void nothing(void *sleeper)
{
	(void)sleeper;
}

static void places_granted(void *owner)
{
	++*(unsigned *)owner;
}

static void changed(struct mail *m)
{
	struct registry *r = CONTAINER(m, struct registry, changed);

	atomic_store(&r->changed_posted, false);
	changes++;
}

static struct registry *open_roster(struct mailbox *control)
{
	struct registry *r = registry_new("app", WORKERS, control, changed);

	assert_non_null(r);
	memset(told, 0, sizeof(told));
	for (unsigned i = 0; i < WORKERS; i++) {
		mailbox_init(&boxes[i], nothing, NULL);
		registry_attach(r, i, &boxes[i], places_granted, &told[i]);
	}
	return r;
}

/* All workers have one row for a server, told by name and address. */
static void rows(void **state)
{
	struct registry *r = open_roster(NULL);
	struct registry_entry *a = registry_enter(r, 0, "a", "127.0.0.1:1");

	(void)state;
	assert_ptr_equal(registry_enter(r, 1, "a", "127.0.0.1:1"), a);
	assert_ptr_not_equal(registry_enter(r, 1, "a", "127.0.0.1:2"), a);
	assert_ptr_not_equal(registry_enter(r, 1, "b", "127.0.0.1:1"), a);
	assert_string_equal(a->name, "a");
	assert_string_equal(a->address, "127.0.0.1:1");
	assert_true(registry_view(r, a, 0)->entered && registry_view(r, a, 1)->entered);
	assert_false(registry_view(r, a, 2)->entered);
	stat_add(&registry_view(r, a, 0)->requests, 7);
	registry_withdraw(r, a, 0, LIMIT, 0);
	assert_false(registry_view(r, a, 0)->entered);
	registry_leave(a);
	assert_ptr_equal(registry_enter(r, 0, "a", "127.0.0.1:1"), a); /* it comes back */
	assert_int_equal(registry_view(r, a, 0)->requests, 7);
	registry_free(r);
}

static unsigned count_rows(const struct registry *r)
{
	unsigned n = 0;

	REGISTRY_EACH(r, row)
		n++;
	return n;
}

/* There is a row for each that is there, however many; of those that have gone some are kept, and
 * the others are used again. */
static void many(void **state)
{
	struct registry *r = open_roster(NULL);
	struct registry_entry *rows_of[5000];
	unsigned n;
	char name[16];

	(void)state;
	for (unsigned i = 0; i < COUNT(rows_of); i++) {
		snprintf(name, sizeof(name), "s%u", i);
		rows_of[i] = registry_enter(r, 0, name, "x");
		assert_non_null(rows_of[i]);
		stat_add(&registry_view(r, rows_of[i], 0)->requests, 7);
	}
	assert_int_equal(count_rows(r), COUNT(rows_of));
	assert_ptr_equal(registry_enter(r, 1, "s100", "x"), rows_of[100]);
	for (unsigned i = 0; i < COUNT(rows_of); i++)
		registry_leave(rows_of[i]);
	for (unsigned i = 0; i < 3 * COUNT(rows_of); i++) {
		struct registry_entry *row;

		snprintf(name, sizeof(name), "t%u", i);
		row = registry_enter(r, 2, name, "x");
		assert_string_equal(row->name, name);
		assert_int_equal(registry_view(r, row, 0)->requests, 0);
		assert_int_equal(row->used, 0);
		registry_leave(row);
	}
	n = count_rows(r);
	assert_int_equal(n, COUNT(rows_of));
	/* The one that somebody else had all along. */
	assert_ptr_equal(registry_enter(r, 0, "s100", "x"), rows_of[100]);
	assert_int_equal(registry_view(r, rows_of[100], 0)->requests, 7);
	registry_free(r);
}

/* A row stays for when its server comes back. */
static void comes_back(void **state)
{
	struct registry *r = open_roster(NULL);
	struct registry_entry *row = registry_enter(r, 0, "a", "x");

	(void)state;
	stat_add(&registry_view(r, row, 0)->requests, 7);
	registry_leave(row);
	for (unsigned i = 0; i < REGISTRY_SPARE; i++) {
		char name[16];

		snprintf(name, sizeof(name), "s%u", i);
		registry_leave(registry_enter(r, 0, name, "x"));
	}
	assert_ptr_equal(registry_enter(r, 0, "a", "x"), row);
	assert_int_equal(registry_view(r, row, 0)->requests, 7);
	registry_free(r);
}

/* The control thread is told once, however much changes until it looks. */
static void standings(void **state)
{
	struct mailbox control;
	struct registry *r;
	struct registry_entry *row;

	(void)state;
	mailbox_init(&control, nothing, NULL);
	r = open_roster(&control);
	row = registry_enter(r, 0, "a", "x");
	changes = 0;
	registry_set_status(r, registry_view(r, row, 0), SERVER_STATUS_EJECTED);
	registry_set_status(r, registry_view(r, row, 1), SERVER_STATUS_DOWN);
	mailbox_drain(&control);
	assert_int_equal(changes, 1);
	registry_set_status(r, registry_view(r, row, 0), SERVER_STATUS_UP);
	mailbox_drain(&control);
	assert_int_equal(changes, 2);
	assert_int_equal(registry_view(r, row, 1)->server_status, SERVER_STATUS_DOWN);
	registry_free(r);
}

/* What comes free goes to who has waited longest, and nobody is quicker. */
static void the_longest(void **state)
{
	struct registry *r = open_roster(NULL);
	struct registry_entry *row = NULL;

	(void)state;
	for (unsigned i = 0; i < WORKERS; i++)
		row = registry_enter(r, i, "a", "x");
	assert_true(registry_take_permit(row, LIMIT) && registry_take_permit(row, LIMIT));
	assert_false(registry_has_permit(row, LIMIT) || registry_take_permit(row, LIMIT));
	registry_set_waiting(r, 0, 20);
	registry_set_waiting(r, 1, 30);
	registry_set_waiting(r, 2, 10);
	registry_put_permit(r, row, 0, LIMIT);
	mailbox_drain(&boxes[2]);
	assert_int_equal(told[2], 1);
	assert_false(registry_take_permit(row, LIMIT)); /* it was handed over */
	assert_int_equal(registry_take_granted(registry_view(r, row, 2)), 1);
	assert_int_equal(registry_take_granted(registry_view(r, row, 2)), 0);
	registry_set_waiting(r, 2, 0);
	registry_put_permit(r, row, 0, LIMIT); /* its own line is the next */
	assert_true(registry_take_permit(row, LIMIT));
	registry_set_waiting(r, 0, 0);
	registry_put_permit(r, row, 0, LIMIT);
	assert_int_equal(registry_take_granted(registry_view(r, row, 1)), 1);
	registry_set_waiting(r, 1, 0);
	registry_put_permit(r, row, 1, LIMIT); /* of no use, to nobody */
	registry_put_permit(r, row, 0, LIMIT);
	assert_int_equal(row->used, 0);
	registry_free(r);
}

/* Who no longer asks the server is handed nothing, and gives back what it was handed. */
static void hidden(void **state)
{
	struct registry *r = open_roster(NULL);
	struct registry_entry *row = NULL;

	(void)state;
	for (unsigned i = 0; i < WORKERS; i++)
		row = registry_enter(r, i, "a", "x");
	assert_true(registry_take_permit(row, LIMIT) && registry_take_permit(row, LIMIT));
	registry_set_waiting(r, 1, 10);
	registry_set_waiting(r, 2, 20);
	registry_put_permit(r, row, 0, LIMIT);
	registry_withdraw(r, row, 1, LIMIT, 0); /* it was on its way to 1 */
	assert_int_equal(registry_take_granted(registry_view(r, row, 2)), 1);
	registry_put_permit(r, row, 0, LIMIT);
	assert_int_equal(registry_take_granted(registry_view(r, row, 1)), 0);
	assert_int_equal(registry_take_granted(registry_view(r, row, 2)), 1);
	registry_withdraw(r, row, 2, LIMIT, 2);
	assert_int_equal(row->used, 0);
	registry_free(r);
}

/* A limit that was lowered is kept as places come back. */
static void lowered(void **state)
{
	struct registry *r = open_roster(NULL);
	struct registry_entry *row = registry_enter(r, 0, "a", "x");

	(void)state;
	registry_enter(r, 1, "a", "x");
	for (unsigned i = 0; i < 4; i++)
		assert_true(registry_take_permit(row, 4));
	registry_set_waiting(r, 1, 10);
	registry_put_permit(r, row, 0, 2);
	registry_put_permit(r, row, 0, 2);
	assert_int_equal(registry_take_granted(registry_view(r, row, 1)), 0);
	assert_int_equal(row->used, 2);
	registry_put_permit(r, row, 0, 2);
	assert_int_equal(registry_take_granted(registry_view(r, row, 1)), 1);
	registry_free(r);
}

/* ---- threads: never more than the limit, and nobody waits for ever ------------- */

#define ROUNDS 20000

static struct registry *shared;
static _Atomic unsigned inside, most;
static _Atomic uint64_t now;

static void hold(struct registry_entry *row)
{
	unsigned n = atomic_fetch_add(&inside, 1) + 1, seen = atomic_load(&most);

	while (n > seen && !atomic_compare_exchange_weak(&most, &seen, n))
		;
	sched_yield();
	(void)row;
	atomic_fetch_sub(&inside, 1);
}

static void *worker_run(void *arg)
{
	unsigned worker = (unsigned)(uintptr_t)arg;
	struct registry_entry *row = registry_enter(shared, worker, "a", "x");

	for (unsigned i = 0; i < ROUNDS; i++) {
		bool has = registry_take_permit(row, LIMIT);
		uint32_t n = 0;

		if (!has) {
			registry_set_waiting(shared, worker,
					     atomic_fetch_add(&now, 1) + 1);
			has = registry_take_permit(row, LIMIT);
		}
		while (!has) {
			mailbox_drain(&boxes[worker]);
			n = registry_take_granted(registry_view(shared, row, worker));
			has = n > 0;
			if (!has)
				sched_yield();
		}
		registry_set_waiting(shared, worker, 0);
		for (; n > 1; n--)
			registry_put_permit(shared, row, worker, LIMIT);
		hold(row);
		registry_put_permit(shared, row, worker, LIMIT);
		/* A place that came although another was taken meanwhile. */
		mailbox_drain(&boxes[worker]);
		for (n = registry_take_granted(registry_view(shared, row, worker)); n > 0;
		     n--)
			registry_put_permit(shared, row, worker, LIMIT);
	}
	registry_withdraw(shared, row, worker, LIMIT, 0);
	registry_leave(row);
	return NULL;
}

static void shared_by_threads(void **state)
{
	pthread_t threads[WORKERS];

	(void)state;
	shared = open_roster(NULL);
	atomic_store(&now, 1);
	for (uintptr_t i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker_run, (void *)i),
				 0);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(atomic_load(&most), 1, LIMIT);
	assert_int_equal(shared->first->used, 0);
	assert_int_equal(shared->first->users, 0);
	assert_null(shared->first->next); /* one row for all */
	registry_free(shared);
}

/* Rows were used up before: those who bring the same server at once share one nevertheless. */
#define TAKINGS 1000

static _Atomic unsigned arrived;
static struct registry_entry *taken[WORKERS];

/* All go on at the same moment, as far as there are processors. */
static void go_together(unsigned times)
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
		go_together(3 * i + 1);
		taken[worker] = registry_enter(shared, worker, name, "x");
		go_together(3 * i + 2);
		ASSERT(taken[worker] && taken[worker] == taken[0]);
		go_together(3 * i + 3);
		registry_leave(taken[worker]);
	}
	return NULL;
}

static void taken_over_by_threads(void **state)
{
	pthread_t threads[WORKERS];
	char name[16];

	(void)state;
	shared = open_roster(NULL);
	for (unsigned i = 0; i < 4 * REGISTRY_SPARE; i++) {
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows),
		cmocka_unit_test(many),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(standings),
		cmocka_unit_test(the_longest),
		cmocka_unit_test(hidden),
		cmocka_unit_test(lowered),
		cmocka_unit_test(shared_by_threads),
		cmocka_unit_test(taken_over_by_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
