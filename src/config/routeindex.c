#include "config/routeindex.h"

#include <stdlib.h>

#include "base/check.h"
#include "config/arena.h"
#include "config/config.h"

/* ---- search --------------------------------------------------------------- */

#define FEW 8 /* children that are compared one by one */

/* The child of a node by the first byte of its key; 0: there is none. */
static uint32_t child_find(const struct route_index *x, uint32_t node, unsigned char byte)
{
	uint32_t from = x->nodes[node].child, end = x->nodes[node + 1].child;

	while (end - from > FEW) {
		uint32_t middle = from + (end - from) / 2;

		if (x->bytes[middle] <= byte)
			from = middle;
		else
			end = middle;
	}
	for (; from < end; from++)
		if (x->bytes[from] == byte)
			return from;
	return 0;
}

/* The label of a node. */
static struct slice label_of(const struct route_index *x, uint32_t node)
{
	const struct route_index_node *i = &x->nodes[node];

	return (struct slice){ x->labels + i->label, i[1].label - i->label };
}

/* Moves past the label of a node of a path. False: the text has other bytes, or ends before. */
static bool label_skip(const struct route_index *x, uint32_t node, struct slice text,
		       size_t *at)
{
	struct slice label = label_of(x, node);

	if (label.len > text.len - *at ||
	    (label.len > 0 && memcmp(text.ptr + *at, label.ptr, label.len) != 0))
		return false;
	*at += label.len;
	return true;
}

/* The same for a node of a host, whose last n bytes have been passed. */
static bool host_label_skip(const struct route_index *x, uint32_t node, struct slice host,
			    size_t *n)
{
	struct slice label = label_of(x, node);

	if (label.len > host.len - *n ||
	    (label.len > 0 &&
	     memcmp(host.ptr + host.len - *n - label.len, label.ptr, label.len) != 0))
		return false;
	*n += label.len;
	return true;
}

/* The first of entries [begin, end) that is at least `from`, or ROUTE_INDEX_NONE. */
static uint32_t entry_search(const struct route_index *x, uint32_t begin, uint32_t end,
			     uint32_t from)
{
	uint32_t last = end;

	while (begin < end) {
		uint32_t middle = begin + (end - begin) / 2;

		if (x->entries[middle] < from)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin < last ? x->entries[begin] : ROUTE_INDEX_NONE;
}

/* As entry_search(), faster where there is no entry, or where the first one is meant. */
static uint32_t entry_find(const struct route_index *x, uint32_t begin, uint32_t end,
			   uint32_t from)
{
	if (begin == end)
		return ROUTE_INDEX_NONE;
	return x->entries[begin] >= from ? x->entries[begin]
					 : entry_search(x, begin + 1, end, from);
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* From the node of "/". Only whole segments match a prefix: "/api" matches "/api/x" but not
 * "/apix". */
static uint32_t path_find(const struct route_index *x, uint32_t node, struct slice path,
			  bool exact, uint32_t from)
{
	uint32_t found = ROUTE_INDEX_NONE;
	size_t at = 1;

	while (node != 0 && label_skip(x, node, path, &at)) {
		const struct route_index_node *i = &x->nodes[node];

		if (at == path.len) {
			if (exact)
				found = least(found,
					      entry_find(x, i->exact, i->prefix, from));
			return least(found, entry_find(x, i->prefix, i[1].exact, from));
		}
		if (path.ptr[at] == '/' || path.ptr[at - 1] == '/')
			found = least(found, entry_find(x, i->prefix, i[1].exact, from));
		node = child_find(x, node, (unsigned char)path.ptr[at++]);
	}
	return found;
}

/* The first route of the hosts that match: of each wildcard on the way, and of the host itself.
 * ".example.org" is the key of "*.example.org", and needs a byte before it. */
static uint32_t host_find(const struct route_index *x, struct slice host,
			  struct slice path, bool exact, uint32_t from)
{
	uint32_t node = 0, found = ROUTE_INDEX_NONE;
	size_t n = 0; /* bytes from the end of the host */

	while (n < host.len) {
		char byte = host.ptr[host.len - 1 - n++];
		bool wildcard;

		node = byte != '/' ? child_find(x, node, (unsigned char)byte) : 0;
		if (node == 0 || !host_label_skip(x, node, host, &n))
			break;
		wildcard = host.ptr[host.len - n] == '.';
		if (wildcard != (n == host.len))
			found = least(found, path_find(x, child_find(x, node, '/'), path,
						       exact, from));
	}
	return found;
}

uint32_t route_index_find(const struct route_index *x, struct slice host,
			  struct slice path, uint32_t from)
{
	bool asterisk = path.len == 1 && path.ptr[0] == '*';
	uint32_t found;

	if (asterisk)
		path = SLICE("/");
	if (path.len == 0 || path.ptr[0] != '/')
		return ROUTE_INDEX_NONE;
	found = path_find(x, x->any_host, path, !asterisk, from);
	if (found == from || !x->has_hosts) /* no route can be earlier */
		return found;
	return least(found, host_find(x, host, path, !asterisk, from));
}

/* ---- build ---------------------------------------------------------------- */

/* A host of a route and its path, close to the next key: the keys are read many times. */
struct route_key {
	const char *host, *path;
	size_t host_n, n; /* bytes of the host, and of the key */
	uint32_t route;
	bool prefix;
};

/* The keys that go through a node: `order` from `begin` to `end`. */
struct node_range {
	uint32_t begin, end;
	size_t depth; /* bytes of the key up to the node's first byte, included */
};

/* Space for the largest trie of these keys. Only used pages of it take memory. */
struct build {
	struct route_key *keys;
	uint32_t *order, *sorted; /* keys by node, within a node in file order */
	struct node_range *ranges;
	struct route_index_node *nodes;
	unsigned char *bytes;
	char *labels;
	uint32_t *entries;
	uint32_t key_n, node_n, label_n, entry_n;
};

/* The host from its end, so that a wildcard is a beginning of the hosts that it matches. */
static unsigned char key_byte(const struct route_key *k, size_t at)
{
	return (unsigned char)(at < k->host_n ? k->host[k->host_n - 1 - at]
					      : k->path[at - k->host_n]);
}

/* Up to where two keys that are equal up to `at` are equal, at most `end`. */
static size_t common_end(const struct route_key *a, const struct route_key *b, size_t at,
			 size_t end)
{
	while (at < end && at < b->n && key_byte(a, at) == key_byte(b, at))
		at++;
	return at;
}

/* Where the label of a range ends: at the first byte in which its keys differ, at the end of a
 * key, or at the end of the host. The root has no label. All keys are compared up to `step` bytes
 * before any is compared further, so that the time is proportional to the label's length. */
static size_t label_end(const struct build *b, const struct node_range *range)
{
	const struct route_key *first;
	size_t at = range->depth, limit;

	if (at == 0)
		return 0;
	first = &b->keys[b->order[range->begin]];
	limit = at <= first->host_n ? first->host_n : first->n;
	for (size_t step = 8; at < limit; step *= 2) {
		size_t end = limit - at > step ? at + step : limit, common = end;

		for (uint32_t i = range->begin + 1; i < range->end; i++)
			common = common_end(first, &b->keys[b->order[i]], at, common);
		if (common < end)
			return common;
		at = end;
	}
	return limit;
}

/* Appends the routes whose key in a range ends at `depth`, of one kind. */
static void entries_append(struct build *b, const struct node_range *range, size_t depth,
			   bool prefix)
{
	for (uint32_t i = range->begin; i < range->end; i++) {
		const struct route_key *k = &b->keys[b->order[i]];

		if (k->n == depth && k->prefix == prefix)
			b->entries[b->entry_n++] = k->route;
	}
}

static void child_append(struct build *b, struct node_range range, unsigned char byte)
{
	b->bytes[b->node_n] = byte;
	b->ranges[b->node_n++] = range;
}

/* Appends a node for each byte that follows `depth` in keys of the range, and sorts the range by
 * that byte, in file order where it is the same. */
static void children_append(struct build *b, const struct node_range *range, size_t depth)
{
	uint32_t n[256] = { 0 }, at[256], begin = range->begin;

	for (uint32_t i = range->begin; i < range->end; i++) {
		const struct route_key *k = &b->keys[b->order[i]];

		if (k->n > depth)
			n[key_byte(k, depth)]++;
	}
	for (unsigned byte = 0; byte < 256; byte++) {
		at[byte] = begin;
		if (n[byte] > 0)
			child_append(
				b,
				(struct node_range){ begin, begin + n[byte], depth + 1 },
				(unsigned char)byte);
		begin += n[byte];
	}
	for (uint32_t i = range->begin; i < range->end; i++) {
		const struct route_key *k = &b->keys[b->order[i]];

		if (k->n > depth)
			b->sorted[at[key_byte(k, depth)]++] = b->order[i];
	}
	memcpy(b->order + range->begin, b->sorted + range->begin,
	       (begin - range->begin) * sizeof(*b->order));
}

/* Appends the bytes of a key from `at` to `end`: of a host as they follow each other in it. */
static void label_append(struct build *b, const struct route_key *k, size_t at,
			 size_t end)
{
	struct slice label =
		at > k->host_n || at == end
			? (struct slice){ k->path + (at - k->host_n), end - at }
			: (struct slice){ k->host + (k->host_n - end), end - at };

	memcpy(b->labels + b->label_n, label.ptr, label.len);
	b->label_n += (uint32_t)label.len;
}

static void node_build(struct build *b, uint32_t node)
{
	const struct node_range range = b->ranges[node];
	size_t depth = label_end(b, &range);

	b->nodes[node].label = b->label_n;
	if (depth > range.depth)
		label_append(b, &b->keys[b->order[range.begin]], range.depth, depth);
	b->nodes[node].exact = b->entry_n;
	entries_append(b, &range, depth, false);
	b->nodes[node].prefix = b->entry_n;
	entries_append(b, &range, depth, true);
	b->nodes[node].child = b->node_n;
	if (b->entry_n - b->nodes[node].exact == range.end - range.begin)
		return;
	if (range.end - range.begin == 1)
		child_append(b, (struct node_range){ range.begin, range.end, depth + 1 },
			     key_byte(&b->keys[b->order[range.begin]], depth));
	else
		children_append(b, &range, depth);
}

static void *space(size_t n, size_t bytes)
{
	void *p = malloc(n * bytes);

	ASSERT(p); /* out of memory: see arena.h */
	return p;
}

/* The keys of a route: one for each host, or one without host. */
static void keys_append(struct build *b, const struct config_route *r, uint32_t route)
{
	static const struct slice any;
	unsigned n = r->host_n > 0 ? r->host_n : 1;

	ASSERT(r->path.len > 0);
	for (unsigned i = 0; i < n; i++) {
		struct slice host = r->host_n > 0 ? r->hosts[i] : any;

		b->keys[b->key_n++] =
			(struct route_key){ host.ptr, r->path.ptr,
					    host.len, host.len + r->path.len,
					    route,    r->prefix };
	}
}

size_t route_index_bytes(const struct config_route *routes, unsigned n, size_t *keys)
{
	size_t bytes = 1;

	*keys = 0;
	for (unsigned i = 0; i < n; i++) {
		size_t hosts = routes[i].host_n > 0 ? routes[i].host_n : 1;

		*keys += hosts;
		bytes += hosts * routes[i].path.len;
		for (unsigned k = 0; k < routes[i].host_n; k++)
			bytes += routes[i].hosts[k].len;
	}
	return bytes;
}

static void build_init(struct build *b, const struct config_route *routes, unsigned n)
{
	size_t keys, nodes, labels = route_index_bytes(routes, n, &keys);

	ASSERT(keys <= ROUTE_INDEX_KEYS_MAX && labels <= ROUTE_INDEX_BYTES_MAX);
	nodes = 3 * keys + 2;
	*b = (struct build){ .keys = space(keys + 1, sizeof(*b->keys)) };
	for (unsigned i = 0; i < n; i++)
		keys_append(b, &routes[i], i);
	b->order = space(keys + 1, sizeof(*b->order));
	b->sorted = space(keys + 1, sizeof(*b->sorted));
	b->ranges = space(nodes, sizeof(*b->ranges));
	b->nodes = space(nodes, sizeof(*b->nodes));
	b->bytes = space(nodes, sizeof(*b->bytes));
	b->labels = space(labels, 1);
	b->entries = space(keys + 1, sizeof(*b->entries));
	for (uint32_t i = 0; i < b->key_n; i++)
		b->order[i] = i;
}

static void build_done(struct build *b)
{
	free(b->keys);
	free(b->order);
	free(b->sorted);
	free(b->ranges);
	free(b->nodes);
	free(b->bytes);
	free(b->labels);
	free(b->entries);
}

void route_index_build(struct route_index *x, const struct config_route *routes,
		       unsigned n, struct arena *memory)
{
	struct build b;

	build_init(&b, routes, n);
	b.bytes[0] = 0;
	b.ranges[0] = (struct node_range){ 0, b.key_n, 0 };
	b.node_n = 1;
	for (uint32_t node = 0; node < b.node_n; node++)
		node_build(&b, node);
	b.nodes[b.node_n] = (struct route_index_node){ b.label_n, b.node_n, b.entry_n,
						       b.entry_n };
	x->nodes = arena_copy(memory, b.nodes, (b.node_n + 1) * sizeof(*b.nodes));
	x->bytes = arena_copy(memory, b.bytes, b.node_n);
	x->labels = arena_copy(memory, b.labels, b.label_n);
	x->entries = arena_copy(memory, b.entries, b.entry_n * sizeof(*b.entries));
	x->any_host = child_find(x, 0, '/');
	x->has_hosts = x->nodes[1].child - x->nodes[0].child > (x->any_host != 0);
	build_done(&b);
}
