#include "back/roster.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

const char *standing_text(enum standing standing)
{
	switch (standing) {
	case STANDING_UP:
		return "up";
	case STANDING_EJECTED:
		return "ejected";
	case STANDING_DOWN:
		return "down";
	}
	return "?";
}

struct roster *roster_new(const char *upstream, unsigned workers, struct mailbox *control,
			  void (*changed)(struct message *m))
{
	struct roster *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->seats = calloc(workers, sizeof(r->seats[0]));
	if (!r->seats) {
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

void roster_free(struct roster *r)
{
	struct roster_row *row;

	if (!r)
		return;
	while ((row = r->first)) {
		r->first = row->next;
		free(row);
	}
	names_done(&r->by_key);
	free(r->seats);
	free(r);
}

/* ---- seats ---------------------------------------------------------------- */

/* On the worker's thread. */
static void granted(struct message *m)
{
	struct roster_seat *seat = CONTAINER(m, struct roster_seat, message);

	atomic_store(&seat->posted, false);
	if (seat->owner)
		seat->granted(seat->owner);
}

void roster_sit(struct roster *r, unsigned worker, struct mailbox *mailbox,
		void (*told)(void *owner), void *owner)
{
	struct roster_seat *seat = &r->seats[worker];

	ASSERT(worker < r->worker_n);
	seat->message.deliver = granted;
	seat->mailbox = mailbox;
	seat->granted = told;
	seat->owner = owner;
}

bool roster_sits(const struct roster *r, unsigned worker, const void *owner)
{
	return r->seats[worker].owner == owner;
}

void roster_stand(struct roster *r, unsigned worker, const void *owner)
{
	if (roster_sits(r, worker, owner))
		r->seats[worker].owner = NULL;
}

void roster_waits(struct roster *r, unsigned worker, uint64_t since_ms)
{
	atomic_store(&r->seats[worker].waits_since_ms, since_ms);
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
static void give_row(struct roster_row *row, uint64_t key, const char *name, const char *address)
{
	atomic_fetch_add(&row->users, 1);
	row->key = key;
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->address, sizeof(row->address), "%s", address);
	names_put(&row->roster->by_key, &row->entry, key_slice(&row->key));
	atomic_store(&row->named, true);
}

static struct roster_row *row_new(struct roster *r)
{
	size_t size = sizeof(struct roster_row) + r->worker_n * sizeof(struct roster_cell);
	struct roster_row *row = aligned_alloc(_Alignof(struct roster_row), size);

	if (!row)
		return NULL;
	memset(row, 0, size);
	row->roster = r;
	if (r->last)
		atomic_store(&r->last->next, row);
	else
		atomic_store(&r->first, row);
	r->last = row;
	return row;
}

/* One that nobody has any more. Only who enters makes users of a row that has none. */
static struct roster_row *row_again(struct roster *r)
{
	struct roster_row *row;

	for (size_t i = 0; i < r->by_key.n; i++) {
		row = r->hand ? r->hand : r->first;
		r->hand = row->next;
		if (atomic_load(&row->users) > 0)
			continue;
		atomic_fetch_sub(&r->left_n, 1);
		names_remove(&r->by_key, &row->entry);
		atomic_store(&row->named, false);
		memset(row->cells, 0, r->worker_n * sizeof(row->cells[0]));
		atomic_store(&row->used, 0);
		return row;
	}
	return NULL;
}

static struct roster_row *find_or_make(struct roster *r, const char *name, const char *address)
{
	uint64_t key = key_of(name, address);
	const struct names_entry *e = names_find(&r->by_key, key_slice(&key));
	struct roster_row *row = NULL;

	if (e) {
		row = CONTAINER(e, struct roster_row, entry);
		if (atomic_fetch_add(&row->users, 1) == 0)
			atomic_fetch_sub(&r->left_n, 1);
		return row;
	}
	if (atomic_load(&r->left_n) > (int32_t)(ROSTER_SPARE + r->by_key.n / 2))
		row = row_again(r);
	if (!row)
		row = row_new(r);
	if (!row)
		row = row_again(r);
	if (row)
		give_row(row, key, name, address);
	return row;
}

/* One worker at a time: who comes second finds the row that the first has made. */
struct roster_row *roster_enter(struct roster *r, unsigned worker, const char *name,
				const char *address)
{
	struct roster_row *row;
	struct roster_cell *cell;

	ASSERT(worker < r->worker_n);
	while (atomic_flag_test_and_set(&r->entering))
		sched_yield();
	row = find_or_make(r, name, address);
	atomic_flag_clear(&r->entering);
	if (!row)
		return NULL;
	cell = roster_cell(r, row, worker);
	stat_set(&cell->standing, STANDING_UP);
	roster_decline(cell, false);
	atomic_store(&cell->entered, true);
	return row;
}

void roster_leave(struct roster_row *row)
{
	if (atomic_fetch_sub(&row->users, 1) == 1)
		atomic_fetch_add(&row->roster->left_n, 1);
}

#define SPARE_CELLS 16

struct roster_cell *roster_spare(unsigned worker)
{
	static struct roster_cell cells[SPARE_CELLS];

	return &cells[worker % SPARE_CELLS];
}

void roster_tell(struct roster *r, struct roster_cell *cell, enum standing standing)
{
	stat_set(&cell->standing, standing);
	if (r->control && !atomic_exchange(&r->changed_posted, true))
		mailbox_post(r->control, &r->changed);
}

/* ---- places --------------------------------------------------------------- */

bool roster_take(struct roster_row *row, uint32_t limit)
{
	uint32_t used = atomic_load(&row->used);

	while (used < limit)
		if (atomic_compare_exchange_weak(&row->used, &used, used + 1))
			return true;
	return false;
}

static void free_place(struct roster_row *row)
{
	uint32_t was = atomic_fetch_sub(&row->used, 1);

	ASSERT(was > 0);
}

/* Which other worker has waited longest for this server, and longer than since then (0: that
 * says nothing). Its number, or worker_n. */
static unsigned longest_other(struct roster *r, const struct roster_row *row, unsigned worker,
			      uint64_t since_ms)
{
	unsigned best = r->worker_n;

	for (unsigned i = 0; i < r->worker_n; i++) {
		uint64_t other_ms = atomic_load(&r->seats[i].waits_since_ms);

		if (i == worker || other_ms == 0 || (since_ms > 0 && other_ms >= since_ms) ||
		    !atomic_load(&roster_cell(r, row, i)->entered) ||
		    atomic_load(&roster_cell(r, row, i)->declined))
			continue;
		since_ms = other_ms;
		best = i;
	}
	return best;
}

/* Who hides says so and then looks what he was granted; this is the other way round. Returns
 * how many places nobody has now. */
static uint32_t grant(struct roster *r, struct roster_row *row, unsigned worker)
{
	struct roster_seat *seat = &r->seats[worker];
	struct roster_cell *cell = roster_cell(r, row, worker);

	atomic_fetch_add(&cell->granted, 1);
	if (!atomic_load(&cell->entered))
		return roster_granted(cell);
	if (!atomic_exchange(&seat->posted, true))
		mailbox_post(seat->mailbox, &seat->message);
	return 0;
}

static void put_all(struct roster *r, struct roster_row *row, unsigned worker, uint32_t limit,
		    uint64_t since_ms, uint32_t places)
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
		if (other < r->worker_n && roster_take(row, limit))
			places += grant(r, row, other);
	}
}

void roster_put(struct roster *r, struct roster_row *row, unsigned worker, uint32_t limit)
{
	bool declined = atomic_load(&roster_cell(r, row, worker)->declined);

	put_all(r, row, worker, limit,
		declined ? 0 : atomic_load(&r->seats[worker].waits_since_ms), 1);
}

void roster_decline(struct roster_cell *cell, bool declined)
{
	atomic_store(&cell->declined, declined);
}

uint32_t roster_granted(struct roster_cell *cell)
{
	if (atomic_load(&cell->granted) == 0)
		return 0;
	return atomic_exchange(&cell->granted, 0);
}

void roster_hide(struct roster *r, struct roster_row *row, unsigned worker, uint32_t limit,
		 uint32_t places)
{
	atomic_store(&roster_cell(r, row, worker)->entered, false);
	put_all(r, row, worker, limit, 0, places + roster_granted(roster_cell(r, row, worker)));
}
