#include "cachestore.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

#define CHAINS 4096u

struct cache_store {
	pthread_mutex_t lock;
	size_t bytes; /* of all entries */
	uint64_t cas; /* of the entry stored last */
	struct cache_entry *chains[CHAINS];
};

struct cache_store *cache_store_new(void)
{
	struct cache_store *store = calloc(1, sizeof(*store));

	if (store)
		pthread_mutex_init(&store->lock, NULL);
	return store;
}

void cache_store_free(struct cache_store *store)
{
	for (unsigned i = 0; i < CHAINS; i++) {
		struct cache_entry *e;

		while ((e = store->chains[i])) {
			store->chains[i] = e->next;
			free(e);
		}
	}
	pthread_mutex_destroy(&store->lock);
	free(store);
}

bool cache_key_valid(struct slice key)
{
	if (key.len < 1 || key.len > CACHE_KEY_MAX)
		return false;
	for (size_t i = 0; i < key.len; i++) {
		unsigned char c = (unsigned char)key.ptr[i];

		if (c <= ' ' || c == 0x7f)
			return false;
	}
	return true;
}

static size_t entry_bytes(const struct cache_entry *e)
{
	return sizeof(*e) + e->key_len + e->value_len + 2;
}

struct cache_entry *cache_entry_new(struct slice key, uint32_t value_len)
{
	struct cache_entry *e = malloc(sizeof(*e) + key.len + value_len + 2);

	if (!e)
		return NULL;
	*e = (struct cache_entry){ .key_len = (uint32_t)key.len, .value_len = value_len };
	memcpy(e->bytes, key.ptr, key.len);
	return e;
}

static struct cache_entry **chain_of(struct cache_store *store, struct slice key)
{
	return &store->chains[hash_bytes(HASH_BEGIN, key) % CHAINS];
}

static void entry_remove(struct cache_store *store, struct cache_entry **at)
{
	struct cache_entry *e = *at;

	*at = e->next;
	store->bytes -= entry_bytes(e);
	free(e);
}

/* The pointer to the entry, or to the end of its chain. Removes expired entries on the
 * way. */
static struct cache_entry **entry_slot(struct cache_store *store, struct slice key,
				       uint64_t now_ms)
{
	struct cache_entry **at = chain_of(store, key);

	while (*at) {
		struct cache_entry *e = *at;

		if (e->expires_ms > 0 && e->expires_ms <= now_ms)
			entry_remove(store, at);
		else if (slice_equal(key, (struct slice){ e->bytes, e->key_len }))
			return at;
		else
			at = &e->next;
	}
	return at;
}

struct cache_entry *cache_store_find(struct cache_store *store, struct slice key,
				     uint64_t now_ms)
{
	return *entry_slot(store, key, now_ms);
}

void cache_store_lock(struct cache_store *store)
{
	pthread_mutex_lock(&store->lock);
}

void cache_store_unlock(struct cache_store *store)
{
	pthread_mutex_unlock(&store->lock);
}

static enum cache_stored check_cas(const struct cache_entry *e, uint64_t cas)
{
	if (cas == 0)
		return CACHE_STORED;
	if (!e)
		return CACHE_NOT_FOUND;
	return e->cas == cas ? CACHE_STORED : CACHE_EXISTS;
}

enum cache_stored cache_store_put(struct cache_store *store, struct cache_entry **entry,
				  uint64_t cas, uint64_t now_ms)
{
	struct cache_entry *e = *entry, **at;
	enum cache_stored result;

	*entry = NULL;
	cache_store_lock(store);
	at = entry_slot(store, (struct slice){ e->bytes, e->key_len }, now_ms);
	result = check_cas(*at, cas);
	if (result == CACHE_STORED && *at)
		entry_remove(store, at);
	if (result == CACHE_STORED && store->bytes + entry_bytes(e) > CACHE_STORE_BYTES)
		result = CACHE_NO_ROOM;
	if (result == CACHE_STORED) {
		store->bytes += entry_bytes(e);
		e->cas = ++store->cas;
		e->next = *at;
		*at = e;
		e = NULL;
	}
	cache_store_unlock(store);
	free(e);
	return result;
}

enum cache_stored cache_store_delete(struct cache_store *store, struct slice key,
				     uint64_t cas, uint64_t now_ms)
{
	struct cache_entry **at;
	enum cache_stored result;

	cache_store_lock(store);
	at = entry_slot(store, key, now_ms);
	result = *at ? check_cas(*at, cas) : CACHE_NOT_FOUND;
	if (result == CACHE_STORED)
		entry_remove(store, at);
	cache_store_unlock(store);
	return result;
}

bool cache_store_set(struct cache_store *store, struct slice key, struct slice value)
{
	struct cache_entry *e;

	if (!cache_key_valid(key) || value.len > CACHE_VALUE_MAX)
		return false;
	e = cache_entry_new(key, (uint32_t)value.len);
	if (!e)
		return false;
	memcpy(cache_entry_value(e), value.ptr, value.len);
	return cache_store_put(store, &e, 0, 0) == CACHE_STORED;
}
