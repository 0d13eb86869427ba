#include "rank.h"

#include "server.h"

static bool is_down(const struct server *s)
{
	return s->probed_down || timer_armed(&s->unreachable);
}

static uint8_t rank_of(const struct server *s)
{
	unsigned unavailable = is_down(s) ? 2u : s->ejected;

	if (s->order == SERVER_ORDER_DOWN)
		return RANK_NONE;
	return (uint8_t)(2 * unavailable + s->backup);
}

unsigned group_count(unsigned n)
{
	return (n + GROUP_SERVERS - 1) / GROUP_SERVERS;
}

/* ---- a change: the server is taken out of the counts, and counted again --------------- */

static void server_uncount(struct server *s)
{
	struct upstream *u = s->upstream;

	if (s->at == RANK_UNLISTED)
		return;
	if (s->rank != RANK_NONE) {
		u->groups[s->at / GROUP_SERVERS].ranks[s->rank] &= ~RANK_BIT(s);
		ASSERT(u->rank_weights[s->rank] >= s->weight);
		u->rank_weights[s->rank] -= s->weight;
	}
	u->probed_up_n -= !s->probed_down;
	u->ejected_n -= !s->probed_down && s->ejected;
}

static void server_count(struct server *s)
{
	struct upstream *u = s->upstream;

	if (s->at == RANK_UNLISTED)
		return;
	ASSERT(server_at(u, s->at) == s && !member_is_leaving(&s->member));
	s->rank = rank_of(s);
	if (s->rank != RANK_NONE) {
		u->groups[s->at / GROUP_SERVERS].ranks[s->rank] |= RANK_BIT(s);
		u->rank_weights[s->rank] += s->weight;
	}
	u->probed_up_n += !s->probed_down;
	u->ejected_n += !s->probed_down && s->ejected;
}

void rank_set_order(struct server *s, enum server_order order)
{
	if (order == s->order)
		return;
	server_uncount(s);
	s->order = (uint8_t)order;
	server_count(s);
}

void rank_set_probed_down(struct server *s, bool down)
{
	server_uncount(s);
	s->probed_down = down;
	server_count(s);
}

void rank_set_ejected(struct server *s, bool ejected)
{
	server_uncount(s);
	s->ejected = ejected;
	server_count(s);
}

void rank_connect_failed(struct server *s)
{
	struct tick *tick = s->upstream->tick;

	if (s->at == RANK_UNLISTED)
		return;
	server_uncount(s);
	timer_set(&tick->wheel, &s->unreachable, tick->now_ms + UPSTREAM_DOWN_MS);
	server_count(s);
}

void rank_connect_succeeded(struct server *s)
{
	if (!timer_armed(&s->unreachable))
		return;
	server_uncount(s);
	timer_stop(&s->upstream->tick->wheel, &s->unreachable);
	server_count(s);
}

/* Its next connect may succeed. Waiting leases wait for capacity, and it may have some. */
static void unreachable_timer_expired(struct timer *t)
{
	struct server *s = CONTAINER(t, struct server, unreachable);

	server_uncount(s);
	server_count(s);
	upstream_schedule_queue(s->upstream);
}

/* ---- the set of servers ---------------------------------------------------------------- */

void rank_init(struct server *s)
{
	s->at = RANK_UNLISTED;
	timer_init(&s->unreachable, unreachable_timer_expired);
}

void rank_stop(struct server *s)
{
	server_uncount(s);
	timer_stop(&s->upstream->tick->wheel, &s->unreachable);
	s->ejected = false;
	s->at = RANK_UNLISTED;
}

void rank_build(struct upstream *u)
{
	u->probed_up_n = u->ejected_n = 0;
	for (unsigned i = 0; i < RANKS; i++)
		u->rank_weights[i] = 0;
	for (unsigned i = 0; i < group_count(u->table.n); i++)
		u->groups[i] = (struct group){ 0 };
	for (unsigned i = 0; i < u->table.n; i++) {
		server_at(u, i)->at = i;
		server_count(server_at(u, i));
	}
}

/* ---- questions -------------------------------------------------------------------------- */

/* Looks at one server more than was tried, at most. */
static bool has_untried(const struct upstream *u, unsigned rank,
			const struct tried *tried)
{
	for (unsigned g = 0; g < group_count(u->table.n); g++) {
		const struct server *s;

		GROUP_EACH(u, g, u->groups[g].ranks[rank], s)
			if (!tried_has(tried, s->id))
				return true;
	}
	return false;
}

uint8_t rank_best(const struct upstream *u, const struct tried *tried)
{
	uint8_t rank = 0;

	while (rank < RANKS && !has_untried(u, rank, tried))
		rank++;
	return rank;
}

/* Each server has its own bit, and there are no other bits: as many bits as servers. */
void rank_check(const struct upstream *u)
{
	uint64_t weights[RANKS] = { 0 };
	uint32_t probed_up_n = 0, ejected_n = 0, bits = 0, unused_n = 0;

	for (unsigned i = 0; i < u->table.n; i++) {
		const struct server *s = server_at(u, i);

		ASSERT(s->at == i && s->rank == rank_of(s));
		if (s->rank == RANK_NONE) {
			unused_n++;
		} else {
			ASSERT(u->groups[i / GROUP_SERVERS].ranks[s->rank] & RANK_BIT(s));
			weights[s->rank] += s->weight;
		}
		probed_up_n += !s->probed_down;
		ejected_n += !s->probed_down && s->ejected;
	}
	for (unsigned rank = 0; rank < RANKS; rank++) {
		ASSERT(weights[rank] == u->rank_weights[rank]);
		for (unsigned g = 0; g < group_count(u->table.n); g++)
			bits += (uint32_t)__builtin_popcountll(u->groups[g].ranks[rank]);
	}
	ASSERT(bits == u->table.n - unused_n);
	ASSERT(probed_up_n == u->probed_up_n && ejected_n == u->ejected_n);
}
