/* A listening socket of one worker: keeps LISTENER_ARMED accepts in flight.
 *
 *   LISTENING  accepts are armed
 *   PAUSED     the connection limit is reached, or descriptors or memory have run out:
 *              nothing is armed. Retried after LISTENER_PAUSE_MS, or at once if an idle
 *              connection was evicted. Connections not accepted yet wait in the backlog;
 *              those that were accepted already are parked: no connection is refused
 *   STOPPED    closed for good; connections accepted by then, or at this moment, are served
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
	struct timer pause;      /* armed: PAUSED */
	struct listener_slot slots[LISTENER_ARMED];
};

/* Takes over a listening socket and starts to accept. */
void listener_start(struct listener *l, struct tick *tick, int fd, struct quota *quota,
		    struct worker_stats *stats, const struct listener_events *events,
		    void *owner);

/* Stops accepting and closes the socket. Parked connections are still served. */
void listener_stop(struct listener *l);

/* After listener_stop(): closes parked connections, and those whose accept completes
 * later. */
void listener_abandon(struct listener *l);

/* Stopped, and no accept is in flight: may be freed. */
bool listener_stopped(const struct listener *l);

#endif
