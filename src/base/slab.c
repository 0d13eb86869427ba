#include "base/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/reserve.h"

/* A chunk is aligned to its size, so masking an object's address gives its chunk. */
#define CHUNK_BYTES RESERVE_CHUNK_BYTES

struct chunk {
	struct list node;
	struct slab *slab;
	void *free; /* free objects, linked through their first word */
	uint32_t taken;
	uint32_t untouched; /* index of the first object that was never taken */
};

#define CHUNK_HEAD ((sizeof(struct chunk) + 15) & ~(size_t)15)

static _Thread_local unsigned fail_countdown;

void slab_fail_at(unsigned n)
{
	fail_countdown = n;
}

static bool test_must_fail(void)
{
	return fail_countdown > 0 && --fail_countdown == 0;
}

void slab_init(struct slab *s, const char *name, size_t size, size_t limit)
{
	ASSERT(size > 0);
	memset(s, 0, sizeof(*s));
	s->name = name;
	s->size = (uint32_t)((size + 15) & ~(size_t)15);
	s->limit = limit;
	s->per_chunk = (uint32_t)((CHUNK_BYTES - CHUNK_HEAD) / s->size);
	ASSERT(s->per_chunk > 0);
	list_init(&s->partial);
	list_init(&s->full);
}

static void chunk_free(struct slab *s, struct chunk *c)
{
	list_remove(&c->node);
	s->empty--;
	reserve_unmap(c);
}

/* Memory is short: keep no empty chunk for the next burst. */
static void chunk_release(struct slab *s, struct chunk *c)
{
	chunk_free(s, c);
	if (s->empty < s->empty_min)
		s->empty_min = s->empty;
}

void slab_use_reserve(struct slab *s)
{
	s->uses_reserve = true;
}

void slab_trim(struct slab *s)
{
	for (uint32_t n = s->empty_min; n > 0; n--)
		chunk_free(s, LIST_ITEM(s->partial.prev, struct chunk, node));
	s->empty_min = s->empty;
}

void slab_done(struct slab *s)
{
	ASSERT(s->taken == 0);
	ASSERT(list_empty(&s->full));
	while (!list_empty(&s->partial))
		chunk_free(s, LIST_ITEM(s->partial.next, struct chunk, node));
}

static struct chunk *chunk_new(struct slab *s)
{
	struct chunk *c = reserve_map(s->uses_reserve);

	if (!c)
		return NULL;
	c->slab = s;
	list_init(&c->node);
	list_append(&s->partial, &c->node);
	s->empty++;
	return c;
}

void *slab_take_raw(struct slab *s)
{
	struct chunk *c;
	void *p;

	if (test_must_fail() || (s->limit > 0 && s->taken == s->limit))
		return NULL;
	if (list_empty(&s->partial))
		c = chunk_new(s);
	else
		c = LIST_ITEM(s->partial.next, struct chunk, node);
	if (!c)
		return NULL;
	if (c->taken == 0 && --s->empty < s->empty_min)
		s->empty_min = s->empty;
	if (c->free) {
		p = c->free;
		memcpy(&c->free, p, sizeof(void *));
	} else {
		p = (char *)c + CHUNK_HEAD + (size_t)c->untouched * s->size;
		c->untouched++;
	}
	if (++c->taken == s->per_chunk) {
		list_remove(&c->node);
		list_append(&s->full, &c->node);
	}
	s->taken++;
	return p;
}

void *slab_take(struct slab *s)
{
	void *p = slab_take_raw(s);

	return p ? memset(p, 0, s->size) : NULL;
}

void slab_put(struct slab *s, void *p)
{
	struct chunk *c = (struct chunk *)((uintptr_t)p & ~(uintptr_t)(CHUNK_BYTES - 1));

	ASSERT(p && c->slab == s && c->taken > 0);
#ifdef FAIRLEAD_POISON
	memset(p, 0xdd, s->size);
#endif
	memcpy(p, &c->free, sizeof(void *));
	c->free = p;
	s->taken--;
	if (c->taken-- == s->per_chunk) {
		/* A chunk that was full a moment ago is the fullest of the list. It is
		 * used first, so that the emptier ones drain and can be freed. */
		list_remove(&c->node);
		list_prepend(&s->partial, &c->node);
	}
	if (c->taken == 0) {
		list_remove(&c->node);
		list_append(&s->partial, &c->node);
		s->empty++;
		if (!reserve_whole())
			chunk_release(s, c);
	}
}
