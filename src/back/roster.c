#include "back/roster.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* A row's key while it is taken away from a server that nobody has any more. */
#define KEY_BUSY 1u

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

static struct roster_cell *align(void *room)
{
	uintptr_t at = (uintptr_t)room, unit = _Alignof(struct roster_cell);

	return (struct roster_cell *)((at + unit - 1) / unit * unit);
}

struct roster *roster_new(const char *upstream, unsigned workers, struct mailbox *control,
			  void (*changed)(struct message *m))
{
	size_t cells = (size_t)(ROSTER_ROWS + 1) * workers;
	struct roster *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->seats = calloc(workers, sizeof(r->seats[0]));
	/* Not aligned_alloc(): what nobody uses is not to be touched, and costs nothing. */
	r->room = calloc(cells + 1, sizeof(r->cells[0]));
	if (!r->seats || !r->room) {
		roster_free(r);
		return NULL;
	}
	r->cells = align(r->room);
	snprintf(r->name, sizeof(r->name), "%s", upstream);
	r->upstream = r->name;
	r->worker_n = workers;
	r->control = control;
	r->changed.deliver = changed;
	return r;
}

void roster_free(struct roster *r)
{
	if (!r)
		return;
	free(r->seats);
	free(r->room);
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
	return key > KEY_BUSY ? key : key + 2;
}

/* The key is read after the user was counted, and who takes a row away counts users after he
 * has taken the key: one of the two sees the other. */
static bool attach(struct roster_row *row, uint64_t key)
{
	atomic_fetch_add(&row->users, 1);
	if (atomic_load(&row->key) == key)
		return true;
	atomic_fetch_sub(&row->users, 1);
	return false;
}

static void write_name(struct roster_row *row, const char *name, const char *address)
{
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->address, sizeof(row->address), "%s", address);
	atomic_store(&row->named, true);
}

/* A row that was never used. Its number, or ROSTER_ROWS. */
static struct roster_row *take_new(struct roster *r, uint64_t key, const char *name,
				   const char *address)
{
	for (unsigned i = 0; i < ROSTER_ROWS; i++) {
		struct roster_row *row = &r->rows[i];
		uint64_t found = 0;

		if (atomic_compare_exchange_strong(&row->key, &found, key)) {
			atomic_fetch_add(&row->users, 1);
			write_name(row, name, address);
			return row;
		}
		if (found == key && attach(row, key))
			return row;
	}
	return NULL;
}

/* One that nobody uses any more. */
static struct roster_row *take_over(struct roster *r, uint64_t key, const char *name,
				    const char *address)
{
	for (unsigned i = 0; i < ROSTER_ROWS; i++) {
		struct roster_row *row = &r->rows[i];
		uint64_t old = atomic_load(&row->key);

		if (atomic_load(&row->users) > 0 || old == KEY_BUSY ||
		    !atomic_compare_exchange_strong(&row->key, &old, KEY_BUSY))
			continue;
		if (atomic_load(&row->users) > 0) {
			atomic_store(&row->key, old);
			continue;
		}
		atomic_store(&row->named, false);
		atomic_fetch_add(&row->users, 1);
		memset(roster_cell(r, row, 0), 0, r->worker_n * sizeof(r->cells[0]));
		atomic_store(&row->used, 0);
		write_name(row, name, address);
		atomic_store(&row->key, key);
		return row;
	}
	return NULL;
}

/* One worker at a time: two that bring the same server would make two rows of it. Who comes
 * second finds the row that the first has taken. */
static struct roster_row *take_over_alone(struct roster *r, uint64_t key, const char *name,
					  const char *address)
{
	struct roster_row *row;

	while (atomic_flag_test_and_set(&r->taking_over))
		sched_yield();
	row = take_new(r, key, name, address);
	if (!row)
		row = take_over(r, key, name, address);
	atomic_flag_clear(&r->taking_over);
	return row;
}

struct roster_row *roster_enter(struct roster *r, unsigned worker, const char *name,
				const char *address)
{
	uint64_t key = key_of(name, address);
	struct roster_row *row = take_new(r, key, name, address);
	struct roster_cell *cell;

	ASSERT(worker < r->worker_n);
	if (!row)
		row = take_over_alone(r, key, name, address);
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
	atomic_fetch_sub(&row->users, 1);
}

struct roster_cell *roster_spare(struct roster *r, unsigned worker)
{
	return &r->cells[(size_t)ROSTER_ROWS * r->worker_n + worker];
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
