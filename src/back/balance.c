/* Which server is asked next.
 *
 * Servers that are well come first, then backup servers that are well, then those that are not:
 * when all are ill, somebody has to be asked. Within the first of these classes that has one
 * left, those with room take their turns, as `balance` says. Where none has room one waits: an
 * ill server is not asked because the others are busy. */
#include "server.h"

#define WHOLE 256u /* a weight of 1, in the unit of shares */

/* Servers that may be chosen. */
struct choice {
	struct upstream *upstream;
	const uint64_t *tried;
	unsigned rank;
};

static bool was_tried(const uint64_t *tried, const struct server *s)
{
	return tried[s->slot / 64] >> s->slot % 64 & 1;
}

bool server_full(const struct server *s)
{
	const struct config_upstream *c = &s->upstream->config;

	if (c->requests > 0 && s->row && s->places == 0 && !roster_has_room(s->row, c->requests))
		return true;
	return s->idle_n == 0 && c->connections > 0 && s->open_n >= c->connections;
}

static bool is_ill(const struct upstream *u, const struct server *s)
{
	return s->probed_down || s->ejected || s->down_until_ms > u->tick->now_ms;
}

static unsigned rank_of(const struct upstream *u, const struct server *s)
{
	return (is_ill(u, s) ? 2u : 0u) + s->backup;
}

bool upstream_has_other(const struct upstream *u, const uint64_t *tried)
{
	for (unsigned i = 0; i < u->server_n; i++)
		if (!was_tried(tried, u->servers[i]) && !is_ill(u, u->servers[i]))
			return true;
	return false;
}

/* The best rank of those that were not tried; false: there are none. */
static bool find_rank(struct choice *c)
{
	const struct upstream *u = c->upstream;
	bool found = false;

	for (unsigned i = 0; i < u->server_n; i++) {
		const struct server *s = u->servers[i];
		unsigned rank;

		if (was_tried(c->tried, s))
			continue;
		rank = rank_of(u, s);
		if (!found || rank < c->rank)
			c->rank = rank;
		found = true;
	}
	return found;
}

static bool is_candidate(const struct choice *c, const struct server *s)
{
	return !was_tried(c->tried, s) && rank_of(c->upstream, s) == c->rank && !server_full(s);
}

/* Its weight, less while it is warming up. */
static uint64_t share_of(const struct server *s)
{
	const struct upstream *u = s->upstream;
	uint64_t full = (uint64_t)s->weight * WHOLE, now_ms = u->tick->now_ms, share;

	if (s->warm_ms <= now_ms || u->config.slow_start_ms == 0)
		return full;
	if (s->warm_ms - now_ms >= u->config.slow_start_ms)
		return 1;
	share = full * (u->config.slow_start_ms - (s->warm_ms - now_ms)) /
		u->config.slow_start_ms;
	return share > 0 ? share : 1;
}

static bool less_busy(const struct server *a, const struct server *b)
{
	return a->busy_n * share_of(b) < b->busy_n * share_of(a);
}

/* ---- taking turns --------------------------------------------------------- */

static bool better(const struct upstream *u, const struct server *a, const struct server *b)
{
	if (u->config.balance == CONFIG_LEAST_CONNECTIONS) {
		if (less_busy(a, b))
			return true;
		if (less_busy(b, a))
			return false;
	}
	return a->current > b->current;
}

static struct server *next_in_turn(const struct choice *c)
{
	struct upstream *u = c->upstream;
	struct server *best = NULL;
	int64_t total = 0;

	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = u->servers[i];
		int64_t share;

		if (!is_candidate(c, s))
			continue;
		share = (int64_t)share_of(s);
		s->current += share;
		total += share;
		if (!best || better(u, s, best))
			best = s;
	}
	if (best)
		best->current -= total;
	return best;
}

/* ---- by chance ------------------------------------------------------------ */

static uint64_t draw(struct upstream *u, uint64_t n)
{
	u->random ^= u->random << 13;
	u->random ^= u->random >> 7;
	u->random ^= u->random << 17;
	return u->random % n;
}

/* One of the candidates but for `other`, as likely as its share says. */
static struct server *draw_server(const struct choice *c, uint64_t total,
				  const struct server *other)
{
	struct upstream *u = c->upstream;
	uint64_t at = draw(u, total);

	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = u->servers[i];

		if (s == other || !is_candidate(c, s))
			continue;
		if (at < share_of(s))
			return s;
		at -= share_of(s);
	}
	return NULL;
}

/* The less busy of two. */
static struct server *one_of_two(const struct choice *c)
{
	struct upstream *u = c->upstream;
	struct server *a, *b;
	uint64_t total = 0;

	for (unsigned i = 0; i < u->server_n; i++)
		if (is_candidate(c, u->servers[i]))
			total += share_of(u->servers[i]);
	if (total == 0)
		return NULL;
	a = draw_server(c, total, NULL);
	if (total == share_of(a))
		return a;
	b = draw_server(c, total - share_of(a), a);
	return less_busy(b, a) ? b : a;
}

/* ---- by hash --------------------------------------------------------------- */

uint64_t server_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* -log2 of x / 2^64, to 0.008. */
static double minus_log2(uint64_t x)
{
	unsigned zeros;
	double rest;

	x |= 1;
	zeros = (unsigned)__builtin_clzll(x);
	rest = (double)(x << zeros << 1) / 18446744073709551616.0;
	return (double)zeros + 1.0000001 - (rest + 0.3466 * rest * (1.0 - rest));
}

/* Each server has a score for each key, and the highest has the key: when a server comes or
 * goes, no key moves between two others. So divided, a weight is a share of the keys. */
static double score(const struct server *s, uint64_t key)
{
	return (double)s->weight / minus_log2(server_mix(key ^ s->hash));
}

/* Has as much as `hash_load` allows it of all that is under way. */
static bool is_loaded(const struct server *s, uint64_t busy, uint64_t weights)
{
	uint64_t percent = s->upstream->config.hash_load;

	return percent > 0 &&
	       s->busy_n * weights * 100 >= percent * (busy + 1) * s->weight;
}

static struct server *highest(const struct choice *c, uint64_t key)
{
	struct upstream *u = c->upstream;
	struct server *best = NULL;
	uint64_t busy = 0, weights = 0;
	double best_score = 0;

	for (unsigned i = 0; i < u->server_n; i++) {
		if (is_candidate(c, u->servers[i])) {
			busy += u->servers[i]->busy_n;
			weights += u->servers[i]->weight;
		}
	}
	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = u->servers[i];
		double its;

		if (!is_candidate(c, s) || is_loaded(s, busy, weights))
			continue;
		its = score(s, key);
		if (best && its <= best_score)
			continue;
		best = s;
		best_score = its;
	}
	return best;
}

/* --------------------------------------------------------------------------- */

struct server *server_choose(struct upstream *u, const struct lease *l, bool *untried)
{
	struct choice c = { .upstream = u, .tried = l->tried };

	if (u->server_n == 1) {
		*untried = !was_tried(l->tried, u->servers[0]);
		return *untried && !server_full(u->servers[0]) ? u->servers[0] : NULL;
	}
	*untried = find_rank(&c);
	if (!*untried)
		return NULL;
	switch (u->config.balance) {
	case CONFIG_ROUND_ROBIN:
	case CONFIG_LEAST_CONNECTIONS:
		break;
	case CONFIG_RANDOM:
		return one_of_two(&c);
	case CONFIG_HASH:
		return l->key != 0 ? highest(&c, l->key) : one_of_two(&c);
	}
	return next_in_turn(&c);
}
