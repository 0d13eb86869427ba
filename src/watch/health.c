#include "health.h"

#include "base/check.h"

static bool health_set(struct health *h, enum health_state state)
{
	h->state = state;
	h->contrary_n = 0;
	return true;
}

bool health_update(struct health *h, bool good, uint32_t rise, uint32_t fall)
{
	ASSERT(rise > 0 && fall > 0);
	switch (h->state) {
	case HEALTH_UNKNOWN:
		return health_set(h, good ? HEALTH_UP : HEALTH_DOWN);
	case HEALTH_UP:
		h->contrary_n = good ? 0 : h->contrary_n + 1;
		return h->contrary_n >= fall && health_set(h, HEALTH_DOWN);
	case HEALTH_DOWN:
		h->contrary_n = good ? h->contrary_n + 1 : 0;
		return h->contrary_n >= rise && health_set(h, HEALTH_UP);
	}
	return false;
}

uint32_t health_pause_ms(uint32_t interval_ms, uint32_t jitter, uint64_t random)
{
	uint64_t width = (uint64_t)interval_ms * jitter / 100;
	uint64_t pause = interval_ms - width + random % (2 * width + 1);

	ASSERT(jitter <= 100);
	return pause > 0 ? (uint32_t)pause : 1;
}
