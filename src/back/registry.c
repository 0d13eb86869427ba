#include "back/registry.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

const char *server_status_text(enum server_status server_status)
{
	switch (server_status) {
	case SERVER_STATUS_UP:
		return "up";
	case SERVER_STATUS_EJECTED:
		return "ejected";
	case SERVER_STATUS_DOWN:
		return "down";
	}
	return "?";
}

struct registry *registry_new(const char *upstream, unsigned workers,
			      struct mailbox *control, void (*changed)(struct mail *m))
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->worker_slots = calloc(workers, sizeof(r->worker_slots[0]));
	if (!r->worker_slots) {
		free(r);
		return NULL;
	}
	snprintf(r->name, sizeof(r->name), "%s", upstream);
	r->upstream = r->name;
	r->worker_n = workers;
	r->control = control;
	r->changed.deliver = changed;
	return r;
}

void registry_free(struct registry *r)
{
	struct registry_entry *row;

	if (!r)
		return;
	while ((row = r->first)) {
		r->first = row->next;
		free(row);
	}
	names_done(&r->by_key);
	free(r->worker_slots);
	free(r);
}

/* ---- worker_slots ---------------------------------------------------------------- */

/* On the worker's thread. */
static void granted(struct mail *m)
{
	struct registry_worker *worker_slot = CONTAINER(m, struct registry_worker,
							message);

	atomic_store(&worker_slot->posted, false);
	if (worker_slot->owner)
		worker_slot->granted(worker_slot->owner);
}

void registry_attach(struct registry *r, unsigned worker, struct mailbox *mailbox,
		     void (*told)(void *owner), void *owner)
{
	struct registry_worker *worker_slot = &r->worker_slots[worker];

	ASSERT(worker < r->worker_n);
	worker_slot->message.deliver = granted;
	worker_slot->mailbox = mailbox;
	worker_slot->granted = told;
	worker_slot->owner = owner;
}

bool registry_attached(const struct registry *r, unsigned worker, const void *owner)
{
	return r->worker_slots[worker].owner == owner;
}

void registry_detach(struct registry *r, unsigned worker, const void *owner)
{
	if (registry_attached(r, worker, owner))
		r->worker_slots[worker].owner = NULL;
}

void registry_set_waiting(struct registry *r, unsigned worker, uint64_t since_ms)
{
	atomic_store(&r->worker_slots[worker].waits_since_ms, since_ms);
}

/* ---- rows ----------------------------------------------------------------- */

static uint64_t key_of(const char *name, const char *address)
{
	uint64_t key = 0xcbf29ce484222325u;

	for (const char *p = name; *p; p++)
		key = (key ^ (unsigned char)*p) * 0x100000001b3u;
	key = (key ^ ' ') * 0x100000001b3u;
	for (const char *p = address; *p; p++)
		key = (key ^ (unsigned char)*p) * 0x100000001b3u;
	return key;
}

static struct slice key_slice(const uint64_t *key)
{
	return (struct slice){ (const char *)key, sizeof(*key) };
}

/* It has the row from now on. */
static void entry_release(struct registry_entry *row, uint64_t key, const char *name,
			  const char *address)
{
	atomic_fetch_add(&row->users, 1);
	row->key = key;
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->address, sizeof(row->address), "%s", address);
	names_put(&row->registry->by_key, &row->entry, key_slice(&row->key));
	atomic_store(&row->named, true);
}

static struct registry_entry *entry_new(struct registry *r)
{
	size_t size = sizeof(struct registry_entry) +
		      r->worker_n * sizeof(struct registry_view);
	struct registry_entry *row = aligned_alloc(_Alignof(struct registry_entry), size);

	if (!row)
		return NULL;
	memset(row, 0, size);
	row->registry = r;
	if (r->last)
		atomic_store(&r->last->next, row);
	else
		atomic_store(&r->first, row);
	r->last = row;
	return row;
}

/* One that nobody has any more. Only who enters makes users of a row that has none. */
static struct registry_entry *row_again(struct registry *r)
{
	struct registry_entry *row;

	for (size_t i = 0; i < r->by_key.n; i++) {
		row = r->hand ? r->hand : r->first;
		r->hand = row->next;
		if (atomic_load(&row->users) > 0)
			continue;
		atomic_fetch_sub(&r->left_n, 1);
		names_remove(&r->by_key, &row->entry);
		atomic_store(&row->named, false);
		memset(row->views, 0, r->worker_n * sizeof(row->views[0]));
		atomic_store(&row->used, 0);
		return row;
	}
	return NULL;
}

static struct registry_entry *find_or_make(struct registry *r, const char *name,
					   const char *address)
{
	uint64_t key = key_of(name, address);
	const struct names_entry *e = names_find(&r->by_key, key_slice(&key));
	struct registry_entry *row = NULL;

	if (e) {
		row = CONTAINER(e, struct registry_entry, entry);
		if (atomic_fetch_add(&row->users, 1) == 0)
			atomic_fetch_sub(&r->left_n, 1);
		return row;
	}
	if (atomic_load(&r->left_n) > (int32_t)(REGISTRY_SPARE + r->by_key.n / 2))
		row = row_again(r);
	if (!row)
		row = entry_new(r);
	if (!row)
		row = row_again(r);
	if (row)
		entry_release(row, key, name, address);
	return row;
}

/* One worker at a time: who comes second finds the row that the first has made. */
struct registry_entry *registry_enter(struct registry *r, unsigned worker,
				      const char *name, const char *address)
{
	struct registry_entry *row;
	struct registry_view *view;

	ASSERT(worker < r->worker_n);
	while (atomic_flag_test_and_set(&r->entering))
		sched_yield();
	row = find_or_make(r, name, address);
	atomic_flag_clear(&r->entering);
	if (!row)
		return NULL;
	view = registry_view(r, row, worker);
	stat_set(&view->server_status, SERVER_STATUS_UP);
	registry_decline(view, false);
	atomic_store(&view->entered, true);
	return row;
}

void registry_leave(struct registry_entry *row)
{
	if (atomic_fetch_sub(&row->users, 1) == 1)
		atomic_fetch_add(&row->registry->left_n, 1);
}

#define SPARE_VIEWS 16

struct registry_view *registry_spare_view(unsigned worker)
{
	static struct registry_view views[SPARE_VIEWS];

	return &views[worker % SPARE_VIEWS];
}

void registry_set_status(struct registry *r, struct registry_view *view,
			 enum server_status server_status)
{
	stat_set(&view->server_status, server_status);
	if (r->control && !atomic_exchange(&r->changed_posted, true))
		mailbox_post(r->control, &r->changed);
}

/* ---- places --------------------------------------------------------------- */

bool registry_take_permit(struct registry_entry *row, uint32_t limit)
{
	uint32_t used = atomic_load(&row->used);

	while (used < limit)
		if (atomic_compare_exchange_weak(&row->used, &used, used + 1))
			return true;
	return false;
}

static void free_place(struct registry_entry *row)
{
	uint32_t was = atomic_fetch_sub(&row->used, 1);

	ASSERT(was > 0);
}

/* Which other worker has waited longest for this server, and longer than since then (0: that
 * says nothing). Its number, or worker_n. */
static unsigned longest_other(struct registry *r, const struct registry_entry *row,
			      unsigned worker, uint64_t since_ms)
{
	unsigned best = r->worker_n;

	for (unsigned i = 0; i < r->worker_n; i++) {
		uint64_t other_ms = atomic_load(&r->worker_slots[i].waits_since_ms);

		if (i == worker || other_ms == 0 ||
		    (since_ms > 0 && other_ms >= since_ms) ||
		    !atomic_load(&registry_view(r, row, i)->entered) ||
		    atomic_load(&registry_view(r, row, i)->declined))
			continue;
		since_ms = other_ms;
		best = i;
	}
	return best;
}

/* Who hides says so and then looks what he was granted; this is the other way round. Returns
 * how many places nobody has now. */
static uint32_t grant(struct registry *r, struct registry_entry *row, unsigned worker)
{
	struct registry_worker *worker_slot = &r->worker_slots[worker];
	struct registry_view *view = registry_view(r, row, worker);

	atomic_fetch_add(&view->granted, 1);
	if (!atomic_load(&view->entered))
		return registry_take_granted(view);
	if (!atomic_exchange(&worker_slot->posted, true))
		mailbox_post(worker_slot->mailbox, &worker_slot->message);
	return 0;
}

static void put_all(struct registry *r, struct registry_entry *row, unsigned worker,
		    uint32_t limit, uint64_t since_ms, uint32_t places)
{
	while (places > 0) {
		unsigned other = longest_other(r, row, worker, since_ms);

		places--;
		if (other < r->worker_n && atomic_load(&row->used) <= limit) {
			places += grant(r, row, other);
			continue;
		}
		free_place(row);
		/* Somebody may have found none while this one was on its way. */
		other = longest_other(r, row, worker, since_ms);
		if (other < r->worker_n && registry_take_permit(row, limit))
			places += grant(r, row, other);
	}
}

void registry_put_permit(struct registry *r, struct registry_entry *row, unsigned worker,
			 uint32_t limit)
{
	bool declined = atomic_load(&registry_view(r, row, worker)->declined);

	put_all(r, row, worker, limit,
		declined ? 0 : atomic_load(&r->worker_slots[worker].waits_since_ms), 1);
}

void registry_decline(struct registry_view *view, bool declined)
{
	atomic_store(&view->declined, declined);
}

uint32_t registry_take_granted(struct registry_view *view)
{
	if (atomic_load(&view->granted) == 0)
		return 0;
	return atomic_exchange(&view->granted, 0);
}

void registry_withdraw(struct registry *r, struct registry_entry *row, unsigned worker,
		       uint32_t limit, uint32_t places)
{
	atomic_store(&registry_view(r, row, worker)->entered, false);
	put_all(r, row, worker, limit, 0,
		places + registry_take_granted(registry_view(r, row, worker)));
}
