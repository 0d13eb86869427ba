#include "verified.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "tls/digest.h"

#define SET_SLOTS 4u /* that an entry may be in */

struct verified *verified_new(void)
{
	struct verified *v = calloc(1, sizeof(*v));

	if (v && getrandom(v->secret, sizeof(v->secret), 0) != sizeof(v->secret)) {
		free(v);
		return NULL;
	}
	return v;
}

void verified_free(struct verified *v)
{
	if (v)
		explicit_bzero(v, sizeof(*v));
	free(v);
}

/* Each part with its length, so that no two lists of parts have the same bytes. */
struct verified_key verified_key(const struct verified *v, struct slice hash,
				 struct slice user, struct slice password,
				 uint32_t keep_ms)
{
	const uint32_t lengths[] = { (uint32_t)hash.len, (uint32_t)user.len, keep_ms };
	const struct slice parts[] = { { (const char *)v->secret, sizeof(v->secret) },
				       { (const char *)lengths, sizeof(lengths) },
				       hash,
				       user,
				       password };
	uint8_t digest[TLS_DIGEST_BYTES];
	struct verified_key k;

	tls_digest(parts, COUNT(parts), digest);
	memcpy(&k.first, digest, 8);
	memcpy(&k.rest, digest + 8, 4);
	memcpy(&k.set, digest + 12, 4);
	k.set %= VERIFIED_SLOTS / SET_SLOTS;
	return k;
}

static uint32_t expiry_of(uint64_t rest)
{
	return (uint32_t)rest;
}

bool verified_find(const struct verified *v, const struct verified_key *k,
		   uint64_t now_ms)
{
	const struct verified_slot *set = &v->slots[k->set * SET_SLOTS];

	for (unsigned i = 0; i < SET_SLOTS; i++) {
		uint64_t rest = atomic_load_explicit(&set[i].rest, memory_order_acquire);

		if (atomic_load_explicit(&set[i].first, memory_order_relaxed) ==
			    k->first &&
		    (uint32_t)(rest >> 32) == k->rest && expiry_of(rest) > now_ms / 1000)
			return true;
	}
	return false;
}

/* The slot of this entry, else the one that expires first. */
static struct verified_slot *slot_for(struct verified_slot *set,
				      const struct verified_key *k)
{
	struct verified_slot *first = &set[0];

	for (unsigned i = 0; i < SET_SLOTS; i++) {
		if (atomic_load_explicit(&set[i].first, memory_order_relaxed) == k->first)
			return &set[i];
		if (expiry_of(atomic_load_explicit(&set[i].rest, memory_order_relaxed)) <
		    expiry_of(atomic_load_explicit(&first->rest, memory_order_relaxed)))
			first = &set[i];
	}
	return first;
}

void verified_put(struct verified *v, const struct verified_key *k, uint64_t now_ms,
		  uint32_t keep_ms)
{
	struct verified_slot *s = slot_for(&v->slots[k->set * SET_SLOTS], k);
	uint32_t expiry = (uint32_t)((now_ms + keep_ms + 999) / 1000);

	atomic_store_explicit(&s->first, k->first, memory_order_relaxed);
	atomic_store_explicit(&s->rest, (uint64_t)k->rest << 32 | expiry,
			      memory_order_release);
}
