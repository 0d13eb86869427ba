#include "reach.h"

#include "base/check.h"
#include "base/hash.h"

struct reach_route {
	struct names_entry entry;
	const struct config_route *route;
};

/* The route of an entry, which may be NULL. */
static const struct config_route *route_of(const struct names_entry *e)
{
	return e ? CONTAINER(e, struct reach_route, entry)->route : NULL;
}

/* The one of two routes that comes first in the file; either may be NULL. */
static const struct config_route *first(const struct config_route *a,
					const struct config_route *b)
{
	return !a || (b && b < a) ? b : a;
}

/* True: a prefix of n bytes ends at the end of a segment of the path. */
static bool is_end(struct slice path, size_t n)
{
	return n == path.len || path.ptr[n] == '/' || path.ptr[n - 1] == '/';
}

static const struct config_route *first_covering(const struct reach_host *host,
						 const struct config_route *route)
{
	const struct slice path = route->path;
	const struct config_route *found =
		route->prefix ? NULL : route_of(names_find(&host->paths, path));
	uint64_t hash = HASH_BEGIN;

	if (host->prefixes.n == 0)
		return found;
	for (size_t n = 1; n <= path.len; n++) {
		struct slice part = { path.ptr, n };

		hash = hash_bytes(hash, (struct slice){ path.ptr + n - 1, 1 });
		if (is_end(path, n))
			found = first(found, route_of(names_find_hashed(&host->prefixes,
									part, hash)));
	}
	return found;
}

static struct reach_host *reach_host_of(struct reach *r, struct slice name)
{
	const struct names_entry *e = names_find(&r->hosts, name);
	struct reach_host *host;

	if (name.len == 0)
		return &r->any;
	if (e)
		return CONTAINER(e, struct reach_host, entry);
	host = arena_alloc(r->memory, sizeof(*host));
	names_put(&r->hosts, &host->entry, name);
	host->next = r->list;
	r->list = host;
	return host;
}

const struct config_route *reach_add(struct reach *r, const struct config_route *route)
{
	const struct config_route *found;
	struct reach_host *host;
	struct reach_route *added;

	if (route->path.len == 0)
		return NULL;
	host = reach_host_of(r, route->host);
	found = first_covering(&r->any, route);
	if (host != &r->any)
		found = first(found, first_covering(host, route));
	if (found || route->passes_on)
		return found;
	added = arena_alloc(r->memory, sizeof(*added));
	added->route = route;
	names_put(route->prefix ? &host->prefixes : &host->paths, &added->entry,
		  route->path);
	return NULL;
}

void reach_done(struct reach *r)
{
	for (struct reach_host *host = r->list; host; host = host->next) {
		names_done(&host->paths);
		names_done(&host->prefixes);
	}
	names_done(&r->any.paths);
	names_done(&r->any.prefixes);
	names_done(&r->hosts);
}
