#include "admins.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/errorlog.h"

void admins_init(struct admins *a, struct tick *tick, struct workers *shared)
{
	*a = (struct admins){ .tick = tick, .shared = shared };
	list_init(&a->replaced);
}

void admins_open(struct admins *a, int fd)
{
	struct admin *admin = calloc(1, sizeof(*admin));

	ASSERT(!a->current);
	if (!admin) {
		errorlog_put(EVENT_RESOURCE_SHORT, "no memory for the admin address");
		close(fd);
		return;
	}
	list_init(&admin->node);
	admin->tick = a->tick;
	admin->shared = a->shared;
	admin->workers = a->shared->all;
	admin->worker_n = a->shared->options->workers;
	admin->draining = a->draining;
	admin_start(admin, fd);
	a->current = admin;
}

void admins_close(struct admins *a)
{
	if (!a->current)
		return;
	admin_stop(a->current);
	list_append(&a->replaced, &a->current->node);
	a->current = NULL;
}

void admins_drain(struct admins *a)
{
	a->draining = true;
	if (a->current)
		a->current->draining = true;
}

void admins_rearm(struct admins *a)
{
	if (a->current)
		listener_rearm(&a->current->listener);
}

bool admins_sweep(struct admins *a)
{
	LIST_EACH(&a->replaced, node) {
		struct admin *admin = LIST_ITEM(node, struct admin, node);

		if (!admin_idle(admin))
			continue;
		list_remove(&admin->node);
		admin_done(admin);
		free(admin);
	}
	return list_empty(&a->replaced);
}
