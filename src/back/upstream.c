#include "back/upstream.h"

#include <stdlib.h>
#include <string.h>

#include "server.h"

const struct config_upstream *upstream_config(const struct upstream *u)
{
	return &u->config;
}

struct upstream_stats *upstream_stats(struct upstream *u)
{
	return u->stats;
}

const char *lease_server(const struct lease *l)
{
	return l->origin->server->name;
}

/* ---- leases --------------------------------------------------------------- */

void lease_set(struct lease *l, enum lease_state state)
{
	l->state = (uint8_t)state;
	tick_run(l->upstream->tick, l->asker);
}

void lease_fail(struct lease *l, enum lease_failure failure)
{
	timer_stop(&l->upstream->tick->wheel, &l->timer);
	l->failure = (uint8_t)failure;
	lease_set(l, LEASE_FAILED);
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
	lease_fail(l, LEASE_QUEUE_TIMEOUT);
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

/* ---- the line ------------------------------------------------------------- */

static bool join_line(struct upstream *u, struct lease *l)
{
	if (!quota_take(u->line_quota)) {
		stat_add(&u->stats->queue_refusals, 1);
		lease_fail(l, LEASE_QUEUE_FULL);
		return true;
	}
	list_append(&u->line, &l->node);
	u->line_n++;
	stat_add(&u->stats->waiting, 1);
	timer_init(&l->timer, queue_timer_expired);
	timer_set(&u->tick->wheel, &l->timer, u->tick->now_ms + u->config.queue_timeout_ms);
	lease_set(l, LEASE_WAITING);
	return true;
}

/* Who wants a new connection where idle ones stand at the limit takes the place of one. */
static void make_room(const struct upstream *u, struct server *s, const struct lease *l)
{
	if (l->fresh && s->idle_n > 0 && u->config.connections > 0 &&
	    s->open_n >= u->config.connections)
		origin_end(LIST_ITEM(s->idle.prev, struct origin, node));
}

/* False: every server was tried. */
bool lease_try(struct upstream *u, struct lease *l)
{
	bool untried = false;
	struct server *s = server_choose(u, l, &untried);

	if (!untried)
		return false;
	if (!s)
		return join_line(u, l);
	server_drop_stale(s);
	if (s->idle_n > 0 && !l->fresh) {
		origin_lease(s, l);
		return true;
	}
	/* Without a descriptor it waits for one (see upstream_serve()), behind those who do. */
	if (!list_empty(&u->line) || !take_descriptor(u, 1))
		return join_line(u, l);
	make_room(u, s, l);
	origin_connect(s, l);
	return true;
}

void upstream_lease(struct upstream *u, struct lease *l, const uint64_t *avoid, bool fresh,
		    struct task *asker)
{
	ASSERT(l->state == LEASE_NONE);
	l->upstream = u;
	l->origin = NULL;
	l->failure = LEASE_REFUSED;
	l->reused = false;
	l->asker = asker;
	l->fresh = fresh;
	memset(l->tried, 0, sizeof(l->tried));
	if (avoid)
		memcpy(l->tried, avoid, sizeof(l->tried));
	list_init(&l->node);
	timer_init(&l->timer, NULL);
	if (u->closing) {
		lease_fail(l, LEASE_REFUSED);
		return;
	}
	if (lease_try(u, l))
		return;
	memset(l->tried, 0, sizeof(l->tried)); /* all are to be avoided */
	if (!lease_try(u, l))
		lease_fail(l, LEASE_REFUSED);
}

/* A place came free: those who wait longest go first. */
void upstream_serve_line(struct upstream *u)
{
	while (!list_empty(&u->line)) {
		struct lease *l = LIST_ITEM(u->line.next, struct lease, node);
		bool untried = false;
		struct server *s = server_choose(u, l, &untried);

		if (!s && !untried) {
			leave_line(l);
			lease_fail(l, (enum lease_failure)l->failure);
			continue;
		}
		if (!s)
			return;
		server_drop_stale(s);
		if (s->idle_n > 0 && !l->fresh) {
			leave_line(l);
			origin_lease(s, l);
			continue;
		}
		if (!take_descriptor(u, u->line_n))
			return;
		leave_line(l);
		make_room(u, s, l);
		origin_connect(s, l);
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
		origin_take_back(o, reusable);
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
	upstream_serve_line(CONTAINER(task, struct upstream, task));
}

/* ---- the upstream --------------------------------------------------------- */

struct upstream *upstream_new(const struct upstream_options *options)
{
	struct upstream *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->tick = options->tick;
	u->stats = options->stats;
	u->descriptors = options->descriptors;
	u->line_quota = options->line;
	u->short_of_descriptors = options->short_of_descriptors;
	u->owner = options->owner;
	u->window = options->window;
	u->idle_timeout_ms = options->idle_timeout_ms;
	list_init(&u->line);
	list_init(&u->leaving);
	task_init(&u->task, step);
	slab_init(&u->origins, "origin", sizeof(struct origin), 0);
	if (upstream_servers_init(u, options->config))
		return u;
	upstream_free(u);
	return NULL;
}

bool upstream_evict(struct upstream *u)
{
	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = u->servers[i];

		if (s->idle_n > 0) {
			origin_end(LIST_ITEM(s->idle.prev, struct origin, node));
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
		LIST_EACH(&u->servers[i]->idle, node)
			origin_end(LIST_ITEM(node, struct origin, node));
}

bool upstream_idle(const struct upstream *u)
{
	return u->origin_n == 0;
}

void upstream_free(struct upstream *u)
{
	ASSERT(u->origin_n == 0 && list_empty(&u->line));
	ASSERT(list_empty(&u->leaving));
	upstream_servers_done(u);
	task_stop(&u->task);
	slab_done(&u->origins);
	free(u);
}

void upstream_trim(struct upstream *u)
{
	slab_trim(&u->origins);
}
