#include "base/names.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

/* Entries from which on buckets are allocated. */
#define BUCKETLESS_MAX 8

/* Buckets are numbered by the low bits. */
static uint64_t hash_fold(uint64_t hash)
{
	return hash ^ hash >> 32;
}

/* The pointer to the first entry of the bucket. */
static struct names_entry **bucket_of(struct names *s, uint64_t hash)
{
	return s->buckets ? &s->buckets[hash & (s->bucket_n - 1)] : &s->only;
}

static void bucket_append(struct names_entry **at, struct names_entry *e)
{
	while (*at)
		at = &(*at)->next;
	e->next = NULL;
	*at = e;
}

/* Entries with the same name keep their order. */
static void bucket_move(struct names *s, struct names_entry *first)
{
	while (first) {
		struct names_entry *next = first->next;

		bucket_append(bucket_of(s, first->hash), first);
		first = next;
	}
}

static void table_grow(struct names *s)
{
	size_t n = s->bucket_n > 0 ? 4 * s->bucket_n : 4 * BUCKETLESS_MAX;
	struct names_entry **buckets = calloc(n, sizeof(*buckets));
	struct names old = *s;

	if (!buckets)
		return;
	s->buckets = buckets;
	s->bucket_n = n;
	s->only = NULL;
	bucket_move(s, old.only);
	for (size_t i = 0; i < old.bucket_n; i++)
		bucket_move(s, old.buckets[i]);
	free(old.buckets);
}

void names_put(struct names *s, struct names_entry *e, struct slice name)
{
	e->hash = hash_fold(hash_bytes(HASH_BEGIN, name));
	e->name = name;
	if (s->n >= (s->bucket_n > 0 ? s->bucket_n : BUCKETLESS_MAX))
		table_grow(s);
	bucket_append(bucket_of(s, e->hash), e);
	s->n++;
}

struct names_entry *names_find(const struct names *s, struct slice name)
{
	return s->n > 0 ? names_find_hashed(s, name, hash_bytes(HASH_BEGIN, name)) : NULL;
}

struct names_entry *names_find_hashed(const struct names *s, struct slice name,
				      uint64_t hash)
{
	struct names_entry *e;

	hash = hash_fold(hash);
	e = s->buckets ? s->buckets[hash & (s->bucket_n - 1)] : s->only;
	while (e && (e->hash != hash || !slice_equal(e->name, name)))
		e = e->next;
	return e;
}

void names_remove(struct names *s, struct names_entry *e)
{
	struct names_entry **at = bucket_of(s, e->hash);

	while (*at && *at != e)
		at = &(*at)->next;
	ASSERT(*at);
	*at = e->next;
	e->next = NULL;
	s->n--;
}

void names_done(struct names *s)
{
	free(s->buckets);
	*s = (struct names){ 0 };
}
