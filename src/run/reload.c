#include "reload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void post_all(struct reload *r, enum reload_state state,
		     void (*command)(struct worker_config *t))
{
	struct config_version *e = r->config_version;

	r->state = state;
	r->waited_n = e->worker_n;
	for (unsigned w = 0; w < e->worker_n; w++)
		command(&e->worker_configs[w]);
}

void reload_start(struct reload *r, struct config_version *e)
{
	ASSERT(r->state == RELOAD_IDLE);
	r->config_version = e;
	r->failed = false;
	for (unsigned w = 0; w < e->worker_n; w++)
		e->worker_configs[w].worker = &r->workers[w];
	post_all(r, RELOAD_MAKING, worker_make);
}

static const char *reason(int error)
{
	return error == -EBUSY ? "too many access logs of before have lines that nobody reads" :
				 strerror(-error);
}

void reload_made(struct reload *r, struct worker_config *t)
{
	ASSERT(r->state == RELOAD_MAKING);
	if (t->error < 0)
		fprintf(stderr, "fairlead: worker %u cannot take over the configuration: %s\n",
			t->worker->index, reason(t->error));
	r->failed |= t->error < 0;
	if (--r->waited_n > 0)
		return;
	if (r->failed)
		post_all(r, RELOAD_DROPPING, worker_drop);
	else
		post_all(r, RELOAD_ADOPTING, worker_adopt);
}

void reload_settled(struct reload *r, struct worker_config *t)
{
	bool adopted = r->state == RELOAD_ADOPTING;
	struct config_version *e = r->config_version;

	ASSERT(t->config_version == e && r->state != RELOAD_IDLE);
	if (--r->waited_n > 0)
		return;
	r->state = RELOAD_IDLE;
	r->config_version = NULL;
	if (adopted)
		config_versions_set_current(r->config_versions, e);
	else
		config_version_free(e);
	r->done(r, adopted);
}
