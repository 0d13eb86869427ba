/* Chooses the server of a request.
 *
 * Servers are ranked: available, available backups, ejected, ejected backups, down, down
 * backups. The candidates are the servers of the best rank with a server that was not
 * tried; `balance` decides among the candidates with capacity. If none has capacity the
 * request waits: a server of a worse rank is not used because the others are busy. If all
 * are unavailable one of them is used nevertheless, an ejected one before one that is
 * down.
 *
 * With very many servers a choice examines only one group of them, and further groups
 * only if it has no available server with capacity. Groups take turns as servers do, by
 * the weight of the candidates that each had last. `hash` examines all servers. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "server.h"

#define WEIGHT_UNIT 256u /* the effective weight of weight 1 */

#define GROUP_SERVERS 64 /* at most 64 groups: a bit of a word for each */

/* The choice at hand: the best rank of the servers in range. */
struct choice {
	struct upstream *upstream;
	uint8_t rank;
};

static bool was_tried(const struct tried *tried, const struct server *s)
{
	return tried_has(tried, s->id);
}

bool server_full(const struct server *s)
{
	const struct config_upstream *c = &s->upstream->config;

	if (c->requests > 0 && s->registry_entry && s->permits == 0 &&
	    !registry_has_permit(s->registry_entry, c->requests))
		return true;
	return s->idle_n == 0 && s->held_n == 0 && c->connections > 0 &&
	       s->open_n >= c->connections;
}

static bool is_down(const struct upstream *u, const struct server *s)
{
	return s->probed_down || s->down_until_ms > u->tick->now_ms;
}

static bool is_unavailable(const struct upstream *u, const struct server *s)
{
	return s->ejected || is_down(u, s);
}

#define RANK_DOWN 4 /* this rank and above: down */
#define RANK_NONE 6 /* was tried: not a candidate */

static uint8_t rank_of(const struct upstream *u, const struct server *s)
{
	unsigned unavailable = is_down(u, s) ? 2u : s->ejected;

	return (uint8_t)(2 * unavailable + s->backup);
}

bool upstream_has_spare(const struct upstream *u, const struct tried *tried)
{
	for (unsigned i = 0; i < u->server_n; i++) {
		const struct server *s = u->servers[i];

		if (!was_tried(tried, s) && !is_unavailable(u, s) && !s->backup &&
		    !server_full(s))
			return true;
	}
	return false;
}

bool upstream_has_other(const struct upstream *u, const struct tried *tried)
{
	for (unsigned i = 0; i < u->server_n; i++)
		if (!was_tried(tried, u->servers[i]) && !is_unavailable(u, u->servers[i]))
			return true;
	return false;
}

/* Ranks the servers in range. False: all were tried. */
static bool rank_all(struct choice *c, const struct tried *tried)
{
	c->rank = RANK_NONE;
	for (unsigned i = c->upstream->from; i < c->upstream->to; i++) {
		struct server *s = c->upstream->servers[i];

		s->rank = was_tried(tried, s) ? RANK_NONE : rank_of(c->upstream, s);
		if (s->rank < c->rank)
			c->rank = s->rank;
	}
	return c->rank != RANK_NONE;
}

/* Leaves only candidates with capacity. Capacity is sampled once: other workers change it
 * concurrently, and the selection reads it several times. */
static void pick_candidates(const struct choice *c)
{
	for (unsigned i = c->upstream->from; i < c->upstream->to; i++) {
		struct server *s = c->upstream->servers[i];

		if (s->rank != c->rank || server_full(s))
			s->rank = RANK_NONE;
	}
}

static bool is_candidate(const struct server *s)
{
	return s->rank != RANK_NONE;
}

/* Its weight, reduced during its slow start. */
static uint64_t effective_weight(const struct server *s)
{
	const struct upstream *u = s->upstream;
	uint64_t full = (uint64_t)s->weight * WEIGHT_UNIT, now_ms = u->tick->now_ms,
		 weight;

	if (s->slow_start_until_ms <= now_ms || u->config.slow_start_ms == 0)
		return full;
	if (s->slow_start_until_ms - now_ms >= u->config.slow_start_ms)
		return 1;
	weight = full * (u->config.slow_start_ms - (s->slow_start_until_ms - now_ms)) /
		 u->config.slow_start_ms;
	return weight > 0 ? weight : 1;
}

static bool less_busy(const struct server *a, const struct server *b)
{
	return a->busy_n * effective_weight(b) < b->busy_n * effective_weight(a);
}

/* ---- smooth weighted round robin, least connections ------------------------ */

static const struct server *least_busy(const struct upstream *u)
{
	const struct server *least = NULL;

	for (unsigned i = u->from; i < u->to; i++)
		if (is_candidate(u->servers[i]) && (!least || less_busy(u->servers[i], least)))
			least = u->servers[i];
	return least;
}

/* Only candidates gain weight: a server without capacity does not save up turns, to get
 * many requests in succession when it has capacity again. */
static struct server *next_round_robin(struct upstream *u)
{
	bool by_load = u->config.balance == CONFIG_LEAST_CONNECTIONS;
	const struct server *least = by_load ? least_busy(u) : NULL;
	struct server *best = NULL;
	int64_t total = 0;

	for (unsigned i = u->from; i < u->to; i++) {
		struct server *s = u->servers[i];
		int64_t weight;

		if (!is_candidate(s) || (least && less_busy(least, s)))
			continue;
		weight = (int64_t)effective_weight(s);
		s->current += weight;
		total += weight;
		if (!best || s->current > best->current)
			best = s;
	}
	if (best)
		best->current -= total;
	return best;
}

/* ---- random: two choices --------------------------------------------------- */

/* A random candidate other than `other`, with a probability by weight. total: the weight
 * of these candidates. */
static struct server *random_server(struct upstream *u, uint64_t total,
				    const struct server *other)
{
	uint64_t at = random_below(&u->random, total);

	for (unsigned i = u->from; i < u->to; i++) {
		struct server *s = u->servers[i];

		if (s == other || !is_candidate(s))
			continue;
		if (at < effective_weight(s))
			return s;
		at -= effective_weight(s);
	}
	return NULL;
}

/* The less busy of two random candidates. */
static struct server *two_choices(struct upstream *u)
{
	struct server *a, *b;
	uint64_t total = 0;

	for (unsigned i = u->from; i < u->to; i++)
		if (is_candidate(u->servers[i]))
			total += effective_weight(u->servers[i]);
	if (total == 0)
		return NULL;
	a = random_server(u, total, NULL);
	if (total == effective_weight(a))
		return a;
	b = random_server(u, total - effective_weight(a), a);
	return less_busy(b, a) ? b : a;
}

/* ---- hash: weighted rendezvous ---------------------------------------------- */

/* -log2(x / 2^64), with an error below 0.008. */
static double minus_log2(uint64_t x)
{
	unsigned zeros;
	double rest;

	x |= 1;
	zeros = (unsigned)__builtin_clzll(x);
	rest = (double)(x << zeros << 1) / 18446744073709551616.0;
	return (double)zeros + 1.0000001 - (rest + 0.3466 * rest * (1.0 - rest));
}

/* Each server has a score for each key; the highest score gets the key. So no key moves
 * between two other servers when one is added or removed. With this division the keys of
 * a server are in proportion to its weight. */
static double score(const struct server *s, uint64_t key)
{
	return (double)s->weight / minus_log2(hash_mix(key ^ s->hash));
}

/* Whether one more request in flight would exceed `hash_balance_factor` percent of the
 * fair part of this server. */
static bool exceeds_balance_factor(const struct server *s, uint64_t busy,
				   uint64_t weights)
{
	uint64_t percent = s->upstream->config.hash_balance_factor;

	return percent > 0 &&
	       s->busy_n * weights * 100 >= percent * (busy + 1) * s->weight;
}

static struct server *highest_score(struct upstream *u, uint64_t key)
{
	struct server *best = NULL;
	uint64_t busy = 0, weights = 0;
	double best_score = 0;

	for (unsigned i = 0; i < u->server_n; i++) {
		if (is_candidate(u->servers[i])) {
			busy += u->servers[i]->busy_n;
			weights += u->servers[i]->weight;
		}
	}
	for (unsigned i = 0; i < u->server_n; i++) {
		struct server *s = u->servers[i];
		double s_score;

		if (!is_candidate(s) || exceeds_balance_factor(s, busy, weights))
			continue;
		s_score = score(s, key);
		if (best && s_score <= best_score)
			continue;
		best = s;
		best_score = s_score;
	}
	return best;
}

/* --------------------------------------------------------------------------- */

/* ---- groups ---------------------------------------------------------------- */

_Static_assert(UPSTREAM_SERVERS_MAX <= 64 * GROUP_SERVERS, "a bit for each group");

static unsigned group_count(unsigned servers)
{
	return (servers + GROUP_SERVERS - 1) / GROUP_SERVERS;
}

static void range_set(struct upstream *u, unsigned from, unsigned to)
{
	u->from = from;
	u->to = to < u->server_n ? to : u->server_n;
}

void upstream_build_groups(struct upstream *u)
{
	free(u->groups);
	u->groups = NULL;
	range_set(u, 0, u->server_n);
	if (u->server_n > GROUP_SERVERS)
		u->groups = calloc(group_count(u->server_n), sizeof(u->groups[0]));
	for (unsigned i = 0; u->groups && i < u->server_n; i++)
		u->groups[i / GROUP_SERVERS].weight += (uint64_t)u->servers[i]->weight *
						       WEIGHT_UNIT;
}

/* The next group by round robin, of those not yet examined. */
static unsigned next_group(struct upstream *u, uint64_t examined)
{
	unsigned best = 0, n = group_count(u->server_n);
	bool found = false;
	int64_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		struct group *g = &u->groups[i];

		if (examined >> i & 1)
			continue;
		g->current += (int64_t)g->weight;
		total += (int64_t)g->weight;
		if (!found || g->current > u->groups[best].current)
			best = i;
		found = true;
	}
	u->groups[best].current -= total;
	return best;
}

/* A group without candidates keeps the weight of one server, so that it is examined
 * again. */
static void group_update_weight(const struct upstream *u, struct group *g)
{
	g->weight = 0;
	for (unsigned i = u->from; i < u->to; i++)
		if (is_candidate(u->servers[i]))
			g->weight += effective_weight(u->servers[i]);
	if (g->weight < WEIGHT_UNIT)
		g->weight = WEIGHT_UNIT;
}

static struct server *choose_in_range(struct upstream *u)
{
	return u->config.balance == CONFIG_RANDOM ? two_choices(u) : next_round_robin(u);
}

/* An available server with capacity, no backup; NULL: there is none. */
static struct server *choose_by_group(struct upstream *u, const struct lease *l)
{
	struct choice c = { .upstream = u };
	struct server *s = NULL;
	uint64_t examined = 0;

	for (unsigned n = group_count(u->server_n); n > 0 && !s; n--) {
		unsigned i = next_group(u, examined);

		examined |= 1ull << i;
		range_set(u, i * GROUP_SERVERS, (i + 1) * GROUP_SERVERS);
		if (rank_all(&c, &l->tried) && c.rank > 0)
			c.rank = RANK_NONE + 1; /* no candidates in this group */
		pick_candidates(&c);
		group_update_weight(u, &u->groups[i]);
		s = choose_in_range(u);
	}
	range_set(u, 0, u->server_n);
	return s;
}

void upstream_stagger(struct upstream *u)
{
	for (unsigned i = 0; i < u->worker; i++) {
		if (u->groups)
			(void)next_group(u, 0);
		(void)next_round_robin(u);
	}
}

/* --------------------------------------------------------------------------- */

/* If all servers that are left are down, a request makes TRIED_MAX attempts at most: with
 * very many servers down each request would cost as many connects, and its worker would
 * do nothing else. */
static bool down_attempts_exhausted(const struct choice *c, const struct lease *l)
{
	return c->rank >= RANK_DOWN && l->tried_n >= TRIED_MAX;
}

static struct server *choose(struct upstream *u, const struct lease *l, bool *untried)
{
	struct choice c = { .upstream = u };
	struct server *s;

	if (u->server_n == 1) {
		*untried = !was_tried(&l->tried, u->servers[0]);
		return *untried && !server_full(u->servers[0]) ? u->servers[0] : NULL;
	}
	/* `tried` does not hold more than TRIED_MAX servers; tried_n counts them. */
	*untried = u->server_n <= TRIED_MAX || l->tried_n < u->server_n;
	s = *untried && u->groups && u->config.balance != CONFIG_HASH ? choose_by_group(u, l) :
									NULL;
	if (s)
		return s;
	*untried = *untried && rank_all(&c, &l->tried) && !down_attempts_exhausted(&c, l);
	if (!*untried)
		return NULL;
	pick_candidates(&c);
	switch (u->config.balance) {
	case CONFIG_ROUND_ROBIN:
	case CONFIG_LEAST_CONNECTIONS:
		break;
	case CONFIG_RANDOM:
		return two_choices(u);
	case CONFIG_HASH:
		return l->hash != 0 ? highest_score(u, l->hash) : two_choices(u);
	}
	return next_round_robin(u);
}

struct server *server_choose(struct upstream *u, struct lease *l, bool *untried)
{
	struct server *s = choose(u, l, untried);

	if (s || !l->tried_has_avoided)
		return s;
	l->tried_has_avoided = false;
	l->tried = (struct tried){ 0 };
	return choose(u, l, untried);
}
