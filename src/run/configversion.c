#include "run/configversion.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/serverevents.h"

void config_versions_init(struct config_versions *e, unsigned worker_n,
			  struct mailbox *control)
{
	list_init(&e->all);
	e->upstreams_shared = (struct names){ 0 };
	e->current = NULL;
	e->worker_n = worker_n;
	e->control = control;
}

void config_versions_done(struct config_versions *e)
{
	struct list *node;

	while ((node = list_pop(&e->all)))
		config_version_free(LIST_ITEM(node, struct config_version, node));
	ASSERT(e->upstreams_shared.n == 0);
	names_done(&e->upstreams_shared);
}

static struct upstream_shared *upstream_shared_of(struct config_versions *e,
						  const struct config_upstream *u)
{
	char key[SERVICE_KEY_MAX];
	struct names_entry *entry;
	struct upstream_shared *a;

	service_key(key, u);
	entry = names_find(&e->upstreams_shared, slice_of(key));
	if (entry)
		return CONTAINER(entry, struct upstream_shared, entry);
	a = calloc(1, sizeof(*a) + e->worker_n * sizeof(a->stats[0]));
	if (!a)
		return NULL;
	memcpy(a->key, key, sizeof(key));
	quota_init(&a->queue_quota, u->queue);
	a->registry = registry_new(u->name, e->worker_n, e->control,
				   server_events_changed);
	if (!a->registry) {
		free(a);
		return NULL;
	}
	names_put(&e->upstreams_shared, &a->entry, slice_of(a->key));
	return a;
}

static bool open_upstreams_shared(struct config_versions *all, struct config_version *e)
{
	for (unsigned i = 0; i < e->config->upstream_n; i++) {
		e->upstreams_shared[i] = upstream_shared_of(all,
							    &e->config->upstreams[i]);
		if (!e->upstreams_shared[i])
			return false;
		e->upstreams_shared[i]->refs++;
		for (unsigned w = 0; w < e->worker_n; w++)
			e->worker_configs[w].upstream_views[i] = (struct upstream_view){
				&e->upstreams_shared[i]->stats[w],
				&e->upstreams_shared[i]->queue_quota,
				e->upstreams_shared[i]->registry
			};
	}
	return true;
}

static bool init_worker_configs(struct config_version *e)
{
	bool complete = true;

	for (unsigned w = 0; w < e->worker_n; w++) {
		struct worker_config *t = &e->worker_configs[w];

		t->config_version = e;
		t->log_fd = -1;
		list_init(&t->listeners);
		t->upstream_views = calloc(e->config->upstream_n + 1,
					   sizeof(t->upstream_views[0]));
		complete &= t->upstream_views != NULL;
	}
	return complete;
}

struct config_version *config_version_new(struct config_versions *all,
					  struct config *config)
{
	struct config_version *e =
		calloc(1, sizeof(*e) + all->worker_n * sizeof(e->worker_configs[0]));

	if (!e) {
		config_free(config);
		return NULL;
	}
	list_init(&e->node);
	e->config = config;
	e->worker_n = all->worker_n;
	e->upstreams_shared_of = &all->upstreams_shared;
	e->upstreams_shared = calloc(config->upstream_n + 1,
				     sizeof(e->upstreams_shared[0]));
	e->kept = calloc(config->listen_n + 1, sizeof(e->kept[0]));
	e->numbers = calloc(config->listen_n + 1, sizeof(e->numbers[0]));
	if (!init_worker_configs(e) || !e->upstreams_shared || !e->kept || !e->numbers ||
	    !open_upstreams_shared(all, e)) {
		config_version_free(e);
		return NULL;
	}
	list_append(&all->all, &e->node);
	return e;
}

static void worker_config_free(struct worker_config *t)
{
	struct list *node;

	while ((node = list_pop(&t->listeners))) {
		struct worker_listener *d = LIST_ITEM(node, struct worker_listener, node);

		close(d->fd);
		free(d);
	}
	if (t->log_fd >= 0)
		close(t->log_fd);
	free(t->upstream_views);
}

void config_version_free(struct config_version *e)
{
	ASSERT(!e->monitor);
	list_remove(&e->node);
	for (unsigned w = 0; w < e->worker_n; w++)
		worker_config_free(&e->worker_configs[w]);
	for (unsigned i = 0;
	     e->upstreams_shared && i < e->config->upstream_n && e->upstreams_shared[i];
	     i++) {
		struct upstream_shared *a = e->upstreams_shared[i];

		if (--a->refs > 0)
			continue;
		names_remove(e->upstreams_shared_of, &a->entry);
		registry_free(a->registry);
		free(a);
	}
	free(e->upstreams_shared);
	free(e->kept);
	free(e->numbers);
	config_free(e->config);
	free(e);
}

/* Who waits keeps its place, however short the line is now. */
void config_versions_set_current(struct config_versions *all, struct config_version *e)
{
	for (unsigned i = 0; i < e->config->upstream_n; i++)
		quota_set_limit(&e->upstreams_shared[i]->queue_quota,
				e->config->upstreams[i].queue);
	all->current = e;
}

void config_version_add_address(struct config_version *e, unsigned number)
{
	for (unsigned i = 0; i < e->number_n; i++)
		if (e->numbers[i] == number)
			return;
	ASSERT(e->number_n < e->config->listen_n);
	e->numbers[e->number_n++] = number;
}

bool config_version_paths_strict(const struct config_version *e, unsigned number)
{
	bool known = e->number_n == e->config->listen_n, strict = false;

	for (unsigned i = 0; i < e->config->listen_n; i++)
		if (!known || e->numbers[i] == number)
			strict |= e->config->listens[i].paths_strict;
	return strict;
}

bool config_version_keeps_address(const struct config_version *e, unsigned number)
{
	for (unsigned i = 0; i < e->kept_n; i++)
		if (e->kept[i] == number)
			return true;
	return false;
}
