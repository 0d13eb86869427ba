#include "sticky.h"

#include <stdlib.h>

#include "base/siphash.h"

/* 0 is no value. */
static uint64_t sticky_value(const struct upstream *u, const struct server *s)
{
	uint64_t value =
		siphash(u->table.config.sticky.secret,
			(struct slice){ (const char *)&s->hash, sizeof(s->hash) });

	return value > 0 ? value : 1;
}

void sticky_build(struct upstream *u)
{
	sticky_done(u);
	if (u->table.config.sticky.on && u->table.n > 0)
		u->sticky = malloc(u->table.n * sizeof(u->sticky[0]));
	for (unsigned i = 0; u->sticky && i < u->table.n; i++)
		u->sticky[i] = sticky_value(u, server_at(u, i));
}

void sticky_done(struct upstream *u)
{
	free(u->sticky);
	u->sticky = NULL;
}

static struct server *server_named(const struct upstream *u, uint64_t value)
{
	for (unsigned i = 0; u->sticky && value != 0 && i < u->table.n; i++)
		if (u->sticky[i] == value)
			return server_at(u, i);
	return NULL;
}

struct server *sticky_choose(const struct upstream *u, const struct lease *l)
{
	struct server *s = server_named(u, l->hash);

	return s && s->rank < RANK_EJECTED && !tried_has(&l->tried, s->id) &&
			       !server_full(s)
		       ? s
		       : NULL;
}

bool upstream_sticks(const struct upstream *u, uint64_t value)
{
	const struct server *s = server_named(u, value);

	return s && s->rank < RANK_EJECTED;
}

uint64_t lease_sticky(const struct lease *l)
{
	return l->upstream->table.config.sticky.on
		       ? sticky_value(l->upstream, l->origin->server)
		       : 0;
}
