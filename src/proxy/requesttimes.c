#include "proxy/requesttimes.h"

uint64_t lease_phase(const struct lease_times *t, enum phase phase)
{
	uint64_t opened = t->connected > 0 ? t->connected : t->ready;

	switch (phase) {
	case PHASE_QUEUE:
		return t->placed > 0 ? t->placed - t->asked : PHASE_UNKNOWN;
	case PHASE_CONNECT:
		return opened > 0 ? opened - t->placed : PHASE_UNKNOWN;
	case PHASE_TLS:
		return t->ready > 0 && t->connected > 0 ? t->ready - t->connected
							: PHASE_UNKNOWN;
	case PHASE_RECEIVE:
	case PHASE_RESPONSE:
	case PHASE_FIRST_BYTE:
	case PHASE_TOTAL:
	case PHASES:
		break;
	}
	return PHASE_UNKNOWN;
}

uint64_t request_phase(const struct request_times *t, uint64_t started_us,
		       enum phase phase)
{
	switch (phase) {
	case PHASE_RECEIVE:
		return t->received_us > 0 ? t->received_us - started_us : PHASE_UNKNOWN;
	case PHASE_RESPONSE:
		return t->lease.ready > 0 && t->head_us > 0 ? t->head_us - t->lease.ready
							    : PHASE_UNKNOWN;
	case PHASE_FIRST_BYTE:
		return t->head_us > 0 ? t->head_us - started_us : PHASE_UNKNOWN;
	case PHASE_QUEUE:
	case PHASE_CONNECT:
	case PHASE_TLS:
	case PHASE_TOTAL:
	case PHASES:
		break;
	}
	return lease_phase(&t->lease, phase);
}

void lease_phases_add(struct phases *p, const struct lease_times *t)
{
	phases_add(p, PHASE_QUEUE, t->placed - t->asked);
	/* An idle connection is placed and ready in one step. */
	if (t->ready == t->placed)
		return;
	phases_add(p, PHASE_CONNECT, lease_phase(t, PHASE_CONNECT));
	if (t->connected > 0)
		phases_add(p, PHASE_TLS, t->ready - t->connected);
}
