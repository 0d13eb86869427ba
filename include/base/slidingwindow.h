/* A limit over a sliding window, from two counters of fixed windows: that of the window in which a
 * request came, and that of the window before it. Whoever knows the two numbers can judge, so
 * processes that share counters hold one limit together.
 *
 * The requests of the window before are taken to have come evenly: of them as many still count as
 * there is left of this window.
 *
 *   ├─── before: p ────┼─── this one: c ──┤
 *             └── p (1 - elapsed / length) + c <= quota ──┘
 *
 * Exactness: in `length` at most twice the quota, as by a full bucket (base/limittable.h), and over
 * n windows at most n times the quota. Requests that do not come evenly are judged by up to p times
 * the share of the window before that is left too mildly or too strictly, within that bound.
 * Clocks that differ by d take a request to the wrong window if it came within d of its end.
 *
 * Owner, errors: none. Pure. Limits: a window of 1 s to LIMIT_FILL_US. */
#ifndef BASE_SLIDINGWINDOW_H
#define BASE_SLIDINGWINDOW_H

#include "base/limittable.h"

#define WINDOW_MIN_US UINT64_C(1000000)

struct window {
	uint64_t length_us;
	uint64_t quota; /* requests in this time */
};

/* The window in which a bucket of this rate fills; if that is shorter than WINDOW_MIN_US, that time
 * at the same rate. */
struct window window_of(const struct rate *r);

/* Judges a request that is the `current`-th of its window, `elapsed_us` after its begin, with
 * `previous` requests in the window before. Fields as for a bucket. Both numbers are plausible. */
struct rate_result window_judge(const struct window *w, uint64_t elapsed_us,
				uint64_t previous, uint64_t current,
				uint64_t wait_max_us);

/* False: so many requests can hardly have been counted in a window. Each process counts those only
 * that its own bucket lets through, which are twice the quota at most; for WINDOW_PROCESSES. */
#define WINDOW_PROCESSES 1024
bool window_plausible(const struct window *w, uint64_t count);

#endif
