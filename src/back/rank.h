/* The ranks of an upstream's servers: which servers a request may use as long as there is no
 * better one. Each change of a server's health goes through this file.
 *
 *   0  available                   3  ejected backup
 *   1  available backup            4  down
 *   2  ejected                     5  down, backup
 *
 * A server that an operator has taken down has none: RANK_NONE.
 *
 * A server is down because the health check says so, or because a connect to it failed less
 * than UPSTREAM_DOWN_MS ago; it is ejected by ejection.c.
 *
 * Sixty-four servers that are neighbours in upstream->table.members are a group. It has one word
 * for each rank, with a bit for each of its servers. So a request finds the servers of the
 * best rank without a look at the others: O(n / 64), and O(1) while the first group has some.
 *
 * Always holds (rank_check()): each server in upstream->table.members has a bit in one word, that
 * of its rank, unless it has none, and the upstream's counts are the sums over its servers. A
 * server that is in no set yet, or has left, is not counted.
 *
 * Owner: the upstream. Limits: UPSTREAM_SERVERS_MAX. Errors: none; the groups are allocated
 * together with upstream->table.members. */
#ifndef BACK_RANK_H
#define BACK_RANK_H

#include "back/upstream.h"

#define GROUP_SERVERS 64

#define RANKS 6
#define RANK_EJECTED 2  /* this rank and above: ejected, or down */
#define RANK_DOWN 4     /* this rank and above: down */
#define RANK_NONE RANKS /* all servers were tried; of a server: it may not be used */

#define RANK_UNLISTED UINT32_MAX /* server->at: in no set */

struct group {
	uint64_t ranks[RANKS]; /* of each rank: a bit for each server */
	/* balance.c: turns of the groups, by smooth weighted round robin. */
	int64_t current;
	uint64_t weight; /* of its candidates when it was last examined */
};

/* The servers of a set, a word of group g, in the order of upstream->table.members. */
#define GROUP_EACH(u, g, set, s)                                                       \
	for (uint64_t rest_ = (set);                                                   \
	     rest_ && ((s) = server_at((u), (g)*GROUP_SERVERS +                        \
						    (unsigned)__builtin_ctzll(rest_)), \
		      true);                                                           \
	     rest_ &= rest_ - 1)

/* The bit of a server in the words of its group. */
#define RANK_BIT(s) (1ull << (s)->at % GROUP_SERVERS)

/* Groups for n servers. */
unsigned group_count(unsigned n);

/* Of a new server: it is available and in no set. */
void rank_init(struct server *s);

/* Stops its timer; it is in no set any more. */
void rank_stop(struct server *s);

/* Counts all servers anew, after upstream->table.members has changed. */
void rank_build(struct upstream *u);

/* What the health check reports. */
void rank_set_probed_down(struct server *s, bool down);

void rank_set_ejected(struct server *s, bool ejected);

/* What the operator has ordered. */
void rank_set_order(struct server *s, enum server_order order);

/* A connect failed, and: one succeeded. */
void rank_connect_failed(struct server *s);
void rank_connect_succeeded(struct server *s);

/* The best rank with a server that was not tried; RANK_NONE: there is none. */
uint8_t rank_best(const struct upstream *u, const struct tried *tried);

/* Asserts that sets and counts are those of the servers. O(n). */
void rank_check(const struct upstream *u);

#endif
