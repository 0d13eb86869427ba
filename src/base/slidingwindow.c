#include "base/slidingwindow.h"

#include "base/check.h"

struct window window_of(const struct rate *r)
{
	uint64_t fill_us = r->interval_us * r->tokens;

	if (fill_us >= WINDOW_MIN_US)
		return (struct window){ fill_us, r->tokens };
	return (struct window){ WINDOW_MIN_US, WINDOW_MIN_US / r->interval_us };
}

bool window_plausible(const struct window *w, uint64_t count)
{
	return count <= 2 * WINDOW_PROCESSES * w->quota;
}

/* When the estimate for the `current`-th request is within the quota, if no more come. */
static uint64_t wait_for(const struct window *w, uint64_t elapsed_us, uint64_t previous,
			 uint64_t current)
{
	uint64_t left_us = w->length_us - elapsed_us, share_us;

	if (current >
	    w->quota) /* in the next window, of which this one is the previous */
		return left_us + w->length_us - w->quota * w->length_us / current;
	if (previous == 0)
		return 0;
	share_us = (w->quota - current) * w->length_us / previous;
	return left_us > share_us ? left_us - share_us : 0;
}

struct rate_result window_judge(const struct window *w, uint64_t elapsed_us,
				uint64_t previous, uint64_t current, uint64_t wait_max_us)
{
	uint64_t wait_us, used, all = w->quota * w->length_us;
	bool taken;

	ASSERT(elapsed_us < w->length_us && w->quota > 0 && current > 0);
	ASSERT(window_plausible(w, previous) && window_plausible(w, current));
	used = previous * (w->length_us - elapsed_us) + current * w->length_us;
	wait_us = wait_for(w, elapsed_us, previous, current);
	taken = wait_us <= wait_max_us;
	return (struct rate_result){
		.taken = taken,
		.wait_us = wait_us,
		.left = used < all ? (uint32_t)((all - used) / w->length_us) : 0,
		.full_us = 2 * w->length_us - elapsed_us,
		.next_us = taken ? wait_for(w, elapsed_us, previous, current + 1) : wait_us,
	};
}
