/* What the lab's memcached holds: shared by all its threads, under one lock, and bounded.
 * Full is an answer ("out of memory"), nothing is pushed out. */
#ifndef LAB_CACHESTORE_H
#define LAB_CACHESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* memcached's limits. */
#define CACHE_KEY_MAX 250
#define CACHE_VALUE_MAX (1u << 20)
/* All items, their keys and what goes with them. */
#define CACHE_STORE_BYTES (64u << 20)

struct cache_store;

struct cache_entry {
	struct cache_entry *next;
	uint64_t cas;        /* set when it is stored */
	uint64_t expires_ms; /* wall clock; 0: never */
	uint32_t flags;
	uint32_t key_len, value_len;
	char bytes[]; /* key, value, CRLF */
};

enum cache_stored { CACHE_STORED, CACHE_EXISTS, CACHE_NOT_FOUND, CACHE_NO_ROOM };

/* NULL: no memory. */
struct cache_store *cache_store_new(void);
void cache_store_free(struct cache_store *store);

/* Presets an item that stays. False: no room, or a key or value beyond the limits. */
bool cache_store_set(struct cache_store *store, struct slice key, struct slice value);

/* 1 … CACHE_KEY_MAX bytes without spaces and controls. */
bool cache_key_valid(struct slice key);

/* An entry of which the key is filled in; NULL: no memory. */
struct cache_entry *cache_entry_new(struct slice key, uint32_t value_len);

static inline char *cache_entry_value(struct cache_entry *e)
{
	return e->bytes + e->key_len;
}

/* Takes the entry over, whatever comes of it. cas: the one that an entry of this key must
 * have; 0: any or none. */
enum cache_stored cache_store_put(struct cache_store *store, struct cache_entry **entry,
				  uint64_t cas, uint64_t now_ms);

enum cache_stored cache_store_delete(struct cache_store *store, struct slice key,
				     uint64_t cas, uint64_t now_ms);

/* Between the two, what cache_store_find() gave stays. */
void cache_store_lock(struct cache_store *store);
void cache_store_unlock(struct cache_store *store);

/* NULL: there is none, or it has expired. */
struct cache_entry *cache_store_find(struct cache_store *store, struct slice key,
				     uint64_t now_ms);

#endif
