#include "memcachelink.h"

#include <errno.h>

/* One block of requests: enough for many in a send, and small enough to keep for a slow
 * server. */
#define REQUESTS_BYTES 4096

/* The diagram of memcachelink.h: the states that may follow each state. */
static const uint8_t link_next_states[] = {
	[LINK_CONNECTING] = 1u << LINK_OPEN | 1u << LINK_CLOSING,
	[LINK_OPEN] = 1u << LINK_CLOSING,
	[LINK_CLOSING] = 0,
};

void link_set_state(struct memcache_link *l, enum memcache_link_state state)
{
	ASSERT(link_next_states[l->state] >> state & 1);
	l->state = state;
}

void link_check(const struct memcache_link *l)
{
	ASSERT((l->dial != NULL) == (l->state == LINK_CONNECTING));
	ASSERT(list_empty(&l->calls) == (l->calls_n == 0));
	ASSERT(list_empty(&l->unsent) == !l->out);
	switch (l->state) {
	case LINK_CONNECTING:
		ASSERT(l->calls_n == 0 && !l->out && !l->retired && list_empty(&l->rank));
		break;
	case LINK_OPEN:
		ASSERT(l->conn.state == CONN_OPEN);
		ASSERT(list_empty(&l->rank) || (!l->blocked && !l->retired));
		break;
	case LINK_CLOSING:
		ASSERT(l->calls_n == 0 && !l->out && !l->idle && list_empty(&l->rank));
		break;
	}
}

static uint32_t link_pipeline(const struct memcache_link *l)
{
	return l->server->pipeline;
}

/* ---- rank ------------------------------------------------------------------- */

static void set_idle(struct memcache_link *l, bool idle)
{
	struct memcache_server *s = l->server;

	if (idle == l->idle)
		return;
	l->idle = idle;
	if (idle) {
		s->idle++;
		stat_add(&link_stats(l)->connections_idle, 1);
	} else {
		s->idle--;
		stat_sub(&link_stats(l)->connections_idle, 1);
	}
}

void link_rank(struct memcache_link *l)
{
	struct memcache_server *s = l->server;

	list_remove(&l->rank);
	set_idle(l, l->state == LINK_OPEN && l->calls_n == 0);
	if (l->state != LINK_OPEN || l->blocked || l->retired ||
	    l->calls_n >= link_pipeline(l))
		return;
	/* Most recently used first, so that the others become idle. */
	list_prepend(&s->buckets[l->calls_n], &l->rank);
	if (l->calls_n < s->least)
		s->least = l->calls_n;
}

static bool block_has_space(const struct memcache_link *l)
{
	return l->out && l->out->size - l->out->end >= MEMCACHE_REQUEST_MAX;
}

static bool can_take_call(const struct memcache_link *l)
{
	const struct conn *c = &l->conn;

	/* An end, an error or bytes without a call: the task of the link will handle it. */
	if (c->eof || c->error || (l->calls_n == 0 && c->inbox_bytes > 0))
		return false;
	return block_has_space(l) || conn_push_space(&l->conn) > 0;
}

struct memcache_link *link_least(struct memcache_server *s)
{
	for (; s->least < s->pipeline; s->least++) {
		LIST_EACH(&s->buckets[s->least], node)
		{
			struct memcache_link *l = LIST_ITEM(node, struct memcache_link,
							    rank);

			if (can_take_call(l))
				return l;
			l->blocked = true;
			list_remove(&l->rank);
			if (conn_push_space(&l->conn) == 0)
				conn_await_space(&l->conn);
		}
	}
	return NULL;
}

/* ---- sending ---------------------------------------------------------------- */

void link_push(struct memcache_link *l)
{
	struct piece p;

	list_remove(&l->unsent);
	if (!l->out)
		return;
	p = (struct piece){ l->out, l->out->data, l->out->end };
	l->out = NULL;
	if (conn_push(&l->conn, &p))
		return;
	piece_put(&p);
	link_break(l, LINK_GIVEN_UP);
}

/* Makes sure that there is a block with space for one request. False: no memory, or the
 * link ended. */
static bool block_open(struct memcache_link *l)
{
	struct tick *tick = link_tick(l);
	size_t size = link_pipeline(l) == 1 ? MEMCACHE_REQUEST_MAX : REQUESTS_BYTES;

	if (block_has_space(l))
		return true;
	link_push(l);
	if (l->state != LINK_OPEN)
		return false;
	l->out = buf_new(io_bufs(tick->loop), size);
	if (!l->out)
		return false;
	list_append(&l->server->memcache->unsent, &l->unsent);
	return true;
}

bool link_send(struct memcache_link *l, struct memcache_call *call)
{
	struct tick *tick = link_tick(l);
	uint32_t timeout_ms = l->server->memcache->table.config.timeout_ms;

	if (!block_open(l))
		return false;
	l->out->end +=
		(uint32_t)memcache_emit(l->out->data + l->out->end, call->command,
					(struct slice){ call->key, call->key_len },
					call->ttl_s);
	call->state = CALL_SENT;
	call->link = l;
	call->sent_us = tick->now_us;
	list_append(&l->calls, &call->node);
	l->calls_n++;
	link_rank(l);
	if (!call->retried)
		timer_set(&tick->wheel, &call->timeout, tick->now_ms + timeout_ms);
	stat_add(&link_stats(l)->requests, 1);
	stat_add(&l->server->member.record->requests, 1);
	stat_add(&l->server->member.record->in_flight, 1);
	return true;
}

/* ---- death ------------------------------------------------------------------ */

static void link_free(struct memcache_link *l)
{
	struct memcache *m = l->server->memcache;

	ASSERT(l->state == LINK_CLOSING);
	CHECK_STATE(link_check(l));
	task_stop(&l->task);
	list_remove(&l->all);
	member_connection_freed(&l->server->member);
	slab_put(&m->links, l);
	quota_put(m->options.descriptors);
}

static void conn_dead(struct conn *c)
{
	link_free(CONTAINER(c, struct memcache_link, conn));
}

static bool reply_begun(const struct memcache_link *l, const struct memcache_call *call)
{
	return l->calls.next == &call->node &&
	       (l->part != PART_LINE || l->conn.inbox_bytes > 0);
}

static bool may_retry(const struct memcache_link *l, const struct memcache_call *call,
		      enum link_ending why)
{
	bool late = !list_empty(&call->event_node);

	if (late || call->retried || call->forgotten)
		return false;
	switch (why) {
	case LINK_GIVEN_UP:
		return false;
	case LINK_LATE:
		return call->command == MEMCACHE_GET || call->command == MEMCACHE_MG;
	case LINK_STALE:
		return !reply_begun(l, call);
	}
	return false;
}

/* Moves the call from its link to the head of its server's queue. */
static void call_retry(struct memcache_link *l, struct memcache_call *call)
{
	value_drop(call);
	list_remove(&call->node);
	l->calls_n--;
	stat_sub(&l->server->member.record->in_flight, 1);
	call->link = NULL;
	call->retried = true;
	stat_add(&link_stats(l)->retries, 1);
	if (member_is_leaving(&l->server->member))
		call->server = memcache_server_of(call->memcache, call);
	if (server_reject_if_down(call->server, call))
		return;
	server_enqueue(call->server, call, true);
	server_schedule(call->server);
}

/* From the last call to the first, so that calls that are sent again keep their order. */
static void link_end_calls(struct memcache_link *l, enum link_ending why)
{
	while (!list_empty(&l->calls)) {
		struct memcache_call *call = LIST_ITEM(l->calls.prev,
						       struct memcache_call, node);

		if (!may_retry(l, call, why)) {
			call_decide(call, CALL_FAILED,
				    why == LINK_LATE ? CALL_TIMEOUT : CALL_ERROR);
			continue;
		}
		if (why == LINK_STALE)
			stat_add(&link_stats(l)->stale_retries, 1);
		call_retry(l, call);
	}
}

void link_break(struct memcache_link *l, enum link_ending why)
{
	struct memcache_server *s = l->server;

	ASSERT(l->state == LINK_OPEN);
	link_set_state(l, LINK_CLOSING);
	link_rank(l);
	list_remove(&l->unsent);
	buf_put(l->out);
	l->out = NULL;
	s->links--;
	stat_sub(&link_stats(l)->connections, 1);
	link_end_calls(l, why);
	conn_close(&l->conn, CONN_NOW, 0);
	if (s->waiting > 0)
		server_schedule(s);
}

void link_close(struct memcache_link *l)
{
	switch (l->state) {
	case LINK_CONNECTING:
		link_give_up(l);
		break;
	case LINK_OPEN:
		link_break(l, LINK_GIVEN_UP);
		break;
	case LINK_CLOSING:
		break;
	}
}

void link_retire(struct memcache_link *l)
{
	bool connecting = l->state == LINK_CONNECTING;

	l->retired = true;
	link_rank(l);
	if (connecting || l->calls_n == 0)
		link_close(l);
	if (connecting && !member_is_leaving(&l->server->member))
		server_schedule(l->server);
}

/* ---- receiving -------------------------------------------------------------- */

static void conn_changed(struct conn *c)
{
	struct memcache_link *l = CONTAINER(c, struct memcache_link, conn);

	tick_run(c->tick, &l->task);
}

/* Closes an idle link that is retired, or exceeds `keepalive`. */
static void close_if_spare(struct memcache_link *l)
{
	if (l->idle &&
	    (l->retired || l->server->idle > l->server->memcache->table.config.keepalive))
		link_break(l, LINK_GIVEN_UP);
}

/* If a link with calls was stale the server's other links may be so too: idle links have
 * been idle for longer, and a server that ends closes them all. They must not get the
 * calls that are sent again. */
static void retire_older_links(struct memcache_server *s)
{
	LIST_EACH(&s->memcache->links_all, node)
	{
		struct memcache_link *l = LIST_ITEM(node, struct memcache_link, all);

		if (l->server == s && l->state == LINK_OPEN && l->replied && !l->retired)
			link_retire(l);
	}
}

static void conn_ended(struct memcache_link *l)
{
	bool by_peer = l->conn.eof || l->conn.error == -ECONNRESET;
	bool stale = by_peer && l->replied;
	bool renew = stale && l->calls_n > 0 && !l->retired;

	link_break(l, stale ? LINK_STALE : LINK_GIVEN_UP);
	if (renew)
		retire_older_links(l->server);
}

static void link_receive(struct memcache_link *l)
{
	link_read(l);
	if (l->state == LINK_OPEN && (l->conn.eof || l->conn.error))
		conn_ended(l);
	if (l->state != LINK_OPEN)
		return;
	l->blocked = false;
	link_rank(l);
	server_dispatch(l->server);
	close_if_spare(l);
}

static void link_step(struct task *task)
{
	struct memcache_link *l = CONTAINER(task, struct memcache_link, task);

	switch (l->state) {
	case LINK_CONNECTING:
		link_dial_ended(l);
		close_if_spare(l);
		break;
	case LINK_OPEN:
		link_receive(l);
		break;
	case LINK_CLOSING:
		break;
	}
	CHECK_STATE(link_check(l));
}

/* ---- birth ------------------------------------------------------------------ */

/* NULL: no memory. */
static struct memcache_link *link_new(struct memcache_server *s)
{
	static const struct conn_events events = {
		.changed = conn_changed,
		.dead = conn_dead,
		.may_use_reserve = true,
	};
	struct memcache *m = s->memcache;
	struct memcache_link *l = slab_take(&m->links);

	if (!l)
		return NULL;
	l->server = s;
	l->address = s->address;
	list_init(&l->calls);
	list_init(&l->unsent);
	list_init(&l->rank);
	list_init(&l->all);
	task_init(&l->task, link_step);
	if (link_dial(l, &events))
		return l;
	slab_put(&m->links, l);
	return NULL;
}

int link_connect(struct memcache_server *s)
{
	struct memcache *m = s->memcache;
	struct memcache_link *l;

	if (!quota_take(m->options.descriptors)) {
		if (m->options.short_of_descriptors)
			m->options.short_of_descriptors(m->options.owner, s->queued);
		return -EMFILE;
	}
	l = link_new(s);
	if (!l) {
		quota_put(m->options.descriptors);
		return -ENOMEM;
	}
	list_append(&m->links_all, &l->all);
	s->links++;
	member_connection_made(&s->member);
	server_count_connecting(s, 1);
	return 0;
}
