/* Origins: connecting, leased, idle, ending (see back/upstream.h). */
#include "io/sock.h"
#include "server.h"

/* The states that may follow each state. */
static const uint8_t next_states[] = {
	[ORIGIN_CONNECTING] = 1u << ORIGIN_LEASED | 1u << ORIGIN_ENDING,
	[ORIGIN_LEASED] = 1u << ORIGIN_IDLE | 1u << ORIGIN_ENDING,
	[ORIGIN_IDLE] = 1u << ORIGIN_LEASED | 1u << ORIGIN_ENDING,
	[ORIGIN_ENDING] = 0,
};

static void origin_set_state(struct origin *o, enum origin_state state)
{
	ASSERT(next_states[o->state] >> state & 1);
	o->state = (uint8_t)state;
}

void origin_check(const struct origin *o)
{
	const struct server *s = o->server;
	const struct deadline *d = &o->http1.stream.deadline;

	ASSERT(!o->dial || o->state == ORIGIN_CONNECTING);
	ASSERT(s->open_n >= s->leased_n + s->idle_n + s->held_n &&
	       s->member.connection_n >= s->open_n);
	ASSERT(list_empty(&s->idle) == (s->idle_n == 0));
	ASSERT(list_empty(&s->held) == (s->held_n == 0));
	switch ((enum origin_state)o->state) {
	case ORIGIN_CONNECTING:
		ASSERT(o->lease->origin == o && o->lease->state == LEASE_CONNECTING);
		ASSERT(o->dial && list_empty(&o->node) && o->requests == 0);
		break;
	case ORIGIN_LEASED:
		ASSERT(o->lease->origin == o && o->lease->state == LEASE_READY);
		ASSERT(list_empty(&o->node) && list_empty(&o->held_node));
		ASSERT(o->http1.stream.task == o->lease->waiter);
		http1_check(&o->http1);
		break;
	case ORIGIN_IDLE:
		ASSERT(!o->lease && !list_empty(&o->node) &&
		       !member_is_leaving(&s->member));
		ASSERT(o->tls_identity == s->member.tls_identity);
		ASSERT(d->owner == o && deadline_running(d));
		ASSERT(o->http1.stream.state == STREAM_IDLE);
		http1_check(&o->http1);
		ASSERT(o->held == !list_empty(&o->held_node));
		break;
	case ORIGIN_ENDING:
		ASSERT(!o->lease && list_empty(&o->node) && list_empty(&o->held_node));
		break;
	}
}

static void origin_dead(struct conn *conn)
{
	struct origin *o = CONTAINER(conn, struct origin, conn);
	struct upstream *u = o->server->upstream;

	task_stop(&o->task);
	quota_put(u->descriptors);
	u->origin_n--;
	member_connection_freed(&o->server->member);
	slab_put(u->origins, o);
	if (!list_empty(&u->queue))
		tick_run(u->tick, &u->task);
}

static void origin_changed(struct conn *conn)
{
	struct origin *o = CONTAINER(conn, struct origin, conn);

	struct task *task = o->http1.stream.task;

	if (o->state != ORIGIN_CONNECTING)
		http1_record(&o->http1);
	tick_run(conn->tick, task ? task : &o->task);
}

static void origin_timer_fired(struct conn *conn)
{
	deadline_fired(&CONTAINER(conn, struct origin, conn)->http1.stream.deadline);
}

static const struct conn_events origin_events = {
	.changed = origin_changed,
	.timer_fired = origin_timer_fired,
	.dead = origin_dead,
	.may_use_reserve = true,
};

static void idle_remove(struct origin *o)
{
	struct server *s = o->server;
	struct upstream_stats *stats = s->upstream->stats;

	list_remove(&o->node);
	list_remove(&o->held_node);
	if (o->held) {
		s->held_n--;
		stat_sub(&stats->connections_held, 1);
	} else {
		s->idle_n--;
		stat_sub(&stats->connections_idle, 1);
	}
}

static void origin_uncount(struct origin *o)
{
	struct server *s = o->server;

	if (o->state == ORIGIN_IDLE) {
		idle_remove(o);
	} else if (o->state == ORIGIN_LEASED) {
		s->leased_n--;
	}
	s->open_n--;
	stat_sub(&s->upstream->stats->connections, 1);
}

void origin_end(struct origin *o)
{
	origin_uncount(o);
	origin_set_state(o, ORIGIN_ENDING);
	o->lease = NULL;
	if (o->dial) {
		dial_cancel(&o->dial);
		return;
	}
	stream_release(&o->http1.stream);
	stream_set_state(&o->http1.stream, STREAM_CLOSED);
	conn_close(&o->conn, CONN_NOW, 0);
}

/* The server starts its idle timer before ours, and its close takes time to arrive. */
#define IDLE_MARGIN_MS 1000

/* How long it may be idle; 0: it is not reused, nor is one that began otherwise than connections
 * do now, after a reload. */
static uint64_t idle_limit_ms(const struct origin *o)
{
	const struct config_upstream *config = &o->server->upstream->table.config;
	uint64_t ms = config->idle_timeout_ms, announced_ms = 1000 * (uint64_t)o->idle_s;
	uint64_t margin_ms = announced_ms / 2 < IDLE_MARGIN_MS ? announced_ms / 2
							       : IDLE_MARGIN_MS;

	if (config->reuse == CONFIG_REUSE_NEVER ||
	    o->introduced != (config->proxy_protocol != CONFIG_PROXY_OFF))
		return 0;
	if (o->idle_s != UINT32_MAX && announced_ms - margin_ms < ms)
		ms = announced_ms - margin_ms;
	return ms;
}

/* Of one that is idle: a request may use it. */
static bool is_usable(const struct origin *o)
{
	return !http1_stale(&o->http1) && idle_limit_ms(o) > 0;
}

/* Between a connect or a new lease and the requester's first byte nothing is awaited. */
static uint64_t idle_due_ms(const void *owner)
{
	const struct origin *o = owner;

	return o->state == ORIGIN_IDLE ? o->idle_since_ms + idle_limit_ms(o)
				       : WHEEL_NEVER;
}

static void idle_time_passed(void *owner)
{
	origin_end(owner);
}

static const struct deadline_rules idle_rules = { .due_ms = idle_due_ms,
						  .passed = idle_time_passed };

static const struct stream_ops stream_ops = { HTTP1_OPS };

/* The lease is READY. */
static void stream_lend(struct origin *o, struct lease *l)
{
	struct stream *s = &o->http1.stream;

	stream_set_state(s, STREAM_OPEN);
	stream_use(s, l->waiter);
	l->stream = s;
	lease_set(l, LEASE_READY);
}

static void origin_opened(struct origin *o)
{
	struct server *s = o->server;

	server_tls_count(s->upstream->stats, o->dial);
	if (o->lease->times)
		o->lease->times->connected = o->dial->connected_us;
	dial_finish(&o->dial);
	rank_connect_succeeded(s);
	http1_init(&o->http1, &stream_ops, &o->conn, &idle_rules, o);
	http1_record(&o->http1);
	origin_set_state(o, ORIGIN_LEASED);
	s->leased_n++;
	o->requests = 1;
	o->idle_s = UINT32_MAX;
	stream_lend(o, o->lease);
}

static void origin_not_opened(struct origin *o)
{
	static const uint8_t failure_of_dial[] = {
		[DIAL_REFUSED] = LEASE_REFUSED,
		[DIAL_FORBIDDEN] = LEASE_FORBIDDEN,
		[DIAL_UNROUTABLE] = LEASE_UNROUTABLE,
		[DIAL_NO_SOCKET] = LEASE_NO_SOCKET,
		[DIAL_TIMEOUT] = LEASE_CONNECT_TIMEOUT,
		[DIAL_TLS] = LEASE_TLS,
	};
	struct server *s = o->server;
	struct upstream *u = s->upstream;
	struct lease *l = o->lease;

	stat_add(&u->stats->connect_failures, 1);
	server_tls_count(u->stats, o->dial);
	server_release(s, l);
	if (!sock_shortage(o->dial->error)) { /* else the cause is ours */
		rank_connect_failed(s);
		server_failed(s);
	}
	l->origin = NULL;
	l->failure = failure_of_dial[o->dial->failure];
	l->tls_fault = o->dial->fault;
	origin_end(o);
	if (!lease_place(u, l))
		lease_fail(l, (enum lease_failure)l->failure);
}

/* Run on events of an idle origin, and when its dial has a result. */
static void origin_step(struct task *task)
{
	struct origin *o = CONTAINER(task, struct origin, task);

	switch ((enum origin_state)o->state) {
	case ORIGIN_CONNECTING:
		if (o->dial->state == DIAL_OPENED)
			origin_opened(o);
		else
			origin_not_opened(o);
		break;
	case ORIGIN_IDLE:
		/* The server closed it, or sent bytes without a request: it cannot be
		 * reused. */
		if (http1_stale(&o->http1))
			origin_end(o);
		break;
	case ORIGIN_LEASED:
	case ORIGIN_ENDING:
		break;
	}
	CHECK_STATE(origin_check(o));
}

static void tried_record(struct lease *l, const struct server *s)
{
	l->tried_n++;
	tried_add(&l->tried, s->id);
}

static bool tried_before(const struct lease *l, const struct server *s)
{
	return tried_has(&l->tried, s->id);
}

/* NULL: no memory. */
static struct origin *origin_new(struct server *s, struct buf *preamble)
{
	struct upstream *u = s->upstream;
	struct origin *o = slab_take(u->origins);
	struct dial_options options;

	if (!o)
		return NULL;
	o->server = s;
	o->state = ORIGIN_CONNECTING;
	o->introduced = preamble;
	list_init(&o->node);
	list_init(&o->held_node);
	task_init(&o->task, origin_step);
	options = (struct dial_options){
		.conn = &o->conn,
		.events = &origin_events,
		.window = u->window,
		.address = (const struct sockaddr *)&s->sa,
		.address_len = s->len,
		.deadline_ms = u->tick->now_ms + u->table.config.connect_timeout_ms,
		.task = &o->task,
		.preamble = preamble,
	};
	member_dial(&s->member, &options);
	o->tls_identity = s->member.tls_identity;
	o->dial = dial_start(u->tick, &options);
	if (o->dial)
		return o;
	slab_put(u->origins, o);
	return NULL;
}

void origin_connect(struct server *s, struct lease *l)
{
	struct upstream *u = s->upstream;
	struct origin *o = origin_new(s, l->preamble);

	if (!o) {
		quota_put(u->descriptors);
		server_release(s, l);
		upstream_schedule_queue(u);
		lease_fail(l, LEASE_NO_MEMORY);
		return;
	}
	tried_record(l, s);
	o->lease = l;
	s->open_n++;
	member_connection_made(&s->member);
	u->origin_n++;
	stat_add(&u->stats->connections, 1);
	stat_add(&u->stats->connects, 1);
	l->origin = o;
	l->reused = false;
	lease_set(l, LEASE_CONNECTING);
}

struct origin *origin_held(const struct upstream *u, const struct lease *l)
{
	if (!l->held_list || l->new_only)
		return NULL;
	LIST_EACH(l->held_list, node) {
		struct origin *o = LIST_ITEM(node, struct origin, held_node);

		if (o->server->upstream == u && is_usable(o) &&
		    !tried_before(l, o->server))
			return o;
	}
	return NULL;
}

void origin_lease_newest(struct server *s, struct lease *l)
{
	origin_lease_this(LIST_ITEM(s->idle.next, struct origin, node), l);
}

void origin_lease_this(struct origin *o, struct lease *l)
{
	struct server *s = o->server;

	tried_record(l, s);
	idle_remove(o);
	s->leased_n++;
	origin_set_state(o, ORIGIN_LEASED);
	o->lease = l;
	o->requests++;
	l->origin = o;
	l->reused = true;
	stream_lend(o, l);
}

void origin_end_stale(struct server *s)
{
	while (s->idle_n > 0 &&
	       !is_usable(LIST_ITEM(s->idle.next, struct origin, node)))
		origin_end(LIST_ITEM(s->idle.next, struct origin, node));
}

/* A holder holds one origin of each upstream: an older one ends. */
static void origin_hold(struct origin *o, struct list *held_list)
{
	struct server *s = o->server;

	LIST_EACH(held_list, node) {
		struct origin *old = LIST_ITEM(node, struct origin, held_node);

		if (old->server->upstream == s->upstream)
			origin_end(old);
	}
	list_append(held_list, &o->held_node);
	list_prepend(&s->held, &o->node);
	s->held_n++;
	stat_add(&s->upstream->stats->connections_held, 1);
}

static void origin_make_idle(struct origin *o, struct list *held_list)
{
	struct server *s = o->server;
	struct upstream *u = s->upstream;

	origin_set_state(o, ORIGIN_IDLE);
	o->lease = NULL;
	s->leased_n--;
	if (o->held) {
		origin_hold(o, held_list);
	} else {
		s->idle_n++;
		list_prepend(&s->idle, &o->node);
		stat_add(&u->stats->connections_idle, 1);
	}
	stream_release(&o->http1.stream);
	http1_restart(&o->http1);
	o->idle_since_ms = u->tick->now_ms;
	deadline_own(&o->http1.stream.deadline, &idle_rules, o);
	deadline_bound(&o->http1.stream.deadline, idle_due_ms(o));
	queue_dispatch(u);
}

/* Whether to keep it although it is not needed now: its holder, or a waiting lease, or
 * `keepalive` allows it. */
static bool may_keep_idle(const struct origin *o, const struct list *held_list)
{
	const struct server *s = o->server;

	if (o->held)
		return held_list != NULL;
	return s->idle_n < s->upstream->table.config.keepalive ||
	       !list_empty(&s->upstream->queue);
}

void origin_take_back(struct origin *o, bool reusable, struct list *held_list)
{
	const struct server *s = o->server;
	struct upstream *u = o->server->upstream;

	if (reusable && !u->closing && !member_is_leaving(&s->member) &&
	    o->tls_identity == s->member.tls_identity &&
	    !http1_stale(&o->http1) &&
	    conn_unsent(&o->conn) == 0 && idle_limit_ms(o) > 0 &&
	    may_keep_idle(o, held_list)) {
		origin_make_idle(o, held_list);
	} else {
		origin_end(o);
		queue_dispatch(u);
	}
	CHECK_STATE(origin_check(o));
}
