#include "back/registry.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

const char *server_order_text(enum server_order order)
{
	switch (order) {
	case SERVER_ORDER_UP:
		return "up";
	case SERVER_ORDER_DRAIN:
		return "drain";
	case SERVER_ORDER_DOWN:
		return "down";
	}
	return "?";
}

const char *server_status_text(enum server_status status)
{
	switch (status) {
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

static void entry_put_phases(const struct registry_entry *entry)
{
	if (entry->registry->phases)
		phase_table_put(entry->registry->phases, entry->phase_slot);
}

void registry_free(struct registry *r)
{
	struct registry_entry *entry;

	if (!r)
		return;
	while ((entry = r->first)) {
		r->first = entry->next;
		entry_put_phases(entry);
		free(entry);
	}
	names_done(&r->by_key);
	free(r->worker_slots);
	free(r);
}

/* ---- workers -------------------------------------------------------------- */

/* On the worker's thread. */
static void permits_granted_deliver(struct mail *m)
{
	struct registry_worker *worker_slot = CONTAINER(m, struct registry_worker,
							granted);

	atomic_store(&worker_slot->posted, false);
	if (worker_slot->owner)
		worker_slot->permits_granted(worker_slot->owner);
}

void registry_attach(struct registry *r, unsigned worker, struct mailbox *mailbox,
		     void (*permits_granted)(void *owner), void *owner)
{
	struct registry_worker *worker_slot = &r->worker_slots[worker];

	ASSERT(worker < r->worker_n);
	worker_slot->granted.deliver = permits_granted_deliver;
	worker_slot->mailbox = mailbox;
	worker_slot->permits_granted = permits_granted;
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
	atomic_store(&r->worker_slots[worker].waiting_since_ms, since_ms);
}

/* ---- entries -------------------------------------------------------------- */

static uint64_t entry_key(const char *name, const char *address)
{
	uint64_t key = hash_bytes(HASH_BEGIN, slice_of(name));

	key = hash_bytes(key, SLICE(" "));
	return hash_bytes(key, slice_of(address));
}

static struct slice key_slice(const uint64_t *key)
{
	return (struct slice){ (const char *)key, sizeof(*key) };
}

static void entry_take_phases(struct registry_entry *entry)
{
	const struct registry *r = entry->registry;

	if (!r->phases)
		return;
	entry->phase_slot = phase_table_take(r->phases);
	for (unsigned w = 0; w < r->worker_n; w++)
		registry_record(r, entry, w)->phases = phase_table_at(r->phases, w,
								      entry->phase_slot);
}

/* Names a new or reused entry; it gets its first user. */
static void entry_fill(struct registry_entry *entry, uint64_t key, const char *name,
		       const char *address)
{
	atomic_fetch_add(&entry->users, 1);
	entry->key = key;
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	snprintf(entry->address, sizeof(entry->address), "%s", address);
	names_put(&entry->registry->by_key, &entry->key_entry, key_slice(&entry->key));
	entry_take_phases(entry);
	atomic_store(&entry->published, true);
}

static struct registry_entry *entry_new(struct registry *r)
{
	size_t size = sizeof(struct registry_entry) +
		      r->worker_n * sizeof(struct registry_record);
	struct registry_entry *entry = aligned_alloc(_Alignof(struct registry_entry),
						     size);

	if (!entry)
		return NULL;
	memset(entry, 0, size);
	entry->registry = r;
	if (r->last)
		atomic_store(&r->last->next, entry);
	else
		atomic_store(&r->first, entry);
	r->last = entry;
	return entry;
}

/* Takes over an unused entry; NULL: there is none. An entry without users cannot get one
 * meanwhile: only registry_enter() adds users, under the lock. */
static struct registry_entry *entry_reuse(struct registry *r)
{
	struct registry_entry *entry;

	for (size_t i = 0; i < r->by_key.n; i++) {
		entry = r->scan_next ? r->scan_next : r->first;
		r->scan_next = entry->next;
		if (atomic_load(&entry->users) > 0)
			continue;
		atomic_fetch_sub(&r->unused_n, 1);
		names_remove(&r->by_key, &entry->key_entry);
		atomic_store(&entry->published, false);
		entry_put_phases(entry);
		memset(entry->records, 0, r->worker_n * sizeof(entry->records[0]));
		atomic_store(&entry->permits_used, 0);
		atomic_store(&entry->order, SERVER_ORDER_UP);
		atomic_store(&entry->weight_order, 0);
		return entry;
	}
	return NULL;
}

static struct registry_entry *entry_find_or_new(struct registry *r, const char *name,
						const char *address)
{
	uint64_t key = entry_key(name, address);
	const struct names_entry *e = names_find(&r->by_key, key_slice(&key));
	struct registry_entry *entry = NULL;

	if (e) {
		entry = CONTAINER(e, struct registry_entry, key_entry);
		if (atomic_fetch_add(&entry->users, 1) == 0)
			atomic_fetch_sub(&r->unused_n, 1);
		return entry;
	}
	if (atomic_load(&r->unused_n) > (int32_t)(REGISTRY_UNUSED_KEPT + r->by_key.n / 2))
		entry = entry_reuse(r);
	if (!entry)
		entry = entry_new(r);
	if (!entry)
		entry = entry_reuse(r);
	if (entry)
		entry_fill(entry, key, name, address);
	return entry;
}

void registry_lock(struct registry *r)
{
	while (atomic_flag_test_and_set(&r->enter_lock))
		sched_yield();
}

void registry_unlock(struct registry *r)
{
	atomic_flag_clear(&r->enter_lock);
}

/* Two workers that enter the same server at once get the same entry: the second one waits
 * for the lock and then finds what the first has made. */
struct registry_entry *registry_enter(struct registry *r, unsigned worker,
				      const char *name, const char *address)
{
	struct registry_entry *entry;
	struct registry_record *record;

	ASSERT(worker < r->worker_n);
	registry_lock(r);
	entry = entry_find_or_new(r, name, address);
	registry_unlock(r);
	if (!entry)
		return NULL;
	record = registry_record(r, entry, worker);
	stat_set(&record->status, SERVER_STATUS_UP);
	registry_refuse_permits(record, false);
	atomic_store(&record->entered, true);
	return entry;
}

void registry_leave(struct registry_entry *entry)
{
	if (atomic_fetch_sub(&entry->users, 1) == 1)
		atomic_fetch_add(&entry->registry->unused_n, 1);
}

#define DUMMY_RECORDS 16

struct registry_record *registry_dummy_record(unsigned worker)
{
	static struct registry_record records[DUMMY_RECORDS];

	return &records[worker % DUMMY_RECORDS];
}

void registry_set_status(struct registry *r, struct registry_record *record,
			 enum server_status status)
{
	stat_set(&record->status, status);
	if (r->control && !atomic_exchange(&r->changed_posted, true))
		mailbox_post(r->control, &r->changed);
}

/* ---- permits -------------------------------------------------------------- */

bool registry_take_permit(struct registry_entry *entry, uint32_t limit)
{
	uint32_t used = atomic_load(&entry->permits_used);

	while (used < limit)
		if (atomic_compare_exchange_weak(&entry->permits_used, &used, used + 1))
			return true;
	return false;
}

static void permit_free(struct registry_entry *entry)
{
	uint32_t was = atomic_fetch_sub(&entry->permits_used, 1);

	ASSERT(was > 0);
}

/* The other worker whose queue has waited longest of those that can use a permit of this
 * server, and waits since before since_ms (0: any time). worker_n: there is none. */
static unsigned longest_waiting_other(struct registry *r,
				      const struct registry_entry *entry, unsigned worker,
				      uint64_t since_ms)
{
	unsigned best = r->worker_n;

	for (unsigned i = 0; i < r->worker_n; i++) {
		uint64_t other_ms = atomic_load(&r->worker_slots[i].waiting_since_ms);

		if (i == worker || other_ms == 0 ||
		    (since_ms > 0 && other_ms >= since_ms) ||
		    !atomic_load(&registry_record(r, entry, i)->entered) ||
		    atomic_load(&registry_record(r, entry, i)->permits_refused))
			continue;
		since_ms = other_ms;
		best = i;
	}
	return best;
}

/* Grants a permit to the worker. Pairs with registry_withdraw(): that clears `entered`,
 * then collects permits_granted; this adds to permits_granted, then reads `entered`. One
 * of the two sees the other. Returns how many permits it took back from a worker that has
 * withdrawn: the caller has to put these. */
static uint32_t permit_grant(struct registry *r, struct registry_entry *entry,
			     unsigned worker)
{
	struct registry_worker *worker_slot = &r->worker_slots[worker];
	struct registry_record *record = registry_record(r, entry, worker);

	atomic_fetch_add(&record->permits_granted, 1);
	if (!atomic_load(&record->entered))
		return registry_collect_permits(record);
	if (!atomic_exchange(&worker_slot->posted, true))
		mailbox_post(worker_slot->mailbox, &worker_slot->granted);
	return 0;
}

static void permits_put(struct registry *r, struct registry_entry *entry, unsigned worker,
			uint32_t limit, uint64_t since_ms, uint32_t permits)
{
	while (permits > 0) {
		unsigned other = longest_waiting_other(r, entry, worker, since_ms);

		permits--;
		if (other < r->worker_n && atomic_load(&entry->permits_used) <= limit) {
			permits += permit_grant(r, entry, other);
			continue;
		}
		permit_free(entry);
		/* Pairs with registry_set_waiting(): a worker may have found no permit
		 * just before this one was freed. */
		other = longest_waiting_other(r, entry, worker, since_ms);
		if (other < r->worker_n && registry_take_permit(entry, limit))
			permits += permit_grant(r, entry, other);
	}
}

void registry_put_permit(struct registry *r, struct registry_entry *entry,
			 unsigned worker, uint32_t limit)
{
	bool refused = atomic_load(&registry_record(r, entry, worker)->permits_refused);

	permits_put(r, entry, worker, limit,
		    refused ? 0 : atomic_load(&r->worker_slots[worker].waiting_since_ms),
		    1);
}

void registry_refuse_permits(struct registry_record *record, bool refused)
{
	atomic_store(&record->permits_refused, refused);
}

uint32_t registry_collect_permits(struct registry_record *record)
{
	if (atomic_load(&record->permits_granted) == 0)
		return 0;
	return atomic_exchange(&record->permits_granted, 0);
}

void registry_withdraw(struct registry *r, struct registry_entry *entry, unsigned worker,
		       uint32_t limit, uint32_t permits)
{
	atomic_store(&registry_record(r, entry, worker)->entered, false);
	permits_put(r, entry, worker, limit, 0,
		    permits +
			    registry_collect_permits(registry_record(r, entry, worker)));
}
