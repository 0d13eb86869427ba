/* Consistent hashing: which server of an upstream gets a key (`balance: hash`).
 *
 * Each server has POINTS points on a ring of 2^32 positions for each unit of weight, at
 * positions that depend on its own hash only. A key has PROBES positions; of the points that
 * follow them clockwise, the one at the least distance has the key's server. With one probe,
 * servers of the same weight would differ as widely as the gaps between points do; with
 * several, no server gets more than 1 + 1 / (PROBES - 1) of its share (Appleton, O'Reilly:
 * "Multi-probe consistent hashing", 2015).
 *
 * Always holds:
 *   - The server of a key depends on the set of servers, their hashes and weights, and on
 *     which of them are usable. Order and history do not matter, so all workers agree.
 *   - If a server becomes unusable or leaves, only its keys get another server; if one
 *     becomes usable or is added, it gets keys from the others, and no key moves between
 *     two of these. Exception: with different weights of more than 4 on average, the unit
 *     of weight follows the average, and a few more keys move when servers come or go.
 *
 * Cost of a key: PROBES look-ups, and a few steps more if servers are unusable; it does not
 * depend on the number of servers. Memory: 12 bytes for a point, thus some 200 bytes for a
 * server of average weight, and 1 KiB at most.
 *
 * Owner: one upstream. Immutable. */
#ifndef BACK_HASHRING_H
#define BACK_HASHRING_H

#include <stdbool.h>
#include <stdint.h>

struct hashring;

/* hash: differs between servers. weight >= 1. */
struct hashring_server {
	uint64_t hash;
	uint32_t weight;
};

/* No usable server is near the key: most of them are not usable. */
#define HASHRING_FAR UINT32_MAX

/* n servers, 1 to 65,535; they are not referred to afterwards. NULL: no memory. */
struct hashring *hashring_new(const struct hashring_server *servers, unsigned n);
void hashring_free(struct hashring *r);

/* The index of the key's server among those for which usable(owner, index) is true, or
 * HASHRING_FAR. */
uint32_t hashring_find(const struct hashring *r, uint64_t key,
		       bool (*usable)(void *owner, uint32_t server), void *owner);

#endif
