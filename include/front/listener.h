/* A listening socket of one worker: keeps LISTENER_ARMED accepts in flight.
 *
 *   LISTENING  accepts are armed
 *   PAUSED     the connection limit is reached, or descriptors or memory have run out:
 *              nothing is armed. Retried after LISTENER_PAUSE_MS, or at once if an idle
 *              connection was evicted. Connections not accepted yet wait in the backlog;
 *              those that were accepted already are parked: no connection is refused
 *   STOPPING   no accept is armed again. An accept that was cancelled may have taken the
 *              wake-up for a connection, so that another process that accepts from the
 *              same socket was not woken for it (kernel-notes/32-accepts-wait-exclusively).
 *              Therefore the connections that wait when the last accept has ended are
 *              accepted here, at most LISTENER_RESCUES_MAX
 *   STOPPED    closed for good; connections accepted by then are served
 *
 * Accepts are one-shot, each with its own address buffer: completions of a multishot
 * accept would share one, so the peers could not be told apart
 * (kernel-notes/07-accept-one-shot).
 *
 * Owner: the struct it is embedded in (worker_listener, admin). Limits: the quota.
 * Errors: none are reported; the counter accept_pauses counts pauses. */
#ifndef FRONT_LISTENER_H
#define FRONT_LISTENER_H

#include "base/quota.h"
#include "base/stats.h"
#include "io/sock.h"
#include "net/tick.h"

#define LISTENER_ARMED 16
#define LISTENER_PAUSE_MS 50
/* The default of limits.backlog: connections are accepted in the order of arrival, so after
 * this many those that waited at the stop are gone. */
#define LISTENER_RESCUES_MAX 4096
/* listener_rearm() */
#define LISTENER_REARM_FIRST_MS 10
#define LISTENER_REARM_LAST_MS 1280

struct listener;

struct listener_events {
	/* A connection was accepted and has taken a unit of the quota: the callee owns
	 * fd, and calls quota_put() when it closes it. */
	void (*accepted)(struct listener *l, int fd, const struct peer *peer);
	/* The quota or the descriptors are used up: evict an idle connection. True: one
	 * is being closed. May be NULL. */
	bool (*evict_idle)(struct listener *l);
};

struct listener_slot {
	struct io_accept accept;
	struct listener *listener;
	bool evicting; /* a connection is being evicted for this slot */
	int parked;    /* an accepted socket beyond the limit; -1: none */
};

struct listener {
	struct tick *tick;
	const struct listener_events *events;
	void *owner;
	struct quota *quota;
	struct worker_stats *stats;
	int fd;
	bool stopped, abandoned; /* listener_stop(), listener_abandon() */
	bool closed;             /* STOPPED */
	unsigned rescues_left;   /* STOPPING: see above */
	struct timer pause;      /* armed: PAUSED */
	struct timer rearm;      /* listener_rearm() */
	uint32_t rearm_ms;       /* the delay of that timer */
	struct listener_slot slots[LISTENER_ARMED];
};

/* Takes over a listening socket and starts to accept. */
void listener_start(struct listener *l, struct tick *tick, int fd, struct quota *quota,
		    struct worker_stats *stats, const struct listener_events *events,
		    void *owner);

/* Another process that accepts from the same socket stops accepting, or has ended. A
 * connection for which only that process was woken would wait for the next one: so one
 * accept is cancelled and armed again, which accepts a waiting connection at once
 * (kernel-notes/32-accepts-wait-exclusively). Repeated after 10, 20, 40 … 1,280 ms, because
 * the other process needs some time, and the kernel ends its accepts after its end. */
void listener_rearm(struct listener *l);

/* Stops accepting; closes the socket when the accepts have ended. Parked connections are
 * still served. */
void listener_stop(struct listener *l);

/* After listener_stop(): closes parked connections, and those whose accept completes
 * later. Connections that wait are not accepted any more. */
void listener_abandon(struct listener *l);

/* Stopped, closed, and no accept is in flight: may be freed. */
bool listener_stopped(const struct listener *l);

#endif
