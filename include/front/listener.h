/* A listening socket of one worker: keeps a few accepts with the kernel.
 *
 *   LISTENING  accepts are armed
 *   PAUSED     the connection limit is reached, or descriptors or memory have run out:
 *              nothing is armed; tried again after LISTENER_PAUSE_MS, or at once where
 *              somebody idle gives way. Who is not yet
 *              accepted waits in the backlog, who was accepted meanwhile is parked:
 *              nobody is turned away half-way
 *   STOPPED    closed for good; who was accepted by then, or is at this moment, is served
 *
 * Accepts are one-shot, each with an address of its own: a multishot accept cannot tell
 * the peers apart (kernel-notes/07-accept-one-shot). */
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
	/* A connection, counted in the quota: whoever closes it calls quota_put(). */
	void (*accepted)(struct listener *l, int fd, const struct peer *peer);
	/* The quota or descriptors are used up: somebody idle should give way. True: somebody
	 * does, before long. May be NULL. */
	bool (*evict_idle)(struct listener *l);
};

struct listener_slot {
	struct io_accept accept;
	struct listener *listener;
	bool promised; /* somebody gives way to it */
	int parked; /* an accepted socket beyond the limit; -1: none */
};

struct listener {
	struct tick *tick;
	const struct listener_events *events;
	void *owner;
	struct quota *quota;
	struct worker_stats *stats;
	int fd;
	bool stopped, abandoned;
	struct timer pause;
	struct listener_slot slots[LISTENER_ARMED];
};

void listener_start(struct listener *l, struct tick *tick, int fd, struct quota *quota,
		    struct worker_stats *stats, const struct listener_events *events,
		    void *owner);

/* Stops accepting and closes the socket. */
void listener_stop(struct listener *l);

/* Stopped: nobody is served any more who is not yet. */
void listener_abandon(struct listener *l);

/* Stopped, and nothing in flight: may be freed. */
bool listener_stopped(const struct listener *l);

#endif
