#include "proxy/pace.h"

void pace_begin(struct pace *p, uint32_t receive_ms, uint32_t rate)
{
	*p = (struct pace){ .receive_ms = receive_ms, .rate = rate };
}

/* The time since more was awaited counts. */
static void count_wait(struct pace *p, uint64_t now_ms)
{
	if (p->since_ms > 0)
		p->lag_us += (now_ms - p->since_ms) * 1000;
	p->since_ms = 0;
}

void pace_received(struct pace *p, uint32_t bytes, uint64_t now_ms)
{
	uint64_t gained_us;

	if (p->rate == 0)
		return;
	count_wait(p, now_ms);
	gained_us = bytes * UINT64_C(1000000) / p->rate;
	p->lag_us -= gained_us < p->lag_us ? gained_us : p->lag_us;
}

void pace_await(struct pace *p, uint64_t now_ms)
{
	if (p->rate == 0)
		return;
	count_wait(
		p,
		now_ms); /* what has arrived was no part of the body: the size of a chunk */
	p->since_ms = now_ms;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t silent_since_ms(const struct stream *s)
{
	return later(stream_progress(s).received_ms, s->since_ms);
}

uint64_t pace_due_ms(const struct pace *p, const struct stream *s, uint64_t now_ms)
{
	uint64_t lag_ms = p->lag_us / 1000;

	if (!s->body_awaited)
		return now_ms + p->receive_ms;
	if (p->rate == 0 || p->since_ms == 0)
		return silent_since_ms(s) + p->receive_ms;
	return p->since_ms + p->receive_ms -
	       (lag_ms < p->receive_ms ? lag_ms : p->receive_ms);
}

bool pace_stopped(const struct pace *p, const struct stream *s, uint64_t now_ms)
{
	return now_ms >= silent_since_ms(s) + p->receive_ms / 2;
}
