/* Timers of one thread: a timer wheel in user space, so that setting a deadline costs no
 * system call and no operation in the kernel (kernel-notes/22-a-wheel-and-one-limit). The
 * loop waits only for wheel_next().
 *
 * Two levels of 256 slots: 8 ms per slot, then 2,048 ms per slot, 8.7 minutes in all. A
 * timer further away goes into the last slot and is filed again from there. Deadlines are
 * lazy: moving one later only stores it; the timer is filed again when its old slot comes
 * round. A timer expires at or after its deadline, at most one fine slot (8 ms) late.
 *
 * Owner: one thread. A timer is a member of its owner's struct; nothing is allocated.
 * Times are absolute, in milliseconds of one monotonic clock. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdint.h>

#include "base/list.h"

#define WHEEL_SLOTS 256u
#define WHEEL_FINE_MS 8u
#define WHEEL_NEVER UINT64_MAX

struct timer {
	struct list node;
	uint64_t deadline_ms;             /* 0: not armed */
	uint64_t filed_ms;                /* the deadline by which its slot was chosen */
	void (*expired)(struct timer *t); /* the timer is not armed when this is called */
};

struct wheel {
	uint64_t now_ms; /* slots up to this time have been processed */
	struct list fine[WHEEL_SLOTS], coarse[WHEEL_SLOTS];
	/* Bit sets: slots that may hold timers. */
	uint64_t fine_used[WHEEL_SLOTS / 64], coarse_used[WHEEL_SLOTS / 64];
	uint32_t armed; /* number of timers */
};

void wheel_init(struct wheel *w, uint64_t now_ms);

void timer_init(struct timer *t, void (*expired)(struct timer *t));

static inline bool timer_armed(const struct timer *t)
{
	return t->deadline_ms != 0;
}

/* Arms the timer or moves its deadline. */
void timer_set(struct wheel *w, struct timer *t, uint64_t deadline_ms);

/* Disarms the timer; does nothing if it is not armed. An owner stops its timers before it
 * is freed. */
void timer_stop(struct wheel *w, struct timer *t);

/* The time at which wheel_expire() next has work to do; WHEEL_NEVER if no timer is armed.
 * Never later than the earliest deadline rounded up to its slot. */
uint64_t wheel_next(const struct wheel *w);

/* Calls expired() of every timer whose deadline, rounded up to its slot, is <= now_ms. */
void wheel_expire(struct wheel *w, uint64_t now_ms);

#endif
