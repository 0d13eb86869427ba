#include "monitors.h"

#include <stdio.h>

#include "base/errorlog.h"
#include "run/memory.h"

int monitors_open(struct monitors *m)
{
	if (m->config_versions->current->config->resolver.off)
		return 0;
	return dns_thread_new(&m->dns, &m->tick->mailbox);
}

static void stop_all_but(struct monitors *m, const struct config_version *current)
{
	LIST_EACH(&m->config_versions->all, node) {
		struct config_version *version = LIST_ITEM(node, struct config_version,
							   node);

		if (version->monitor && version != current)
			monitor_stop(version->monitor);
	}
}

static const struct monitor *active_monitor(const struct monitors *m)
{
	LIST_EACH(&m->config_versions->all, node) {
		struct config_version *version = LIST_ITEM(node, struct config_version,
							   node);

		if (version->monitor && !monitor_stopped(version->monitor))
			return version->monitor;
	}
	return NULL;
}

void monitors_change(struct monitors *m)
{
	struct config_version *version = m->config_versions->current;

	version->monitor = monitor_new(&(struct monitor_options){
		.tick = m->tick,
		.config = version->config,
		.dns = m->dns,
		.descriptors = m->descriptors,
		.workers = m->workers,
		.worker_n = m->worker_n,
		.previous = active_monitor(m),
	});
	if (!version->monitor)
		errorlog_put(
			EVENT_RESOURCE_SHORT,
			"no memory to resolve names and check the health of servers");
	stop_all_but(m, version);
}

static void free_version(struct config_version *version)
{
	if (version->monitor)
		monitor_free(version->monitor);
	version->monitor = NULL;
	config_version_free(version);
}

void monitors_sweep(struct monitors *m)
{
	bool ended = false;

	LIST_EACH(&m->config_versions->all, node) {
		struct config_version *version = LIST_ITEM(node, struct config_version,
							   node);

		if (version->flushed_n == version->worker_n && version->readers_n == 0 &&
		    (!version->monitor || monitor_idle(version->monitor))) {
			free_version(version);
			ended = true;
		}
	}
	if (ended)
		memory_return();
}

void monitors_stop(struct monitors *m)
{
	stop_all_but(m, NULL);
}

/* Messages that workers and the DNS thread have read are in the mailbox of the control
 * thread. */
void monitors_done(struct monitors *m)
{
	if (m->dns)
		dns_thread_free(m->dns);
	mailbox_drain(&m->tick->mailbox);
	LIST_EACH(&m->config_versions->all, node) {
		struct config_version *version = LIST_ITEM(node, struct config_version,
							   node);

		if (!version->monitor)
			continue;
		monitor_discard_messages(version->monitor);
		while (!monitor_idle(version->monitor))
			tick_once(m->tick); /* aborted probes end */
		monitor_free(version->monitor);
		version->monitor = NULL;
	}
}
