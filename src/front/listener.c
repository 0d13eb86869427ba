#include "front/listener.h"

#include <errno.h>
#include <string.h>

#include "base/reserve.h"

/* Until an evicted connection has been closed. */
#define LISTENER_EVICT_MS 1

static void accept_arm(struct listener_slot *s)
{
	struct listener *l = s->listener;

	if (!l->stopped && s->parked < 0 && !timer_armed(&l->pause) && !io_busy(&s->accept.op))
		io_accept(l->tick->loop, &s->accept, l->fd);
}

static void listener_pause(struct listener *l)
{
	if (l->abandoned || timer_armed(&l->pause))
		return;
	stat_add(&l->stats->accept_pauses, 1);
	timer_set(&l->tick->wheel, &l->pause, tick_event_ms(l->tick) + LISTENER_PAUSE_MS);
}

/* Evicts an idle connection, which is closed by the end of a tick. Once per parked
 * connection: if another worker takes the freed unit of the quota, it waits for the
 * longer pause. */
static void wait_for_eviction(struct listener_slot *s)
{
	struct listener *l = s->listener;

	s->evicting = !s->evicting && l->events->evict_idle && !l->abandoned &&
		      l->events->evict_idle(l);
	if (s->evicting)
		timer_set(&l->tick->wheel, &l->pause,
			  tick_event_ms(l->tick) + LISTENER_EVICT_MS);
	else
		listener_pause(l);
}

static void connection_deliver(struct listener_slot *s, int fd)
{
	struct listener *l = s->listener;
	struct peer peer;

	if (l->abandoned) {
		io_close(l->tick->loop, fd);
		return;
	}
	if (!reserve_whole()) {
		s->parked = fd;
		listener_pause(l);
		return;
	}
	if (!quota_take(l->quota)) {
		s->parked = fd;
		wait_for_eviction(s);
		return;
	}
	s->parked = -1;
	s->evicting = false;
	peer_from(&peer, &s->accept.peer);
	stat_add(&l->stats->accepted, 1);
	l->events->accepted(l, fd, &peer);
}

/* Accepts a connection that waits (kernel-notes/32-accepts-wait-exclusively). The cancel ends
 * the accept if another process was faster. */
static void rescue_one(struct listener *l)
{
	struct io_accept *accept = &l->slots[0].accept;

	l->rescues_left--;
	io_accept(l->tick->loop, accept, l->fd);
	io_cancel(l->tick->loop, &accept->op);
}

/* STOPPING. Parked connections mean that the limit is reached: further ones are left to
 * other processes. */
static void stop_continue(struct listener *l)
{
	bool rescue = l->rescues_left > 0 && !l->abandoned;

	for (unsigned i = 0; i < LISTENER_ARMED; i++) {
		if (io_busy(&l->slots[i].accept.op))
			return;
		rescue &= l->slots[i].parked < 0;
	}
	if (l->closed)
		return;
	if (rescue && io_wakeup_lost(l->tick->loop, l->fd)) {
		rescue_one(l);
		return;
	}
	l->closed = true;
	io_close(l->tick->loop, l->fd);
}

/* Errors that are not handled: the peer closed before it was accepted (accept(2)), or
 * listener_rearm(). */
static void accept_done(struct io_op *op, int res, unsigned flags)
{
	struct listener_slot *s = CONTAINER(op, struct listener_slot, accept.op);
	struct listener *l = s->listener;

	(void)flags;
	if (res >= 0)
		connection_deliver(s, res);
	else if (l->stopped)
		l->rescues_left = res == -ECANCELED ? l->rescues_left : 0;
	else if (res == -EMFILE || res == -ENFILE)
		wait_for_eviction(s);
	else if (res == -ENOMEM || res == -ENOBUFS)
		listener_pause(l);
	if (l->stopped)
		stop_continue(l);
	else
		accept_arm(s);
}

static void pause_expired(struct timer *t)
{
	struct listener *l = CONTAINER(t, struct listener, pause);

	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		if (l->slots[i].parked >= 0)
			connection_deliver(&l->slots[i], l->slots[i].parked);
	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		accept_arm(&l->slots[i]);
}

static void rearm_set(struct listener *l, uint32_t ms)
{
	l->rearm_ms = ms;
	timer_set(&l->tick->wheel, &l->rearm, l->tick->now_ms + ms);
}

/* Not during a pause: its end arms accepts. */
static void rearm_expired(struct timer *t)
{
	struct listener *l = CONTAINER(t, struct listener, rearm);

	if (!timer_armed(&l->pause))
		io_cancel(l->tick->loop, &l->slots[0].accept.op);
	if (l->rearm_ms < LISTENER_REARM_LAST_MS)
		rearm_set(l, 2 * l->rearm_ms);
}

void listener_rearm(struct listener *l)
{
	if (!l->stopped)
		rearm_set(l, LISTENER_REARM_FIRST_MS);
}

void listener_start(struct listener *l, struct tick *tick, int fd, struct quota *quota,
		    struct worker_stats *stats, const struct listener_events *events,
		    void *owner)
{
	memset(l, 0, sizeof(*l));
	l->tick = tick;
	l->events = events;
	l->owner = owner;
	l->quota = quota;
	l->stats = stats;
	l->fd = fd;
	timer_init(&l->pause, pause_expired);
	timer_init(&l->rearm, rearm_expired);
	for (unsigned i = 0; i < LISTENER_ARMED; i++) {
		l->slots[i].listener = l;
		l->slots[i].parked = -1;
		io_op_init(&l->slots[i].accept.op, accept_done);
		accept_arm(&l->slots[i]);
	}
}

void listener_stop(struct listener *l)
{
	if (l->stopped)
		return;
	l->stopped = true;
	l->rescues_left = LISTENER_RESCUES_MAX;
	timer_stop(&l->tick->wheel, &l->rearm);
	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		io_cancel(l->tick->loop, &l->slots[i].accept.op);
	stop_continue(l);
}

void listener_abandon(struct listener *l)
{
	ASSERT(l->stopped);
	l->abandoned = true;
	timer_stop(&l->tick->wheel, &l->pause);
	for (unsigned i = 0; i < LISTENER_ARMED; i++) {
		if (l->slots[i].parked >= 0)
			io_close(l->tick->loop, l->slots[i].parked);
		l->slots[i].parked = -1;
	}
}

bool listener_stopped(const struct listener *l)
{
	if (!l->closed)
		return false;
	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		if (io_busy(&l->slots[i].accept.op) || l->slots[i].parked >= 0)
			return false;
	return !timer_armed(&l->pause);
}
