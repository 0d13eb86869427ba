#include "base/exemplar.h"

#include <string.h>

/* A release store is not made visible before what precedes it, so none of these before `number` is
 * odd. */
static void word_set(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Likewise: what follows is not read before. */
static uint64_t word_read(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void exemplar_set(struct exemplars *e, const char id[EXEMPLAR_ID_TEXT], uint64_t us,
		  uint64_t wall_ms)
{
	struct exemplar *x = &e->of[histogram_bucket(us)];
	uint64_t words[sizeof(x->id) / sizeof(x->id[0])];

	memcpy(words, id, sizeof(words));
	stat_set(&x->number, x->number + 1);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		word_set(&x->id[i], words[i]);
	word_set(&x->value_us, us);
	word_set(&x->wall_ms, wall_ms);
	word_set(&x->number, x->number + 1);
}

bool exemplar_read(const struct exemplars *e, unsigned bucket, struct exemplar_copy *copy)
{
	const struct exemplar *x = &e->of[bucket];
	uint64_t number = word_read(&x->number);
	uint64_t words[sizeof(x->id) / sizeof(x->id[0])];

	if (number == 0 || number % 2 != 0)
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = word_read(&x->id[i]);
	copy->value_us = word_read(&x->value_us);
	copy->wall_ms = word_read(&x->wall_ms);
	memcpy(copy->id, words, sizeof(words));
	return stat_read(&x->number) == number;
}
