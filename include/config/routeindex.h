/* Finds the first route of a request without comparing the request with each route.
 *
 * A trie of the routes' keys: host, then path. A route has a key for each of its hosts. The host is
 * read from its end, so that the key of "*.example.org", which is ".example.org", is a beginning of
 * the hosts that it matches. The root is the end of the empty host, so that routes without a host
 * begin there; a node is at the end of each host. A node lists the exact routes and the prefix
 * routes whose key ends there. Nodes are in breadth-first order, so that the children, the label
 * and the routes of a node end where those of the next node begin.
 *
 * Owner: the configuration. Immutable; all threads may read it.
 * Limits: ROUTE_INDEX_KEYS_MAX, ROUTE_INDEX_BYTES_MAX; at most 2 nodes of 17 bytes per key and one
 * per host, 4 bytes per key, and the bytes in which the keys differ: about 30 bytes per route for
 * 100,000 paths of one form (/service/N/items), about 50 for 100,000 hosts (shopN.example.org).
 * Bound of a search: host.len + (2 + w) * path.len nodes, where w wildcards of the file match the
 * host (at most one per label); in each node a binary search among its children (at most 256) and
 * one among its routes; each byte of the host is compared at most once. The number of routes does
 * not matter otherwise. No recursion, no allocation. */
#ifndef CONFIG_ROUTEINDEX_H
#define CONFIG_ROUTEINDEX_H

#include "base/slice.h"

struct arena;
struct config_route;

/* Each range ends where that of the next node begins; a last node without a key ends the array. */
struct route_index_node {
	uint32_t label;  /* in `labels`: the bytes of the key after its first byte; of a host in
			    the order of the host, so before it */
	uint32_t child;  /* in `nodes` and `bytes`, ascending by byte */
	uint32_t exact;  /* in `entries`, up to `prefix` */
	uint32_t prefix; /* in `entries` */
};

struct route_index {
	const struct route_index_node *nodes; /* the root is the first */
	const unsigned char *bytes;           /* of each node: the first byte of its key */
	const char *labels;
	const uint32_t *entries; /* indices of routes, ascending within each range */
	uint32_t any_host; /* the node of "/" of routes without a host; 0: there is none */
	bool has_hosts;    /* some routes have a host */
};

#define ROUTE_INDEX_NONE UINT32_MAX
#define ROUTE_INDEX_KEYS_MAX 1000000
#define ROUTE_INDEX_BYTES_MAX ((size_t)1 << 30)

/* The bytes of all keys of n routes, and the number of keys. */
size_t route_index_bytes(const struct config_route *routes, unsigned n, size_t *keys);

/* Makes the index of n routes, at most CONFIG_ROUTES_MAX and within the limits above, in `memory`.
 * Their paths begin with "/", their hosts have no "/", are not empty, and begin with "." if they
 * are wildcards. The routes are not referred to afterwards. */
void route_index_build(struct route_index *x, const struct config_route *routes, unsigned n,
		       struct arena *memory);

/* The index of the first route at or after `from` that matches, or ROUTE_INDEX_NONE. Path and
 * host are in normal form. The path "*" matches the prefix "/" only. */
uint32_t route_index_find(const struct route_index *x, struct slice host, struct slice path,
			  uint32_t from);

#endif
