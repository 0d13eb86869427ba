/* Chooses the server of a request.
 *
 * The candidates are the servers of the best rank with a server that was not tried
 * (rank.h); `balance` decides among the candidates with capacity. If none has capacity the
 * request waits: a server of a worse rank is not used because the others are busy. If all
 * are unavailable one of them is used nevertheless, an ejected one before one that is
 * down.
 *
 * A choice examines one group of 64 servers, and further groups only if it has no
 * candidate with capacity. Groups take turns as servers do, by the weight of the
 * candidates that each had last. With `hash` the key's place on a ring decides
 * (hashring.h). A server that the request's cookie names (sticky.c) is taken before all
 * others as long as it is available.
 *
 * Cost with n servers: O(64 + n / 64), `hash`: O(1); O(n) only while no candidate has
 * capacity. */
#include <stdlib.h>

#include "base/hash.h"
#include "hashring.h"
#include "server.h"
#include "sticky.h"

#define WEIGHT_UNIT 256u /* the effective weight of weight 1 */

/* Servers that upstream_has_spare() examines. */
#define SPARE_EXAMINED_MAX 64

/* A choice: among the servers of this rank that were not tried. */
struct choice {
	struct upstream *upstream;
	const struct tried *tried;
	uint8_t rank;
};

/* Servers of one group. */
struct candidates {
	const struct upstream *upstream;
	unsigned group;
	uint64_t set; /* a bit for each */
};

#define CANDIDATES_EACH(c, s) GROUP_EACH((c)->upstream, (c)->group, (c)->set, s)

bool server_full(const struct server *s)
{
	const struct config_upstream *c = &s->upstream->table.config;

	if (c->requests > 0 && s->member.registry_entry && s->permits == 0 &&
	    !registry_has_permit(s->member.registry_entry, c->requests))
		return true;
	return s->idle_n == 0 && s->held_n == 0 && c->connections > 0 &&
	       s->open_n >= c->connections;
}

static bool is_limited(const struct upstream *u)
{
	return u->table.config.requests > 0 || u->table.config.connections > 0;
}

/* The answer is no as well if the first SPARE_EXAMINED_MAX are full: a hedge would only add
 * to the load then. */
bool upstream_has_spare(const struct upstream *u, const struct tried *tried)
{
	unsigned examined = 0;

	for (unsigned g = 0; g < group_count(u->table.n); g++) {
		const struct server *s;

		GROUP_EACH(u, g, u->groups[g].ranks[0], s) {
			if (tried_has(tried, s->id))
				continue;
			if (!server_full(s))
				return true;
			if (++examined == SPARE_EXAMINED_MAX)
				return false;
		}
	}
	return false;
}

bool upstream_has_other(const struct upstream *u, const struct tried *tried)
{
	return rank_best(u, tried) < RANK_EJECTED;
}

/* The candidates of a group that have capacity. Capacity is sampled once: other workers
 * change it concurrently, and the selection reads it several times. */
static struct candidates candidates_of(const struct choice *c, unsigned group)
{
	struct candidates found = { c->upstream, group,
				    c->upstream->groups[group].ranks[c->rank] };
	const struct server *s;

	if (c->tried->n == 0 && !is_limited(c->upstream))
		return found;
	CANDIDATES_EACH(&found, s)
		if (tried_has(c->tried, s->id) || server_full(s))
			found.set &= ~RANK_BIT(s);
	return found;
}

/* Its weight, reduced during its slow start. */
static uint64_t effective_weight(const struct server *s)
{
	const struct upstream *u = s->upstream;
	uint64_t full = (uint64_t)s->weight * WEIGHT_UNIT, now_ms = u->tick->now_ms,
		 weight;

	if (s->slow_start_until_ms <= now_ms || u->table.config.slow_start_ms == 0)
		return full;
	if (s->slow_start_until_ms - now_ms >= u->table.config.slow_start_ms)
		return 1;
	weight = full *
		 (u->table.config.slow_start_ms - (s->slow_start_until_ms - now_ms)) /
		 u->table.config.slow_start_ms;
	return weight > 0 ? weight : 1;
}

static bool less_busy(const struct server *a, const struct server *b)
{
	return a->busy_n * effective_weight(b) < b->busy_n * effective_weight(a);
}

/* ---- smooth weighted round robin, least connections ------------------------ */

static const struct server *least_busy(const struct candidates *c)
{
	const struct server *s, *least = NULL;

	CANDIDATES_EACH(c, s)
		if (!least || less_busy(s, least))
			least = s;
	return least;
}

/* Only candidates gain weight: a server without capacity does not save up turns, to get
 * many requests in succession when it has capacity again. */
static struct server *next_round_robin(const struct candidates *c)
{
	bool by_load = c->upstream->table.config.balance == CONFIG_LEAST_CONNECTIONS;
	const struct server *least = by_load ? least_busy(c) : NULL;
	struct server *s, *best = NULL;
	int64_t total = 0;

	CANDIDATES_EACH(c, s) {
		int64_t weight;

		if (least && less_busy(least, s))
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
static struct server *random_server(struct upstream *u, const struct candidates *c,
				    uint64_t total, const struct server *other)
{
	uint64_t at = random_below(&u->random, total);
	struct server *s;

	CANDIDATES_EACH(c, s) {
		if (s == other)
			continue;
		if (at < effective_weight(s))
			return s;
		at -= effective_weight(s);
	}
	return NULL;
}

/* The sum of their effective weights. */
static uint64_t candidates_weight(const struct candidates *c)
{
	const struct server *s;
	uint64_t total = 0;

	CANDIDATES_EACH(c, s)
		total += effective_weight(s);
	return total;
}

/* The less busy of two random candidates. */
static struct server *two_choices(struct upstream *u, const struct candidates *c)
{
	uint64_t total = candidates_weight(c);
	struct server *a, *b;

	if (total == 0)
		return NULL;
	a = random_server(u, c, total, NULL);
	if (total == effective_weight(a))
		return a;
	b = random_server(u, c, total - effective_weight(a), a);
	return less_busy(b, a) ? b : a;
}

/* ---- hash ------------------------------------------------------------------ */

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

/* Weighted rendezvous hashing. With this division the keys of a server are in proportion to
 * its weight. */
static double score(const struct server *s, uint64_t key)
{
	return (double)s->weight / minus_log2(hash_mix(key ^ s->hash));
}

/* A choice by key. busy: requests in flight; weights: of the servers of the rank. */
struct key_choice {
	const struct choice *choice;
	uint64_t busy, weights;
};

/* Whether one more request in flight would exceed `hash_balance_factor` percent of the
 * fair part of this server. */
static bool exceeds_balance_factor(const struct server *s, const struct key_choice *k)
{
	uint64_t percent = s->upstream->table.config.hash_balance_factor;

	return percent > 0 &&
	       s->busy_n * k->weights * 100 >= percent * (k->busy + 1) * s->weight;
}

/* Few candidates are left: the one with the highest score for the key. So these keys, too,
 * move only from a server that is no candidate any more, or to one that has become one.
 * `hash_balance_factor` cannot hold if the others are full: then it does not count. */
static struct server *highest_score(const struct key_choice *k, uint64_t key,
				    bool bounded)
{
	const struct upstream *u = k->choice->upstream;
	struct server *s, *best = NULL;
	double best_score = 0;

	for (unsigned g = 0; g < group_count(u->table.n); g++) {
		struct candidates found = candidates_of(k->choice, g);

		CANDIDATES_EACH(&found, s) {
			if ((bounded && exceeds_balance_factor(s, k)) ||
			    (best && score(s, key) <= best_score))
				continue;
			best = s;
			best_score = score(s, key);
		}
	}
	return best;
}

static bool is_usable(void *owner, uint32_t server)
{
	const struct key_choice *k = owner;
	const struct server *s = server_at(k->choice->upstream, server);

	return s->rank == k->choice->rank && !tried_has(k->choice->tried, s->id) &&
	       !server_full(s) && !exceeds_balance_factor(s, k);
}

static struct server *choose_by_key(const struct choice *c, uint64_t key)
{
	struct upstream *u = c->upstream;
	struct key_choice k = { c, u->busy_n, u->rank_weights[c->rank] };
	uint32_t at = u->ring ? hashring_find(u->ring, key, is_usable, &k) : HASHRING_FAR;
	struct server *s;

	if (at != HASHRING_FAR)
		return server_at(u, at);
	s = highest_score(&k, key, true);
	return s ? s : highest_score(&k, key, false);
}

/* Without memory for the ring each choice is one by score. */
static void ring_build(struct upstream *u)
{
	struct hashring_server *servers;

	hashring_free(u->ring);
	u->ring = NULL;
	if (u->table.config.balance != CONFIG_HASH || u->table.n < 2)
		return;
	servers = malloc(u->table.n * sizeof(servers[0]));
	for (unsigned i = 0; servers && i < u->table.n; i++)
		servers[i] = (struct hashring_server){ server_at(u, i)->hash,
						       server_at(u, i)->weight };
	u->ring = servers ? hashring_new(servers, u->table.n) : NULL;
	free(servers);
}

/* ---- groups ---------------------------------------------------------------- */

_Static_assert(UPSTREAM_SERVERS_MAX <= 64 * GROUP_SERVERS, "a bit for each group");

void upstream_balance_build(struct upstream *u)
{
	ring_build(u);
	sticky_build(u);
	for (unsigned i = 0; i < u->table.n; i++)
		u->groups[i / GROUP_SERVERS].weight += (uint64_t)server_at(u, i)->weight *
						       WEIGHT_UNIT;
}

/* The next group by round robin, of those not yet examined. */
static unsigned next_group(struct upstream *u, uint64_t examined)
{
	unsigned best = 0, n = group_count(u->table.n);
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
static void group_update_weight(struct group *g, const struct candidates *c)
{
	g->weight = candidates_weight(c);
	if (g->weight < WEIGHT_UNIT)
		g->weight = WEIGHT_UNIT;
}

/* The candidates with capacity of the group whose turn it is; an empty set: no group has
 * any. */
static struct candidates next_candidates(const struct choice *c)
{
	struct upstream *u = c->upstream;
	struct candidates found = { .upstream = u };
	uint64_t examined = 0;

	if (u->table.n <= GROUP_SERVERS)
		return candidates_of(c, 0);
	for (unsigned n = group_count(u->table.n); n > 0 && !found.set; n--) {
		unsigned g = next_group(u, examined);

		examined |= 1ull << g;
		found = candidates_of(c, g);
		group_update_weight(&u->groups[g], &found);
	}
	return found;
}

void upstream_stagger(struct upstream *u)
{
	static const struct tried none;

	for (unsigned i = 0; i < u->table.worker && u->table.n > 0; i++) {
		struct choice c = { u, &none, rank_best(u, &none) };
		struct candidates found = next_candidates(&c);

		(void)next_round_robin(&found);
	}
}

/* ---- all ------------------------------------------------------------------- */

/* If all servers that are left are down, a request makes TRIED_MAX attempts at most: with
 * very many servers down each request would cost as many connects, and its worker would
 * do nothing else. */
static bool down_attempts_exhausted(const struct choice *c, const struct lease *l)
{
	return c->rank >= RANK_DOWN && l->tried_n >= TRIED_MAX;
}

static struct server *choose_from(const struct choice *c, const struct lease *l)
{
	struct upstream *u = c->upstream;
	struct candidates found;

	if (u->table.config.balance == CONFIG_HASH && l->hash != 0)
		return choose_by_key(c, l->hash);
	found = next_candidates(c);
	switch (u->table.config.balance) {
	case CONFIG_ROUND_ROBIN:
	case CONFIG_LEAST_CONNECTIONS:
		break;
	case CONFIG_RANDOM:
	case CONFIG_HASH:
		return two_choices(u, &found);
	}
	return next_round_robin(&found);
}

static struct server *choose(struct upstream *u, const struct lease *l, bool *untried)
{
	struct choice c = { .upstream = u, .tried = &l->tried };
	struct server *named = u->sticky ? sticky_choose(u, l) : NULL;

	*untried = named;
	if (named)
		return named;
	if (u->table.n == 1) {
		*untried = server_at(u, 0)->rank != RANK_NONE &&
			   !tried_has(&l->tried, server_at(u, 0)->id);
		return *untried && !server_full(server_at(u, 0)) ? server_at(u, 0) : NULL;
	}
	/* `tried` does not hold more than TRIED_MAX servers; tried_n counts them. */
	*untried = u->table.n <= TRIED_MAX || l->tried_n < u->table.n;
	c.rank = *untried ? rank_best(u, &l->tried) : RANK_NONE;
	*untried = c.rank != RANK_NONE && !down_attempts_exhausted(&c, l);
	return *untried ? choose_from(&c, l) : NULL;
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
