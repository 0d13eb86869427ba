#include "server.h"

#include <string.h>

/* Most leases that queue_dispatch() skips, each with a different set of tried servers. */
#define SKIPPED_MAX 8

void queue_check(const struct upstream *u)
{
	uint64_t since_ms = 0;
	uint32_t n = 0;

	LIST_EACH(&u->queue, node) {
		const struct lease *l = LIST_ITEM(node, struct lease, node);

		ASSERT(l->upstream == u && l->state == LEASE_WAITING &&
		       timer_armed(&l->timer));
		ASSERT(l->queued_since_ms >= since_ms && !l->has_permit);
		since_ms = l->queued_since_ms;
		n++;
	}
	ASSERT(n == u->queue_n && (n == 0 || !u->closing));
}

/* Publishes since when the queue waits: a free permit goes to the worker whose queue has
 * waited longest. */
static void queue_report_wait(struct upstream *u)
{
	bool waits = u->table.config.requests > 0 && !list_empty(&u->queue);
	uint64_t since_ms =
		waits ? LIST_ITEM(u->queue.next, struct lease, node)->queued_since_ms : 0;

	if (since_ms == u->reported_wait_ms)
		return;
	u->reported_wait_ms = since_ms;
	registry_set_waiting(u->table.registry, u->table.worker, since_ms);
}

void queue_remove(struct lease *l)
{
	ASSERT(l->state == LEASE_WAITING && l->upstream->queue_n > 0);
	list_remove(&l->node);
	queue_report_wait(l->upstream);
	l->upstream->queue_n--;
	quota_put(l->upstream->queue_quota);
	stat_sub(&l->upstream->stats->waiting, 1);
	timer_stop(&l->upstream->tick->wheel, &l->timer);
}

static void queue_timer_expired(struct timer *t)
{
	struct lease *l = CONTAINER(t, struct lease, timer);

	queue_remove(l);
	stat_add(&l->upstream->stats->queue_timeouts, 1);
	lease_fail(l, LEASE_QUEUE_TIMEOUT);
}

void queue_add(struct upstream *u, struct lease *l)
{
	ASSERT(!u->closing && !l->origin && !l->has_permit);
	if (!quota_take(u->queue_quota)) {
		stat_add(&u->stats->queue_refusals, 1);
		lease_fail(l, LEASE_QUEUE_FULL);
		return;
	}
	/* Dispatch once more in this tick: leases before it may wait for other servers,
	 * and another worker may have freed a permit before this wait was published. */
	if (u->table.config.requests > 0 || !list_empty(&u->queue))
		tick_run(u->tick, &u->task);
	l->queued_since_ms = u->tick->now_ms + 1; /* not 0 */
	list_append(&u->queue, &l->node);
	queue_report_wait(u);
	u->queue_n++;
	stat_add(&u->stats->waiting, 1);
	timer_init(&l->timer, queue_timer_expired);
	timer_set(&u->tick->wheel, &l->timer,
		  u->tick->now_ms + u->table.config.queue_timeout_ms);
	lease_set(l, LEASE_WAITING);
}

/* The queue may have use for permits again that it refused before. */
static void permits_accept(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n && u->refuses_permits; i++)
		if (server_at(u, i)->member.registry_entry)
			registry_refuse_permits(server_at(u, i)->member.record, false);
	u->refuses_permits = false;
}

/* Whether the lease has tried the same servers as one of the skipped leases. */
static bool tried_same(const struct lease *l, const struct lease *const *skipped,
		       unsigned n)
{
	for (unsigned i = 0; i < n && !l->tried_has_avoided; i++)
		if (memcmp(&l->tried, &skipped[i]->tried, sizeof(l->tried)) == 0)
			return true;
	return false;
}

/* The longest waiting lease goes first. A lease that has tried some servers waits for the
 * others only; it is skipped, so that leases behind it can use the servers that it has
 * tried. */
void queue_dispatch(struct upstream *u)
{
	const struct lease *skipped[SKIPPED_MAX];
	unsigned n = 0;

	permits_accept(u);
	queue_report_wait(u);
	LIST_EACH(&u->queue, node) {
		struct lease *l = LIST_ITEM(node, struct lease, node);

		if (tried_same(l, skipped, n) || lease_place_queued(u, l))
			continue;
		if (l->tried.n == 0 || n == SKIPPED_MAX)
			return;
		skipped[n++] = l;
	}
}

/* Puts back collected permits that no lease in the queue can use. */
static void permits_refuse(struct upstream *u, struct server *s)
{
	if (s->permits == 0)
		return;
	registry_refuse_permits(s->member.record, true);
	u->refuses_permits = true;
	for (; s->permits > 0; s->permits--)
		registry_put_permit(u->table.registry, s->member.registry_entry,
				    u->table.worker, u->table.config.requests);
}

void upstream_collect_permits(struct upstream *u)
{
	for (unsigned i = 0; i < u->table.n; i++)
		if (server_at(u, i)->member.registry_entry)
			server_at(u, i)->permits +=
				registry_collect_permits(server_at(u, i)->member.record);
	queue_dispatch(u);
	for (unsigned i = 0; i < u->table.n; i++)
		permits_refuse(u, server_at(u, i));
}
