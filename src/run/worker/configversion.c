#include "run/worker/configversion.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/worker/serverevents.h"

void config_versions_init(struct config_versions *all, unsigned worker_n,
			  struct mailbox *control)
{
	list_init(&all->all);
	all->upstreams_shared = (struct names){ 0 };
	all->current = NULL;
	all->worker_n = worker_n;
	all->control = control;
}

void config_versions_done(struct config_versions *all)
{
	struct list *node;

	while ((node = list_pop(&all->all)))
		config_version_free(LIST_ITEM(node, struct config_version, node));
	ASSERT(all->upstreams_shared.n == 0);
	names_done(&all->upstreams_shared);
}

static struct upstream_shared *upstream_shared_of(struct config_versions *all,
						  const struct config_upstream *u)
{
	char key[SERVICE_KEY_MAX];
	struct names_entry *entry;
	struct upstream_shared *shared;

	service_key(key, u);
	entry = names_find(&all->upstreams_shared, slice_of(key));
	if (entry)
		return CONTAINER(entry, struct upstream_shared, entry);
	shared = calloc(1, sizeof(*shared) + all->worker_n * sizeof(shared->stats[0]));
	if (!shared)
		return NULL;
	memcpy(shared->key, key, sizeof(key));
	quota_init(&shared->queue_quota, u->queue);
	shared->registry = registry_new(u->name, all->worker_n, all->control,
					server_events_changed);
	if (!shared->registry) {
		free(shared);
		return NULL;
	}
	names_put(&all->upstreams_shared, &shared->entry, slice_of(shared->key));
	return shared;
}

static bool open_upstreams_shared(struct config_versions *all,
				  struct config_version *version)
{
	for (unsigned i = 0; i < version->config->upstream_n; i++) {
		version->upstreams_shared[i] =
			upstream_shared_of(all, &version->config->upstreams[i]);
		if (!version->upstreams_shared[i])
			return false;
		version->upstreams_shared[i]->refs++;
		for (unsigned w = 0; w < version->worker_n; w++)
			version->worker_configs[w].upstream_views[i] =
				(struct upstream_view){
					&version->upstreams_shared[i]->stats[w],
					&version->upstreams_shared[i]->queue_quota,
					version->upstreams_shared[i]->registry
				};
	}
	return true;
}

static bool init_worker_configs(struct config_version *version)
{
	bool complete = true;

	for (unsigned w = 0; w < version->worker_n; w++) {
		struct worker_config *wc = &version->worker_configs[w];

		wc->config_version = version;
		wc->log_fd = -1;
		list_init(&wc->listeners);
		wc->upstream_views = calloc(version->config->upstream_n + 1,
					    sizeof(wc->upstream_views[0]));
		complete &= wc->upstream_views != NULL;
	}
	return complete;
}

struct config_version *config_version_new(struct config_versions *all,
					  struct config *config)
{
	struct config_version *version = calloc(
		1, sizeof(*version) + all->worker_n * sizeof(version->worker_configs[0]));

	if (!version) {
		config_free(config);
		return NULL;
	}
	list_init(&version->node);
	version->config = config;
	version->worker_n = all->worker_n;
	version->upstream_names = &all->upstreams_shared;
	version->upstreams_shared = calloc(config->upstream_n + 1,
					   sizeof(version->upstreams_shared[0]));
	version->kept = calloc(config->listen_n + 1, sizeof(version->kept[0]));
	version->numbers = calloc(config->listen_n + 1, sizeof(version->numbers[0]));
	if (!init_worker_configs(version) || !version->upstreams_shared ||
	    !version->kept || !version->numbers || !open_upstreams_shared(all, version)) {
		config_version_free(version);
		return NULL;
	}
	list_append(&all->all, &version->node);
	return version;
}

static void worker_config_free(struct worker_config *wc)
{
	struct list *node;

	while ((node = list_pop(&wc->listeners))) {
		struct worker_listener *wl = LIST_ITEM(node, struct worker_listener,
						       node);

		close(wl->fd);
		free(wl);
	}
	if (wc->log_fd >= 0)
		close(wc->log_fd);
	free(wc->upstream_views);
}

void config_version_free(struct config_version *version)
{
	ASSERT(!version->monitor);
	list_remove(&version->node);
	for (unsigned w = 0; w < version->worker_n; w++)
		worker_config_free(&version->worker_configs[w]);
	for (unsigned i = 0;
	     version->upstreams_shared && i < version->config->upstream_n &&
	     version->upstreams_shared[i];
	     i++) {
		struct upstream_shared *shared = version->upstreams_shared[i];

		if (--shared->refs > 0)
			continue;
		names_remove(version->upstream_names, &shared->entry);
		registry_free(shared->registry);
		free(shared);
	}
	free(version->upstreams_shared);
	free(version->kept);
	free(version->numbers);
	config_free(version->config);
	free(version);
}

/* Requests that wait stay in the queue, also if it is shorter now. */
void config_versions_set_current(struct config_versions *all,
				 struct config_version *version)
{
	for (unsigned i = 0; i < version->config->upstream_n; i++)
		quota_set_limit(&version->upstreams_shared[i]->queue_quota,
				version->config->upstreams[i].queue);
	all->current = version;
}

void config_version_add_address(struct config_version *version, unsigned number)
{
	for (unsigned i = 0; i < version->number_n; i++)
		if (version->numbers[i] == number)
			return;
	ASSERT(version->number_n < version->config->listen_n);
	version->numbers[version->number_n++] = number;
}

bool config_version_paths_strict(const struct config_version *version, unsigned number)
{
	bool known = version->number_n == version->config->listen_n, strict = false;

	for (unsigned i = 0; i < version->config->listen_n; i++)
		if (!known || version->numbers[i] == number)
			strict |= version->config->listens[i].paths_strict;
	return strict;
}

bool config_version_keeps_address(const struct config_version *version, unsigned number)
{
	for (unsigned i = 0; i < version->kept_n; i++)
		if (version->kept[i] == number)
			return true;
	return false;
}
