#include "message/stream.h"

#include <string.h>

/* The diagram of stream.h: the states that may follow each state. */
static const uint8_t next_states[] = {
	[STREAM_IDLE] = 1u << STREAM_OPEN | 1u << STREAM_CLOSED,
	[STREAM_OPEN] = 1u << STREAM_IDLE | 1u << STREAM_TUNNEL | 1u << STREAM_CLOSED,
	[STREAM_TUNNEL] = 1u << STREAM_CLOSED,
	[STREAM_CLOSED] = 0,
};

void stream_init(struct stream *s, const struct stream_ops *ops, struct conn *c,
		 const struct deadline_rules *rules, void *owner)
{
	memset(s, 0, sizeof(*s));
	s->ops = ops;
	deadline_init(&s->deadline, c, rules, owner);
}

void stream_set_state(struct stream *s, enum stream_state state)
{
	ASSERT(next_states[s->state] >> state & 1);
	s->state = (uint8_t)state;
}

void stream_use(struct stream *s, struct task *task)
{
	ASSERT(s->state == STREAM_OPEN && !s->task && task);
	s->task = task;
	s->uses++;
}

void stream_release(struct stream *s)
{
	s->task = NULL;
}

void stream_check(const struct stream *s)
{
	ASSERT(!s->body_awaited || (s->body_flowing && !s->received));
	switch ((enum stream_state)s->state) {
	case STREAM_IDLE:
		ASSERT(!s->task && !s->body_flowing && !s->abort_on_eof);
		ASSERT(!s->received && !s->sent);
		break;
	case STREAM_OPEN:
		break;
	case STREAM_TUNNEL:
		ASSERT(s->task && !s->abort_on_eof);
		break;
	case STREAM_CLOSED:
		ASSERT(!deadline_running(&s->deadline));
		break;
	}
}
