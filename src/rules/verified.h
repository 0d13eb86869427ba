/* Credentials that were verified a while ago: whoever presents them again need not wait for another
 * hash. Process-wide, and shared by all workers without a lock.
 *
 * What is kept is a digest, keyed by a secret of the process (SHA-256 of the secret, the hash in
 * the users file, the name and the password): no password and nothing to compare with other hashes.
 * As the hash of the file is part of it, a changed or removed user is not found any more once the
 * new file is in force. Only successes are kept, so wrong passwords displace nobody.
 *
 * A slot is two words, written one after the other. A reader that sees halves of two entries finds
 * nothing, since both have to match: 96 bits of the digest.
 *
 * Owner: the process; any thread. Limits: VERIFIED_SLOTS; a new entry displaces the one of its set
 * that expires first. Errors: none. */
#ifndef RULES_VERIFIED_H
#define RULES_VERIFIED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define VERIFIED_SLOTS 4096
#define VERIFIED_SECRET_BYTES 32

struct verified {
	uint8_t secret[VERIFIED_SECRET_BYTES];
	struct verified_slot {
		_Atomic uint64_t first;
		_Atomic uint64_t
			rest; /* 32 bits of the digest, and when it expires, in s */
	} slots[VERIFIED_SLOTS];
};

struct verified_key {
	uint64_t first;
	uint32_t rest, set;
};

/* NULL: no memory. */
struct verified *verified_new(void);
void verified_free(struct verified *v);

/* `keep_ms`: for how long the rule that asks may keep them. It finds only what a rule that keeps as
 * long has verified. */
struct verified_key verified_key(const struct verified *v, struct slice hash,
				 struct slice user, struct slice password,
				 uint32_t keep_ms);

bool verified_find(const struct verified *v, const struct verified_key *k,
		   uint64_t now_ms);

/* Keeps it for this time, from now on. */
void verified_put(struct verified *v, const struct verified_key *k, uint64_t now_ms,
		  uint32_t keep_ms);

#endif
