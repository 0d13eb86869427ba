#include "front/listener.h"

#include <errno.h>
#include <string.h>

#include "base/reserve.h"

/* Until the place of one who gives way has come free. */
#define LISTENER_ROOM_MS 1

static void arm(struct listener_slot *s)
{
	struct listener *l = s->listener;

	if (!l->stopped && s->parked < 0 && !timer_armed(&l->pause) && !io_busy(&s->accept.op))
		io_accept(l->tick->loop, &s->accept, l->fd);
}

static void pause_for_a_while(struct listener *l)
{
	if (l->abandoned || timer_armed(&l->pause))
		return;
	stat_add(&l->stats->accept_pauses, 1);
	timer_set(&l->tick->wheel, &l->pause, l->tick->now_ms + LISTENER_PAUSE_MS);
}

/* Somebody who is idle gives way, and is gone at the end of a tick; once for each who waits, as
 * others may take the place. */
static void wait_for_room(struct listener_slot *s)
{
	struct listener *l = s->listener;

	s->promised = !s->promised && l->events->evict_idle && !l->abandoned &&
		      l->events->evict_idle(l);
	if (s->promised)
		timer_set(&l->tick->wheel, &l->pause, l->tick->now_ms + LISTENER_ROOM_MS);
	else
		pause_for_a_while(l);
}

static void hand_over(struct listener_slot *s, int fd)
{
	struct listener *l = s->listener;
	struct peer peer;

	if (l->abandoned) {
		io_close(l->tick->loop, fd);
		return;
	}
	if (!reserve_whole()) {
		s->parked = fd;
		pause_for_a_while(l);
		return;
	}
	if (!quota_take(l->quota)) {
		s->parked = fd;
		wait_for_room(s);
		return;
	}
	s->parked = -1;
	s->promised = false;
	peer_from(&peer, &s->accept.peer);
	stat_add(&l->stats->accepted, 1);
	l->events->accepted(l, fd, &peer);
}

static void accepted(struct io_op *op, int res, unsigned flags)
{
	struct listener_slot *s = CONTAINER(op, struct listener_slot, accept.op);

	(void)flags;
	if (res >= 0)
		hand_over(s, res);
	else if (res == -EMFILE || res == -ENFILE)
		wait_for_room(s);
	else if (res == -ENOMEM || res == -ENOBUFS)
		pause_for_a_while(s->listener);
	/* Else the peer went away before it was accepted (accept(2)), or we stop. */
	arm(s);
}

static void pause_expired(struct timer *t)
{
	struct listener *l = CONTAINER(t, struct listener, pause);

	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		if (l->slots[i].parked >= 0)
			hand_over(&l->slots[i], l->slots[i].parked);
	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		arm(&l->slots[i]);
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
	for (unsigned i = 0; i < LISTENER_ARMED; i++) {
		l->slots[i].listener = l;
		l->slots[i].parked = -1;
		io_op_init(&l->slots[i].accept.op, accepted);
		arm(&l->slots[i]);
	}
}

void listener_stop(struct listener *l)
{
	if (l->stopped)
		return;
	l->stopped = true;
	io_close(l->tick->loop, l->fd);
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
	if (!l->stopped)
		return false;
	for (unsigned i = 0; i < LISTENER_ARMED; i++)
		if (io_busy(&l->slots[i].accept.op) || l->slots[i].parked >= 0)
			return false;
	return !timer_armed(&l->pause);
}
