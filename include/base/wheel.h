/* Timers of one thread: a wheel in user space, so that a deadline costs no
 * operation in the kernel (kernel-notes/22-a-wheel-and-one-limit; the loop knows only
 * the next one).
 *
 * Two rings of 256 slots: 8 ms a slot, then 2,048 ms a slot (8.7 minutes in
 * all; what is further away is filed at the end and filed again). Deadlines
 * are lazy: moving one later only writes it; the timer is filed anew when the
 * old slot comes round. Timers expire at or after their deadline, at most one
 * slot late. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdint.h>

#include "base/list.h"

#define WHEEL_SLOTS 256u
#define WHEEL_FINE_MS 8u
#define WHEEL_NEVER UINT64_MAX

struct timer {
	struct list node;
	uint64_t deadline_ms; /* 0: not set */
	uint64_t filed_ms;    /* the deadline under which it stands in a slot */
	void (*expired)(struct timer *t); /* it is stopped when this is called */
};

struct wheel {
	uint64_t now_ms; /* the time up to which slots were turned */
	struct list fine[WHEEL_SLOTS], coarse[WHEEL_SLOTS];
	uint64_t fine_used[WHEEL_SLOTS / 64], coarse_used[WHEEL_SLOTS / 64];
	uint32_t armed; /* timers set now */
};

void wheel_init(struct wheel *w, uint64_t now_ms);

void timer_init(struct timer *t, void (*expired)(struct timer *t));

static inline bool timer_armed(const struct timer *t)
{
	return t->deadline_ms != 0;
}

/* Sets or moves the deadline (absolute, same clock as wheel_expire()). */
void timer_set(struct wheel *w, struct timer *t, uint64_t deadline_ms);

/* May be called on a timer that is not set. An owner stops its timers before
 * it dies. */
void timer_stop(struct wheel *w, struct timer *t);

/* When wheel_expire() next has work (absolute ms), WHEEL_NEVER if nothing is
 * set. Never later than the earliest deadline rounded up to its slot. */
uint64_t wheel_next(const struct wheel *w);

/* Calls expired() of every timer whose deadline, rounded up to its slot, is
 * <= now_ms. */
void wheel_expire(struct wheel *w, uint64_t now_ms);

#endif
