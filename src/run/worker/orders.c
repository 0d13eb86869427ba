#include "orders.h"

#include <string.h>

/* On the worker's thread. */
static void read_orders(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, ordered);

	atomic_store(&w->ordered_posted, false);
	proxy_ordered(&w->proxy);
}

static void workers_tell(struct admin *a)
{
	for (unsigned i = 0; i < a->worker_n; i++) {
		struct worker *w = &a->workers[i];

		if (!atomic_load(&w->ready) || atomic_exchange(&w->ordered_posted, true))
			continue;
		w->ordered.deliver = read_orders;
		mailbox_post(&w->tick.mailbox, &w->ordered);
	}
}

bool orders_in_use(const struct registry_entry *entry)
{
	return atomic_load(&entry->published) && atomic_load(&entry->users) > 0;
}

/* The weight that the file gives the server of this entry. */
static uint32_t configured_weight(const struct config_upstream *u,
				  const struct registry_entry *entry)
{
	for (unsigned i = 0; i < u->server_n; i++)
		if (strcmp(u->servers[i].name, entry->name) == 0)
			return u->servers[i].weight;
	return 1;
}

static void entry_order(struct registry_entry *entry, const struct config_upstream *u,
			const struct order *order)
{
	if (order->has_state)
		atomic_store(&entry->order, (uint8_t)order->state);
	if (order->has_weight)
		registry_order_weight(entry, configured_weight(u, entry), order->weight);
}

/* Under the lock: the entry could get another server between the comparison of its name and the
 * order. */
static unsigned registry_give(struct registry *r, const struct config_upstream *u,
			      const char *server, const struct order *order)
{
	unsigned n = 0;

	registry_lock(r);
	REGISTRY_EACH(r, entry) {
		if (!orders_in_use(entry) || (strcmp(entry->name, server) != 0 &&
					      strcmp(entry->address, server) != 0))
			continue;
		if (!order->has_weight || u->protocol == CONFIG_HTTP)
			entry_order(entry, u, order);
		n++;
	}
	registry_unlock(r);
	return n;
}

enum orders_fault orders_give(struct admin *a, const char *upstream, const char *server,
			      const struct order *order, unsigned *n)
{
	const struct config_version *version = a->shared->config_versions->current;
	unsigned found;

	*n = 0;
	for (unsigned i = 0; i < version->config->upstream_n; i++) {
		const struct config_upstream *u = &version->config->upstreams[i];

		if (strcmp(u->name, upstream) != 0)
			continue;
		found = registry_give(version->upstreams_shared[i]->registry, u, server, order);
		if (found > 0 && order->has_weight && u->protocol != CONFIG_HTTP)
			return ORDERS_BY_WEIGHT;
		*n += found;
	}
	if (*n > 0)
		workers_tell(a);
	return *n > 0 ? ORDERS_DONE : ORDERS_NO_SERVER;
}

void orders_each(const struct config_version *version,
		 void (*each)(void *owner, const char *upstream,
			      const struct registry_entry *server),
		 void *owner)
{
	for (unsigned i = 0; i < version->config->upstream_n; i++)
		REGISTRY_EACH(version->upstreams_shared[i]->registry, entry)
			if (orders_in_use(entry) &&
			    atomic_load(&entry->order) != SERVER_ORDER_UP)
				each(owner, version->config->upstreams[i].name, entry);
}
