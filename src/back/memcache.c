#include "back/memcache.h"

#include <stdlib.h>

#include "memcachelink.h"

/* ---- calls ------------------------------------------------------------------ */

static void call_free(struct memcache *m, struct memcache_call *call)
{
	value_drop(call);
	timer_stop(&m->options.tick->wheel, &call->timeout);
	list_remove(&call->event_node);
	slab_put(&m->calls, call);
}

/* Takes the call out of its link or out of its server's queue. */
static void call_unlink(struct memcache_call *call)
{
	struct memcache_link *l = call->link;

	if (l) {
		list_remove(&call->node);
		l->calls_n--;
		stat_sub(&l->server->member.record->in_flight, 1);
		call->link = NULL;
	} else if (!list_empty(&call->node)) {
		server_dequeue(call->server, call);
	}
}

static void count_failure(struct upstream_stats *stats, enum call_failure failure,
			  bool was_sent)
{
	switch (failure) {
	case CALL_ERROR:
	case CALL_VALUE_LARGE:
		stat_add(&stats->errors, 1);
		break;
	case CALL_TIMEOUT:
		stat_add(was_sent ? &stats->timeouts : &stats->queue_timeouts, 1);
		break;
	case CALL_QUEUE_FULL:
		stat_add(&stats->queue_refusals, 1);
		break;
	}
}

void call_decide(struct memcache_call *call, enum call_state state,
		 enum call_failure failure)
{
	struct memcache *m = call->memcache;
	struct tick *tick = m->options.tick;
	bool was_sent = call->link || call->retried;

	if (state == CALL_FAILED && call->link)
		stat_add(&call->server->member.record->failures, 1);
	call_unlink(call);
	call->server = NULL;
	timer_stop(&tick->wheel, &call->timeout);
	list_remove(&call->event_node);
	call->state = state;
	call->failure = failure;
	if (state == CALL_HIT)
		stat_add(&m->options.stats->hits, 1);
	else if (state == CALL_MISS)
		stat_add(&m->options.stats->misses, 1);
	else
		count_failure(m->options.stats, failure, was_sent);
	if (call->forgotten) {
		call_free(m, call);
		return;
	}
	if (state != CALL_HIT)
		value_drop(call);
	list_append(&m->decided, &call->event_node);
	tick_run(tick, &m->task);
}

static void call_expired(struct timer *t)
{
	struct memcache_call *call = CONTAINER(t, struct memcache_call, timeout);
	struct memcache *m = call->memcache;

	list_append(&m->expired, &call->event_node);
	tick_run(m->options.tick, &m->task);
}

struct memcache_call *memcache_ask(struct memcache *m, const struct memcache_ask *ask)
{
	struct memcache_call *call = slab_take(&m->calls);

	ASSERT(memcache_key_valid(ask->key));
	if (!call)
		return NULL;
	call->state = CALL_WAITING;
	call->owner = ask->owner;
	call->done = ask->done;
	call->forgotten = !ask->done;
	call->impatient = ask->impatient;
	call->command = (uint8_t)ask->command;
	call->ttl_s = ask->ttl_s;
	call->key_len = (uint8_t)ask->key.len;
	memcpy(call->key, ask->key.ptr, ask->key.len);
	call->memcache = m;
	call->server = memcache_server_of(m, call);
	list_init(&call->node);
	list_init(&call->event_node);
	timer_init(&call->timeout, call_expired);
	list_append(&m->unplaced, &call->event_node);
	tick_run(m->options.tick, &m->task);
	return call;
}

struct memcache_call *memcache_get(struct memcache *m, enum memcache_command command,
				   struct slice key, void *owner)
{
	return memcache_ask(m, &(struct memcache_ask){ .command = command,
						       .key = key,
						       .done = m->options.done,
						       .owner = owner });
}

void memcache_take_back(const struct memcache_call *counted)
{
	ASSERT(counted->command == MEMCACHE_COUNT);
	/* Whatever becomes of it: nobody waits. */
	(void)memcache_ask(counted->memcache,
			   &(struct memcache_ask){
				   .command = MEMCACHE_UNCOUNT,
				   .key = { counted->key, counted->key_len },
				   .impatient = true });
}

void memcache_give_up(struct memcache_call **where)
{
	ASSERT((*where)->impatient && (*where)->server);
	server_is_late((*where)->server);
	memcache_forget(where);
}

void memcache_forget(struct memcache_call **where)
{
	struct memcache_call *call = *where;

	*where = NULL;
	if (call->state != CALL_SENT) {
		call_unlink(call);
		call_free(call->memcache, call);
		return;
	}
	call->forgotten = true;
	call->owner = NULL;
	value_drop(call);
}

/* ---- the step --------------------------------------------------------------- */

static void decide_expired(struct memcache *m)
{
	while (!list_empty(&m->expired)) {
		struct memcache_call *call = LIST_ITEM(m->expired.next,
						       struct memcache_call, event_node);
		struct memcache_link *l = call->link;

		call_decide(call, CALL_FAILED, CALL_TIMEOUT);
		if (l)
			link_break(l, LINK_LATE);
	}
}

static void enqueue_unplaced(struct memcache *m)
{
	struct list *node;

	while ((node = list_pop(&m->unplaced))) {
		struct memcache_call *call = LIST_ITEM(node, struct memcache_call,
						       event_node);

		if (m->closing) {
			call_decide(call, CALL_FAILED, CALL_ERROR);
		} else if (!server_reject_if_slow(call->server, call) &&
			   !server_reject_if_down(call->server, call)) {
			server_enqueue(call->server, call, false);
			server_schedule(call->server);
		}
	}
}

static void dispatch_scheduled(struct memcache *m)
{
	while (!list_empty(&m->scheduled))
		server_dispatch(
			LIST_ITEM(m->scheduled.next, struct memcache_server, scheduled));
}

static void notify_decided(struct memcache *m)
{
	struct list *node;

	while ((node = list_pop(&m->decided))) {
		struct memcache_call *call = LIST_ITEM(node, struct memcache_call,
						       event_node);

		call->done(call);
	}
}

static void memcache_step(struct task *task)
{
	struct memcache *m = CONTAINER(task, struct memcache, task);

	decide_expired(m);
	enqueue_unplaced(m);
	dispatch_scheduled(m);
	notify_decided(m);
}

/* ---- life and death --------------------------------------------------------- */

static void init_lists(struct memcache *m)
{
	list_init(&m->unplaced);
	list_init(&m->expired);
	list_init(&m->decided);
	list_init(&m->scheduled);
	list_init(&m->unsent);
	list_init(&m->links_all);
}

struct memcache *memcache_new(const struct memcache_options *options)
{
	struct memcache *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->options = *options;
	m->options.upstream = NULL;
	if (!memcache_servers_init(m)) {
		free(m);
		return NULL;
	}
	slab_init(&m->calls, "memcache_call", sizeof(struct memcache_call), 0);
	slab_init(&m->links, "memcache_link", sizeof(struct memcache_link), 0);
	slab_init(&m->pieces, "value_piece", sizeof(struct value_piece), 0);
	slab_use_reserve(&m->pieces);
	task_init(&m->task, memcache_step);
	init_lists(m);
	if (memcache_reconfigure(m, options->upstream))
		return m;
	memcache_free(m);
	return NULL;
}

void memcache_close(struct memcache *m)
{
	m->closing = true;
	tick_run(m->options.tick, &m->task);
	LIST_EACH(&m->links_all, node)
		link_close(LIST_ITEM(node, struct memcache_link, all));
	for (unsigned i = 0; i < m->table.n; i++) {
		while (memcache_server_at(m, i)->waiting > 0)
			call_decide(LIST_ITEM(memcache_server_at(m, i)->queue.next,
					      struct memcache_call, node),
				    CALL_FAILED, CALL_ERROR);
	}
}

bool memcache_idle(const struct memcache *m)
{
	return list_empty(&m->links_all) && m->calls.taken == 0;
}

void memcache_free(struct memcache *m)
{
	ASSERT(memcache_idle(m));
	task_stop(&m->task);
	slab_done(&m->calls);
	slab_done(&m->links);
	slab_done(&m->pieces);
	memcache_servers_done(m);
	free(m);
}

void memcache_trim(struct memcache *m)
{
	slab_trim(&m->calls);
	slab_trim(&m->links);
	slab_trim(&m->pieces);
}

bool memcache_evict(struct memcache *m)
{
	for (unsigned i = 0; i < m->table.n; i++) {
		struct list *idle = &memcache_server_at(m, i)->buckets[0];

		if (!list_empty(idle)) {
			link_close(LIST_ITEM(idle->prev, struct memcache_link, rank));
			return true;
		}
	}
	return false;
}

void memcache_schedule_queues(struct memcache *m)
{
	for (unsigned i = 0; i < m->table.n; i++)
		if (memcache_server_at(m, i)->waiting > 0)
			server_schedule(memcache_server_at(m, i));
}
