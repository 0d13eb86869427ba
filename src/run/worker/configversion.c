#include "run/worker/configversion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "config/upstreamtls.h"
#include "run/worker/serverevents.h"
#include "series.h"

void config_versions_init(struct config_versions *all, unsigned worker_n,
			  struct mailbox *control, struct phase_tables *phases)
{
	list_init(&all->all);
	all->upstreams_shared = (struct names){ 0 };
	all->current = NULL;
	all->worker_n = worker_n;
	all->control = control;
	all->phases = phases;
	all->routes_shared = (struct names){ 0 };
}

void config_versions_done(struct config_versions *all)
{
	struct list *node;

	while ((node = list_pop(&all->all)))
		config_version_free(LIST_ITEM(node, struct config_version, node));
	ASSERT(all->upstreams_shared.n == 0 && all->routes_shared.n == 0);
	names_done(&all->upstreams_shared);
	names_done(&all->routes_shared);
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
	series_open_upstream(all, shared);
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
		for (unsigned i = 0; i < CONFIG_LOGS_MAX; i++)
			wc->logs[i].fd = -1;
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
	version->all = all;
	version->upstreams_shared = calloc(config->upstream_n + 1,
					   sizeof(version->upstreams_shared[0]));
	version->kept = calloc(config->listen_n + 1, sizeof(version->kept[0]));
	version->addresses = calloc(config->listen_n + 1, sizeof(version->addresses[0]));
	version->contexts = calloc(config->tls_n + 1, sizeof(struct tls_context *));
	version->certificates = calloc(config->pair_n + 1,
				       sizeof(struct tls_certificate *));
	version->keylogs = calloc(config->tls_n + 1, sizeof(version->keylogs[0]));
	for (unsigned i = 0; version->keylogs && i < config->tls_n; i++)
		version->keylogs[i] = -1;
	if (!init_worker_configs(version) || !version->upstreams_shared ||
	    !version->kept || !version->addresses || !version->contexts ||
	    !version->keylogs || !version->certificates ||
	    !open_upstreams_shared(all, version) || !series_open_routes(version)) {
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
	for (unsigned i = 0; i < CONFIG_LOGS_MAX; i++)
		if (wc->logs[i].fd >= 0)
			close(wc->logs[i].fd);
	free(wc->upstream_views);
}

static void contexts_drop(struct config_version *version)
{
	for (unsigned i = 0; version->contexts && i < version->config->tls_n; i++)
		tls_context_unref(version->contexts[i]);
	for (unsigned i = 0; version->keylogs && i < version->config->tls_n; i++)
		if (version->keylogs[i] >= 0)
			close(version->keylogs[i]);
	free(version->contexts);
	free(version->certificates);
	free(version->keylogs);
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
		names_remove(&version->all->upstreams_shared, &shared->entry);
		series_close_upstream(version->all, shared);
		registry_free(shared->registry);
		free(shared);
	}
	free(version->upstreams_shared);
	series_close_routes(version);
	free(version->kept);
	free(version->addresses);
	contexts_drop(version);
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

/* ---- TLS -------------------------------------------------------------------- */

/* That of the current version which is the same; NULL: there is none. A key log is another
 * descriptor each time. */
static struct tls_context *same_context(const struct config_version *current,
					const struct config *config,
					const struct config_tls *t)
{
	if (!current || t->keylog[0] != '\0')
		return NULL;
	for (unsigned i = 0; i < current->config->tls_n; i++)
		if (config_tls_equal(current->config, current->config->tls[i], config, t))
			return tls_context_ref(current->contexts[i]);
	return NULL;
}

static void take_certificates(struct config_version *version, const struct config_tls *t,
			      const struct tls_context *context)
{
	for (unsigned k = 0; k < t->pair_n; k++)
		version->certificates[t->pairs[k]->index] =
			tls_context_certificate(context, k);
}

/* Those that are sent to servers. */
static void take_certificates_sent(struct config_version *version)
{
	for (unsigned i = 0; i < version->config->upstream_n; i++) {
		const struct config_upstream_tls *t = version->config->upstreams[i].tls;

		if (t && t->pair)
			version->certificates[t->pair->index] =
				tls_context_certificate(t->context, 0);
	}
}

bool config_version_open_tls(struct config_versions *all, struct config_version *version)
{
	struct config *config = version->config;
	char error[512];
	bool good = true;

	for (unsigned i = 0; i < config->tls_n && good; i++) {
		const struct config_tls *t = config->tls[i];

		version->contexts[i] = same_context(all->current, config, t);
		if (!version->contexts[i])
			version->contexts[i] = config_tls_context(
				config, t, version->keylogs[i], error, sizeof(error));
		good = version->contexts[i] != NULL;
		version->keylogs[i] = -1;
		if (good)
			take_certificates(version, t, version->contexts[i]);
	}
	good = good && config_upstream_contexts(config,
						all->current ? all->current->config : NULL,
						error, sizeof(error));
	if (good)
		take_certificates_sent(version);
	else
		errorlog_put(EVENT_CHANGE_FAILED, "%s", error);
	config_forget_keys(config);
	return good;
}

/* ---- addresses -------------------------------------------------------------- */

void config_version_add_address(struct config_version *version, unsigned number,
				unsigned index)
{
	for (unsigned i = 0; i < version->address_n; i++)
		if (version->addresses[i].number == number)
			return;
	ASSERT(version->address_n < version->config->listen_n &&
	       index < version->config->listen_n);
	version->addresses[version->address_n++] = (struct version_address){ number,
									     index };
}

void config_version_settings(const struct config_version *version, unsigned number,
			     struct accept_settings *settings)
{
	const struct config *config = version->config;
	struct tls_context *before = settings->tls;
	unsigned i = 0;

	while (i < version->address_n && version->addresses[i].number != number)
		i++;
	settings->proxy_protocol = NULL; /* of another version */
	if (i == version->address_n) /* its listener stops */
		return;
	i = version->addresses[i].index;
	settings->paths_strict = config->listens[i].paths_strict;
	settings->http2 = config->listens[i].http2;
	settings->proxy_protocol = config->listens[i].proxy_protocol;
	settings->tls =
		config->listen_tls[i]
			? tls_context_ref(version->contexts[config->listen_tls[i]->index])
			: NULL;
	tls_context_unref(before);
}

bool config_version_keeps_address(const struct config_version *version, unsigned number)
{
	for (unsigned i = 0; i < version->kept_n; i++)
		if (version->kept[i] == number)
			return true;
	return false;
}
