#include "lateness.h"

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The end of a time that begins at `since`; WHEEL_NEVER: it has none. */
static uint64_t end_of(uint64_t since, uint32_t timeout_ms)
{
	return timeout_ms == CONFIG_TIMEOUT_NONE ? WHEEL_NEVER : since + timeout_ms;
}

/* When the server is late, by what is known now; WHEEL_NEVER: nothing is expected of it. */
static uint64_t server_deadline(const struct attempt *a)
{
	const struct stream *s = a->lease.stream;
	const struct stream_progress p = stream_progress(s);
	uint32_t response_ms = a->request->response_timeout_ms;
	uint32_t send_ms = a->request->send_timeout_ms;
	uint64_t sent = later(p.sent_ms, a->since_ms);

	if (a->tunnel)
		return end_of(later(p.received_ms, sent), a->request->idle_timeout_ms);
	switch ((enum attempt_state)a->state) {
	case ATTEMPT_SENDING:
		/* After a send error the server's response may still be received, once a buffer
		 * is free: waits for it until the send timeout. */
		if (p.unsent > 0 || s->send_failed)
			return sent + send_ms;
		break; /* waits for the client's body, which has a deadline of its own */
	case ATTEMPT_AWAITING_HEAD:
		if (!a->stalled)
			return end_of(sent, response_ms);
		break; /* waits for the client, which has a deadline of its own */
	case ATTEMPT_RELAYING:
		if (!a->stalled && (s->sent || p.unsent > 0))
			return end_of(later(p.received_ms, sent), response_ms);
		break; /* waits for the client to read or to send */
	case ATTEMPT_WAITING:
	case ATTEMPT_ENDED:
	case ATTEMPT_FAILED:
		break;
	}
	return WHEEL_NEVER;
}

/* When it is computed anew if nothing is awaited now: often enough that a deadline that begins
 * in between is not missed. */
static uint64_t attempt_due_ms(const void *owner)
{
	const struct attempt *a = owner;
	uint32_t response_ms = a->request->response_timeout_ms;
	uint32_t send_ms = a->request->send_timeout_ms;
	uint64_t due = server_deadline(a);

	if (due != WHEEL_NEVER)
		return due;
	return a->request->tick->now_ms + (response_ms < send_ms ? response_ms : send_ms);
}

static void attempt_time_passed(void *owner)
{
	struct attempt *a = owner;

	a->timed_out = true;
	tick_run(a->request->tick, a->request->waiter);
}

const struct deadline_rules lateness_rules = { .due_ms = attempt_due_ms,
					       .passed = attempt_time_passed };

void lateness_begin(struct attempt *a)
{
	deadline_bound(&a->lease.stream->deadline, attempt_due_ms(a));
}
