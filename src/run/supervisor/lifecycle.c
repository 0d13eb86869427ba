#include "lifecycle.h"

#include <stdint.h>

#include "base/check.h"

#define BIT(state) (1u << LIFECYCLE_##state)
#define END (BIT(DRAINING) | BIT(ENDED))
/* Where a change that fails or ends may lead. */
#define REST (BIT(IDLE) | BIT(PAUSED))

/* A bit for each state that may follow. */
static const uint16_t next_states[] = {
	/* REST: an upgrade, whose previous program has left a process, or has paused. */
	[LIFECYCLE_BEGINNING] = BIT(STARTING) | REST | BIT(ENDED),
	[LIFECYCLE_IDLE] = BIT(READING) | BIT(TRYING) | BIT(APPLYING) | BIT(STARTING) |
			   BIT(PAUSED) | END,
	[LIFECYCLE_PAUSED] = BIT(READING) | BIT(TRYING) | BIT(STARTING) | END,
	[LIFECYCLE_READING] = BIT(APPLYING) | BIT(STARTING) | REST | END,
	[LIFECYCLE_TRYING] = BIT(STARTING) | REST | END,
	[LIFECYCLE_APPLYING] = REST | END,
	[LIFECYCLE_STARTING] = BIT(READING) | BIT(TRYING) | REST | END,
	[LIFECYCLE_DRAINING] = BIT(ENDED),
	[LIFECYCLE_ENDED] = 0,
};

bool lifecycle_allows(enum lifecycle_state state, enum lifecycle_state next)
{
	return next_states[state] >> next & 1;
}

void lifecycle_set(struct lifecycle *l, enum lifecycle_state state)
{
	ASSERT(lifecycle_allows(l->state, state));
	l->state = state;
	if (END >> state & 1)
		l->requests = 0;
}

bool lifecycle_at_rest(const struct lifecycle *l)
{
	return REST >> l->state & 1;
}

static enum lifecycle_state state_to_resume(const struct lifecycle_facts *facts)
{
	if (facts->starting)
		return LIFECYCLE_STARTING;
	if (facts->reading)
		return LIFECYCLE_READING;
	if (facts->trying)
		return LIFECYCLE_TRYING;
	return facts->serving ? LIFECYCLE_IDLE : LIFECYCLE_PAUSED;
}

void lifecycle_rest(struct lifecycle *l, const struct lifecycle_facts *facts)
{
	enum lifecycle_state state = state_to_resume(facts);

	if (state != l->state)
		lifecycle_set(l, state);
}

void lifecycle_ask(struct lifecycle *l, enum lifecycle_request request)
{
	if (!(END >> l->state & 1))
		l->requests |= 1u << request;
}

bool lifecycle_next(struct lifecycle *l, enum lifecycle_request *request)
{
	if (!lifecycle_at_rest(l) || l->requests == 0)
		return false;
	*request = (enum lifecycle_request)__builtin_ctz(l->requests);
	l->requests &= l->requests - 1;
	return true;
}

void lifecycle_check(const struct lifecycle *l, const struct lifecycle_facts *f)
{
	bool loading = f->reading || f->trying;

	ASSERT(l->state != LIFECYCLE_BEGINNING && l->state != LIFECYCLE_ENDED);
	if (l->state == LIFECYCLE_DRAINING) {
		ASSERT(l->requests == 0 && !loading && !f->applying && !f->pausing);
		return;
	}
	ASSERT(f->starting == (l->state == LIFECYCLE_STARTING));
	ASSERT(f->applying == (l->state == LIFECYCLE_APPLYING));
	ASSERT(f->pausing == (!f->serving && !f->starting));
	ASSERT(!(f->reading && f->trying));
	switch (l->state) {
	case LIFECYCLE_IDLE:
		ASSERT(f->serving && !loading && l->requests == 0);
		break;
	case LIFECYCLE_PAUSED:
		ASSERT(!f->serving && !loading && l->requests == 0);
		break;
	case LIFECYCLE_READING:
		ASSERT(f->reading);
		break;
	case LIFECYCLE_TRYING:
		ASSERT(f->trying);
		break;
	case LIFECYCLE_APPLYING:
		ASSERT(f->serving && !loading);
		break;
	case LIFECYCLE_STARTING:
	case LIFECYCLE_BEGINNING:
	case LIFECYCLE_DRAINING:
	case LIFECYCLE_ENDED:
		break;
	}
}
