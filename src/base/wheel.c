#include "base/wheel.h"

#include <string.h>

#define COARSE_MS (WHEEL_FINE_MS * WHEEL_SLOTS)

static unsigned fine_slot(uint64_t ms)
{
	return (unsigned)(ms / WHEEL_FINE_MS % WHEEL_SLOTS);
}

static unsigned coarse_slot(uint64_t ms)
{
	return (unsigned)(ms / COARSE_MS % WHEEL_SLOTS);
}

void wheel_init(struct wheel *w, uint64_t now_ms)
{
	memset(w, 0, sizeof(*w));
	w->now_ms = now_ms;
	for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
		list_init(&w->fine[i]);
		list_init(&w->coarse[i]);
	}
}

void timer_init(struct timer *t, void (*expired)(struct timer *t))
{
	list_init(&t->node);
	t->deadline_ms = t->filed_ms = 0;
	t->expired = expired;
}

/* Puts the timer into the slot of its deadline, rounded up: the slot is processed at or
 * after the deadline. The used bits are hints: set when a slot gets a timer, cleared when
 * it is processed. */
static void timer_file(struct wheel *w, struct timer *t)
{
	uint64_t ms = (t->deadline_ms + WHEEL_FINE_MS - 1) / WHEEL_FINE_MS * WHEEL_FINE_MS;
	uint64_t first = (w->now_ms / WHEEL_FINE_MS + 1) * WHEEL_FINE_MS;
	uint64_t fine_end = first + COARSE_MS - WHEEL_FINE_MS;
	uint64_t last;
	unsigned slot;

	t->filed_ms = t->deadline_ms;
	if (ms < first)
		ms = first;
	if (ms < fine_end) {
		slot = fine_slot(ms);
		list_append(&w->fine[slot], &t->node);
		w->fine_used[slot / 64] |= 1ull << slot % 64;
		return;
	}
	/* A coarse slot is processed at its first millisecond, before the deadlines in
	 * it: its timers then move to fine slots. */
	last = (w->now_ms / COARSE_MS + WHEEL_SLOTS - 1) * COARSE_MS;
	if (ms > last)
		ms = last;
	slot = coarse_slot(ms);
	list_append(&w->coarse[slot], &t->node);
	w->coarse_used[slot / 64] |= 1ull << slot % 64;
}

void timer_set(struct wheel *w, struct timer *t, uint64_t deadline_ms)
{
	ASSERT(deadline_ms > 0 && deadline_ms < WHEEL_NEVER);
	if (timer_armed(t)) {
		t->deadline_ms = deadline_ms;
		if (deadline_ms >= t->filed_ms)
			return;
		list_remove(&t->node);
	} else {
		t->deadline_ms = deadline_ms;
		w->armed++;
	}
	timer_file(w, t);
}

void timer_stop(struct wheel *w, struct timer *t)
{
	if (!timer_armed(t))
		return;
	t->deadline_ms = 0;
	w->armed--;
	list_remove(&t->node);
}

/* The distance to the next used slot, where `slot` itself counts as 1; 0: no slot is
 * used. */
static unsigned slot_distance(const uint64_t used[WHEEL_SLOTS / 64], unsigned slot)
{
	for (unsigned i = 0; i < WHEEL_SLOTS;) {
		unsigned at = (slot + i) % WHEEL_SLOTS;
		uint64_t word = used[at / 64] >> at % 64;

		if (word)
			return i + (unsigned)__builtin_ctzll(word) + 1;
		i += 64 - at % 64;
	}
	return 0;
}

uint64_t wheel_next(const struct wheel *w)
{
	uint64_t next = WHEEL_NEVER, coarse;
	unsigned n;

	if (w->armed == 0)
		return WHEEL_NEVER;
	n = slot_distance(w->fine_used, fine_slot(w->now_ms + WHEEL_FINE_MS));
	if (n > 0)
		next = (w->now_ms / WHEEL_FINE_MS + n) * WHEEL_FINE_MS;
	n = slot_distance(w->coarse_used, coarse_slot(w->now_ms + COARSE_MS));
	if (n > 0) {
		coarse = (w->now_ms / COARSE_MS + n) * COARSE_MS;
		if (coarse < next)
			next = coarse;
	}
	return next;
}

static void slot_expire(struct wheel *w, struct list *slot, uint64_t now_ms)
{
	struct list due;
	struct list *node;

	list_init(&due);
	list_move(&due, slot);
	while ((node = list_pop(&due))) {
		struct timer *t = LIST_ITEM(node, struct timer, node);

		if (t->deadline_ms > now_ms) {
			timer_file(w, t);
			continue;
		}
		t->deadline_ms = 0;
		w->armed--;
		t->expired(t);
	}
}

void wheel_expire(struct wheel *w, uint64_t now_ms)
{
	while (w->now_ms / WHEEL_FINE_MS < now_ms / WHEEL_FINE_MS) {
		uint64_t next = wheel_next(w);
		unsigned slot;

		/* Skip empty slots. */
		if (next > now_ms) {
			w->now_ms = now_ms;
			return;
		}
		w->now_ms = next;
		slot = coarse_slot(next);
		if (next % COARSE_MS == 0 && w->coarse_used[slot / 64] & 1ull << slot % 64) {
			w->coarse_used[slot / 64] &= ~(1ull << slot % 64);
			slot_expire(w, &w->coarse[slot], next);
		}
		slot = fine_slot(next);
		if (w->fine_used[slot / 64] & 1ull << slot % 64) {
			w->fine_used[slot / 64] &= ~(1ull << slot % 64);
			slot_expire(w, &w->fine[slot], next);
		}
	}
}
