#include "base/phases.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"

const char *phase_name(enum phase phase)
{
	static const char *const names[PHASES] = {
		[PHASE_RECEIVE] = "receive",   [PHASE_QUEUE] = "queue",
		[PHASE_CONNECT] = "connect",   [PHASE_TLS] = "tls",
		[PHASE_RESPONSE] = "response", [PHASE_FIRST_BYTE] = "first_byte",
		[PHASE_TOTAL] = "total",
	};

	return names[phase];
}

static size_t table_bytes(const struct phase_table *t)
{
	return (size_t)t->workers * (t->slots + 1) * sizeof(struct phases);
}

bool phase_table_init(struct phase_table *t, uint32_t workers, uint32_t slots)
{
	void *all;

	*t = (struct phase_table){ .slots = slots, .workers = workers, .next = 1 };
	all = mmap(NULL, table_bytes(t), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return false;
	/* One slot that is used must not cost 2 MiB. */
	(void)madvise(all, table_bytes(t), MADV_NOHUGEPAGE);
	t->all = all;
	t->given_back = malloc((slots + 1) * sizeof(t->given_back[0]));
	return t->given_back != NULL;
}

void phase_table_done(struct phase_table *t)
{
	if (t->all)
		munmap(t->all, table_bytes(t));
	free(t->given_back);
	*t = (struct phase_table){ .all = NULL };
}

static void table_lock(struct phase_table *t)
{
	while (atomic_flag_test_and_set(&t->lock))
		sched_yield();
}

uint32_t phase_table_take(struct phase_table *t)
{
	uint32_t slot = PHASE_SLOT_OTHER;

	table_lock(t);
	if (t->given_back_n > 0)
		slot = t->given_back[--t->given_back_n];
	else if (t->next <= t->slots)
		slot = t->next++;
	else
		atomic_fetch_add(&t->sharing, 1);
	atomic_flag_clear(&t->lock);
	return slot;
}

/* Reads first: a page that was never used stays so. */
static void phases_clear(struct phases *p)
{
	for (unsigned i = 0; i < PHASES; i++) {
		struct histogram *h = &p->of[i];

		for (unsigned k = 0; k < HISTOGRAM_BUCKETS; k++)
			if (stat_read(&h->buckets[k]) != 0)
				stat_set(&h->buckets[k], 0);
		if (stat_read(&h->sum_us) != 0)
			stat_set(&h->sum_us, 0);
	}
}

void phase_table_put(struct phase_table *t, uint32_t slot)
{
	ASSERT(slot <= t->slots);
	if (slot == PHASE_SLOT_OTHER) {
		atomic_fetch_sub(&t->sharing, 1);
		return;
	}
	for (uint32_t w = 0; w < t->workers; w++)
		phases_clear(phase_table_at(t, w, slot));
	table_lock(t);
	ASSERT(t->given_back_n < t->slots);
	t->given_back[t->given_back_n++] = slot;
	atomic_flag_clear(&t->lock);
}
