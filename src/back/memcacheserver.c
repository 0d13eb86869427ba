#include "memcachelink.h"

#include <errno.h>

#include "io/sock.h"

static uint64_t server_now_ms(const struct memcache_server *s)
{
	return s->memcache->options.tick->now_ms;
}

/* ---- the queue -------------------------------------------------------------- */

/* Calls for which a link is being connected do not count against the limit of the queue. */
static void count_queued(struct memcache_server *s)
{
	uint64_t promised = (uint64_t)s->connecting * s->pipeline;
	uint32_t queued = s->waiting > promised ? s->waiting - (uint32_t)promised : 0;

	quota_add(s->memcache->options.queue_quota, (int32_t)(queued - s->queued));
	s->queued = queued;
}

void server_count_connecting(struct memcache_server *s, int change)
{
	s->connecting += (uint32_t)change;
	count_queued(s);
}

/* While the server has no open link, its calls wait at least until the connect has
 * succeeded or failed. */
static uint64_t queue_deadline_ms(const struct memcache_server *s)
{
	const struct config_upstream *u = &s->memcache->table.config;
	uint64_t wait_ms = u->queue_timeout_ms;
	uint64_t connect_ms = u->connect_timeout_ms + 4 * WHEEL_FINE_MS;

	if (s->links == s->connecting && wait_ms < connect_ms)
		wait_ms = connect_ms;
	return server_now_ms(s) + wait_ms;
}

void server_enqueue(struct memcache_server *s, struct memcache_call *call, bool first)
{
	struct memcache *m = s->memcache;

	call->state = CALL_WAITING;
	if (first)
		list_prepend(&s->queue, &call->node);
	else
		list_append(&s->queue, &call->node);
	if (!timer_armed(&call->timeout))
		timer_set(&m->options.tick->wheel, &call->timeout, queue_deadline_ms(s));
	s->waiting++;
	count_queued(s);
	stat_add(&m->options.stats->waiting, 1);
}

void server_dequeue(struct memcache_server *s, struct memcache_call *call)
{
	list_remove(&call->node);
	s->waiting--;
	count_queued(s);
	stat_sub(&s->memcache->options.stats->waiting, 1);
}

/* ---- decisions -------------------------------------------------------------- */

static void send_waiting(struct memcache_server *s)
{
	struct memcache_link *l;

	while (s->waiting > 0 && (l = link_least(s))) {
		struct memcache_call *call = LIST_ITEM(s->queue.next,
						       struct memcache_call, node);

		server_dequeue(s, call);
		if (!link_send(l, call))
			call_decide(call, CALL_FAILED, CALL_ERROR);
	}
}

static void push_all(struct memcache *m)
{
	while (!list_empty(&m->unsent))
		link_push(LIST_ITEM(m->unsent.next, struct memcache_link, unsent));
}

static void connect_more(struct memcache_server *s)
{
	const struct config_upstream *u = &s->memcache->table.config;

	while (s->queued > 0 && s->links < u->links) {
		int error;

		if (s->links > 0 && server_now_ms(s) < s->retry_ms)
			return;
		error = link_connect(s);
		/* Without descriptors the calls wait: descriptors will be freed, and
		 * calls have deadlines. */
		if (error < 0 && (error != -EMFILE || !s->memcache->options.short_of_descriptors))
			server_connect_failed(s, error);
		if (error < 0)
			return;
	}
}

/* Refuses the newest waiting calls while the queue of the process is above its limit. */
static void queue_shed(struct memcache_server *s)
{
	struct memcache *m = s->memcache;

	while (s->queued > 0 && quota_exceeded(m->options.queue_quota))
		call_decide(LIST_ITEM(s->queue.prev, struct memcache_call, node),
			    CALL_FAILED, CALL_QUEUE_FULL);
}

void server_dispatch(struct memcache_server *s)
{
	list_remove(&s->scheduled);
	if (s->memcache->closing)
		return;
	send_waiting(s);
	push_all(s->memcache);
	connect_more(s);
	queue_shed(s);
}

void server_schedule(struct memcache_server *s)
{
	struct memcache *m = s->memcache;

	if (list_empty(&s->scheduled))
		list_append(&m->scheduled, &s->scheduled);
	tick_run(m->options.tick, &m->task);
}

/* ---- status in the registry ------------------------------------------------- */

void server_report_status(struct memcache_server *s)
{
	enum server_status status = s->probed_down            ? SERVER_STATUS_DOWN
				    : s->state == SERVER_DOWN ? SERVER_STATUS_EJECTED
							      : SERVER_STATUS_UP;

	stat_set(&s->member.record->reason, REASON_UNREACHED);
	if (member_set_status(&s->member, status) && status == SERVER_STATUS_EJECTED)
		stat_add(&s->member.record->ejections, 1);
}

void server_set_state(struct memcache_server *s, enum server_state state)
{
	s->state = state;
	server_report_status(s);
}

/* ---- down ------------------------------------------------------------------- */

static void call_miss(struct memcache_call *call)
{
	call->unasked = true;
	call_decide(call, CALL_MISS, 0);
}

static void call_reject(const struct memcache_server *s, struct memcache_call *call)
{
	if (s->state == SERVER_SHORT)
		call_decide(call, CALL_FAILED, CALL_ERROR);
	else
		call_miss(call);
}

bool server_reject_if_down(struct memcache_server *s, struct memcache_call *call)
{
	if (s->probed_down) {
		call_miss(call);
		return true;
	}
	if (s->state == SERVER_UP)
		return false;
	if (s->links == 0 && server_now_ms(s) >= s->retry_ms && link_connect(s) < 0)
		server_connect_failed(s, -ENOMEM);
	call_reject(s, call);
	return true;
}

/* ---- slow ------------------------------------------------------------------- */

void server_is_late(struct memcache_server *s)
{
	s->slow_ms = server_now_ms(s) + RETRY_MS;
	s->trial_ms = 0;
}

void server_in_time(struct memcache_server *s)
{
	s->slow_ms = s->trial_ms = 0;
}

bool server_reject_if_slow(struct memcache_server *s, struct memcache_call *call)
{
	uint64_t now_ms = server_now_ms(s);

	if (!call->impatient || s->slow_ms == 0 || now_ms == s->trial_ms)
		return false;
	if (now_ms >= s->slow_ms) {
		s->slow_ms = now_ms + RETRY_MS;
		s->trial_ms = now_ms;
		return false;
	}
	call_miss(call);
	return true;
}

void server_reject_queue(struct memcache_server *s)
{
	while (s->waiting > 0)
		call_reject(s, LIST_ITEM(s->queue.next, struct memcache_call, node));
}

unsigned server_next_address(const struct memcache_server *s, unsigned from)
{
	for (unsigned i = 0; i < s->address_n; i++) {
		unsigned at = (from + i) % s->address_n;

		if (!s->addresses[at].down)
			return at;
	}
	return from % s->address_n;
}

void server_connect_failed(struct memcache_server *s, int error)
{
	stat_add(&s->member.record->failures, 1);
	s->retry_ms = server_now_ms(s) + RETRY_MS;
	if (s->links > 0) {
		/* Other links exist; waiting calls have deadlines. */
		queue_shed(s);
		return;
	}
	server_set_state(s, sock_shortage(error) ? SERVER_SHORT : SERVER_DOWN);
	server_reject_queue(s);
}
