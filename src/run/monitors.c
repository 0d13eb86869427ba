#include "monitors.h"

#include <stdio.h>

#include "run/memory.h"

int monitors_open(struct monitors *l)
{
	if (l->config_versions->current->config->resolver.off)
		return 0;
	return dns_thread_new(&l->dns, &l->tick->mailbox);
}

static void stop_all_but(struct monitors *l, const struct config_version *current)
{
	LIST_EACH(&l->config_versions->all, node) {
		struct config_version *e = LIST_ITEM(node, struct config_version, node);

		if (e->monitor && e != current)
			monitor_stop(e->monitor);
	}
}

static const struct monitor *in_force(const struct monitors *l)
{
	LIST_EACH(&l->config_versions->all, node) {
		struct config_version *e = LIST_ITEM(node, struct config_version, node);

		if (e->monitor && !monitor_stopped(e->monitor))
			return e->monitor;
	}
	return NULL;
}

void monitors_change(struct monitors *l)
{
	struct config_version *e = l->config_versions->current;

	e->monitor = monitor_new(&(struct monitor_options){
		.tick = l->tick,
		.config = e->config,
		.dns = l->dns,
		.descriptors = l->descriptors,
		.workers = l->workers,
		.worker_n = l->worker_n,
		.before = in_force(l),
	});
	if (!e->monitor)
		fprintf(stderr,
			"fairlead: no memory to look after names and health of servers\n");
	stop_all_but(l, e);
}

static void end(struct config_version *e)
{
	if (e->monitor)
		monitor_free(e->monitor);
	e->monitor = NULL;
	config_version_free(e);
}

void monitors_sweep(struct monitors *l)
{
	bool ended = false;

	LIST_EACH(&l->config_versions->all, node) {
		struct config_version *e = LIST_ITEM(node, struct config_version, node);

		if (e->passed_n == e->worker_n && e->readers_n == 0 &&
		    (!e->monitor || monitor_idle(e->monitor))) {
			end(e);
			ended = true;
		}
	}
	if (ended)
		memory_return();
}

void monitors_stop(struct monitors *l)
{
	stop_all_but(l, NULL);
}

/* What workers and the DNS thread had read is in our mailbox by now. */
void monitors_done(struct monitors *l)
{
	if (l->dns)
		dns_thread_free(l->dns);
	mailbox_drain(&l->tick->mailbox);
	LIST_EACH(&l->config_versions->all, node) {
		struct config_version *e = LIST_ITEM(node, struct config_version, node);

		if (!e->monitor)
			continue;
		monitor_recall(e->monitor);
		while (!monitor_idle(e->monitor))
			tick_once(l->tick); /* probes that were cut off */
		monitor_free(e->monitor);
		e->monitor = NULL;
	}
}
