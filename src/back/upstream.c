#include "back/upstream.h"

#include <stdlib.h>

#include "server.h"

struct upstream_stats *upstream_stats(struct upstream *u)
{
	return u->stats;
}

void upstream_begin_block(const struct upstream *u, struct field_block *b, size_t size)
{
	http1_block(b, io_bufs(u->tick->loop), size);
}

const char *lease_server(const struct lease *l)
{
	return l->origin->server->name;
}

struct phases *lease_phases(const struct lease *l)
{
	return l->origin->server->member.record->phases;
}

enum tls_fault lease_tls_fault(const struct lease *l)
{
	const struct tls *tls = conn_tls(&l->origin->conn);

	if (!tls || tls->fault == TLS_FAULT_CLOSED || tls->fault == TLS_FAULT_TRUNCATED)
		return TLS_FAULT_NONE;
	return (enum tls_fault)tls->fault;
}

/* ---- leases --------------------------------------------------------------- */

/* The diagram of back/upstream.h: the states that may follow each state. A refused connect is
 * followed by one to the next server, or by the queue. */
static const uint8_t next_states[] = {
	[LEASE_NONE] = 1u << LEASE_WAITING | 1u << LEASE_CONNECTING | 1u << LEASE_READY |
		       1u << LEASE_FAILED,
	[LEASE_WAITING] = 1u << LEASE_CONNECTING | 1u << LEASE_READY | 1u << LEASE_FAILED,
	[LEASE_CONNECTING] = 1u << LEASE_CONNECTING | 1u << LEASE_READY |
			     1u << LEASE_WAITING | 1u << LEASE_FAILED,
	[LEASE_READY] = 0, /* upstream_return() */
	[LEASE_FAILED] = 0,
};

void lease_check(const struct lease *l)
{
	const struct origin *o = l->origin;

	ASSERT(!l->stream == (l->state != LEASE_READY));
	switch ((enum lease_state)l->state) {
	case LEASE_NONE:
	case LEASE_FAILED:
		ASSERT(!o);
		break;
	case LEASE_WAITING:
		ASSERT(!o && !list_empty(&l->node) && l->upstream->queue_n > 0);
		break;
	case LEASE_CONNECTING:
		ASSERT(o->lease == l && o->state == ORIGIN_CONNECTING);
		break;
	case LEASE_READY:
		ASSERT(o->lease == l && o->state == ORIGIN_LEASED);
		break;
	}
}

/* An idle connection is placed and ready in one step. */
static void note_time(struct lease *l, enum lease_state next)
{
	struct lease_times *t = l->times;

	if (next == LEASE_CONNECTING) {
		t->placed = l->upstream->tick->now_us;
		t->connected = 0;
	} else if (next == LEASE_READY) {
		t->ready = l->upstream->tick->now_us;
		if (l->state != LEASE_CONNECTING) {
			t->placed = t->ready;
			t->connected = 0;
		}
	}
}

void lease_set(struct lease *l, enum lease_state state)
{
	ASSERT(next_states[l->state] >> state & 1);
	if (l->times)
		note_time(l, state);
	l->state = (uint8_t)state;
	tick_run(l->upstream->tick, l->waiter);
}

void lease_fail(struct lease *l, enum lease_failure failure)
{
	timer_stop(&l->upstream->tick->wheel, &l->timer);
	l->failure = (uint8_t)failure;
	lease_set(l, LEASE_FAILED);
}

static void server_check(const struct server *s)
{
	const struct upstream *u = s->upstream;
	bool leaving = member_is_leaving(&s->member);

	member_check(&s->member);
	ASSERT(s->member.connection_n >= s->open_n && s->busy_n >= s->leased_n);
	ASSERT(s->idle_n + s->held_n == 0 || (!u->closing && !leaving));
	ASSERT(!leaving || (s->at == RANK_UNLISTED && s->member.connection_n > 0));
}

void upstream_check(const struct upstream *u)
{
	uint32_t origin_n = 0, busy_n = 0;

	rank_check(u);
	queue_check(u);
	for (unsigned i = 0; i < u->table.n; i++) {
		server_check(server_at(u, i));
		origin_n += server_at(u, i)->member.connection_n;
		busy_n += server_at(u, i)->busy_n;
	}
	LIST_EACH(&u->table.leaving, node) {
		const struct server *s = server_of(LIST_ITEM(node, struct member, node));

		server_check(s);
		origin_n += s->member.connection_n;
		busy_n += s->busy_n;
	}
	ASSERT(origin_n == u->origin_n && busy_n == u->busy_n);
}

/* ---- placing a lease ------------------------------------------------------ */

bool server_reserve(struct server *s, struct lease *l)
{
	uint32_t limit = s->upstream->table.config.requests;

	if (limit > 0 && s->member.registry_entry) {
		if (s->permits > 0)
			s->permits--;
		else if (!registry_take_permit(s->member.registry_entry, limit))
			return false;
		l->has_permit = true;
	}
	s->busy_n++;
	s->upstream->busy_n++;
	stat_add(&s->member.record->requests, 1);
	stat_add(&s->member.record->in_flight, 1);
	return true;
}

void server_release(struct server *s, struct lease *l)
{
	struct upstream *u = s->upstream;

	s->busy_n--;
	u->busy_n--;
	stat_sub(&s->member.record->in_flight, 1);
	if (l->has_permit)
		registry_put_permit(u->table.registry, s->member.registry_entry,
				    u->table.worker, u->table.config.requests);
	l->has_permit = false;
}

/* wanted: descriptors that all waiting leases need. */
static bool descriptor_take(struct upstream *u, uint32_t wanted)
{
	if (quota_take(u->descriptors))
		return true;
	if (u->short_of_descriptors)
		u->short_of_descriptors(u->owner, wanted);
	return false;
}

/* At the limit `connections`, closes an idle connection that the lease cannot use, to
 * make space for a new one. */
static void connection_make_space(const struct upstream *u, struct server *s,
				  const struct lease *l)
{
	if (u->table.config.connections == 0 || s->open_n < u->table.config.connections)
		return;
	if (l->new_only && s->idle_n > 0)
		origin_end(LIST_ITEM(s->idle.prev, struct origin, node));
	else if (s->held_n > 0)
		origin_end(LIST_ITEM(s->held.prev, struct origin, node));
}

/* Gives the lease an origin of the server: an idle one, else a new one. False: no permit
 * or no descriptor is left, or other leases in the queue go first. */
static bool lease_assign(struct upstream *u, struct server *s, struct lease *l,
			 uint32_t wanted)
{
	bool queued = l->state == LEASE_WAITING;
	bool idle;

	origin_end_stale(s);
	idle = s->idle_n > 0 && !l->new_only;
	/* If descriptors are short the lease waits, behind those that are in the queue. */
	if (!idle && ((!queued && !list_empty(&u->queue)) || !descriptor_take(u, wanted)))
		return false;
	if (!server_reserve(s, l)) {
		if (!idle)
			quota_put(u->descriptors);
		/* Another worker took the permit; another server may have capacity. */
		upstream_schedule_queue(u);
		return false;
	}
	if (queued)
		queue_remove(l);
	if (idle) {
		origin_lease_newest(s, l);
		return true;
	}
	connection_make_space(u, s, l);
	origin_connect(s, l);
	return true;
}

/* False: no permit of its server is free. */
static bool lease_assign_held(struct origin *o, struct lease *l)
{
	if (!server_reserve(o->server, l))
		return false;
	if (l->state == LEASE_WAITING)
		queue_remove(l);
	origin_lease_this(o, l);
	return true;
}

bool lease_place(struct upstream *u, struct lease *l)
{
	struct origin *held = origin_held(u, l);
	bool untried = false;
	struct server *s;

	if (u->closing)
		return false;
	if (held) {
		if (!lease_assign_held(held, l))
			queue_add(u, l);
		return true;
	}
	s = server_choose(u, l, &untried);
	if (!untried)
		return false;
	if (!s || !lease_assign(u, s, l, 1))
		queue_add(u, l);
	return true;
}

/* There is no server that was not tried. If none was, there is none that may be used. */
static void lease_fail_unplaced(struct lease *l)
{
	bool ordered = l->tried_n == 0 && !l->upstream->closing;

	lease_fail(l, ordered ? LEASE_ORDERED_DOWN : (enum lease_failure)l->failure);
}

void upstream_lease(struct upstream *u, struct lease *l, const struct tried *avoid,
		    bool new_only, struct task *waiter)
{
	ASSERT(l->state == LEASE_NONE);
	l->upstream = u;
	l->origin = NULL;
	l->failure = LEASE_REFUSED;
	l->reused = false;
	l->waiter = waiter;
	l->new_only = new_only;
	l->tried_n = 0;
	l->tried = avoid ? *avoid : (struct tried){ 0 };
	l->tried_has_avoided = l->tried.n > 0;
	list_init(&l->node);
	timer_init(&l->timer, NULL);
	if (u->table.n == 0)
		lease_fail(l, LEASE_NO_SERVER);
	else if (!lease_place(u, l))
		lease_fail_unplaced(l);
	CHECK_STATE(upstream_check(u));
}

bool lease_place_queued(struct upstream *u, struct lease *l)
{
	struct origin *held = origin_held(u, l);
	bool untried = false;
	struct server *s;

	if (held)
		return lease_assign_held(held, l);
	s = server_choose(u, l, &untried);
	if (untried)
		return s && lease_assign(u, s, l, u->queue_n);
	queue_remove(l);
	lease_fail_unplaced(l);
	return true;
}

void upstream_return(struct lease *l, bool reusable)
{
	struct upstream *u = l->upstream;
	struct origin *o = l->origin;

	switch ((enum lease_state)l->state) {
	case LEASE_WAITING:
		queue_remove(l);
		break;
	case LEASE_CONNECTING:
		server_release(o->server, l);
		upstream_schedule_queue(u);
		origin_end(o);
		break;
	case LEASE_READY:
		server_release(o->server, l);
		l->origin = NULL;
		l->stream = NULL;
		l->state = LEASE_NONE;
		o->held |= l->hold_on_return;
		origin_take_back(o, reusable, l->held_list);
		break;
	case LEASE_NONE:
	case LEASE_FAILED:
		l->state = LEASE_NONE;
		return;
	}
	l->origin = NULL;
	l->state = LEASE_NONE;
	CHECK_STATE(upstream_check(u));
}

void upstream_announced_idle(struct lease *l, uint32_t idle_s)
{
	l->origin->idle_s = idle_s;
}

void upstream_hold(struct lease *l)
{
	l->origin->held = true;
}

void upstream_close_held(struct list *held)
{
	LIST_EACH(held, node)
		origin_end(LIST_ITEM(node, struct origin, held_node));
}

static void upstream_step(struct task *task)
{
	struct upstream *u = CONTAINER(task, struct upstream, task);

	queue_dispatch(u);
	CHECK_STATE(upstream_check(u));
}

/* ---- the upstream --------------------------------------------------------- */

/* Called by the mailbox: leases of the queue get an origin or fail here, and their waiters
 * are run (tick.h). */
static void permits_granted(void *owner)
{
	upstream_collect_permits(owner);
}

struct upstream *upstream_new(const struct upstream_options *options)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->tick = options->tick;
	u->stats = options->stats;
	u->descriptors = options->descriptors;
	u->queue_quota = options->queue_quota;
	u->short_of_descriptors = options->short_of_descriptors;
	u->owner = options->owner;
	u->window = options->window;
	list_init(&u->queue);
	task_init(&u->task, upstream_step);
	u->origins = options->origins ? options->origins : &u->own_origins;
	slab_init(&u->own_origins, "origin", sizeof(struct origin), 0);
	if (!server_table_init(&u->table, u->tick, options->registry, options->worker,
			       &upstream_members)) {
		free(u);
		return NULL;
	}
	random_init(&u->random, u->tick->now_us + options->worker);
	registry_attach(u->table.registry, u->table.worker, &u->tick->mailbox,
			permits_granted, u);
	if (upstream_servers_init(u, options->config))
		return u;
	upstream_free(u);
	return NULL;
}

bool upstream_evict(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n; i++) {
		struct server *s = server_at(u, i);

		if (s->idle_n > 0) {
			origin_end(LIST_ITEM(s->idle.prev, struct origin, node));
			return true;
		}
	}
	for (unsigned i = 0; i < u->table.n; i++) {
		struct server *s = server_at(u, i);

		if (s->held_n > 0) {
			origin_end(LIST_ITEM(s->held.prev, struct origin, node));
			return true;
		}
	}
	return false;
}

void upstream_schedule_queue(struct upstream *u)
{
	if (!list_empty(&u->queue))
		tick_run(u->tick, &u->task);
}

void upstream_set_window(struct upstream *u, uint32_t window)
{
	u->window = window;
}

void upstream_close(struct upstream *u)
{
	u->closing = true;
	LIST_EACH(&u->queue, node) {
		struct lease *l = LIST_ITEM(node, struct lease, node);

		queue_remove(l);
		lease_fail(l, LEASE_REFUSED);
	}
	for (unsigned i = 0; i < u->table.n; i++) {
		LIST_EACH(&server_at(u, i)->idle, node)
			origin_end(LIST_ITEM(node, struct origin, node));
		LIST_EACH(&server_at(u, i)->held, node)
			origin_end(LIST_ITEM(node, struct origin, node));
	}
	CHECK_STATE(upstream_check(u));
}

bool upstream_idle(const struct upstream *u)
{
	return u->origin_n == 0;
}

void upstream_free(struct upstream *u)
{
	ASSERT(u->origin_n == 0 && list_empty(&u->queue));
	ASSERT(u->busy_n == 0 && u->queue_n == 0);
	upstream_servers_done(u);
	registry_detach(u->table.registry, u->table.worker, u);
	server_table_done(&u->table);
	task_stop(&u->task);
	slab_done(&u->own_origins);
	free(u);
}

void upstream_trim(struct upstream *u)
{
	slab_trim(&u->own_origins);
}
