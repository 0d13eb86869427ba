/* Which TLS handshakes of a thread go on in this tick, and which wait.
 *
 * A step of a handshake that does public-key work takes 100 µs to 1 ms, in which no other
 * connection of the thread is served. Therefore only `steps_max` such steps are made in a tick; a
 * connection that needs one more waits, in the order of arrival, and the tick does not sleep
 * meanwhile. A handshake under way holds about 44 KB, so the process limits their number by a
 * quota: a server's connection takes a unit before the library's object is made for it, and gives
 * it back when the handshake ends. Who finds none waits with its ClientHello unread.
 *
 *   ClientHello complete ──▶ queued (for a unit) ──▶ waiting (for a step) ──▶ steps
 *
 * Handshakes towards origins have steps, but no units: they are as many as the connections that
 * the upstreams allow.
 *
 * Owner: the tick. Limits: the quota; `steps_max`. Errors: none. Other threads may give units back:
 * whoever is queued asks again each HANDSHAKES_RETRY_MS. */
#ifndef NET_HANDSHAKES_H
#define NET_HANDSHAKES_H

#include "base/list.h"
#include "base/quota.h"
#include "base/stats.h"
#include "base/wheel.h"
#include "tls/session.h"

#define HANDSHAKES_RETRY_MS 10

/* Index of tls_stats. */
enum handshake_side { TLS_SIDE_CLIENT, TLS_SIDE_SERVER, TLS_SIDES };

/* One writer, the thread of the tick; other threads read with stat_read(). */
struct tls_stats {
	/* Handshakes that succeeded: by side, enum tls_version, and 1 if resumed. */
	uint64_t handshakes[TLS_SIDES][2][2];
	uint64_t failures[TLS_SIDES]
			 [TLS_FAULTS]; /* by enum tls_fault, also after the handshake */
	/* Sessions that clients have offered: those that were not resumed, and those that were. */
	uint64_t tickets[TLS_SIDES][2];
	struct histogram seconds[TLS_SIDES]; /* of those that succeeded, from the connection on */
	uint64_t shaking;              /* handshakes under way: a gauge */
	uint64_t steps_awaited;        /* times that a handshake waited for a step */
	uint64_t
		units_awaited; /* times that a handshake waited for a unit of the quota */
};

struct tick;
struct secure;

struct handshakes {
	struct quota *quota; /* of the process; NULL: no limit */
	unsigned steps_max;  /* heavy steps in a tick; may be changed between two ticks */
	unsigned steps_left; /* … in this one */
	struct list waiting; /* for a step, longest first: tasks of conns */
	struct list queued;  /* for a unit of the quota, longest first: tasks of conns */
	struct timer retry;  /* armed while somebody is queued */
	struct tls_stats stats;
};

void handshakes_init(struct tick *t);

/* Of a new tick: those that have waited longest get its steps. */
void handshakes_begin(struct tick *t);

/* A conn's handshake needs a heavy step, in its task. True: it makes one now. False: its task
 * waits, and is run when it may. */
bool handshakes_may_step(struct secure *s);

/* The handshake has ended, in whatever way: gives its unit back. May be called again. */
void handshakes_end(struct secure *s);

/* A handshake that its owner gave up; faults that TLS itself has found are counted already. */
void handshakes_count_failure(struct tick *t, enum handshake_side side, enum tls_fault fault);

#endif
