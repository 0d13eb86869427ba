#include "back/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct server {
	struct upstream *upstream;
	const struct config_server *config;
	struct list idle;     /* last returned first */
	uint32_t idle_n;
	uint32_t open_n;      /* connecting, leased or idle */
	uint32_t leased_n;
	int64_t current;      /* smooth weighted round robin */
	uint64_t down_until_ms;
	unsigned address;     /* to be tried first */
};

struct upstream {
	struct tick *tick;
	const struct config_upstream *config;
	struct upstream_stats *stats;
	struct quota *descriptors;
	struct quota *line_quota;
	void (*short_of_descriptors)(void *owner, uint32_t n);
	void *owner;
	uint32_t window;
	uint32_t idle_timeout_ms;
	bool closing;
	uint32_t origin_n;    /* not dead */
	struct list line;     /* leases, first come first served */
	uint32_t line_n;
	struct task task;     /* serves the line when room has come */
	struct slab origins;
	unsigned server_n;
	struct server servers[];
};

static void serve_line(struct upstream *u);
static bool try_to_lease(struct upstream *u, struct lease *l);

const struct config_upstream *upstream_config(const struct upstream *u)
{
	return u->config;
}

struct upstream_stats *upstream_stats(struct upstream *u)
{
	return u->stats;
}

const char *lease_server(const struct lease *l)
{
	return l->origin->server->config->name;
}

/* ---- leases --------------------------------------------------------------- */

static void set_lease(struct lease *l, enum lease_state state)
{
	l->state = (uint8_t)state;
	tick_run(l->upstream->tick, l->asker);
}

static void fail(struct lease *l, enum lease_failure failure)
{
	timer_stop(&l->upstream->tick->wheel, &l->timer);
	l->failure = (uint8_t)failure;
	set_lease(l, LEASE_FAILED);
}

static void leave_line(struct lease *l)
{
	list_remove(&l->node);
	l->upstream->line_n--;
	quota_put(l->upstream->line_quota);
	stat_sub(&l->upstream->stats->waiting, 1);
	timer_stop(&l->upstream->tick->wheel, &l->timer);
}

static void queue_timer_expired(struct timer *t)
{
	struct lease *l = CONTAINER(t, struct lease, timer);

	leave_line(l);
	stat_add(&l->upstream->stats->queue_timeouts, 1);
	fail(l, LEASE_QUEUE_TIMEOUT);
}

static void connect_timer_expired(struct timer *t)
{
	struct lease *l = CONTAINER(t, struct lease, timer);

	io_cancel(l->upstream->tick->loop, &l->origin->connect.op);
}

/* ---- origins -------------------------------------------------------------- */

static void origin_dead(struct conn *conn)
{
	struct origin *o = CONTAINER(conn, struct origin, conn);
	struct upstream *u = o->server->upstream;

	task_stop(&o->task);
	quota_put(u->descriptors);
	u->origin_n--;
	slab_put(&u->origins, o);
	if (!list_empty(&u->line))
		tick_run(u->tick, &u->task);
}

/* One that never was connected. */
static void bury_unborn(struct corpse *corpse)
{
	origin_dead(CONTAINER(corpse, struct conn, corpse));
}

static void origin_changed(struct conn *conn)
{
	struct origin *o = CONTAINER(conn, struct origin, conn);

	tick_run(conn->tick, o->lease ? o->lease->asker : &o->task);
}

static const struct conn_events origin_events = { origin_changed, origin_dead };

static void leave_server(struct origin *o)
{
	struct server *s = o->server;

	if (o->state == ORIGIN_IDLE) {
		list_remove(&o->node);
		s->idle_n--;
		stat_sub(&s->upstream->stats->connections_idle, 1);
	} else if (o->state == ORIGIN_LEASED) {
		s->leased_n--;
	}
	s->open_n--;
	stat_sub(&s->upstream->stats->connections, 1);
}

static void end_origin(struct origin *o)
{
	bool connected = o->state != ORIGIN_CONNECTING;

	leave_server(o);
	o->state = ORIGIN_ENDING;
	o->lease = NULL;
	if (connected)
		conn_close(&o->conn, CONN_NOW, 0);
	else
		tick_bury(o->server->upstream->tick, &o->conn.corpse);
}

static void idle_timer_expired(struct timer *t)
{
	end_origin(CONTAINER(t, struct origin, conn.timer));
}

static void start_connect(struct origin *o)
{
	const struct server *s = o->server;
	unsigned n = (s->address + o->addresses_tried) % s->config->address_n;
	const struct config_address *a = &s->config->addresses[n];

	o->addresses_tried++;
	io_connect(s->upstream->tick->loop, &o->connect, (const struct sockaddr *)&a->sa, a->len);
}

static void connected(struct io_op *op, int res, unsigned flags)
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
	s->address = (s->address + o->addresses_tried - 1u) % s->config->address_n;
	s->down_until_ms = 0;
	conn_open(&o->conn, s->upstream->tick, &origin_events, o->connect_result,
		  s->upstream->window);
	o->state = ORIGIN_LEASED;
	s->leased_n++;
	o->requests = 1;
	reader_init(&o->reader);
	set_lease(l, LEASE_READY);
}

static void connect_failed(struct origin *o)
{
	struct server *s = o->server;
	struct upstream *u = s->upstream;
	struct lease *l = o->lease;
	bool late = !timer_armed(&l->timer); /* it rang, and cancelled the connect */

	if (!late && o->addresses_tried < s->config->address_n) {
		start_connect(o);
		return;
	}
	stat_add(&u->stats->connect_failures, 1);
	s->down_until_ms = u->tick->now_ms + UPSTREAM_DOWN_MS;
	timer_stop(&u->tick->wheel, &l->timer);
	end_origin(o);
	l->origin = NULL;
	l->failure = late ? LEASE_CONNECT_TIMEOUT : LEASE_REFUSED;
	if (!try_to_lease(u, l))
		fail(l, (enum lease_failure)l->failure);
}

static bool is_stale(const struct origin *o)
{
	return o->conn.inbox || o->conn.eof || o->conn.error;
}

/* Nobody has it leased, or its connect has ended. */
static void origin_step(struct task *task)
{
	struct origin *o = CONTAINER(task, struct origin, task);
	struct tick *tick = o->server->upstream->tick;

	switch ((enum origin_state)o->state) {
	case ORIGIN_CONNECTING:
		if (!o->lease) {
			if (o->connect_result >= 0)
				io_close(tick->loop, o->connect_result);
			end_origin(o);
		} else if (o->connect_result >= 0) {
			connect_succeeded(o);
		} else {
			connect_failed(o);
		}
		break;
	case ORIGIN_IDLE:
		/* It ended, or speaks without having been asked: either way it is of no
		 * more use, and what it says belongs to nobody. */
		if (is_stale(o))
			end_origin(o);
		break;
	case ORIGIN_LEASED:
	case ORIGIN_ENDING:
		break;
	}
}

/* One of `wanted` that are waited for. */
static bool take_descriptor(struct upstream *u, uint32_t wanted)
{
	if (quota_take(u->descriptors))
		return true;
	if (u->short_of_descriptors)
		u->short_of_descriptors(u->owner, wanted);
	return false;
}

/* A descriptor was taken for it. */
static void connect_new(struct server *s, struct lease *l)
{
	struct upstream *u = s->upstream;
	unsigned i = (unsigned)(s - u->servers);
	struct origin *o = slab_take(&u->origins);

	if (!o) {
		quota_put(u->descriptors);
		fail(l, LEASE_NO_MEMORY);
		return;
	}
	l->tried[i / 64] |= 1ull << i % 64;
	o->server = s;
	o->lease = l;
	o->state = ORIGIN_CONNECTING;
	list_init(&o->node);
	task_init(&o->task, origin_step);
	list_init(&o->conn.corpse.node);
	o->conn.corpse.bury = bury_unborn;
	io_op_init(&o->connect.op, connected);
	s->open_n++;
	u->origin_n++;
	stat_add(&u->stats->connections, 1);
	stat_add(&u->stats->connects, 1);
	l->origin = o;
	l->reused = false;
	timer_init(&l->timer, connect_timer_expired);
	timer_set(&u->tick->wheel, &l->timer, u->tick->now_ms + u->config->connect_timeout_ms);
	set_lease(l, LEASE_CONNECTING);
	start_connect(o);
}

static void take_idle(struct server *s, struct lease *l)
{
	struct origin *o = LIST_ITEM(s->idle.next, struct origin, node);
	struct upstream *u = s->upstream;

	list_remove(&o->node);
	s->idle_n--;
	s->leased_n++;
	stat_sub(&u->stats->connections_idle, 1);
	o->state = ORIGIN_LEASED;
	o->lease = l;
	o->requests++;
	reader_init(&o->reader);
	l->origin = o;
	l->reused = true;
	set_lease(l, LEASE_READY);
}

/* What happened to idle origins in this tick may not have been looked at yet. */
static void drop_stale(struct server *s)
{
	while (s->idle_n > 0 && is_stale(LIST_ITEM(s->idle.next, struct origin, node)))
		end_origin(LIST_ITEM(s->idle.next, struct origin, node));
}

/* ---- which server --------------------------------------------------------- */

static bool was_tried(const struct lease *l, unsigned i)
{
	return l->tried[i / 64] >> i % 64 & 1;
}

static bool is_full(const struct upstream *u, const struct server *s)
{
	return s->idle_n == 0 && u->config->connections > 0 &&
	       s->open_n >= u->config->connections;
}

static bool better(const struct upstream *u, const struct server *a, const struct server *b)
{
	switch (u->config->balance) {
	case CONFIG_ROUND_ROBIN:
		return a->current > b->current;
	case CONFIG_LEAST_CONNECTIONS:
		return (uint64_t)a->leased_n * b->config->weight <
		       (uint64_t)b->leased_n * a->config->weight;
	}
	return false;
}

/* The best server that was not tried; NULL if there is none, or none with room. *untried
 * says whether there is one to wait for. Servers that are down come last. */
static struct server *choose(struct upstream *u, const struct lease *l, bool *untried)
{
	for (int with_down = 0; with_down < 2; with_down++) {
		struct server *best = NULL;
		int64_t total = 0;

		for (unsigned i = 0; i < u->server_n; i++) {
			struct server *s = &u->servers[i];

			if (was_tried(l, i))
				continue;
			*untried = true;
			if (is_full(u, s) || (s->down_until_ms > u->tick->now_ms) != with_down)
				continue;
			s->current += s->config->weight;
			total += s->config->weight;
			if (!best || better(u, s, best))
				best = s;
		}
		if (best) {
			best->current -= total;
			return best;
		}
	}
	return NULL;
}

static bool join_line(struct upstream *u, struct lease *l)
{
	if (!quota_take(u->line_quota)) {
		stat_add(&u->stats->queue_refusals, 1);
		fail(l, LEASE_QUEUE_FULL);
		return true;
	}
	list_append(&u->line, &l->node);
	u->line_n++;
	stat_add(&u->stats->waiting, 1);
	timer_init(&l->timer, queue_timer_expired);
	timer_set(&u->tick->wheel, &l->timer, u->tick->now_ms + u->config->queue_timeout_ms);
	set_lease(l, LEASE_WAITING);
	return true;
}

/* False: every server was tried. */
static bool try_to_lease(struct upstream *u, struct lease *l)
{
	bool untried = false;
	struct server *s = choose(u, l, &untried);

	if (!untried)
		return false;
	if (!s)
		return join_line(u, l);
	drop_stale(s);
	if (s->idle_n > 0 && !l->fresh) {
		take_idle(s, l);
		return true;
	}
	/* Without a descriptor it waits for one (see upstream_serve()), behind those who do. */
	if (!list_empty(&u->line) || !take_descriptor(u, 1))
		return join_line(u, l);
	connect_new(s, l);
	return true;
}

void upstream_lease(struct upstream *u, struct lease *l, bool fresh, struct task *asker)
{
	ASSERT(l->state == LEASE_NONE);
	memset(l, 0, sizeof(*l));
	l->upstream = u;
	l->asker = asker;
	l->fresh = fresh;
	list_init(&l->node);
	timer_init(&l->timer, NULL);
	if (u->closing)
		fail(l, LEASE_REFUSED);
	else
		try_to_lease(u, l);
}

/* A place came free: those who wait longest go first. */
static void serve_line(struct upstream *u)
{
	while (!list_empty(&u->line)) {
		struct lease *l = LIST_ITEM(u->line.next, struct lease, node);
		bool untried = false;
		struct server *s = choose(u, l, &untried);

		if (!s)
			return;
		drop_stale(s);
		if (s->idle_n > 0 && !l->fresh) {
			leave_line(l);
			take_idle(s, l);
			continue;
		}
		if (!take_descriptor(u, u->line_n))
			return;
		leave_line(l);
		connect_new(s, l);
	}
}

static void make_idle(struct origin *o)
{
	struct server *s = o->server;
	struct upstream *u = s->upstream;

	o->state = ORIGIN_IDLE;
	o->lease = NULL;
	s->leased_n--;
	s->idle_n++;
	list_prepend(&s->idle, &o->node);
	stat_add(&u->stats->connections_idle, 1);
	o->conn.timer.expired = idle_timer_expired;
	timer_set(&u->tick->wheel, &o->conn.timer, u->tick->now_ms + u->idle_timeout_ms);
	serve_line(u);
}

static void take_back(struct origin *o, bool reusable)
{
	const struct server *s = o->server;
	struct upstream *u = o->server->upstream;

	if (reusable && !u->closing && !o->conn.inbox && !o->conn.eof && !o->conn.error &&
	    conn_unsent(&o->conn) == 0 &&
	    (s->idle_n < u->config->keepalive || !list_empty(&u->line))) {
		make_idle(o);
	} else {
		end_origin(o);
		serve_line(u);
	}
}

void upstream_return(struct lease *l, bool reusable)
{
	struct upstream *u = l->upstream;
	struct origin *o = l->origin;

	switch ((enum lease_state)l->state) {
	case LEASE_WAITING:
		leave_line(l);
		break;
	case LEASE_CONNECTING:
		timer_stop(&u->tick->wheel, &l->timer);
		o->lease = NULL;
		io_cancel(u->tick->loop, &o->connect.op);
		break;
	case LEASE_READY:
		l->origin = NULL;
		l->state = LEASE_NONE;
		take_back(o, reusable);
		break;
	case LEASE_NONE:
	case LEASE_FAILED:
		break;
	}
	l->origin = NULL;
	l->state = LEASE_NONE;
}

static void step(struct task *task)
{
	serve_line(CONTAINER(task, struct upstream, task));
}

/* ---- the upstream --------------------------------------------------------- */

struct upstream *upstream_new(const struct upstream_options *options)
{
	unsigned n = options->config->server_n;
	struct upstream *u = calloc(1, sizeof(*u) + n * sizeof(u->servers[0]));

	if (!u)
		return NULL;
	u->tick = options->tick;
	u->config = options->config;
	u->stats = options->stats;
	u->descriptors = options->descriptors;
	u->line_quota = options->line;
	u->short_of_descriptors = options->short_of_descriptors;
	u->owner = options->owner;
	u->window = options->window;
	u->idle_timeout_ms = options->idle_timeout_ms;
	u->server_n = n;
	list_init(&u->line);
	task_init(&u->task, step);
	slab_init(&u->origins, "origin", sizeof(struct origin), 0);
	for (unsigned i = 0; i < n; i++) {
		u->servers[i].upstream = u;
		u->servers[i].config = &options->config->servers[i];
		list_init(&u->servers[i].idle);
	}
	return u;
}

bool upstream_evict(struct upstream *u)
{
	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = &u->servers[i];

		if (s->idle_n > 0) {
			end_origin(LIST_ITEM(s->idle.prev, struct origin, node));
			return true;
		}
	}
	return false;
}

void upstream_serve(struct upstream *u)
{
	if (!list_empty(&u->line))
		tick_run(u->tick, &u->task);
}

void upstream_close(struct upstream *u)
{
	u->closing = true;
	for (unsigned i = 0; i < u->server_n; i++)
		LIST_EACH(&u->servers[i].idle, node)
			end_origin(LIST_ITEM(node, struct origin, node));
}

bool upstream_idle(const struct upstream *u)
{
	return u->origin_n == 0;
}

void upstream_free(struct upstream *u)
{
	ASSERT(u->origin_n == 0 && list_empty(&u->line));
	task_stop(&u->task);
	slab_done(&u->origins);
	free(u);
}

void upstream_trim(struct upstream *u)
{
	slab_trim(&u->origins);
}
