#include "net/handshakes.h"

#include "net/tick.h"
#include "secure.h"

static struct secure *secure_of(struct list *node)
{
	return CONTAINER(LIST_ITEM(node, struct task, node), struct secure, task);
}

/* Those that have waited longest get the units that are free. */
static void units_assign(struct tick *t)
{
	struct handshakes *h = &t->handshakes;

	while (!list_empty(&h->queued) && quota_take(h->quota)) {
		struct secure *s = secure_of(list_pop(&h->queued));

		s->counted = true;
		tick_run(t, &s->task);
	}
	if (list_empty(&h->queued))
		timer_stop(&t->wheel, &h->retry);
	else if (!timer_armed(&h->retry))
		timer_set(&t->wheel, &h->retry, t->now_ms + HANDSHAKES_RETRY_MS);
}

static void retry_expired(struct timer *timer)
{
	units_assign(CONTAINER(timer, struct tick, handshakes.retry));
}

void handshakes_init(struct tick *t)
{
	struct handshakes *h = &t->handshakes;

	list_init(&h->waiting);
	list_init(&h->queued);
	timer_init(&h->retry, retry_expired);
	h->steps_max = 1;
}

void handshakes_begin(struct tick *t)
{
	struct handshakes *h = &t->handshakes;

	h->steps_left = h->steps_max;
	while (h->steps_left > 0 && !list_empty(&h->waiting)) {
		struct secure *s = secure_of(list_pop(&h->waiting));

		h->steps_left--;
		s->granted = true;
		tick_run(t, &s->task);
	}
}

static bool unit_take(struct secure *s)
{
	struct tick *t = s->conn->tick;
	struct handshakes *h = &t->handshakes;

	if (s->counted || !s->tls->server || !h->quota)
		return true;
	if (list_empty(&h->queued) && quota_take(h->quota)) {
		s->counted = true;
		return true;
	}
	stat_add(&h->stats.units_awaited, 1);
	list_append(&h->queued, &s->task.node);
	units_assign(t);
	return false;
}

bool handshakes_may_step(struct secure *s)
{
	struct handshakes *h = &s->conn->tick->handshakes;

	if (!unit_take(s))
		return false;
	if (s->granted) {
		s->granted = false;
		return true;
	}
	if (h->steps_left > 0 && list_empty(&h->waiting)) {
		h->steps_left--;
		return true;
	}
	stat_add(&h->stats.steps_awaited, 1);
	list_append(&h->waiting, &s->task.node);
	return false;
}

void handshakes_end(struct secure *s)
{
	struct tick *t = s->conn->tick;

	if (s->shaking) {
		s->shaking = false;
		stat_sub(&t->handshakes.stats.shaking, 1);
	}
	if (!s->counted) {
		if (timer_armed(&t->handshakes.retry))
			units_assign(t); /* it may have been the only one queued */
		return;
	}
	s->counted = false;
	quota_put(t->handshakes.quota);
	units_assign(t);
}

void handshakes_count_failure(struct tick *t, enum handshake_side side, enum tls_fault fault)
{
	stat_add(&t->handshakes.stats.failures[side][fault], 1);
}
