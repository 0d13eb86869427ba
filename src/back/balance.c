/* Which server is asked next. */
#include "server.h"

static bool was_tried(const uint64_t *tried, const struct server *s)
{
	return tried[s->slot / 64] >> s->slot % 64 & 1;
}

bool server_full(const struct server *s)
{
	const struct config_upstream *c = &s->upstream->config;

	return s->idle_n == 0 && c->connections > 0 && s->open_n >= c->connections;
}

static bool better(const struct upstream *u, const struct server *a, const struct server *b)
{
	switch (u->config.balance) {
	case CONFIG_ROUND_ROBIN:
		return a->current > b->current;
	case CONFIG_LEAST_CONNECTIONS:
		return (uint64_t)a->leased_n * b->weight < (uint64_t)b->leased_n * a->weight;
	}
	return false;
}

static bool is_down(const struct upstream *u, const struct server *s)
{
	return s->probed_down || s->down_until_ms > u->tick->now_ms;
}

bool upstream_has_other(const struct upstream *u, const uint64_t *tried)
{
	for (unsigned i = 0; i < u->server_n; i++)
		if (!was_tried(tried, u->servers[i]) && !is_down(u, u->servers[i]))
			return true;
	return false;
}

/* Servers that are down come last. */
struct server *server_choose(struct upstream *u, const struct lease *l, bool *untried)
{
	for (int with_down = 0; with_down < 2; with_down++) {
		struct server *best = NULL;
		int64_t total = 0;

		for (unsigned i = 0; i < u->server_n; i++) {
			struct server *s = u->servers[i];

			if (was_tried(l->tried, s))
				continue;
			*untried = true;
			if (server_full(s) || is_down(u, s) != with_down)
				continue;
			s->current += s->weight;
			total += s->weight;
			if (!best || better(u, s, best))
				best = s;
		}
		if (best) {
			best->current -= total;
			return best;
		}
	}
	return NULL;
}
