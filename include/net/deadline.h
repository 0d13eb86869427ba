/* A deadline on a connection that is computed when the timer of the connection fires.
 *
 * Progress only stores a time (conn.received_ms, conn.sent_ms, the start of a state); the
 * timer is not touched. When it fires, the owner computes from these times when the
 * deadline is due, and the timer is set to that. So a busy connection costs the wheel
 * about one operation per shortest timeout, not one per request.
 *
 *   deadline_bound(due) ──▶ timer set ──fires──▶ due_ms() ──▶ later: timer set to it
 *        ▲                                          ├───────▶ passed(): due
 *        └────────────── not set ◀──────────────────┴───────▶ WHEEL_NEVER: not set
 *
 * What always holds: while the owner waits for its peer, the timer is set to a time that is
 * not later than due_ms(). The owner calls deadline_bound() when it begins to wait.
 *
 * The timer is conn.timer: while the connection is open, conn_events.timer_fired calls
 * deadline_fired(); from conn_close() on it bounds the closing. So an idle connection has one
 * timer.
 *
 * Owner: one at a time, which deadline_own() changes. The timer stays set then: it fires too
 * early for the new owner, which costs one computation. Limits, errors: none.
 * tests/unit/test_deadline.c shows each arrow. */
#ifndef NET_DEADLINE_H
#define NET_DEADLINE_H

#include "net/conn.h"

struct deadline_rules {
	/* When it is due, absolute, as is known now; WHEEL_NEVER: nothing is awaited. */
	uint64_t (*due_ms)(const void *owner);
	/* It is due. Only records that, and runs a task. The timer is not set. */
	void (*passed)(void *owner);
	/* The timer has fired, due or not: for what has to be looked at now and then. NULL:
	 * nothing. */
	void (*fired)(void *owner);
};

struct deadline {
	struct conn *conn; /* whose peer is awaited */
	const struct deadline_rules *rules;
	void *owner;
};

/* The connection is open, and its timer is not set. */
void deadline_init(struct deadline *d, struct conn *conn,
		   const struct deadline_rules *rules, void *owner);

/* From now on the deadline is this owner's. */
void deadline_own(struct deadline *d, const struct deadline_rules *rules, void *owner);

/* The deadline may be due at this time, not earlier: sets the timer, unless it fires earlier
 * anyway. WHEEL_NEVER: does nothing. */
void deadline_bound(struct deadline *d, uint64_t due_ms);

/* What conn_events.timer_fired() of the connection calls. */
void deadline_fired(struct deadline *d);

/* The connection is open, and the timer is set. */
static inline bool deadline_running(const struct deadline *d)
{
	return d->conn->state == CONN_OPEN && timer_armed(&d->conn->timer);
}

#endif
