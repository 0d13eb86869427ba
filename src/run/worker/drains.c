#include "drains.h"

#include <string.h>

/* On the worker's thread. */
static void read_drains(struct mail *m)
{
	struct worker *w = CONTAINER(m, struct worker, drains_changed);

	atomic_store(&w->drains_posted, false);
	proxy_drains_changed(&w->proxy);
}

static void workers_tell(struct admin *a)
{
	for (unsigned i = 0; i < a->worker_n; i++) {
		struct worker *w = &a->workers[i];

		if (!atomic_load(&w->ready) || atomic_exchange(&w->drains_posted, true))
			continue;
		w->drains_changed.deliver = read_drains;
		mailbox_post(&w->tick.mailbox, &w->drains_changed);
	}
}

static bool is_in_use(const struct registry_entry *entry)
{
	return atomic_load(&entry->published) && atomic_load(&entry->users) > 0;
}

unsigned drains_set(struct admin *a, const char *upstream, const char *server,
		    bool drained)
{
	const struct config_version *version = a->shared->config_versions->current;
	unsigned n = 0;

	for (unsigned i = 0; i < version->config->upstream_n; i++) {
		const struct config_upstream *u = &version->config->upstreams[i];

		if (u->protocol != CONFIG_HTTP || strcmp(u->name, upstream) != 0)
			continue;
		REGISTRY_EACH(version->upstreams_shared[i]->registry, entry) {
			if (!is_in_use(entry) || (strcmp(entry->name, server) != 0 &&
						  strcmp(entry->address, server) != 0))
				continue;
			atomic_store(&entry->drained, drained);
			n++;
		}
	}
	if (n > 0)
		workers_tell(a);
	return n;
}

void drains_each(const struct config_version *version,
		 void (*each)(void *owner, const char *upstream,
			      const struct registry_entry *server),
		 void *owner)
{
	for (unsigned i = 0; i < version->config->upstream_n; i++)
		REGISTRY_EACH(version->upstreams_shared[i]->registry, entry)
			if (is_in_use(entry) && atomic_load(&entry->drained))
				each(owner, version->config->upstreams[i].name, entry);
}
