#include "net/deadline.h"

/* A peer that takes about as much as it must is looked at no more often than that. */
#define DELIVERY_CHECK_MS 100

/* A send in progress reports nothing until it completes: before the deadline has passed, the
 * kernel is asked whether the peer has taken bytes meanwhile. */
static uint64_t due_after_delivery(const struct deadline *d, uint64_t now_ms)
{
	uint64_t due_ms = d->rules->due_ms(d->owner);

	if (due_ms > now_ms || conn_unsent(d->conn) == 0 || !conn_poll_delivery(d->conn))
		return due_ms;
	due_ms = d->rules->due_ms(d->owner);
	if (d->conn->send_rate > 0 && due_ms > now_ms && due_ms < now_ms + DELIVERY_CHECK_MS)
		due_ms = now_ms + DELIVERY_CHECK_MS;
	return due_ms;
}

void deadline_fired(struct deadline *d)
{
	struct tick *tick = d->conn->tick;
	uint64_t due_ms;

	ASSERT(d->conn->state == CONN_OPEN);
	if (d->rules->fired)
		d->rules->fired(d->owner);
	due_ms = due_after_delivery(d, tick->now_ms);
	if (due_ms == WHEEL_NEVER)
		return;
	if (due_ms > tick->now_ms)
		timer_set(&tick->wheel, &d->conn->timer, due_ms);
	else
		d->rules->passed(d->owner);
}

void deadline_init(struct deadline *d, struct conn *conn,
		   const struct deadline_rules *rules, void *owner)
{
	ASSERT(conn->events->timer_fired && !timer_armed(&conn->timer));
	d->conn = conn;
	deadline_own(d, rules, owner);
}

void deadline_own(struct deadline *d, const struct deadline_rules *rules, void *owner)
{
	ASSERT(rules->due_ms && rules->passed && owner);
	d->rules = rules;
	d->owner = owner;
}

void deadline_bound(struct deadline *d, uint64_t due_ms)
{
	struct timer *timer = &d->conn->timer;

	if (due_ms == WHEEL_NEVER)
		return;
	ASSERT(d->conn->state == CONN_OPEN);
	if (!timer_armed(timer) || due_ms < timer->deadline_ms)
		timer_set(&d->conn->tick->wheel, timer, due_ms);
}
