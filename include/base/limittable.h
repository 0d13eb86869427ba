/* Limits by key that all threads share: requests in a time (token buckets), and requests at once.
 *
 * Bounded: LIMIT_LINE words in each line of a cache, in which a key is one 64-bit word, its tag
 * (24 bits of the hash beyond the line) and its state. Any thread may call, and none waits: a word
 * is changed by compare and exchange, a handful of instructions on one line of the cache.
 *
 *   rates   the state is the time at which the bucket would be full again (GCRA, as in ITU-T I.371
 *           with a virtual scheduling time): a key that has been idle for as long as its bucket
 *           needs to fill is as one that was never seen, and its word is free
 *   counts  the state is how many are under way: at 0 the word is free
 *
 * The state has the low 40 bits of a time, which come again after 12 days. The last word of a line
 * of rates says in which age (3 days) the line was last used. Whoever uses it first in another age
 * frees the words whose buckets are full, so that no word is ever older than its bits can tell.
 *
 * If a line is full, a rate takes the place of the key whose bucket is nearest to full, which
 * loses what it had used: limits become more lenient for it, never stricter. A count is not taken
 * then, and its user goes on without a limit (COUNT_UNTRACKED). Two keys of one line with the same
 * tag (one pair in 16 million) share a bucket. Hashes must be keyed with a secret (limits.key), so
 * that nobody can choose such keys, or fill one line.
 *
 * Owner: the process; not freed while a thread uses it. Limits: one in an hour at least, a million
 * a second at most; a bucket is full after LIMIT_FILL_US at most. Errors: none. Memory that no key
 * has used yet is not resident. */
#ifndef BASE_LIMITTABLE_H
#define BASE_LIMITTABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"

#define LIMIT_LINE 8 /* 64 bytes */
#define LIMIT_RATES (LIMIT_LINE - 1) /* keys of a line of rates */
#define LIMIT_FILL_US (UINT64_C(3600) * 1000000)

struct limit_table {
	uint32_t lines; /* a power of two */
	_Atomic uint64_t evicted; /* rates that gave way while they were in use */
	_Atomic uint64_t untracked;
	_Atomic uint64_t *words;
};

/* `words`: how many the table has, rounded up to a power of two. False: no memory. */
bool limit_table_init(struct limit_table *t, uint32_t words);
void limit_table_done(struct limit_table *t);

/* A bucket: `tokens` of it when it is full, one more each interval. */
struct rate {
	uint64_t interval_us; /* 1 at least */
	uint32_t tokens;      /* 1 at least; interval_us * tokens <= LIMIT_FILL_US */
};

struct rate_result {
	bool taken;
	/* Taken: after which time the request may go on, 0 unless it has to wait. Else: after which
	 * time one like it could be taken. */
	uint64_t wait_us;
	uint32_t left;    /* tokens in the bucket now */
	uint64_t full_us; /* until it is full */
	uint64_t next_us; /* until one more need not wait; 0: it need not now */
};

/* Takes a token of the key with this hash. `wait_max_us`: so far ahead tokens may be taken. */
struct rate_result rate_take(struct limit_table *t, uint64_t hash, const struct rate *r,
			     uint64_t now_us, uint64_t wait_max_us);

enum count_result { COUNT_TAKEN, COUNT_REFUSED, COUNT_UNTRACKED };

/* Counts one more of the key with this hash, unless it has `most` already. COUNT_TAKEN: count_put()
 * follows. */
enum count_result count_take(struct limit_table *t, uint64_t hash, uint32_t most);
void count_put(struct limit_table *t, uint64_t hash);

/* The two tables of a process, of so many words each: 2 MiB of address space. */
#define LIMIT_WORDS 262144
struct limits {
	uint8_t key[SIPHASH_KEY_BYTES]; /* of hashes; secret */
	struct limit_table rates, counts;
};

bool limits_init(struct limits *l, uint32_t words, const uint8_t key[SIPHASH_KEY_BYTES]);
void limits_done(struct limits *l);

#endif
