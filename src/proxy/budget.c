#include "budget.h"

#include "base/check.h"

/* Removes counts older than the window. Returns the slot of the current second. */
static unsigned advance_window(struct budget *b, uint64_t now_ms)
{
	uint64_t now_s = now_ms / 1000;
	uint64_t passed = now_s - b->now_s;

	ASSERT(now_s >= b->now_s);
	for (uint64_t i = 1; i <= passed && i <= BUDGET_SECONDS; i++) {
		unsigned old = (unsigned)((b->now_s + i) % BUDGET_SECONDS);

		b->earned_sum -= b->earned[old];
		b->spent_sum -= b->spent[old];
		b->earned[old] = b->spent[old] = 0;
	}
	b->now_s = now_s;
	return (unsigned)(now_s % BUDGET_SECONDS);
}

void budget_earn(struct budget *b, const struct config_budget *share, uint64_t now_ms)
{
	unsigned slot;

	if (!b)
		return;
	slot = advance_window(b, now_ms);
	b->earned[slot] += share->percent;
	b->earned_sum += share->percent;
}

bool budget_spend(struct budget *b, const struct config_budget *share, uint64_t now_ms)
{
	unsigned slot;

	if (!b)
		return false;
	slot = advance_window(b, now_ms);
	if (b->spent[slot] >= share->per_second &&
	    (b->spent_sum + 1) * 100 > b->earned_sum)
		return false;
	b->spent[slot]++;
	b->spent_sum++;
	return true;
}
