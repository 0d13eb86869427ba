/* Origins: connecting, leased, idle, ending (see back/upstream.h). */
#include <errno.h>

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

	ASSERT(s->open_n >= s->leased_n + s->idle_n + s->held_n && s->origin_n >= s->open_n);
	ASSERT(list_empty(&s->idle) == (s->idle_n == 0));
	ASSERT(list_empty(&s->held) == (s->held_n == 0));
	switch ((enum origin_state)o->state) {
	case ORIGIN_CONNECTING:
		ASSERT(!o->lease || o->lease->state == LEASE_CONNECTING);
		ASSERT(list_empty(&o->node) && o->requests == 0);
		break;
	case ORIGIN_LEASED:
		ASSERT(o->lease->origin == o && o->lease->state == LEASE_READY);
		ASSERT(list_empty(&o->node) && list_empty(&o->held_node));
		break;
	case ORIGIN_IDLE:
		ASSERT(!o->lease && !list_empty(&o->node) && !s->leaving);
		ASSERT(o->deadline.owner == o && deadline_running(&o->deadline));
		ASSERT(o->held == !list_empty(&o->held_node));
		break;
	case ORIGIN_ENDING:
		ASSERT(!o->lease && list_empty(&o->node) && list_empty(&o->held_node));
		break;
	}
}

static void connect_timer_expired(struct timer *t)
{
	struct lease *l = CONTAINER(t, struct lease, timer);

	io_cancel(l->upstream->tick->loop, &l->origin->connect.op);
}

static void origin_dead(struct conn *conn)
{
	struct origin *o = CONTAINER(conn, struct origin, conn);
	struct upstream *u = o->server->upstream;

	task_stop(&o->task);
	quota_put(u->descriptors);
	u->origin_n--;
	server_origin_dead(o->server);
	slab_put(u->origins, o);
	if (!list_empty(&u->queue))
		tick_run(u->tick, &u->task);
}

/* Frees an origin that never got a connection. */
static void reap_unconnected(struct reap *reap)
{
	origin_dead(CONTAINER(reap, struct conn, reap));
}

static void origin_changed(struct conn *conn)
{
	struct origin *o = CONTAINER(conn, struct origin, conn);

	tick_run(conn->tick, o->lease ? o->lease->waiter : &o->task);
}

static const struct conn_events origin_events = {
	.changed = origin_changed,
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
	bool connected = o->state != ORIGIN_CONNECTING;

	origin_uncount(o);
	origin_set_state(o, ORIGIN_ENDING);
	o->lease = NULL;
	if (!connected) {
		tick_reap(o->server->upstream->tick, &o->conn.reap);
		return;
	}
	deadline_stop(&o->deadline);
	conn_close(&o->conn, CONN_NOW, 0);
}

/* The server starts its idle timer before ours, and its close takes time to arrive. */
#define IDLE_MARGIN_MS 1000

/* How long it may be idle; 0: it is not reused. */
static uint64_t idle_limit_ms(const struct origin *o)
{
	const struct config_upstream *config = &o->server->upstream->config;
	uint64_t ms = config->idle_timeout_ms, announced_ms = 1000 * (uint64_t)o->idle_s;
	uint64_t margin_ms = announced_ms / 2 < IDLE_MARGIN_MS ? announced_ms / 2
							       : IDLE_MARGIN_MS;

	if (config->reuse == CONFIG_REUSE_NEVER)
		return 0;
	if (o->idle_s != UINT32_MAX && announced_ms - margin_ms < ms)
		ms = announced_ms - margin_ms;
	return ms;
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

static void origin_connect_done(struct io_op *op, int res, unsigned flags)
{
	struct origin *o = CONTAINER(op, struct origin, connect.op);

	(void)flags;
	o->connect_result = res;
	tick_run(o->server->upstream->tick, &o->task);
}

static void connect_succeeded(struct origin *o)
{
	struct server *s = o->server;
	struct lease *l = o->lease;

	timer_stop(&s->upstream->tick->wheel, &l->timer);
	rank_connect_succeeded(s);
	conn_open(&o->conn, s->upstream->tick, &origin_events, o->connect_result,
		  s->upstream->window);
	deadline_init(&o->deadline, &o->conn, &idle_rules, o);
	origin_set_state(o, ORIGIN_LEASED);
	s->leased_n++;
	o->requests = 1;
	o->idle_s = UINT32_MAX;
	reader_init(&o->reader);
	lease_set(l, LEASE_READY);
}

static enum lease_failure failure_of_error(int error)
{
	switch (error) {
	case -EACCES:
	case -EPERM:
		return LEASE_FORBIDDEN;
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -ENETDOWN:
	case -EHOSTDOWN:
	case -EAFNOSUPPORT:
		return LEASE_UNROUTABLE;
	}
	return sock_shortage(error) && error != -EAGAIN ? LEASE_NO_SOCKET : LEASE_REFUSED;
}

static void connect_failed(struct origin *o)
{
	struct server *s = o->server;
	struct upstream *u = s->upstream;
	struct lease *l = o->lease;
	/* An expired timer has cancelled the connect. */
	bool timed_out = !timer_armed(&l->timer);

	stat_add(&u->stats->connect_failures, 1);
	server_release(s, l);
	timer_stop(&u->tick->wheel, &l->timer);
	origin_end(o);
	if (timed_out || !sock_shortage(o->connect_result)) { /* else the cause is ours */
		rank_connect_failed(s);
		server_failed(s);
	}
	l->origin = NULL;
	l->failure = timed_out ? LEASE_CONNECT_TIMEOUT
			       : failure_of_error(o->connect_result);
	if (!lease_place(u, l))
		lease_fail(l, (enum lease_failure)l->failure);
}

static bool is_stale(const struct origin *o)
{
	return o->conn.inbox || o->conn.eof || o->conn.error || o->conn.send_error;
}

/* Run on events of an idle origin, and when a connect has ended. */
static void origin_step(struct task *task)
{
	struct origin *o = CONTAINER(task, struct origin, task);
	struct tick *tick = o->server->upstream->tick;

	switch ((enum origin_state)o->state) {
	case ORIGIN_CONNECTING:
		if (!o->lease) {
			if (o->connect_result >= 0)
				io_close(tick->loop, o->connect_result);
			origin_end(o);
		} else if (o->connect_result >= 0) {
			connect_succeeded(o);
		} else {
			connect_failed(o);
		}
		break;
	case ORIGIN_IDLE:
		/* The server closed it, or sent bytes without a request: it cannot be
		 * reused. */
		if (is_stale(o))
			origin_end(o);
		break;
	case ORIGIN_LEASED:
	case ORIGIN_ENDING:
		break;
	}
	origin_check(o);
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

void origin_connect(struct server *s, struct lease *l)
{
	struct upstream *u = s->upstream;
	struct origin *o = slab_take(u->origins);

	if (!o) {
		quota_put(u->descriptors);
		server_release(s, l);
		upstream_schedule_queue(u);
		lease_fail(l, LEASE_NO_MEMORY);
		return;
	}
	tried_record(l, s);
	o->server = s;
	o->lease = l;
	o->state = ORIGIN_CONNECTING;
	list_init(&o->node);
	list_init(&o->held_node);
	task_init(&o->task, origin_step);
	list_init(&o->conn.reap.node);
	o->conn.reap.free = reap_unconnected;
	io_op_init(&o->connect.op, origin_connect_done);
	s->open_n++;
	s->origin_n++;
	u->origin_n++;
	stat_add(&u->stats->connections, 1);
	stat_add(&u->stats->connects, 1);
	l->origin = o;
	l->reused = false;
	timer_init(&l->timer, connect_timer_expired);
	timer_set(&u->tick->wheel, &l->timer, u->tick->now_ms + u->config.connect_timeout_ms);
	lease_set(l, LEASE_CONNECTING);
	io_connect(u->tick->loop, &o->connect, (const struct sockaddr *)&s->sa, s->len);
}

struct origin *origin_held(const struct upstream *u, const struct lease *l)
{
	if (!l->held_list || l->new_only)
		return NULL;
	LIST_EACH(l->held_list, node) {
		struct origin *o = LIST_ITEM(node, struct origin, held_node);

		if (o->server->upstream == u && !is_stale(o) &&
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
	reader_init(&o->reader);
	l->origin = o;
	l->reused = true;
	lease_set(l, LEASE_READY);
}

void origin_end_stale(struct server *s)
{
	while (s->idle_n > 0 && is_stale(LIST_ITEM(s->idle.next, struct origin, node)))
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
	o->idle_since_ms = u->tick->now_ms;
	deadline_own(&o->deadline, &idle_rules, o);
	deadline_bound(&o->deadline, idle_due_ms(o));
	queue_dispatch(u);
}

/* Whether to keep it although it is not needed now: its holder, or a waiting lease, or
 * `keepalive` allows it. */
static bool may_keep_idle(const struct origin *o, const struct list *held_list)
{
	const struct server *s = o->server;

	if (o->held)
		return held_list != NULL;
	return s->idle_n < s->upstream->config.keepalive ||
	       !list_empty(&s->upstream->queue);
}

void origin_take_back(struct origin *o, bool reusable, struct list *held_list)
{
	const struct server *s = o->server;
	struct upstream *u = o->server->upstream;

	if (reusable && !u->closing && !s->leaving && !is_stale(o) &&
	    conn_unsent(&o->conn) == 0 && idle_limit_ms(o) > 0 &&
	    may_keep_idle(o, held_list)) {
		origin_make_idle(o, held_list);
	} else {
		origin_end(o);
		queue_dispatch(u);
	}
	origin_check(o);
}
