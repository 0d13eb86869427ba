#include "lookouts.h"

#include <stdio.h>

#include "run/memory.h"

int lookouts_open(struct lookouts *l)
{
	if (l->editions->current->config->resolver.off)
		return 0;
	return dns_thread_new(&l->dns, &l->tick->mailbox);
}

static void stop_all_but(struct lookouts *l, const struct edition *current)
{
	LIST_EACH(&l->editions->all, node) {
		struct edition *e = LIST_ITEM(node, struct edition, node);

		if (e->lookout && e != current)
			lookout_stop(e->lookout);
	}
}

static const struct lookout *in_force(const struct lookouts *l)
{
	LIST_EACH(&l->editions->all, node) {
		struct edition *e = LIST_ITEM(node, struct edition, node);

		if (e->lookout && !lookout_stopped(e->lookout))
			return e->lookout;
	}
	return NULL;
}

void lookouts_change(struct lookouts *l)
{
	struct edition *e = l->editions->current;

	e->lookout = lookout_new(&(struct lookout_options){
		.tick = l->tick,
		.config = e->config,
		.dns = l->dns,
		.descriptors = l->descriptors,
		.workers = l->workers,
		.worker_n = l->worker_n,
		.before = in_force(l),
	});
	if (!e->lookout)
		fprintf(stderr, "fairlead: no memory to look after names and health of servers\n");
	stop_all_but(l, e);
}

static void end(struct edition *e)
{
	if (e->lookout)
		lookout_free(e->lookout);
	e->lookout = NULL;
	edition_free(e);
}

void lookouts_sweep(struct lookouts *l)
{
	bool ended = false;

	LIST_EACH(&l->editions->all, node) {
		struct edition *e = LIST_ITEM(node, struct edition, node);

		if (e->passed_n == e->worker_n && e->readers_n == 0 &&
		    (!e->lookout || lookout_idle(e->lookout))) {
			end(e);
			ended = true;
		}
	}
	if (ended)
		memory_return();
}

void lookouts_stop(struct lookouts *l)
{
	stop_all_but(l, NULL);
}

/* What workers and the DNS thread had read is in our mailbox by now. */
void lookouts_done(struct lookouts *l)
{
	if (l->dns)
		dns_thread_free(l->dns);
	mailbox_drain(&l->tick->mailbox);
	LIST_EACH(&l->editions->all, node) {
		struct edition *e = LIST_ITEM(node, struct edition, node);

		if (!e->lookout)
			continue;
		lookout_recall(e->lookout);
		while (!lookout_idle(e->lookout))
			tick_once(l->tick); /* probes that were cut off */
		lookout_free(e->lookout);
		e->lookout = NULL;
	}
}
