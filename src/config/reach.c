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

/* False: the route may leave a request to later ones. */
static bool route_covers(const struct config_route *route)
{
	return !route->passes_on && !route->match;
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

/* The first route that matches all requests of `route` for this host: one without a host, of a
 * wildcard that matches the host, or of the host itself. */
static const struct config_route *host_covering(const struct reach *r, struct slice host,
						const struct config_route *route)
{
	const struct config_route *found = first_covering(&r->any, route);
	struct slice rest = host;

	while (rest.len > 0) {
		const struct names_entry *e = names_find(&r->hosts, rest);
		const char *dot = memchr(rest.ptr + 1, '.', rest.len - 1);

		if (e)
			found = first(
				found,
				first_covering(CONTAINER(e, struct reach_host, entry),
					       route));
		rest = slice_after(rest, dot ? (size_t)(dot - rest.ptr) : rest.len);
	}
	return found;
}

static void host_add(struct reach *r, struct slice name, const struct config_route *route)
{
	struct reach_host *host = reach_host_of(r, name);
	struct reach_route *added = arena_alloc(r->memory, sizeof(*added));

	added->route = route;
	names_put(route->prefix ? &host->prefixes : &host->paths, &added->entry,
		  route->path);
}

const struct config_route *reach_add(struct reach *r, const struct config_route *route)
{
	const struct config_route *found = NULL;
	unsigned n = route->host_n > 0 ? route->host_n : 1, covered = 0;

	if (route->path.len == 0)
		return NULL;
	for (unsigned i = 0; i < n; i++) {
		struct slice host = route->host_n > 0 ? route->hosts[i] : SLICE("");
		const struct config_route *before = host_covering(r, host, route);

		if (before)
			covered++;
		else if (route_covers(route))
			host_add(r, host, route);
		found = i == 0 ? before : first(found, before);
	}
	return covered == n ? found : NULL;
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
