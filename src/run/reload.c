#include "reload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void order_all(struct reload *r, enum reload_state state, void (*order)(struct turn *t))
{
	struct edition *e = r->edition;

	r->state = state;
	r->waited_n = e->worker_n;
	for (unsigned w = 0; w < e->worker_n; w++)
		order(&e->turns[w]);
}

void reload_start(struct reload *r, struct edition *e)
{
	ASSERT(r->state == RELOAD_IDLE);
	r->edition = e;
	r->failed = false;
	for (unsigned w = 0; w < e->worker_n; w++)
		e->turns[w].worker = &r->workers[w];
	order_all(r, RELOAD_MAKING, worker_make);
}

static const char *reason(int error)
{
	return error == -EBUSY ? "too many access logs of before have lines that nobody reads" :
				 strerror(-error);
}

void reload_made(struct reload *r, struct turn *t)
{
	ASSERT(r->state == RELOAD_MAKING);
	if (t->error < 0)
		fprintf(stderr, "fairlead: worker %u cannot take over the configuration: %s\n",
			t->worker->index, reason(t->error));
	r->failed |= t->error < 0;
	if (--r->waited_n > 0)
		return;
	if (r->failed)
		order_all(r, RELOAD_DROPPING, worker_drop);
	else
		order_all(r, RELOAD_ADOPTING, worker_adopt);
}

void reload_settled(struct reload *r, struct turn *t)
{
	bool adopted = r->state == RELOAD_ADOPTING;
	struct edition *e = r->edition;

	ASSERT(t->edition == e && r->state != RELOAD_IDLE);
	if (--r->waited_n > 0)
		return;
	r->state = RELOAD_IDLE;
	r->edition = NULL;
	if (adopted)
		edition_current(r->editions, e);
	else
		edition_free(e);
	r->done(r, adopted);
}
