#include "base/limittable.h"

#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

/* A word: the tag above, the state below. 2^40 µs are 12 days: a time that is further ahead than
 * the bucket needs to fill is one of the past. */
#define STATE_BITS 40
#define AGE_BITS (STATE_BITS - 2)
#define STATE_MASK ((UINT64_C(1) << STATE_BITS) - 1)

/* Other threads change a word only so often in the time of a few instructions. */
#define PUT_TRIES 100000

bool limit_table_init(struct limit_table *t, uint32_t words)
{
	uint32_t lines = 1;
	void *memory;

	while (lines < words / LIMIT_LINE && lines < UINT32_C(1) << 24)
		lines *= 2;
	*t = (struct limit_table){ .lines = lines };
	memory = mmap(NULL, (size_t)lines * LIMIT_LINE * sizeof(uint64_t),
		      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	t->words = memory;
	return true;
}

void limit_table_done(struct limit_table *t)
{
	if (t->words)
		munmap(t->words, (size_t)t->lines * LIMIT_LINE * sizeof(uint64_t));
	t->words = NULL;
}

static _Atomic uint64_t *line_of(const struct limit_table *t, uint64_t hash)
{
	return t->words + (hash & (t->lines - 1)) * LIMIT_LINE;
}

/* Never 0: a word of 0 is free. */
static uint64_t tag_of(uint64_t hash)
{
	uint64_t tag = hash >> STATE_BITS;

	return (tag ? tag : 1) << STATE_BITS;
}

/* Acquire and release are for line_enter_age() only: on most machines they cost nothing. */
static uint64_t word_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* False: another thread was faster. */
static bool word_change(_Atomic uint64_t *word, uint64_t from, uint64_t to)
{
	return atomic_compare_exchange_strong_explicit(
		word, &from, to, memory_order_acq_rel, memory_order_relaxed);
}

static bool word_is(uint64_t word, uint64_t tag)
{
	return word != 0 && (word & ~STATE_MASK) == tag;
}

bool limits_init(struct limits *l, uint32_t words, const uint8_t key[SIPHASH_KEY_BYTES])
{
	bool good = limit_table_init(&l->rates, words);

	memcpy(l->key, key, sizeof(l->key));
	return limit_table_init(&l->counts, words) && good;
}

void limits_done(struct limits *l)
{
	limit_table_done(&l->rates);
	limit_table_done(&l->counts);
}

/* ---- rates ------------------------------------------------------------------ */

/* How long after `now_us` the bucket of a word is full; 0: it is, or the word is free. */
static uint64_t word_ahead(uint64_t word, uint64_t now_us)
{
	uint64_t ahead = (word - now_us) & STATE_MASK;

	return word == 0 || ahead > LIMIT_FILL_US ? 0 : ahead;
}

/* Frees the words that the line has from an earlier age, if it is the first use in this one: from
 * the age before those whose buckets are full, from earlier ones all. A word that another thread
 * writes now was written after that thread had set the age, which is then seen here. */
static void line_enter_age(_Atomic uint64_t *line, uint64_t now_us)
{
	_Atomic uint64_t *age = &line[LIMIT_RATES];
	uint64_t now = now_us >> AGE_BITS, seen = word_load(age);

	if (seen >= now)
		return;
	for (unsigned i = 0; i < LIMIT_RATES; i++) {
		uint64_t word = word_load(&line[i]);

		if (word_load(age) != seen)
			return;
		if (now - seen > 1 || word_ahead(word, now_us) == 0)
			word_change(&line[i], word, 0);
	}
	word_change(age, seen, now);
}

/* The word of the key, or the one that it may have instead: the one nearest to full. */
static _Atomic uint64_t *rate_word(_Atomic uint64_t *line, uint64_t tag, uint64_t now_us)
{
	_Atomic uint64_t *best = line;
	uint64_t best_ahead = UINT64_MAX;

	line_enter_age(line, now_us);
	for (unsigned i = 0; i < LIMIT_RATES; i++) {
		uint64_t word = word_load(&line[i]), ahead = word_ahead(word, now_us);

		if (word_is(word, tag))
			return &line[i];
		if (ahead < best_ahead) {
			best_ahead = ahead;
			best = &line[i];
		}
	}
	return best;
}

static struct rate_result rate_decide(const struct rate *r, uint64_t ahead_us,
				      uint64_t wait_max_us)
{
	uint64_t size_us = r->interval_us * r->tokens,
		 next_us = ahead_us + r->interval_us;
	uint64_t wait_us = next_us > size_us ? next_us - size_us : 0;
	bool taken = wait_us <= wait_max_us && next_us <= LIMIT_FILL_US;
	uint64_t used_us = taken ? next_us : ahead_us;
	uint64_t one_more_us = used_us + r->interval_us;

	return (struct rate_result){
		.taken = taken,
		.wait_us = wait_us,
		.left = used_us < size_us
				? (uint32_t)((size_us - used_us) / r->interval_us)
				: 0,
		.full_us = used_us,
		.next_us = one_more_us > size_us ? one_more_us - size_us : 0,
	};
}

struct rate_result rate_take(struct limit_table *t, uint64_t hash, const struct rate *r,
			     uint64_t now_us, uint64_t wait_max_us)
{
	uint64_t tag = tag_of(hash);
	_Atomic uint64_t *line = line_of(t, hash);

	ASSERT(r->interval_us > 0 && r->tokens > 0);
	ASSERT(r->interval_us * r->tokens <= LIMIT_FILL_US);
	for (;;) {
		_Atomic uint64_t *word = rate_word(line, tag, now_us);
		uint64_t before = word_load(word);
		uint64_t ahead = word_ahead(before, now_us);
		bool ours = word_is(before, tag) &&
			    ahead <= r->interval_us * r->tokens + wait_max_us;
		struct rate_result result = rate_decide(r, ours ? ahead : 0, wait_max_us);

		if (!result.taken)
			return result;
		if (!word_change(word, before,
				 tag | ((now_us + result.full_us) & STATE_MASK)))
			continue;
		if (!word_is(before, tag) && ahead > 0)
			atomic_fetch_add_explicit(&t->evicted, 1, memory_order_relaxed);
		return result;
	}
}

/* ---- counts ----------------------------------------------------------------- */

/* The word of the key, else a free one. NULL: the line is full. */
static _Atomic uint64_t *count_word(_Atomic uint64_t *line, uint64_t tag)
{
	_Atomic uint64_t *free = NULL;

	for (unsigned i = 0; i < LIMIT_LINE; i++) {
		uint64_t word = word_load(&line[i]);

		if (word_is(word, tag))
			return &line[i];
		if (word == 0 && !free)
			free = &line[i];
	}
	return free;
}

enum count_result count_take(struct limit_table *t, uint64_t hash, uint32_t most)
{
	uint64_t tag = tag_of(hash);
	_Atomic uint64_t *line = line_of(t, hash);

	for (;;) {
		_Atomic uint64_t *word = count_word(line, tag);
		uint64_t before;

		if (!word) {
			atomic_fetch_add_explicit(&t->untracked, 1, memory_order_relaxed);
			return COUNT_UNTRACKED;
		}
		before = word_load(word);
		if (before != 0 && !word_is(before, tag))
			continue; /* another thread has taken it just now */
		if ((before & STATE_MASK) >= most)
			return COUNT_REFUSED;
		if (word_change(word, before, before == 0 ? tag | 1 : before + 1))
			return COUNT_TAKEN;
	}
}

/* Two threads may have made two words for one key at once: either will do, and what was taken is in
 * one of them. */
void count_put(struct limit_table *t, uint64_t hash)
{
	uint64_t tag = tag_of(hash);
	_Atomic uint64_t *line = line_of(t, hash);

	for (unsigned tries = 0; tries < PUT_TRIES; tries++) {
		_Atomic uint64_t *word = count_word(line, tag);
		uint64_t before = word ? word_load(word) : 0;

		if (word_is(before, tag) &&
		    word_change(word, before,
				(before & STATE_MASK) == 1 ? 0 : before - 1))
			return;
	}
	ASSERT(!"a count that was not taken");
}
