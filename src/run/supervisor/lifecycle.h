/* The state of the supervisor: one change at a time. A change is a reload, a reopening of
 * the access log, an upgrade, or the start of a worker process in place of one that ended.
 *
 *                   ┌─ request ─▶ a change begins:
 *   IDLE, PAUSED ───┤
 *   (at rest)       ├─ reload ──▶ READING ──▶ APPLYING ─┬─ adopted ───────────────────▶ IDLE
 *                   │                 │                 ├─ refused, no reply in time ─▶ IDLE
 *                   │                 │                 └─ the process ended ───────▶ PAUSED
 *                   │                 └─ no process takes a configuration ────────▶ STARTING
 *                   ├─ look ────▶ READING ─ the files are the same ─▶ IDLE, PAUSED; else as
 *                   │             after a reload
 *                   ├─ reopen ──▶ APPLYING or STARTING, as after READING
 *                   └─ upgrade ─▶ TRYING ─ the program is executed ─▶ BEGINNING of the next
 *
 *   PAUSED ─ pause is over ─▶ STARTING ─┬─ ready ───────────────────────▶ IDLE
 *                                       ├─ ended or failed, one serves ─▶ IDLE
 *                                       └─ likewise, none serves ───────▶ PAUSED
 *
 *   BEGINNING ─▶ STARTING ─ the first process ended ─▶ ENDED
 *   each ─ told to end ─▶ DRAINING ─ the last process ended ─▶ ENDED
 *
 *   BEGINNING  no worker process was started by this program yet
 *   IDLE       a process serves
 *   PAUSED     none serves, and the next one is started after a pause
 *   READING    the loader reads the configuration, or looks at the files of certificates
 *   TRYING     the loader tries the next program
 *   APPLYING   the serving process was sent a configuration and will reply
 *   STARTING   a process starts. Another one may serve until this one is ready
 *   DRAINING   processes end; no change begins
 *   ENDED      the supervisor exits
 *
 * A failed change leads to where it began: from READING, TRYING and APPLYING to IDLE or
 * PAUSED. If the serving process ends while the loader runs, it is not waited for: after
 * the pause the state goes from READING or TRYING to STARTING, and then back to it. A loader
 * that ends meanwhile keeps its result until then.
 *
 * Requests are flags: one that arrives during a change begins after it, and a second one of
 * the same kind is the same request. They begin in the order of the enum. In DRAINING there
 * are none.
 *
 * This file starts no process and reads no clock. What always holds between the state and
 * the processes is asserted by lifecycle_check(). Owner: struct supervisor. */
#ifndef RUN_SUPERVISOR_LIFECYCLE_H
#define RUN_SUPERVISOR_LIFECYCLE_H

#include <stdbool.h>

enum lifecycle_state {
	LIFECYCLE_BEGINNING,
	LIFECYCLE_IDLE,
	LIFECYCLE_PAUSED,
	LIFECYCLE_READING,
	LIFECYCLE_TRYING,
	LIFECYCLE_APPLYING,
	LIFECYCLE_STARTING,
	LIFECYCLE_DRAINING,
	LIFECYCLE_ENDED,
};

enum lifecycle_request {
	REQUEST_RELOAD,
	REQUEST_REOPEN,
	REQUEST_UPGRADE,
	REQUEST_LOOK, /* at the files of certificates, whether they have changed */
};

struct lifecycle {
	enum lifecycle_state state; /* set by lifecycle_set() only */
	unsigned requests;          /* 1 << enum lifecycle_request: not begun yet */
};

/* What the supervisor has. */
struct lifecycle_facts {
	bool starting, serving; /* a worker process in this state */
	bool reading,
		trying; /* a loader, running or with a result that was not used yet */
	bool applying;  /* a configuration whose reply is awaited */
	bool pausing;   /* the time of the next start is set */
};

/* Asserts that the state may follow the present one, which it does not if it is the
 * same. DRAINING and ENDED drop all requests. */
void lifecycle_set(struct lifecycle *l, enum lifecycle_state state);

/* Whether `next` may follow `state`. */
bool lifecycle_allows(enum lifecycle_state state, enum lifecycle_state next);

/* IDLE or PAUSED: a request would begin at once. */
bool lifecycle_at_rest(const struct lifecycle *l);

/* After a change, or the start of a process, has ended: goes back to what it interrupted,
 * else to IDLE or PAUSED. Does nothing if that is the present state. */
void lifecycle_rest(struct lifecycle *l, const struct lifecycle_facts *facts);

/* Remembers the request. Does nothing in DRAINING and ENDED. */
void lifecycle_ask(struct lifecycle *l, enum lifecycle_request request);

/* Takes the next request. False: there is none, or another change has not ended. */
bool lifecycle_next(struct lifecycle *l, enum lifecycle_request *request);

/* Between two events, not in BEGINNING and ENDED: asserts that the state is that of the
 * facts, and that no request waits at rest. */
void lifecycle_check(const struct lifecycle *l, const struct lifecycle_facts *facts);

#endif
