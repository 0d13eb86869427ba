#include "back/upstream.h"

#include <stdlib.h>
#include <string.h>

#include "server.h"

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

/* ---- which server --------------------------------------------------------- */

static bool was_tried(const struct lease *l, unsigned i)
{
	return l->tried[i / 64] >> i % 64 & 1;
}

bool upstream_has_other(const struct upstream *u, const uint64_t *tried)
{
	for (unsigned i = 0; i < u->server_n; i++)
		if (!(tried[i / 64] >> i % 64 & 1) &&
		    u->servers[i].down_until_ms <= u->tick->now_ms)
			return true;
	return false;
}

static bool at_limit(const struct upstream *u, const struct server *s)
{
	return u->config->connections > 0 && s->open_n >= u->config->connections;
}

static bool is_full(const struct upstream *u, const struct server *s)
{
	return s->idle_n == 0 && at_limit(u, s);
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
		lease_fail(l, LEASE_QUEUE_FULL);
		return true;
	}
	list_append(&u->line, &l->node);
	u->line_n++;
	stat_add(&u->stats->waiting, 1);
	timer_init(&l->timer, queue_timer_expired);
	timer_set(&u->tick->wheel, &l->timer, u->tick->now_ms + u->config->queue_timeout_ms);
	lease_set(l, LEASE_WAITING);
	return true;
}

/* Who wants a new connection where idle ones stand at the limit takes the place of one. */
static void make_room(struct upstream *u, struct server *s, const struct lease *l)
{
	if (l->fresh && s->idle_n > 0 && at_limit(u, s))
		origin_end(LIST_ITEM(s->idle.prev, struct origin, node));
}

/* False: every server was tried. */
bool lease_try(struct upstream *u, struct lease *l)
{
	bool untried = false;
	struct server *s = choose(u, l, &untried);

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
	memset(l, 0, sizeof(*l));
	if (avoid)
		memcpy(l->tried, avoid, sizeof(l->tried));
	l->upstream = u;
	l->asker = asker;
	l->fresh = fresh;
	list_init(&l->node);
	timer_init(&l->timer, NULL);
	if (u->closing)
		lease_fail(l, LEASE_REFUSED);
	else if (!lease_try(u, l)) { /* all are to be avoided */
		memset(l->tried, 0, sizeof(l->tried));
		lease_try(u, l);
	}
}

/* A place came free: those who wait longest go first. */
void upstream_serve_line(struct upstream *u)
{
	while (!list_empty(&u->line)) {
		struct lease *l = LIST_ITEM(u->line.next, struct lease, node);
		bool untried = false;
		struct server *s = choose(u, l, &untried);

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
		LIST_EACH(&u->servers[i].idle, node)
			origin_end(LIST_ITEM(node, struct origin, node));
}

bool upstream_idle(const struct upstream *u)
{
	return u->origin_n == 0;
}

void upstream_free(struct upstream *u)
{
	ASSERT(u->origin_n == 0 && list_empty(&u->line));
	for (unsigned i = 0; i < u->server_n; i++)
		ASSERT(u->servers[i].open_n == 0 && u->servers[i].leased_n == 0);
	task_stop(&u->task);
	slab_done(&u->origins);
	free(u);
}

void upstream_trim(struct upstream *u)
{
	slab_trim(&u->origins);
}
