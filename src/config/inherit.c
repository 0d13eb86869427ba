/* What upstreams and routes inherit: `defaults`, and the keys of an entry of `hosts`.
 *
 * A transformation of the tree before any section is read. Each upstream and each route then has
 * all of its keys, and `routes` has the routes of all hosts, so that no reader knows of either. An
 * inherited node is marked: where it has no effect (`hash` of an upstream that does not balance by
 * it), it is passed over and not an error.
 *
 * Nodes may be shared by aliases, so none is changed: maps that inherit are new ones. */
#include "config/rule.h"

#include <stdlib.h>

#include "reader.h"

#define KEYS_MAX 100 /* of a map that is inherited: looked for in each that inherits */
#define INHERITED_MAX 4000000u /* keys and values that are inherited, of all */

static const char hosts_form[] =
	"'hosts: { HOST: { routes: [{ prefix: /, proxy: { upstream: NAME } }] } }'";

static const char routes_form[] = "'routes: [{ prefix: /, proxy: { upstream: NAME } }]'";

struct inheritance {
	struct config_reader *r;
	const struct node *upstream, *route; /* maps of `defaults`; NULL: none */
	const struct node *names;            /* of the entry of `hosts` whose routes are made */
	unsigned n;                          /* inherited nodes so far */
	bool too_many;                       /* reported */
};

/* ---- maps -------------------------------------------------------------------- */

static bool is_key(const struct node *n, const char *name)
{
	return n->key && n->key->kind == NODE_SCALAR &&
	       slice_equal(n->key->text, slice_of(name));
}

static const struct node *child_of(const struct node *map, const char *name)
{
	const struct node *n = map->children;

	while (n && !is_key(n, name))
		n = n->next;
	return n;
}

static const struct node *same_key(const struct node *map, const struct node *key)
{
	const struct node *n = map->children;

	while (n &&
	       !(n->key->kind == NODE_SCALAR && slice_equal(n->key->text, key->text)))
		n = n->next;
	return n;
}

static struct node *copy_of(struct inheritance *i, const struct node *n)
{
	struct node *copy = arena_copy(&i->r->scratch, n, sizeof(*n));

	copy->next = NULL;
	return copy;
}

/* A list or map as `n`, without its entries. */
static struct node *empty_of(struct inheritance *i, const struct node *n)
{
	struct node *copy = copy_of(i, n);

	copy->children = copy->last = NULL;
	copy->child_n = copy->height = 0;
	copy->weight = 1;
	return copy;
}

static bool may_inherit(struct inheritance *i, const struct node *from)
{
	i->n += from->child_n;
	if (i->n > INHERITED_MAX && !i->too_many) {
		report_error(
			&i->r->report, from->at,
			"more than %u keys and values are inherited; remove some of them",
			INHERITED_MAX);
		i->too_many = true;
	}
	if (from->child_n > KEYS_MAX)
		report_error(
			&i->r->report, node_pos(from),
			"more than %d keys are inherited from this map; remove some of them",
			KEYS_MAX);
	return from->child_n <= KEYS_MAX && !i->too_many;
}

/* `n` is a copy. It keeps the names that it has from `hosts` when it inherits defaults as well. */
static void child_add(struct inheritance *i, struct node *map, struct node *n)
{
	if (i->names)
		n->names = i->names;
	node_append(map, n);
}

/* The keys of `own`, and those of `from` that it has not; maps that both have are merged. */
static struct node *map_merge(struct inheritance *i, const struct node *own,
			      const struct node *from)
{
	struct node *map = empty_of(i, own);
	bool inherits = may_inherit(i, from);

	for (const struct node *n = own->children; n; n = n->next) {
		const struct node *other = NULL;

		if (inherits && n->kind == NODE_MAP && n->key->kind == NODE_SCALAR)
			other = same_key(from, n->key);
		child_add(i, map, other && other->kind == NODE_MAP ? map_merge(i, n, other)
								   : copy_of(i, n));
	}
	for (const struct node *n = from->children; n && inherits; n = n->next) {
		struct node *copy;

		if (n->key->kind == NODE_SCALAR && same_key(own, n->key))
			continue;
		copy = n->kind == NODE_MAP ? map_merge(i, empty_of(i, n), n)
					   : copy_of(i, n);
		copy->inherited = true;
		child_add(i, map, copy);
	}
	return map;
}

/* All entries of a list or map inherit. */
static struct node *all_merge(struct inheritance *i, const struct node *all,
			      const struct node *from)
{
	struct node *copy = empty_of(i, all);

	for (const struct node *n = all->children; n; n = n->next)
		node_append(copy,
			    n->kind == NODE_MAP ? map_merge(i, n, from) : copy_of(i, n));
	return copy;
}

/* ---- defaults ---------------------------------------------------------------- */

static bool is_action(const struct node *n)
{
	for (size_t i = 0; config_actions[i]; i++)
		if (is_key(n, config_actions[i]->key.name.ptr))
			return true;
	return false;
}

static bool is_match(const struct node *n)
{
	return is_key(n, "path") || is_key(n, "prefix") || is_key(n, "host");
}

/* Without what each upstream or route has for itself, which is reported. */
static const struct node *defaults_of_map(struct inheritance *i, const struct node *map,
					  bool route)
{
	struct node *kept = empty_of(i, map);

	for (const struct node *n = map->children; n; n = n->next)
		if (route ? is_match(n) || is_action(n)
			  : is_key(n, "servers") || is_key(n, "protocol"))
			report_error(&i->r->report, node_pos(n),
				     "'%s' cannot have a default; write it in each %s",
				     node_name(n), route ? "route" : "upstream");
		else
			node_append(kept, copy_of(i, n));
	return kept;
}

static const struct node *default_of(struct inheritance *i, const struct node *n,
				     bool route)
{
	if (!n || node_is_null(n) || (n->kind == NODE_MAP && n->child_n == 0))
		return NULL;
	if (!children_check(i->r, n, NODE_MAP, NODE_CHILDREN_MAX,
			    route ? "'route: { deadline: 10s }'"
				  : "'upstream: { connect_timeout: 500ms }'"))
		return NULL;
	return defaults_of_map(i, n, route);
}

static void defaults_read(struct inheritance *i, const struct node *map)
{
	struct config_address none = { NULL };
	struct section_values values;

	if (!map || !section_read(i->r, map, &section_defaults, &none, &values))
		return;
	i->upstream = default_of(i, values.of[KEY_defaults_upstream], false);
	i->route = default_of(i, values.of[KEY_defaults_route], true);
}

/* ---- hosts ------------------------------------------------------------------- */

/* Exact names come first, as their order would not matter otherwise; then patterns, the longest
 * first; then "*", which is any host. */
struct host_name {
	const struct node *name, *entry;
	unsigned rank; /* 0: exact; UINT_MAX: any */
	unsigned n;    /* order in the file */
};

static int rank_compare(const void *left, const void *right)
{
	const struct host_name *a = left, *b = right;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->n < b->n ? -1 : 1;
}

static unsigned rank_of(struct slice name)
{
	if (name.len == 0 || name.ptr[0] != '*')
		return 0;
	return name.len == 1 ? UINT32_MAX : UINT32_MAX - (unsigned)name.len;
}

static struct node *scalar_of(struct inheritance *i, const struct node *at,
			      const char *key, struct slice text)
{
	struct node *k = arena_alloc(&i->r->scratch, sizeof(*k)), *n;

	*k = (struct node){ .kind = NODE_SCALAR,
			    .at = at->at,
			    .end = at->end,
			    .plain = true,
			    .text = slice_of(key),
			    .weight = 1 };
	n = copy_of(i, k);
	n->text = text;
	n->key = k;
	n->end = at->end;
	n->quoted = at->quoted;
	n->plain = !at->quoted;
	return n;
}

/* One route of a host: its own keys, those of the host, and the host. */
static struct node *host_route(struct inheritance *i, const struct host_name *h,
			       const struct node *route, const struct node *shared)
{
	const struct node *host;
	struct node *copy;

	if (route->kind != NODE_MAP)
		return copy_of(i, route);
	host = child_of(route, "host");
	if (host)
		report_error(
			&i->r->report, node_pos(host),
			"routes below 'hosts' have the host of their entry; remove 'host'");
	copy = shared ? map_merge(i, route, shared)
		      : map_merge(i, route, empty_of(i, route));
	copy->key = NULL;
	if (!host && h->rank != UINT32_MAX)
		node_append(copy, scalar_of(i, h->name, "host", h->name->text));
	return copy;
}

/* The keys beside `routes`, which its routes inherit. */
static struct node *shared_of(struct inheritance *i, const struct node *entry)
{
	struct node *shared = empty_of(i, entry);

	for (const struct node *n = entry->children; n; n = n->next) {
		if (is_key(n, "routes"))
			continue;
		if (is_match(n) || is_action(n))
			report_error(
				&i->r->report, node_pos(n),
				"'%s' cannot stand beside 'routes'; move it into one of the "
				"routes",
				node_name(n));
		else
			node_append(shared, copy_of(i, n));
	}
	return shared;
}

/* A host with an action and without `routes` is one route, for all paths unless it says so. */
static struct node *single_route(struct inheritance *i, const struct node *entry)
{
	struct node *route = map_merge(i, entry, empty_of(i, entry));

	if (!child_of(entry, "path") && !child_of(entry, "prefix"))
		node_append(route, scalar_of(i, entry->key, "prefix", SLICE("/")));
	return route;
}

static bool has_action(const struct node *map)
{
	for (const struct node *n = map->children; n; n = n->next)
		if (is_action(n))
			return true;
	return false;
}

static void host_add(struct inheritance *i, const struct host_name *h,
		     struct node *routes)
{
	const struct node *list = child_of(h->entry, "routes"), *shared = NULL;

	i->names = h->entry->key;
	if (list)
		shared = shared_of(i, h->entry);
	else if (has_action(h->entry))
		node_append(routes, host_route(i, h, single_route(i, h->entry), NULL));
	else
		report_error(
			&i->r->report, node_pos(h->entry),
			"this host has no 'routes' and no action; write 'routes: [{ prefix: "
			"/, proxy: { upstream: NAME } }]', or 'proxy: { upstream: NAME }'");
	if (list)
		list = list_of(i->r, list);
	if (list && children_check(i->r, list, NODE_LIST, CONFIG_ROUTES_MAX, routes_form))
		for (const struct node *n = list->children;
		     n && routes->child_n <= CONFIG_ROUTES_MAX; n = n->next)
			node_append(routes, host_route(i, h, n, shared));
	i->names = NULL;
}

/* Appends the names of an entry: its key, or each of a list. */
static void names_of(struct inheritance *i, const struct node *entry,
		     struct host_name *all, unsigned *n)
{
	const struct node *key = entry->key,
			  *name = key->kind == NODE_LIST ? key->children : key;

	for (; name; name = key->kind == NODE_LIST ? name->next : NULL)
		if (scalar_check(i->r, name, "HOST, or [HOST, …]")) {
			all[*n] = (struct host_name){ name, entry, rank_of(name->text),
						      *n };
			(*n)++;
		}
}

static unsigned names_count(const struct node *map)
{
	unsigned n = 0;

	for (const struct node *e = map->children; e; e = e->next)
		n += e->key->kind == NODE_LIST ? e->key->child_n : 1;
	return n;
}

static void hosts_add(struct inheritance *i, const struct node *map, struct node *routes)
{
	struct host_name *all;
	unsigned n = 0;

	if (!children_check(i->r, map, NODE_MAP, CONFIG_ROUTES_MAX, hosts_form))
		return;
	all = arena_alloc(&i->r->scratch, names_count(map) * sizeof(*all));
	for (const struct node *e = map->children; e; e = e->next)
		if (children_check(i->r, e, NODE_MAP, NODE_CHILDREN_MAX, hosts_form))
			names_of(i, e, all, &n);
	if (n > 0)
		qsort(all, n, sizeof(*all), rank_compare);
	for (unsigned k = 0; k < n && routes->child_n <= CONFIG_ROUTES_MAX; k++)
		host_add(i, &all[k], routes);
}

/* The routes of all hosts, then those of `routes`. */
static struct node *routes_of(struct inheritance *i, const struct node *hosts,
			      const struct node *routes)
{
	unsigned errors = i->r->report.n;
	struct node *all;

	if (!hosts)
		return copy_of(i, routes);
	all = scalar_of(i, hosts->key, "routes", SLICE(""));
	all->kind = NODE_LIST;
	hosts_add(i, hosts, all);
	routes = routes ? list_of(i->r, routes) : NULL;
	if (routes && (routes->kind != NODE_LIST || routes->child_n > 0) &&
	    children_check(i->r, routes, NODE_LIST, CONFIG_ROUTES_MAX, routes_form))
		for (const struct node *n = routes->children; n; n = n->next)
			node_append(all, copy_of(i, n));
	i->r->routes_refused = all->child_n == 0 && i->r->report.n > errors;
	return all;
}

/* ---- the file ---------------------------------------------------------------- */

const struct node *inherit(struct config_reader *r, const struct node *root)
{
	struct inheritance i = { .r = r };
	const struct node *hosts, *routes;
	struct node *all;

	if (root->kind != NODE_MAP)
		return root;
	hosts = child_of(root, "hosts");
	routes = child_of(root, "routes");
	defaults_read(&i, child_of(root, "defaults"));
	if (!hosts && !i.upstream && !i.route)
		return root;
	all = empty_of(&i, root);
	for (const struct node *n = root->children; n; n = n->next)
		if (is_key(n, "upstreams") && n->kind == NODE_MAP && i.upstream)
			node_append(all, all_merge(&i, n, i.upstream));
		else if (n != routes)
			node_append(all, copy_of(&i, n));
	if (hosts || routes) {
		struct node *list = routes_of(&i, hosts, routes);

		if (i.route && list->kind == NODE_LIST)
			list = all_merge(&i, list, i.route);
		node_append(all, list);
	}
	return all;
}
