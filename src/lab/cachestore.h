/* The items of the lab's memcached, shared by all its threads under one lock. The size is
 * limited: a full store refuses items ("out of memory"), and evicts none. */
#ifndef LAB_CACHESTORE_H
#define LAB_CACHESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* memcached's limits. */
#define CACHE_KEY_MAX 250
#define CACHE_VALUE_MAX (1u << 20)
/* Of all items, with keys and headers. */
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

/* Stores an item that never expires. False: no memory, or a key or value beyond the
 * limits. */
bool cache_store_set(struct cache_store *store, struct slice key, struct slice value);

/* 1 … CACHE_KEY_MAX bytes without spaces and controls. */
bool cache_key_valid(struct slice key);

/* A new entry with this key and an empty value. NULL: no memory. */
struct cache_entry *cache_entry_new(struct slice key, uint32_t value_len);

static inline char *cache_entry_value(struct cache_entry *e)
{
	return e->bytes + e->key_len;
}

/* Takes over the entry, also if it is not stored. cas: the value that the existing entry
 * must have; 0: any, or no entry. */
enum cache_stored cache_store_put(struct cache_store *store, struct cache_entry **entry,
				  uint64_t cas, uint64_t now_ms);

enum cache_stored cache_store_delete(struct cache_store *store, struct slice key,
				     uint64_t cas, uint64_t now_ms);

/* While locked, the entry that cache_store_find() returned stays valid. */
void cache_store_lock(struct cache_store *store);
void cache_store_unlock(struct cache_store *store);

/* NULL: not found, or expired. */
struct cache_entry *cache_store_find(struct cache_store *store, struct slice key,
				     uint64_t now_ms);

#endif
